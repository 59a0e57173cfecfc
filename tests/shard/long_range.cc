// One transaction that read a range of ROWS rows, and a reverse scan of the last one: how long
// anybody else on the node had to wait for them. A shard with its store in memory; time is virtual,
// so what a turn of the executor costs is its CPU time here.
//
//   shard_long_range [ROWS [MILLISECONDS]]   fails if a turn took longer; without: just says
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <optional>

#include "base/check.h"
#include "quorate/v1/shard.pb.h"
#include "shard/shard.h"
#include "tests/support/fake_group.h"
#include "tests/support/test_env.h"
#include "txn/footprint.h"

namespace quorate::shard {
namespace {

constexpr int kRowsPerEntry = 1000;

// Of this process, which has one thread: what else the machine does is not in it.
double CpuMillis() { return static_cast<double>(std::clock()) * 1e3 / CLOCKS_PER_SEC; }

class LongRange final : SlotSource, Pusher, ShardObserver {
 public:
  explicit LongRange(int rows) : group_(env_.env, GroupId(7), 1) {
    v1::ShardDescriptor descriptor;
    descriptor.set_shard_id(7);
    descriptor.set_version(1);
    shard_ = std::make_unique<Shard>(
        Shard::Deps{env_.env, group_.store(0), *this, *this, *this, nullptr}, Settings(),
        descriptor);
    shard_->Attach(group_.handle(0));
    group_.Start(0, shard_.get());
    group_.Elect(0);
    env_.executor.RunFor(Duration(0));
    group_.CommitOne();
    env_.executor.RunFor(Duration(0));
    for (int first = 0; first < rows; first += kRowsPerEntry) Fill(first, rows);
  }
  ~LongRange() override { scope_.Clear(); }

  static std::string Key(int i) { return fmt::format("r{:08}", i); }

  // The longest turn that anybody had to wait for, in milliseconds of CPU time.
  double Validate() {
    v1::PrepareRequest request;
    request.set_txn_id(std::string(16, 't'));
    request.set_start_ts(NextSlot().bits());
    request.mutable_priority()->set_txn_id(request.txn_id());
    request.set_anchor_key("x");
    request.set_marker_key("r");
    request.add_guards()->set_from("r");
    request.mutable_guards(0)->set_to("s");
    request.add_writes()->set_key("x");
    request.set_digest(DigestOf("r", {"x"}, {{"r", "s"}}).value());
    std::optional<AnchorEvaluation> answer;
    scope_.Spawn(
        Into(shard_->CommitOnePhase(std::move(request), env_.executor.Now() + 60s), &answer));
    const double worst = WorstTurn([&] { return answer.has_value(); });
    CHECK(answer->ok(), "{}", answer->status.ToString());
    return worst;
  }

  double ReadLast(int rows) {
    v1::ReadRequest request;
    request.set_read_ts(NextSlot().bits());
    v1::ScanSpan* scan = request.add_scans();
    scan->mutable_span()->set_from("r");
    scan->mutable_span()->set_to("s");
    scan->set_limit(1);
    scan->set_reverse(true);
    std::optional<v1::ReadResponse> answer;
    scope_.Spawn(Into(shard_->Read(std::move(request), env_.executor.Now() + 60s), &answer));
    const double worst = WorstTurn([&] { return answer.has_value(); });
    CHECK(answer->scans_size() == 1 && answer->scans(0).rows_size() == 1 &&
          answer->scans(0).rows(0).key() == Key(rows - 1));
    return worst;
  }

 private:
  template <class T>
  static Task<void> Into(Task<T> task, std::optional<T>* result) {
    result->emplace(co_await std::move(task));
  }

  template <class Done>
  double WorstTurn(Done done) {
    double worst = 0;
    while (!done()) {
      const double before = CpuMillis();
      CHECK(env_.executor.Step(), "nothing is left to do");
      worst = std::max(worst, CpuMillis() - before);
      ++turns;
    }
    return worst;
  }

  void Fill(int first, int rows) {
    v1::ShardCommand command;
    command.set_term(group_.term().value());
    command.set_version(1);
    v1::CommitOnePhase* commit = command.mutable_commit_one_phase();
    commit->set_txn_id(fmt::format("{:016}", first + 1));
    commit->set_start_ts(NextSlot().bits());
    commit->set_commit_ts(newest_.bits() + 1);
    commit->set_anchor_key(Key(first));
    for (int i = first; i < std::min(rows, first + kRowsPerEntry); ++i) {
      v1::Write* write = commit->add_writes();
      write->set_key(Key(i));
      write->set_value("value");
    }
    group_.Append(command.SerializeAsString());
    group_.CommitOne();
    env_.executor.RunFor(1ms);
  }

  Timestamp NextSlot() { return newest_ = newest_.NextSlot(); }
  Task<Result<Timestamp>> Fetch(Duration) override { co_return NextSlot(); }
  Timestamp newest() const override { return newest_; }
  std::optional<uint64_t> UnixMillisAtMost() const override { return newest().physical_ms(); }
  Task<Result<PushOutcome>> Push(TxnName, Instant) override { co_return Unavailable("nobody"); }
  void OnServing(ShardId, raft::Term) override {}
  void OnDeposed(ShardId) override {}
  void OnSplit(ShardId, const Span&) override {}

 public:
  int turns = 0;

 private:
  TestEnv env_;
  Timestamp newest_ = Timestamp::FromParts(1'000'000, 0);
  testing::FakeGroup group_;
  std::unique_ptr<Shard> shard_;
  TaskScope scope_{env_.executor};
};

}  // namespace
}  // namespace quorate::shard

int main(int argc, char** argv) {
  const int rows = argc > 1 ? std::atoi(argv[1]) : 100'000;
  const double max = argc > 2 ? std::atof(argv[2]) : 0;
  CHECK(rows > 0, "ROWS is a number");
  quorate::shard::LongRange range(rows);
  // The store in memory orders its keys at the first scan, which is not what is measured.
  range.ReadLast(rows);
  range.turns = 0;
  const double validated = range.Validate();
  const int turns = range.turns;
  const double read = range.ReadLast(rows);
  fmt::print(
      "{} rows: validated in {} turns, the longest {:.1f} ms; the last one read, {:.1f} ms\n", rows,
      turns, validated, read);
  CHECK(rows < 10'000 || turns > rows / 10'000, "validated at a stretch");
  return max > 0 && std::max(validated, read) > max ? 1 : 0;
}
