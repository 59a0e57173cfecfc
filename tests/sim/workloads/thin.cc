// Thin clients: the public service over the network, one-shot calls and sessions, as a program in
// any language would use it. Increments, each with a row of its own. A one-shot call whose answer
// is lost is sent again to another node: the condition that the row is absent makes that safe.
#include <fmt/format.h>

#include "tests/sim/workloads/catalogue.h"
#include "tests/sim/workloads/increments.h"
#include "tests/sim/workloads/thin_client.h"
#include "txn/errors.h"

namespace quorate::sim {
namespace {

constexpr int kSends = 4;
constexpr int kPages = 6;  // of one scan
constexpr Duration kTimeout = 5s;

Value ValueOf(const v1::KeyValue& read) {
  return read.found() ? Value(read.value()) : std::nullopt;
}

void SeenKey(AttemptSeen* attempt, const std::string& key, const Value& value) {
  attempt->reads.push_back({key, key + '\0', 0, false, {{key, value}}, {}});
}

class Thin final : public Workload {
 public:
  explicit Thin(const WorkloadContext& context)
      : Workload(context.world, "thin"), increments_("thin", 3) {}

  Task<void> Step(Hands* hands) override {
    if (hands->random->Chance(0.1)) co_return co_await ScanBySession(hands);
    if (hands->random->Chance(0.1)) co_return co_await ScanInOneCall(hands);
    const auto increment =
        increments_.Add(static_cast<int>(hands->random->Below(increments_.counters())));
    if (hands->random->Chance(0.4)) {
      co_await BySession(hands, increment);
      co_return;
    }
    for (int send = 0; send < kSends && !increment->acknowledged; ++send) {
      if (!co_await OneShot(hands, increment)) break;
    }
  }

  Task<Status> Audit(Hands* hands) override {
    co_return co_await increments_.Audit(hands->database);
  }
  std::vector<std::string> Violations() const override { return increments_.Violations(); }

 private:
  static const std::string& AnyNode(Hands* hands) {
    return hands->thin->Pick(*hands->nodes, *hands->random);
  }
  static std::string Who(Hands* hands) { return fmt::format("c{} thin", hands->client); }

  // Tells record and increment what an answer to a commit means.
  void Settle(Hands* hands, AttemptSeen* attempt, Increment* increment, const Status& status,
              Timestamp commit_ts) {
    const bool unknown = RetryClassOf(status.code()) == RetryClass::kAskOutcome;
    if (!unknown) --increment->unknown;
    if (status.ok()) {
      increment->acknowledged = true;
      hands->record->Committed(attempt, commit_ts);
      Count(Status::Ok());
    } else if (unknown) {
      Count(Status(Code::kUnknownOutcome, ""));
    } else {
      hands->record->Aborted(attempt);
    }
  }

  // ---- Execute
  // -----------------------------------------------------------------------------------

  Task<Result<v1::ExecuteResponse>> Execute(Hands* hands, v1::ExecuteRequest request) {
    request.set_timeout_ms(static_cast<uint32_t>(ToMillis(kTimeout)));
    return hands->thin->Call<v1::ExecuteRequest, v1::ExecuteResponse>(AnyNode(hands), "Execute",
                                                                      std::move(request), kTimeout);
  }

  // Reads the counter, then writes it if nobody else has meanwhile. False: no use in going on.
  Task<bool> OneShot(Hands* hands, std::shared_ptr<Increment> increment) {
    v1::ExecuteRequest look;
    look.add_operations()->set_get(increment->row);
    look.add_operations()->set_get(increment->key);
    AttemptSeen& looking = hands->record->Begin(Who(hands));
    const auto seen = co_await Execute(hands, std::move(look));
    if (!seen.ok() || seen->error().code() != v1::OK) co_return true;
    looking.start_ts = Timestamp(seen->read_ts());
    const Value row = ValueOf(seen->results(0).value()), count = ValueOf(seen->results(1).value());
    SeenKey(&looking, increment->row, row);
    SeenKey(&looking, increment->key, count);
    hands->record->Committed(&looking, Timestamp());
    if (row) {
      increment->acknowledged = true;  // by an earlier send whose answer was lost
      co_return false;
    }
    co_await Write(hands, increment, count);
    co_return true;
  }

