// The shards of the model, their messages, and what must hold.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "tests/coordinator/cluster_rep.h"

namespace quorate::coordinator::model {

std::string ShardName(int shard) { return std::string(1, static_cast<char>('A' + shard)); }

std::string Show(const Standing& s) {
  std::string text(TxnStateName(s.state));
  if (s.state == State::kCommitted) return text + " " + Show(s.commit_ts);
  if (s.state == State::kNone && s.code != Code::kOk) return std::string(CodeName(s.code));
  const bool held = s.state == State::kPrepared || s.state == State::kStaged;
  if (held && s.prepare_ts) return text + " " + Show(s.prepare_ts);
  return text;
}

std::string Show(const PartAnswer& a) {
  switch (a.kind) {
    case PartAnswer::Kind::kPrepared:
      return "PREPARED " + Show(a.ts);
    case PartAnswer::Kind::kCommitted:
      return "COMMITTED " + Show(a.ts);
    case PartAnswer::Kind::kAborted:
      return "ABORTED";
    case PartAnswer::Kind::kRefused:
      return std::string(CodeName(a.code));
    case PartAnswer::Kind::kSilence:
      return "silence";
  }
  return "?";
}

PartAnswer ToAnswer(const Standing& s) {
  switch (s.state) {
    case State::kPrepared:
    case State::kStaged:
      return {.kind = PartAnswer::Kind::kPrepared, .ts = s.prepare_ts};
    case State::kCommitted:
      return {.kind = PartAnswer::Kind::kCommitted, .ts = s.commit_ts};
    case State::kAborted:
      return {.kind = PartAnswer::Kind::kAborted};
    case State::kNone:
      break;
  }
  if (s.code == Code::kNotLeader) return {};
  return {.kind = PartAnswer::Kind::kRefused, .code = s.code};
}

std::string Show(Timestamp ts) { return fmt::format("{}.{}", ts.physical_ms(), ts.sub()); }

// ---- the shards ---------------------------------------------------------------------------------

Timestamp Cluster::PrepareTs(const Shard& shard, Timestamp min_ts) const {
  return *std::max({kStart, min_ts, shard.floor}).NextSub();
}

void Cluster::Prepare(int shard, Timestamp min_ts, std::function<void(PartAnswer)> reply) {
  Shard& s = shards_[shard];
  const auto refuse = [&](Code code) { reply({.kind = PartAnswer::Kind::kRefused, .code = code}); };
  if (s.record.state != State::kNone) return reply(ToAnswer(s.record));
  for (Entry& entry : s.log) {
    if (entry.kind != Entry::Kind::kPrepare) continue;
    entry.done.push_back([reply](const Standing& st) { reply(ToAnswer(st)); });
    return;
  }
  if (s.below) return refuse(Code::kTooOld);
  if (s.refuses != Code::kOk) return refuse(s.refuses);
  if (s.exhausted && !min_ts) return refuse(Code::kTimestampExhausted);
  const Timestamp ts = PrepareTs(s, min_ts);
  Entry entry{.kind = Entry::Kind::kPrepare, .label = "Prepare", .ts = ts};
  if (broken_.ack_at_propose) {
    reply({.kind = PartAnswer::Kind::kPrepared, .ts = ts});
  } else {
    entry.done.push_back([reply](const Standing& st) { reply(ToAnswer(st)); });
  }
  Trace(fmt::format("{}: proposes Prepare {}", ShardName(shard), Show(ts)));
  Propose(shard, std::move(entry));
}

void Cluster::Query(int shard, std::function<void(PartAnswer)> reply) {
  Shard& s = shards_[shard];
  if (s.record.state != State::kNone) return reply(ToAnswer(s.record));
  if (s.below || broken_.refusal_not_logged) return reply({.kind = PartAnswer::Kind::kAborted});
  Trace(fmt::format("{}: proposes Refuse", ShardName(shard)));
  Propose(shard, {.kind = Entry::Kind::kRefuse,
                  .label = "Refuse",
                  .done = {[reply](const Standing& st) { reply(ToAnswer(st)); }}});
}

void Cluster::Propose(int shard, Entry entry) { shards_[shard].log.push_back(std::move(entry)); }

void Cluster::Apply(int shard) {
  Shard& s = shards_[shard];
  CHECK(!s.log.empty(), "nothing to apply on {}", ShardName(shard));
  Entry entry = std::move(s.log.front());
  s.log.pop_front();
  const Standing stands = ApplyEntry(shard, entry);
  Trace(fmt::format("{}: applies {} -> {}", ShardName(shard), entry.label, Show(stands)));
  Check();
  for (const auto& done : entry.done) done(stands);
}

Standing Cluster::ApplyEntry(int shard, const Entry& entry) {
  Shard& s = shards_[shard];
  switch (entry.kind) {
    case Entry::Kind::kStage:
      if (txn_.state != State::kNone) return {.state = txn_.state, .commit_ts = txn_.commit_ts};
      if (s.record.state != State::kNone) return {.code = Code::kLockConflict};
      if (s.below) return {.code = Code::kTooOld};
      s.record = {.state = State::kPrepared, .prepare_ts = entry.ts};
      txn_ = {.state = State::kStaged};
      return {.state = State::kStaged, .prepare_ts = entry.ts};
    case Entry::Kind::kOnePhase:
      if (txn_.state != State::kNone) return txn_;
      if (s.below) return {.code = Code::kTooOld};
      txn_ = {.state = State::kCommitted, .commit_ts = entry.ts};
      decided_ = txn_;
      done_ = true;
      return txn_;
    case Entry::Kind::kPrepare:
      if (s.record.state != State::kNone) return s.record;
      if (s.below) return {.code = Code::kTooOld};
      return s.record = {.state = State::kPrepared, .prepare_ts = entry.ts};
    case Entry::Kind::kRefuse:
      if (s.record.state != State::kNone && !broken_.refuse_over_prepared) return s.record;
      if (s.below) return {.state = State::kAborted};
      return s.record = {.state = State::kAborted};
    case Entry::Kind::kDecide:
      if (txn_.state == State::kCommitted || txn_.state == State::kAborted) return txn_;
      if (txn_.state == State::kNone) {
        if (s.below) return {.code = Code::kTooOld};
        if (entry.commit) return {.code = Code::kFailedPrecondition};
      } else if (entry.unstaged && !broken_.abort_over_staged) {
        return {.state = txn_.state};
      }
      txn_ = entry.commit ? Standing{.state = State::kCommitted, .commit_ts = entry.ts}
                          : Standing{.state = State::kAborted};
      if (decided_ && (decided_->state != txn_.state || decided_->commit_ts != txn_.commit_ts)) {
        Violate(fmt::format("A1: decided {} and {}", Show(*decided_), Show(txn_)));
      }
      decided_ = txn_;
      return txn_;
    case Entry::Kind::kResolve: {
      const State outcome = entry.commit ? State::kCommitted : State::kAborted;
      const bool by_decide = decided_ && decided_->state == outcome;
      const bool too_old = !entry.commit && shards_[0].below;
      if (!by_decide && !too_old) Violate("Resolve without an applied Decide");
      if (s.record.state == State::kPrepared) {
        s.record.state = outcome;
        if (entry.commit) s.record.commit_ts = entry.ts;
      } else if (s.record.state == State::kNone && !entry.commit && !s.below) {
        s.record = {.state = State::kAborted};
      }
      s.ever_resolved = true;
      if (broken_.outcome_dropped) s.record = {};
      return s.record;
    }
    case Entry::Kind::kDone:
      for (const Shard& each : shards_) {
        if (!each.ever_resolved) Violate("Done before every participant has resolved");
      }
      done_ = true;
      return {};
    case Entry::Kind::kHorizon:
      s.below = true;
      if (s.record.state == State::kCommitted || s.record.state == State::kAborted) s.record = {};
      if (shard == 0) {
        const bool droppable =
            txn_.state == State::kAborted || (txn_.state == State::kCommitted && done_);
        if (droppable) txn_ = {};
      }
      return {};
  }
  CHECK(false, "entry {}", static_cast<int>(entry.kind));
}

void Cluster::Horizon(int shard) {
  Propose(shard, {.kind = Entry::Kind::kHorizon, .label = "AdvanceHorizon"});
}

void Cluster::ChangeLeader(int shard, bool inherit) {
  Shard& s = shards_[shard];
  if (inherit) {
    while (!s.log.empty()) Apply(shard);
  }
  for (Entry& entry : std::exchange(s.log, {})) {
    Trace(fmt::format("{}: loses {}", ShardName(shard), entry.label));
    for (const auto& done : entry.done) done(Never());
  }
  ++s.term;
  s.floor = Timestamp::FromParts(next_slot_++, 0);
  Trace(fmt::format("{}: new leader, floor {}", ShardName(shard), Show(s.floor)));
  if (shard != 0) return;
  for (const auto& r : recoverers_) {
    r->machine.RightsEnded();
    Pump(r.get());
  }
}

// ---- messages -----------------------------------------------------------------------------------

void Cluster::Send(std::string label, std::function<void()> deliver, std::function<void()> lost) {
  messages_.push_back({std::move(label), std::move(deliver), std::move(lost)});
}

std::vector<std::string> Cluster::Messages() const {
  std::vector<std::string> labels;
  for (const Message& m : messages_) labels.push_back(m.label);
  return labels;
}

bool Cluster::Deliver(const std::string& label) {
  for (size_t i = 0; i < messages_.size(); ++i) {
    if (!messages_[i].label.starts_with(label)) continue;
    const Message message = std::move(messages_[i]);
    messages_.erase(messages_.begin() + static_cast<long>(i));
    Trace(message.label);
    message.deliver();
    Check();
    return true;
  }
  return false;
}

bool Cluster::Lose(const std::string& label) {
  for (size_t i = 0; i < messages_.size(); ++i) {
    if (!messages_[i].label.starts_with(label) || messages_[i].lost == nullptr) continue;
    const Message message = std::move(messages_[i]);
    messages_.erase(messages_.begin() + static_cast<long>(i));
    Trace("lost: " + message.label);
    message.lost();
    Check();
    return true;
  }
  return false;
}

bool Cluster::Copy(const std::string& label) {
  for (size_t i = 0; i < messages_.size(); ++i) {
    if (!messages_[i].label.starts_with(label) || messages_[i].lost == nullptr) continue;
    if (messages_[i].label.find('>') == std::string::npos) continue;  // not between machines
    messages_.push_back({messages_[i].label, messages_[i].deliver, [] {}});
    return true;
  }
  return false;
}

bool Cluster::Step(const std::function<size_t(size_t)>& pick) {
  std::vector<int> logs;
  for (int i = 0; i < shards(); ++i) {
    if (!shards_[i].log.empty()) logs.push_back(i);
  }
  if (messages_.empty() && logs.empty()) return false;
  const size_t choice = pick(messages_.size() + logs.size());
  if (choice < messages_.size()) {
    Deliver(std::string(messages_[choice].label));
  } else {
    Apply(logs[choice - messages_.size()]);
  }
  return true;
}

void Cluster::Run() {
  for (int steps = 0; Step([](size_t) { return 0; }); ++steps) {
    if (steps > 10'000) return Violate("L1: it runs for ever");
  }
}

void Cluster::Settle() {
  for (Shard& s : shards_) {
    s.refuses = Code::kOk;
    s.exhausted = false;
  }
  Run();
  for (const auto& c : coordinators_) {
    DeposeIfOver(c->name);
    Deadline(c->name);
  }
  Run();
  const auto prepared = [](const Shard& s) { return s.record.state == State::kPrepared; };
  const bool held = std::any_of(shards_.begin(), shards_.end(), prepared);
  if (held || txn_.state == State::kStaged || (txn_.state == State::kCommitted && !done_)) {
    Push("holder");
    Run();
    // What a shard's leader does with the answer it was pushing for.
    if (txn_.state != State::kCommitted) Resolve("holder", false, {}, [] {});
    Run();
  }
  for (int i = 0; i < shards(); ++i) {
    if (prepared(shards_[i])) Violate(fmt::format("L1: {} is left PREPARED", ShardName(i)));
  }
  if (txn_.state == State::kStaged) Violate("L1: txn1 is left STAGED");
  for (const auto& c : coordinators_) {
    if (!c->machine.finished()) Violate(fmt::format("L1: {} does not end", c->name));
  }
  for (const auto& r : recoverers_) {
    if (!r->machine.finished()) Violate(fmt::format("L1: {} does not end", r->name));
  }
  Check();
}

// ---- what must hold -----------------------------------------------------------------------------

void Cluster::Violate(const std::string& what) {
  if (violation_.empty()) violation_ = what;
  Trace("VIOLATION " + what);
}

void Cluster::Check() {
  if (!violation_.empty()) return;
  if (answered_ && decided_ &&
      (answered_->state != decided_->state || answered_->commit_ts != decided_->commit_ts)) {
    Violate(fmt::format("A2: answered {}, but {} was decided", Show(*answered_), Show(*decided_)));
  }
  for (int i = 0; i < shards(); ++i) {
    const State state = shards_[i].record.state;
    if (state == State::kCommitted && (!decided_ || decided_->state != State::kCommitted)) {
      Violate(fmt::format("A3: {} holds COMMITTED writes of what is not", ShardName(i)));
    }
    if (state == State::kAborted && answered_ && answered_->state == State::kCommitted) {
      Violate(fmt::format("P1: {} is ABORTED in what was answered COMMITTED", ShardName(i)));
    }
  }
}

std::string Cluster::Describe() const {
  std::string text = fmt::format("txn1: {}{}", Show(txn_), done_ ? ", done" : "");
  for (int i = 0; i < shards(); ++i) {
    text += fmt::format("\n{}: {}", ShardName(i), Show(shards_[i].record));
  }
  return text;
}

std::string Cluster::TakeTrace() {
  std::string text;
  for (const std::string& line : std::exchange(trace_, {})) text += line + "\n";
  return text;
}

}  // namespace quorate::coordinator::model
