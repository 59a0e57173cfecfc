// Names: transactions that their callers named, sent again and again to any node while others write
// the same keys, asked about at any key that they write and at keys that they do not, long after
// their names are too old. Whoever is asked, and however often it was sent: one effect at most, and
// one answer. Sessions too, whose Commit is repeated.
#include <fmt/format.h>

#include <algorithm>

#include "tests/sim/workloads/catalogue.h"
#include "tests/sim/workloads/thin_client.h"
#include "txn/errors.h"

namespace quorate::sim {
namespace {

constexpr int kHot = 3;
constexpr int kPairs = 64;
constexpr size_t kRecent = 10;  // names that are still sent, and asked about
constexpr Duration kTimeout = 5s;

struct Named {
  GivenName name;
  std::string row;
  std::map<std::string, std::string> writes;
  std::string condition;  // a key that must be absent, or none
  AttemptSeen* attempt = nullptr;
  std::string node;  // of the session
  uint64_t session = 0;
  std::vector<std::string> told;  // what was answered about it, and when, for violations
};
using NamedPtr = std::shared_ptr<Named>;

// Whether an error is the name's outcome; otherwise it says nothing, or only of this sending.
bool SaysNever(Code code) {
  switch (code) {
    case Code::kOk:
    case Code::kOverloaded:
    case Code::kNoSpace:
    case Code::kUninitialized:
    case Code::kWrongCluster:
    case Code::kWrongNode:
      return false;
    default:
      return EffectOf(code) == Effect::kNothingHappened;
  }
}

class Names final : public Workload {
 public:
  explicit Names(const WorkloadContext& context) : Workload(context.world, "names") {}

  Task<void> Step(Hands* hands) override {
    if (all_.empty() || hands->random->Chance(0.3)) {
      const NamedPtr named = NewName(hands);
      if (hands->random->Chance(0.3)) {
        co_await BeginSession(hands, named);
      } else {
        all_.push_back(named);
        co_await Send(hands, named);
      }
      co_return;
    }
    if (hands->random->Chance(0.15)) co_return co_await Look(hands);
    const size_t recent = std::min(all_.size(), kRecent);
    const NamedPtr named = hands->random->Chance(0.1)
                               ? all_[hands->random->Below(all_.size())]
                               : all_[all_.size() - 1 - hands->random->Below(recent)];
    if (hands->random->Chance(0.4)) {
      co_await Ask(hands, named);
    } else if (named->session != 0) {
      co_await Commit(hands, named);
    } else {
      co_await Send(hands, named);
    }
  }

  Task<Status> Audit(Hands* hands) override {
    rows_.clear();
    for (const NamedPtr& named : all_) {
      const auto value = co_await hands->database->GetAsync(named->row, 10s);
      if (!value.ok()) co_return value.status();
      if (value->has_value()) rows_.insert(named->row);
    }
    co_return Status::Ok();
  }

  std::vector<std::string> Violations() const override {
    std::vector<std::string> found = violations_;
    for (const NamedPtr& named : all_) {
      const bool there = rows_.contains(named->row);
      const AttemptSeen::State state = named->attempt->state;
      if (state == AttemptSeen::State::kCommitted && !there) {
        found.push_back(fmt::format("N2: {} was answered COMMITTED, but is not there: {}",
                                    named->name, fmt::join(named->told, "; ")));
      }
      if (state == AttemptSeen::State::kAborted && there) {
        found.push_back(fmt::format("N2: {} was answered ABORTED, but is there: {}", named->name,
                                    fmt::join(named->told, "; ")));
      }
    }
    return found;
  }

 private:
  static std::string Hot(uint64_t number) {
    return SpreadKey("nameshot", static_cast<int>(number), kHot);
  }
  std::string AnyNode(Hands* hands) { return hands->thin->Pick(*hands->nodes, *hands->random); }

  NamedPtr NewName(Hands* hands) {
    auto named = std::make_shared<Named>();
    const int64_t number = ++made_;
    const auto now_ms = static_cast<uint64_t>(kEpochMs + Now() / 1'000'000);
    named->name = GivenName::Make(now_ms, *hands->random);
    named->row = SpreadKey("names", static_cast<int>(number % 7), 7) + fmt::format("/{}", number);
    const std::string value = fmt::format("name {}", number);
    named->writes[named->row] = value;
    // In the same shard, mostly, until that is split between the two.
    if (hands->random->Chance(0.6)) {
      const int near = static_cast<int>(number % 7 * kPairs / 7 + hands->random->Between(1, 8));
      named->writes[SpreadKey("namespair", near, kPairs)] = value;
    }
    for (uint64_t i = hands->random->Below(kHot); i > 0; --i) {
      named->writes[Hot(hands->random->Below(kHot))] = value;
    }
    if (hands->random->Chance(0.5)) named->condition = named->row;
    named->attempt = &hands->record->Begin(fmt::format("c{} names", hands->client));
    for (const auto& [key, written] : named->writes) named->attempt->writes[key] = written;
    return named;
  }

  void Note(const NamedPtr& named, std::string what) {
    named->told.push_back(fmt::format("{:.6f} {}", static_cast<double>(Now()) / 1e9, what));
  }

  static void MaySucceed(const NamedPtr& named) {
    if (named->attempt->state == AttemptSeen::State::kRunning) {
      named->attempt->state = AttemptSeen::State::kCommitting;
    }
  }