  Task<void> Write(Hands* hands, std::shared_ptr<Increment> increment, Value count) {
    AttemptSeen& attempt = hands->record->Begin(Who(hands));
    v1::ExecuteRequest request;
    request.add_conditions()->set_key(increment->row);
    request.mutable_conditions(0)->set_absent(true);
    request.add_conditions()->set_key(increment->key);
    if (count) {
      request.mutable_conditions(1)->set_equals(*count);
    } else {
      request.mutable_conditions(1)->set_absent(true);
    }
    for (const auto& [key, value] : {std::pair(increment->row, std::string("done")),
                                     std::pair(increment->key, std::to_string(ToInt(count) + 1))}) {
      v1::Write* write = request.add_operations()->mutable_put();
      write->set_key(key);
      write->set_value(value);
      attempt.writes[key] = value;
    }
    if (hands->random->Chance(0.5)) {
      const auto now_ms = static_cast<uint64_t>(kEpochMs + Now() / 1'000'000);
      request.set_txn_id(std::string(GivenName::Make(now_ms, *hands->random).bytes()));
    }
    attempt.state = AttemptSeen::State::kCommitting;
    ++increment->unknown;
    const auto answer = co_await Execute(hands, std::move(request));
    const Status status = answer.ok() ? StatusFromError(answer->error()) : answer.status();
    if (status.ok()) {
      attempt.start_ts = Timestamp(answer->read_ts());
      SeenKey(&attempt, increment->row, std::nullopt);
      SeenKey(&attempt, increment->key, count);
    }
    const Timestamp commit_ts = status.ok() ? Timestamp(answer->commit_ts()) : Timestamp();
    Settle(hands, &attempt, increment.get(), status, commit_ts);
    if (status.code() == Code::kUnknownOutcome) {
      co_await Ask(hands, answer->error().txn(), &attempt, increment);
    }
  }

  Task<void> Ask(Hands* hands, v1::TxnRef txn, AttemptSeen* attempt,
                 std::shared_ptr<Increment> increment) {
    v1::GetOutcomeRequest request;
    *request.mutable_txn() = std::move(txn);
    const auto answer = co_await hands->thin->Call<v1::GetOutcomeRequest, v1::GetOutcomeResponse>(
        AnyNode(hands), "GetOutcome", std::move(request), kTimeout);
    if (!answer.ok() || answer->error().code() != v1::OK) co_return;
    if (answer->state() == v1::COMMITTED) {
      hands->record->Committed(attempt, Timestamp(answer->commit_ts()));
      increment->acknowledged = true;
    } else {
      hands->record->Aborted(attempt);
    }
  }

  // ---- sessions
  // ----------------------------------------------------------------------------------

  template <class Response, class Request>
  static Task<Result<Response>> InSession(Hands* hands, std::string node, std::string method,
                                          Request request) {
    auto answer = co_await hands->thin->Call<Request, Response>(std::move(node), std::move(method),
                                                                std::move(request), kTimeout);
    if (answer.ok() && answer->error().code() != v1::OK) {
      co_return StatusFromError(answer->error());
    }
    co_return answer;
  }

  // Also of one that failed: the locks of a session that is left alone stay for a while.
  static Task<void> Rollback(Hands* hands, std::string node, uint64_t session) {
    v1::SessionRollbackRequest rollback;
    rollback.set_session_id(session);
    (void)co_await InSession<v1::SessionRollbackResponse>(hands, std::move(node), "Rollback",
                                                          rollback);
  }

  Task<void> BySession(Hands* hands, std::shared_ptr<Increment> increment) {
    const std::string node = AnyNode(hands);
    AttemptSeen& attempt = hands->record->Begin(Who(hands));
    const auto begun =
        co_await InSession<v1::BeginResponse>(hands, node, "Begin", v1::BeginRequest());
    if (!begun.ok()) co_return;
    if (const auto id = TxnId::FromBytes(begun->txn().txn_id())) attempt.id = *id;

    v1::SessionReadRequest read;
    read.set_session_id(begun->session_id());
    read.add_keys(increment->key);
    read.set_for_update(hands->random->Chance(0.5));
    const auto seen = co_await InSession<v1::SessionReadResponse>(hands, node, "Read", read);
    if (!seen.ok()) co_return co_await Rollback(hands, node, begun->session_id());
    const Value count = ValueOf(seen->values(0));

    v1::SessionWriteRequest write;
    write.set_session_id(begun->session_id());
    write.add_writes()->set_key(increment->key);
    write.mutable_writes(0)->set_value(std::to_string(ToInt(count) + 1));
    write.add_writes()->set_key(increment->row);
    write.mutable_writes(1)->set_value("done");
    const auto written = co_await InSession<v1::SessionWriteResponse>(hands, node, "Write", write);
    if (!written.ok() || hands->random->Chance(0.1)) {
      co_return co_await Rollback(hands, node, begun->session_id());
    }
    for (const v1::Write& each : write.writes()) attempt.writes[each.key()] = each.value();
    attempt.state = AttemptSeen::State::kCommitting;
    ++increment->unknown;
    co_await CommitSession(hands, node, begun->session_id(), &attempt, increment, count);
  }

