#include "tests/shard/world.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "shard/intents.h"
#include "shard/keys.h"
#include "shard/mvcc.h"
#include "shard/records.h"
#include "txn/errors.h"
#include "txn/footprint.h"

namespace quorate::shard {
namespace {

Timestamp Slot(uint64_t n) { return Timestamp::FromParts(n, 0); }

// "3" or "3.1", as the counterexamples write them.
Timestamp ParseTimestamp(const std::string& text) {
  const size_t dot = text.find('.');
  const uint64_t slot = std::stoull(text.substr(0, dot));
  return Timestamp::FromParts(slot, 0, dot == text.npos ? 0 : std::stoull(text.substr(dot + 1)));
}

std::string Show(Timestamp ts) { return fmt::format("{}.{}", ts.physical_ms(), ts.sub()); }

std::vector<std::string> Split(const std::string& text, char by) {
  std::vector<std::string> parts;
  std::string part;
  for (char c : text) {
    if (c != by) {
      part.push_back(c);
    } else {
      parts.push_back(std::move(part));
      part.clear();
    }
  }
  if (!part.empty() || !parts.empty()) parts.push_back(std::move(part));
  return parts;
}

// "a-c": [a, c); "-c", "a-": open at that end; "a": the key a.
Span ParseSpan(const std::string& text) {
  const size_t dash = text.find('-');
  if (dash == text.npos) return Span::OfKey(text);
  return {text.substr(0, dash), text.substr(dash + 1)};
}

std::string ShowError(const v1::Error& error) {
  return std::string(CodeName(StatusFromError(error).code()));
}

std::string ShowState(TxnState state, Timestamp prepare_ts, Timestamp commit_ts) {
  const auto txn_state = static_cast<TxnState>(state);
  std::string text(TxnStateName(txn_state));
  if (txn_state == TxnState::kPrepared) text += " at " + Show(prepare_ts);
  if (txn_state == TxnState::kStaged && prepare_ts) text += " at " + Show(prepare_ts);
  if (txn_state == TxnState::kCommitted) text += " at " + Show(commit_ts);
  return text;
}

std::string ShowApplied(const Applied& applied) {
  if (!applied.status.ok()) return std::string(CodeName(applied.status.code()));
  return ShowState(applied.state, applied.prepare_ts, applied.commit_ts);
}

}  // namespace

ScenarioWorld::ScenarioWorld() : scope_(env_.executor) {}
ScenarioWorld::~ScenarioWorld() {
  // As a crash: nothing that waits is told anything.
  scope_.Clear();
  clusters_.clear();
}

std::string ScenarioWorld::Run(const script::Command& c) {
  if (clusters_.empty() && c.verb != "shards") AddShards({"A:-y", "B:y-"});
  const std::set<std::string> waited = waiting_;
  out_.clear();
  std::string text = Dispatch(c);
  env_.executor.RunFor(Duration(0));
  for (const std::string& line : out_) text += line + "\n";
  for (const std::string& label : waiting_) {
    if (!waited.contains(label)) text += label + ": waits\n";
  }
  CheckInvariants();
  return text;
}

std::string ScenarioWorld::Dispatch(const script::Command& c) {
  if (c.verb == "shards") {
    AddShards(c.words);
    return "";
  }
  if (c.verb == "slot") {
    newest_ = Slot(newest_.physical_ms() + 1);
    EXPECT_GT(newest_, acknowledged_) << "T1";
    return Show(newest_) + "\n";
  }
  if (c.verb == "begin") {
    Txn txn;
    std::string bytes = c.Word(0);
    bytes.resize(TxnId::kBytes, '.');
    txn.id = *TxnId::FromBytes(bytes);
    if (!c.Has("at")) newest_ = Slot(newest_.physical_ms() + 1);
    txn.start_ts = c.Has("at") ? Slot(c.OptionNumber("at", 0)) : newest_;
    txn.priority = {txn.start_ts, txn.id};
    if (c.Has("elder")) txn.priority = Find(c.Option("elder")).priority;
    txns_[c.Word(0)] = txn;
    return fmt::format("{} begins, start_ts = {}\n", c.Word(0), Show(txn.start_ts));
  }
  if (c.verb == "read") {
    v1::ReadRequest request;
    for (size_t i = 2; i < c.words.size(); ++i) request.add_keys(c.words[i]);
    if (c.Has("at")) request.set_read_ts(ParseTimestamp(c.Option("at")).bits());
    if (c.Has("scan")) {
      const Span span = ParseSpan(c.Option("scan"));
      v1::ScanSpan* scan = request.add_scans();
      scan->mutable_span()->set_from(span.from);
      scan->mutable_span()->set_to(span.to);
      scan->set_limit(c.OptionNumber("limit", 0));
      scan->set_reverse(c.OptionNumber("reverse", 0) != 0);
    }
    Cluster& cluster = At(c.Word(1));
    const size_t leader = cluster.group->leader();
    Shard* shard = cluster.shards[c.Option("node") == "old" ? 1 - leader : leader].get();
    Launch(c.Word(0) + " reads", ReadTask(shard, std::move(request)));
    return "";
  }
  if (c.verb == "commit" || c.verb == "stage" || c.verb == "prepare") return Write(c);
  if (c.verb == "lock" || c.verb == "unlock") {
    const Txn& txn = Find(c.Word(0));
    v1::LockRequest request;
    request.set_txn_id(std::string(txn.id.bytes()));
    request.mutable_priority()->set_start_ts(txn.priority.start_ts.bits());
    request.mutable_priority()->set_txn_id(std::string(txn.priority.txn_id.bytes()));
    for (size_t i = 2; i < c.words.size(); ++i) request.add_keys(c.words[i]);
    request.set_ttl_ms(c.OptionNumber("ttl", 5000));
    request.set_release(c.verb == "unlock");
    Launch(c.Word(0) + " " + c.verb, LockTask(&Leader(c.Word(1)), std::move(request)));
    return "";
  }
  if (c.verb == "wait") {
    env_.executor.RunFor(c.Number(0) * 1ms);
    return "";
  }
  if (c.verb == "outcome") {
    Txn& txn = Find(c.Word(0));
    PushOutcome outcome;
    if (c.Has("committed")) {
      outcome.state = PushOutcome::State::kCommitted;
      outcome.commit_ts = ParseTimestamp(c.Option("committed"));
      const v1::PrepareRequest part = PartOf(c, txn);
      outcome.participants.push_back({part.marker_key(), Digest(part.digest())});
      for (const std::string& other : Split(c.Option("also"), ',')) {
        outcome.participants.push_back({other, DigestOf(other, {other}, {})});
      }
    } else if (c.Word(1) == "too_old") {
      outcome.state = PushOutcome::State::kTooOld;
    }
    for (auto& waiter : pushes_[txn.id]) waiter.Set(outcome);
    pushes_.erase(txn.id);
    return "";
  }
  if (c.verb == "state") return State(c.Word(0));
  if (c.verb == "lease") {
    At(c.Word(0)).group->SetLease(c.Word(1) == "off" ? Instant::min() : Instant::max());
    return "";
  }
  if (c.verb == "fail") {
    const bool off = c.words.size() == 1;
    At(c.Word(0)).group->FailProposals(off ? Status::Ok() : Status(Code::kOverloaded, "full"));
    return "";
  }
  const std::string recovered = Recovery(c);
  return recovered != "?" ? recovered : Log(c);
}

void ScenarioWorld::AddShards(const std::vector<std::string>& ranges) {
  uint64_t id = 10;
  for (const std::string& range : ranges) {
    Cluster& cluster = clusters_[range.substr(0, 1)];
    cluster.span = ParseSpan(range.substr(2));
    v1::ShardDescriptor descriptor;
    descriptor.set_shard_id(++id);
    descriptor.set_from(cluster.span.from);
    descriptor.set_to(cluster.span.to);
    descriptor.set_version(1);
    cluster.group = std::make_unique<testing::FakeGroup>(env_.env, GroupId(id), 2);
    for (size_t i = 0; i < 2; ++i) {
      Shard::Deps deps{env_.env, cluster.group->store(i), *this, *this, *this, nullptr};
      cluster.shards.push_back(std::make_unique<Shard>(deps, Settings(), descriptor));
      cluster.shards[i]->Attach(cluster.group->handle(i));
      cluster.group->Start(i, cluster.shards[i].get());
    }
    cluster.group->Elect(0);
  }
  env_.executor.RunFor(Duration(0));
  for (auto& [letter, cluster] : clusters_) Commit(letter, cluster.group->pending().size());
  env_.executor.RunFor(Duration(0));
  newest_ = Slot(1);
  started_ = true;
  out_.clear();
}

ScenarioWorld::Cluster& ScenarioWorld::At(const std::string& letter) {
  const auto it = clusters_.find(letter);
  if (it == clusters_.end()) script::Fail("no shard " + letter);
  return it->second;
}
Shard& ScenarioWorld::Leader(const std::string& letter) {
  Cluster& cluster = At(letter);
  return *cluster.shards[cluster.group->leader()];
}
ScenarioWorld::Txn& ScenarioWorld::Find(const std::string& name) {
  const auto it = txns_.find(name);
  if (it == txns_.end()) script::Fail("no transaction " + name);
  return it->second;
}
std::string ScenarioWorld::NameOf(const TxnId& id) const {
  for (const auto& [name, txn] : txns_) {
    if (txn.id == id) return name;
  }
  return "?";
}

// Words from the third on are written keys; the value is the transaction's name.
v1::PrepareRequest ScenarioWorld::PartOf(const script::Command& c, Txn& txn) const {
  v1::PrepareRequest request;
  std::map<std::string, std::string> writes;
  for (size_t i = 2; i < c.words.size(); ++i) {
    if (c.words[i] != "abort") writes[c.words[i]] = c.Word(0);
  }
  std::vector<std::string_view> keys;
  for (const auto& [key, value] : writes) {
    v1::Write* write = request.add_writes();
    write->set_key(key);
    write->set_value(value);
    write->set_deletion(c.Has("delete"));
    keys.push_back(key);
  }
  std::vector<Span> guards;
  for (const std::string& guard : Split(c.Option("guards"), ',')) {
    guards.push_back(ParseSpan(guard));
  }
  guards = NormalizeSpans(guards);
  for (const Span& guard : guards) {
    v1::KeySpan* span = request.add_guards();
    span->set_from(guard.from);
    span->set_to(guard.to);
  }
  if (keys.empty() && guards.empty()) script::Fail("a part needs writes or guards");
  std::string marker = keys.empty() ? guards[0].from : std::string(keys[0]);
  if (!guards.empty()) marker = std::min(marker, guards[0].from);
  request.set_txn_id(std::string(txn.id.bytes()));
  request.set_marker_key(marker);
  request.set_digest(DigestOf(marker, keys, guards).value());
  request.set_start_ts(txn.start_ts.bits());
  if (c.Has("min")) request.set_min_ts(ParseTimestamp(c.Option("min")).bits());
  request.mutable_priority()->set_start_ts(txn.priority.start_ts.bits());
  request.mutable_priority()->set_txn_id(std::string(txn.priority.txn_id.bytes()));
  request.set_anchor_key(txn.anchor_key.empty() ? marker : txn.anchor_key);
  return request;
}

std::string ScenarioWorld::Write(const script::Command& c) {
  Txn& txn = Find(c.Word(0));
  Shard* shard = &Leader(c.Word(1));
  if (c.verb != "prepare" && txn.anchor_key.empty()) txn.anchor_key = c.Word(2);
  v1::PrepareRequest request = PartOf(c, txn);
  const std::string label = fmt::format("{} {} at {}", c.Word(0), c.verb, c.Word(1));
  if (c.verb == "prepare") {
    Launch(label, PrepareTask(shard, std::move(request)));
    return "";
  }
  std::vector<StagingPart> parts{{request.marker_key(), Digest(request.digest())}};
  for (const std::string& other : Split(c.Option("parts"), ',')) {
    parts.push_back({other, DigestOf(other, {other}, {})});
  }
  Launch(label, AnchorTask(shard, label, c.verb == "stage", std::move(request), std::move(parts)));
  return "";
}

std::vector<v1::Resolution> ScenarioWorld::ResolutionOf(const script::Command& c, Txn& txn) const {
  const v1::PrepareRequest part = PartOf(c, txn);
  v1::Resolution resolution;
  resolution.set_txn_id(part.txn_id());
  resolution.set_digest(part.digest());
  resolution.set_marker_key(part.marker_key());
  resolution.set_start_ts(part.start_ts());
  resolution.set_outcome(c.Has("commit") ? v1::COMMITTED : v1::ABORTED_STATE);
  if (c.Has("commit")) resolution.set_commit_ts(ParseTimestamp(c.Option("commit")).bits());
  return {resolution};
}

std::string ScenarioWorld::Recovery(const script::Command& c) {
  if (c.verb == "query") {
    Txn& txn = Find(c.Word(0));
    const v1::PrepareRequest part = PartOf(c, txn);
    v1::QueryPrepareRequest request;
    request.set_txn_id(part.txn_id());
    request.set_digest(part.digest());
    request.set_marker_key(part.marker_key());
    request.set_start_ts(part.start_ts());
    Launch(c.Word(0) + " query", QueryTask(&Leader(c.Word(1)), std::move(request)));
    return "";
  }
  if (c.verb == "decide") {
    Txn& txn = Find(c.Word(0));
    const bool commit = c.Has("commit");
    const Timestamp ts = commit ? ParseTimestamp(c.Option("commit")) : Timestamp();
    Launch(c.Word(0) + " decide",
           DecideTask(&Leader(c.Word(1)), {txn.id, txn.start_ts, txn.anchor_key}, commit, ts));
    return "";
  }
  if (c.verb == "resolve") {
    Launch(c.Word(0) + " resolve",
           StatusTask(Leader(c.Word(1)).Resolve(ResolutionOf(c, Find(c.Word(0))))));
    return "";
  }
  if (c.verb == "early") {
    Leader(c.Word(1)).EarlyOutcome(ResolutionOf(c, Find(c.Word(0))));
    return "";
  }
  if (c.verb == "done") {
    const Txn& txn = Find(c.Word(0));
    Launch(c.Word(0) + " done", StatusTask(Leader(c.Word(1)).Done({{txn.id, txn.anchor_key}})));
    return "";
  }
  if (c.verb == "record") {
    const Txn& txn = Find(c.Word(0));
    const auto record = Leader(c.Word(1)).FindTxnRecord(txn.id, txn.anchor_key);
    if (!record) return "no record\n";
    return ShowState(static_cast<TxnState>(record->state()), Timestamp(),
                     Timestamp(record->commit_ts())) +
           (record->done() ? ", done\n" : "\n");
  }
  return "?";
}

std::string ScenarioWorld::Log(const script::Command& c) {
  Cluster& cluster = At(c.Word(0));
  if (c.verb == "apply") {
    const size_t all = cluster.group->pending().size();
    return Commit(c.Word(0), c.words.size() > 1 ? c.Number(1) : all);
  }
  if (c.verb == "leader" || c.verb == "elect") {
    const size_t next = 1 - cluster.group->leader();
    std::string text;
    const size_t keep = c.OptionNumber("keep", 0);
    for (size_t i = 0; i < cluster.group->pending().size(); ++i) {
      text += fmt::format("{} {}\n", i < keep ? "inherited" : "lost",
                          Describe(cluster.group->pending()[i].payload));
    }
    cluster.group->Elect(next, keep, c.OptionNumber("deaf", 0) != 0);
    if (c.verb == "elect") return text;
    env_.executor.RunFor(Duration(0));
    return text + Commit(c.Word(0), 1);
  }
  if (c.verb == "hear") {
    cluster.group->Hear(1 - cluster.group->leader());
    return "";
  }
  if (c.verb == "stale") {
    cluster.group->Append(cluster.group->lost().back());
    return "";
  }
  if (c.verb == "horizon") {
    v1::ShardCommand command;
    command.set_term(cluster.group->term().value());
    command.set_version(1);
    command.mutable_advance_horizon()->set_horizon(ParseTimestamp(c.Word(1)).bits());
    cluster.group->Append(command.SerializeAsString());
    return c.Has("later") ? "" : Commit(c.Word(0), cluster.group->pending().size());
  }
  script::Fail("unknown verb " + c.verb);
}

std::string ScenarioWorld::Commit(const std::string& letter, size_t n) {
  Cluster& cluster = At(letter);
  std::string text;
  for (; n > 0; --n) {
    if (cluster.group->pending().empty()) script::Fail("nothing is pending");
    const std::string what = Describe(cluster.group->pending().front().payload);
    const raft::ApplyResult result = cluster.group->CommitOne();
    text += fmt::format("{} applies {}", letter, what);
    if (!result.status.ok()) text += fmt::format(": {}", CodeName(result.status.code()));
    text += "\n";
  }
  return text;
}

std::string ScenarioWorld::Describe(const std::string& payload) const {
  v1::ShardCommand command;
  EXPECT_TRUE(command.ParseFromString(payload));
  auto name = [&](const std::string& id) { return NameOf(*TxnId::FromBytes(id)); };
  auto keys = [](const auto& writes) {
    std::string text;
    for (const v1::Write& write : writes) text += write.key();
    return text;
  };
  switch (command.command_case()) {
    case v1::ShardCommand::kLeaderStart:
      return fmt::format("LeaderStart{{{}}}", Show(Timestamp(command.leader_start().floor())));
    case v1::ShardCommand::kCommitOnePhase:
      return fmt::format("CommitOnePhase{{{}, keys {}, ts {}}}",
                         name(command.commit_one_phase().txn_id()),
                         keys(command.commit_one_phase().writes()),
                         Show(Timestamp(command.commit_one_phase().commit_ts())));
    case v1::ShardCommand::kPrepare:
      return fmt::format("Prepare{}{{{}, keys {}, ts {}}}",
                         command.prepare().stage() ? "+Stage" : "",
                         name(command.prepare().txn_id()), keys(command.prepare().writes()),
                         Show(Timestamp(command.prepare().prepare_ts())));
    case v1::ShardCommand::kDecide:
      return fmt::format("Decide{{{}, {}}}", name(command.decide().txn_id()),
                         v1::TxnState_Name(command.decide().outcome()));
    case v1::ShardCommand::kResolve: {
      std::string text = "Resolve{";
      for (const v1::Resolution& r : command.resolve().resolutions()) {
        text += fmt::format("{} {}", name(r.txn_id()), v1::TxnState_Name(r.outcome()));
      }
      return text + "}";
    }
    case v1::ShardCommand::kRefuse:
      return fmt::format("Refuse{{{}}}", name(command.refuse().txn_id()));
    case v1::ShardCommand::kAdvanceHorizon:
      return fmt::format("AdvanceHorizon{{{}}}",
                         Show(Timestamp(command.advance_horizon().horizon())));
    case v1::ShardCommand::kDone:
      return fmt::format("Done{{{}}}", name(command.done().txn_id()));
    case v1::ShardCommand::kCloseName:
      return fmt::format("CloseName{{{}}}", command.close_name().key());
    case v1::ShardCommand::kSplit:
      return fmt::format("Split{{{}}}", command.split().at());
    case v1::ShardCommand::kSweep:
      return "Sweep";
    case v1::ShardCommand::kFreeze:
      return "Freeze";
    case v1::ShardCommand::kThaw:
      return "Thaw";
    case v1::ShardCommand::kAbsorb:
      return "Absorb";
    case v1::ShardCommand::kAbandonMerge:
      return "AbandonMerge";
    case v1::ShardCommand::COMMAND_NOT_SET:
      break;
  }
  return "?";
}

std::string ScenarioWorld::State(const std::string& letter) {
  Cluster& cluster = At(letter);
  const storage::OrderedStore& store = cluster.group->store(cluster.group->leader());
  std::string text;
  auto scan = [&](Tag tag, auto visit) {
    const auto [from, to] = StoreSpan(tag, cluster.span.from, cluster.span.to);
    EXPECT_TRUE(store
                    .Scan(from, to,
                          [&](std::string_view k, std::string_view v) {
                            visit(k, v);
                            return true;
                          })
                    .ok());
  };
  scan(Tag::kVersions, [&](std::string_view k, std::string_view v) {
    text += fmt::format("{} {} = {}\n", UserKey(k), Show(VersionTimestamp(k)),
                        v[0] != 0 ? "deleted" : v.substr(1));
  });
  scan(Tag::kIntents, [&](std::string_view k, std::string_view) {
    text += fmt::format("{} intent\n", UserKey(k));
  });
  scan(Tag::kParticipants, [&](std::string_view k, std::string_view v) {
    ParticipantRecord record;
    EXPECT_TRUE(DecodeRecord(k, v, &record));
    text += fmt::format("participant {}/{} {}\n", NameOf(record.txn_id), record.marker_key,
                        TxnStateName(record.state));
  });
  scan(Tag::kTransactions, [&](std::string_view k, std::string_view v) {
    TransactionRecord record;
    EXPECT_TRUE(DecodeRecord(k, v, &record));
    text += fmt::format("transaction {} {}{}\n", NameOf(record.txn_id), TxnStateName(record.state),
                        record.done ? ", done" : "");
  });
  return text.empty() ? "empty\n" : text;
}

// ---- tasks ------------------------------------------------------------------------------------

void ScenarioWorld::Launch(std::string label, Task<std::string> task) {
  if (!waiting_.insert(label).second) {
    for (int copy = 2;; ++copy) {
      const std::string named = fmt::format("{} (copy {})", label, copy);
      if (waiting_.insert(named).second) {
        label = named;
        break;
      }
    }
  }
  scope_.Spawn(Report(std::move(label), std::move(task)));
}

Task<void> ScenarioWorld::Report(std::string label, Task<std::string> task) {
  const std::string result = co_await std::move(task);
  waiting_.erase(label);
  for (const std::string& line : Split(result, '\n')) {
    if (!line.empty()) out_.push_back(label + ": " + line);
  }
}

Task<std::string> ScenarioWorld::ReadTask(Shard* shard, v1::ReadRequest request) {
  const v1::ReadResponse r = co_await shard->Read(std::move(request), env_.executor.Now() + 30s);
  if (r.error().code() != v1::OK) co_return ShowError(r.error());
  std::string text;
  const Timestamp at(r.read_ts());
  for (const v1::KeyValue& get : r.gets()) {
    served_.push_back({get.key(), get.found() ? get.value() : "", at});
    text += fmt::format("{} = {}\n", get.key(), get.found() ? get.value() : "absent");
  }
  for (const v1::ScanResult& scan : r.scans()) {
    std::string rows;
    for (const v1::KeyValue& row : scan.rows()) {
      served_.push_back({row.key(), row.value(), at});
      rows += fmt::format(" {}={}", row.key(), row.value());
    }
    text += fmt::format("scan{}{}\n", rows.empty() ? " nothing" : rows,
                        scan.resume_key().empty() ? "" : ", more");
  }
  co_return text;
}

void ScenarioWorld::Acknowledge(Timestamp commit_ts) {
  acknowledged_ = std::max(acknowledged_, commit_ts);
}

Task<std::string> ScenarioWorld::AnchorTask(Shard* shard, std::string label, bool stage,
                                            v1::PrepareRequest request,
                                            std::vector<StagingPart> parts) {
  const Instant deadline = env_.executor.Now() + 30s;
  AnchorEvaluation e =
      stage ? co_await shard->PrepareAndStage(std::move(request), std::move(parts), deadline)
            : co_await shard->CommitOnePhase(std::move(request), deadline);
  if (!e.ok()) co_return std::string(CodeName(e.status.code()));
  if (!e.applied) co_return "found " + ShowApplied(e.existing);
  out_.push_back(label + ": proposed at " + Show(e.prepare_ts));
  const Applied applied = co_await *std::move(e.applied);
  if (applied.status.ok()) Acknowledge(std::max(applied.prepare_ts, applied.commit_ts));
  co_return ShowApplied(applied);
}

Task<std::string> ScenarioWorld::PrepareTask(Shard* shard, v1::PrepareRequest request) {
  const v1::PrepareResponse r =
      co_await shard->Prepare(std::move(request), env_.executor.Now() + 30s);
  if (r.error().code() != v1::OK) co_return ShowError(r.error());
  Acknowledge(Timestamp(std::max(r.prepare_ts(), r.commit_ts())));
  co_return ShowState(static_cast<TxnState>(r.state()), Timestamp(r.prepare_ts()),
                      Timestamp(r.commit_ts()));
}

Task<std::string> ScenarioWorld::QueryTask(Shard* shard, v1::QueryPrepareRequest request) {
  const v1::QueryPrepareResponse r =
      co_await shard->QueryPrepare(std::move(request), env_.executor.Now() + 30s);
  if (r.error().code() != v1::OK) co_return ShowError(r.error());
  co_return ShowState(static_cast<TxnState>(r.state()), Timestamp(r.prepare_ts()),
                      Timestamp(r.commit_ts()));
}

Task<std::string> ScenarioWorld::LockTask(Shard* shard, v1::LockRequest request) {
  const v1::LockResponse r = co_await shard->Lock(std::move(request), env_.executor.Now() + 30s);
  co_return ShowError(r.error());
}

Task<std::string> ScenarioWorld::DecideTask(Shard* shard, TxnName txn, bool commit, Timestamp ts) {
  co_return ShowApplied(co_await shard->Decide(std::move(txn), commit, ts));
}

Task<std::string> ScenarioWorld::StatusTask(Task<Status> task) {
  co_return std::string(CodeName((co_await std::move(task)).code()));
}

Task<Result<Timestamp>> ScenarioWorld::Fetch(Duration) {
  // Every shard's first leader starts at 1.0, so that the story's first slot is 2.0.
  if (!started_) co_return Slot(1);
  newest_ = Slot(newest_.physical_ms() + 1);
  EXPECT_GT(newest_, acknowledged_) << "T1: a slot at or below an acknowledged commit_ts";
  co_return newest_;
}

Task<Result<PushOutcome>> ScenarioWorld::Push(TxnName txn, Instant) {
  out_.push_back(fmt::format("push {} at its anchor {}", NameOf(txn.txn_id), txn.anchor_key));
  const Promise<Result<PushOutcome>> promise(env_.executor);
  pushes_[txn.txn_id].push_back(promise);
  co_return co_await promise.future();
}

void ScenarioWorld::OnServing(ShardId, raft::Term) {}
void ScenarioWorld::OnDeposed(ShardId) {}

// ---- invariants -------------------------------------------------------------------------------

void ScenarioWorld::CheckInvariants() {
  for (auto& [letter, cluster] : clusters_) {
    if (cluster.group->handle(0)->applied_index() == cluster.group->handle(1)->applied_index()) {
      EXPECT_EQ(cluster.shards[0]->StateDigest(), cluster.shards[1]->StateDigest())
          << "replicas of " << letter << " differ";
    }
    const size_t leader = cluster.group->leader();
    const storage::OrderedStore& store = cluster.group->store(leader);
    for (const Served& served : served_) {
      if (!cluster.span.Contains(served.key)) continue;
      if (served.at < cluster.shards[leader]->horizon()) continue;
      const auto version = VersionAt(store, served.key, served.at);
      const std::string now = version && !version->deletion ? version->value : "";
      // A committed intent was served as the version that its Resolve has yet to make of it.
      const auto intent = GetIntent(store, served.key);
      EXPECT_TRUE(now == served.value || (intent && intent->value == served.value))
          << "S2: " << served.key << " at " << Show(served.at) << " was '" << served.value
          << "' and is '" << now << "'";
    }
    for (Tag tag : {Tag::kParticipants, Tag::kTransactions}) {
      const auto [from, to] = StoreSpan(tag, cluster.span.from, cluster.span.to);
      EXPECT_TRUE(store
                      .Scan(from, to,
                            [&](std::string_view k, std::string_view v) {
                              const auto state = static_cast<TxnState>(v[0]);
                              const auto [it, first] =
                                  cluster.outcomes.emplace(std::string(k), state);
                              if (!first && it->second != state) {
                                EXPECT_TRUE(it->second == TxnState::kPrepared ||
                                            it->second == TxnState::kStaged)
                                    << "P1: a record left " << TxnStateName(it->second);
                              }
                              it->second = state;
                              return true;
                            })
                      .ok());
    }
  }
}

}  // namespace quorate::shard