  // Tells the record what an answer says of the name. Two that contradict each other it notices.
  void Tell(Hands* hands, const NamedPtr& named, const Status& status, Timestamp commit_ts) {
    Note(named, fmt::format("told {} {}", status.ToString(), commit_ts));
    if (status.ok()) {
      hands->record->Committed(named->attempt, commit_ts);
      Count(status);
    } else if (status.code() == Code::kInvalidArgument || status.code() == Code::kNotFound) {
      Violation(fmt::format("name {} was answered {}", named->name, status.ToString()));
    } else if (SaysNever(status.code())) {
      hands->record->Aborted(named->attempt);
    } else {
      Count(Status(Code::kUnknownOutcome, ""));
    }
  }

  Task<void> Send(Hands* hands, NamedPtr named) {
    v1::ExecuteRequest request;
    if (!named->condition.empty()) {
      request.add_conditions()->set_key(named->condition);
      request.mutable_conditions(0)->set_absent(true);
    }
    for (const auto& [key, value] : named->writes) {
      v1::Write* put = request.add_operations()->mutable_put();
      put->set_key(key);
      put->set_value(value);
    }
    request.set_txn_id(std::string(named->name.bytes()));
    MaySucceed(named);
    // Often too little time, so that answers get lost while the transaction goes on.
    const int64_t ms = hands->random->Chance(0.3) ? hands->random->Between(5, 200) : 3000;
    request.set_timeout_ms(static_cast<uint32_t>(ms));
    const auto answer = co_await hands->thin->Call<v1::ExecuteRequest, v1::ExecuteResponse>(
        AnyNode(hands), "Execute", std::move(request), std::chrono::milliseconds(ms + 50));
    const Status status = answer.ok() ? StatusFromError(answer->error()) : answer.status();
    Tell(hands, named, status, status.ok() ? Timestamp(answer->commit_ts()) : Timestamp());
  }

  Task<void> Ask(Hands* hands, NamedPtr named) {
    auto key = named->writes.begin();
    std::advance(key, hands->random->Below(named->writes.size()));
    const bool elsewhere = hands->random->Chance(0.1);
    v1::GetOutcomeRequest request;
    request.mutable_txn()->set_txn_id(std::string(named->name.bytes()));
    request.mutable_txn()->set_anchor_key(elsewhere ? Hot(hands->random->Below(kHot)) : key->first);
    const auto answer = co_await hands->thin->Call<v1::GetOutcomeRequest, v1::GetOutcomeResponse>(
        AnyNode(hands), "GetOutcome", std::move(request), kTimeout);
    if (!answer.ok() || answer->error().code() != v1::OK) co_return;
    Note(named, fmt::format("asked{}: {}", elsewhere ? " elsewhere" : "",
                            v1::TxnState_Name(answer->state())));
    if (answer->state() == v1::COMMITTED) {
      hands->record->Committed(named->attempt, Timestamp(answer->commit_ts()));
    } else if (!elsewhere) {
      hands->record->Aborted(named->attempt);
    }
  }

  // ---- sessions -------------------------------------------------------------------------------

  Task<void> BeginSession(Hands* hands, NamedPtr named) {
    const std::string node = AnyNode(hands);
    const auto begun = co_await hands->thin->Call<v1::BeginRequest, v1::BeginResponse>(
        node, "Begin", v1::BeginRequest(), kTimeout);
    if (!begun.ok() || begun->error().code() != v1::OK) co_return;
    const auto name = GivenName::FromBytes(begun->txn().txn_id());
    if (!name) co_return Violation("Begin told no name");
    v1::SessionWriteRequest write;
    write.set_session_id(begun->session_id());
    for (const auto& [key, value] : named->writes) {
      v1::Write* put = write.add_writes();
      put->set_key(key);
      put->set_value(value);
    }
    named->name = *name;
    all_.push_back(named);  // from here on others send it, too, under the session's name
    const auto written =
        co_await hands->thin->Call<v1::SessionWriteRequest, v1::SessionWriteResponse>(
            node, "Write", std::move(write), kTimeout);
    if (!written.ok() || written->error().code() != v1::OK) co_return;
    MaySucceed(named);
    named->node = node;
    named->session = begun->session_id();
    co_await Commit(hands, named);
  }

  Task<void> Commit(Hands* hands, NamedPtr named) {
    v1::SessionCommitRequest request;
    request.set_session_id(named->session);
    const bool elsewhere = hands->random->Chance(0.4);
    if (elsewhere || hands->random->Chance(0.3)) {
      request.mutable_txn()->set_txn_id(std::string(named->name.bytes()));
      request.mutable_txn()->set_anchor_key(named->writes.rbegin()->first);
    }
    const Duration timeout = hands->random->Chance(0.3)
                                 ? Duration(hands->random->Between(5'000'000, 200'000'000))
                                 : kTimeout;
    const auto answer =
        co_await hands->thin->Call<v1::SessionCommitRequest, v1::SessionCommitResponse>(
            elsewhere ? AnyNode(hands) : named->node, "Commit", std::move(request), timeout);
    const Status status = answer.ok() ? StatusFromError(answer->error()) : answer.status();
    Tell(hands, named, status, status.ok() ? Timestamp(answer->commit_ts()) : Timestamp());
  }

  // What was written twice shows in who wrote what last.
  Task<void> Look(Hands* hands) {
    Count(co_await hands->database->SnapshotAsync(
        [](client::Transaction& txn) { return ReadHot(&txn); }, {}));
  }
  static Task<Status> ReadHot(client::Transaction* txn) {
    std::vector<std::string> keys;
    for (int i = 0; i < kHot; ++i) keys.push_back(Hot(static_cast<uint64_t>(i)));
    co_return (co_await txn->GetMany(std::move(keys))).status();
  }

  std::vector<NamedPtr> all_;  // that may have been sent
  int64_t made_ = 0;
  std::set<std::string> rows_;
};

}  // namespace

std::unique_ptr<Workload> MakeNames(const WorkloadContext& context) {
  return std::make_unique<Names>(context);
}

}  // namespace quorate::sim