  Task<void> CommitSession(Hands* hands, std::string node, uint64_t session, AttemptSeen* attempt,
                           std::shared_ptr<Increment> increment, Value count) {
    v1::SessionCommitRequest commit;
    commit.set_session_id(session);
    const auto answer =
        co_await hands->thin->Call<v1::SessionCommitRequest, v1::SessionCommitResponse>(
            node, "Commit", commit, kTimeout);
    const Status status = answer.ok() ? StatusFromError(answer->error()) : answer.status();
    if (status.ok()) {
      attempt->start_ts = Timestamp(answer->read_ts());
      SeenKey(attempt, increment->key, count);
    }
    const Timestamp commit_ts = status.ok() ? Timestamp(answer->commit_ts()) : Timestamp();
    Settle(hands, attempt, increment.get(), status, commit_ts);
    if (status.code() == Code::kUnknownOutcome) {
      co_await Ask(hands, answer->error().txn(), attempt, increment);
    }
  }

  // ---- scans
  // -------------------------------------------------------------------------------------

  // From a key of its own to one end of everything.
  ReadSeen DrawScan(Hands* hands) const {
    const int counter = static_cast<int>(hands->random->Below(increments_.counters()));
    ReadSeen scan;
    scan.reverse = hands->random->Chance(0.5);
    (scan.reverse ? scan.to : scan.from) = increments_.Key(counter);
    return scan;
  }
  template <class Rows>
  static void AddRows(const Rows& rows, ReadSeen* seen) {
    for (const v1::KeyValue& row : rows) seen->rows.emplace_back(row.key(), Keep(row.value()));
  }

  // A few pages, each cut by rows or by bytes, that together are one scan of one snapshot.
  Task<void> ScanBySession(Hands* hands) {
    const std::string node = AnyNode(hands);
    AttemptSeen& attempt = hands->record->Begin(Who(hands) + " scans");
    v1::BeginRequest begin;
    begin.set_read_only(true);
    const auto begun = co_await InSession<v1::BeginResponse>(hands, node, "Begin", begin);
    if (!begun.ok()) co_return;
    ReadSeen seen = DrawScan(hands);
    v1::SessionScanRequest scan;
    scan.set_session_id(begun->session_id());
    scan.set_from(seen.from);
    scan.set_to(seen.to);
    scan.set_reverse(seen.reverse);
    bool more = true;
    for (int page = 0; more && page < kPages; ++page) {
      scan.set_limit(static_cast<uint32_t>(1 + hands->random->Below(12)));
      const bool by_bytes = hands->random->Chance(0.5);
      scan.set_limit_bytes(by_bytes ? static_cast<uint32_t>(1 + hands->random->Below(300)) : 0);
      const auto rows = co_await InSession<v1::SessionScanResponse>(hands, node, "Scan", scan);
      if (!rows.ok()) co_return co_await Rollback(hands, node, begun->session_id());
      AddRows(rows->rows(), &seen);
      more = rows->more();
      (seen.reverse ? *scan.mutable_to() : *scan.mutable_from()) = rows->resume_key();
    }
    if (more) seen.limit = seen.rows.size();
    v1::SessionCommitRequest commit;
    commit.set_session_id(begun->session_id());
    const auto ended = co_await InSession<v1::SessionCommitResponse>(hands, node, "Commit", commit);
    if (!ended.ok()) co_return;
    Seen(hands, &attempt, std::move(seen), Timestamp(ended->read_ts()));
  }

  Task<void> ScanInOneCall(Hands* hands) {
    AttemptSeen& attempt = hands->record->Begin(Who(hands) + " scans all");
    ReadSeen seen = DrawScan(hands);
    v1::ScanAllRequest scan;
    scan.set_from(seen.from);
    scan.set_to(seen.to);
    scan.set_reverse(seen.reverse);
    scan.set_page_bytes(static_cast<uint32_t>(1 + hands->random->Below(1000)));
    scan.set_limit(1 + hands->random->Below(60));
    const auto pages = co_await hands->thin->Call<v1::ScanAllRequest, v1::ScanAllResponse>(
        AnyNode(hands), "ScanAll", scan, kTimeout);
    if (!pages.ok() || pages->error().code() != v1::OK) co_return;
    AddRows(pages->rows(), &seen);
    if (!pages->resume_key().empty()) seen.limit = seen.rows.size();
    Seen(hands, &attempt, std::move(seen), Timestamp(pages->read_ts()));
  }

  void Seen(Hands* hands, AttemptSeen* attempt, ReadSeen seen, Timestamp read_ts) {
    attempt->start_ts = read_ts;
    attempt->reads.push_back(std::move(seen));
    hands->record->Committed(attempt, Timestamp());
    Count(Status::Ok());
  }

  Increments increments_;
};

}  // namespace

std::unique_ptr<Workload> MakeThin(const WorkloadContext& context) {
  return std::make_unique<Thin>(context);
}

}  // namespace quorate::sim
