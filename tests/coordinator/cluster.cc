#include "tests/coordinator/cluster.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "base/check.h"

namespace quorate::coordinator::model {
namespace {

using State = Standing::State;
constexpr Timestamp kStart = Timestamp::FromParts(2, 0);

std::string ShardName(int shard) { return std::string(1, static_cast<char>('A' + shard)); }

std::string Show(const Standing& s) {
  std::string text(StateName(s.state));
  if (s.state == State::kCommitted) return text + " " + model::Show(s.commit_ts);
  if (s.state == State::kNone && s.code != Code::kOk) return std::string(CodeName(s.code));
  const bool held = s.state == State::kPrepared || s.state == State::kStaged;
  if (held && s.prepare_ts) return text + " " + model::Show(s.prepare_ts);
  return text;
}

std::string Show(const PartAnswer& a) {
  switch (a.kind) {
    case PartAnswer::Kind::kPrepared:
      return "PREPARED " + model::Show(a.ts);
    case PartAnswer::Kind::kCommitted:
      return "COMMITTED " + model::Show(a.ts);
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

Standing Never() { return {.code = Code::kNotLeader}; }

}  // namespace

std::string Show(Timestamp ts) { return fmt::format("{}.{}", ts.physical_ms(), ts.sub()); }

struct Cluster::Entry {
  enum class Kind { kStage, kOnePhase, kPrepare, kRefuse, kDecide, kResolve, kDone, kHorizon };
  Kind kind;
  std::string label;
  Timestamp ts;
  bool commit = false;
  // What stands after applying; NOT_LEADER: it never will be applied.
  std::vector<std::function<void(Standing)>> done;
};

struct Cluster::Shard {
  int term = 1;
  Timestamp floor;
  std::deque<Entry> log;  // proposed, not applied
  Standing record;        // the participant record
  bool ever_resolved = false;
  bool below = false;  // the horizon has passed T1
  Code refuses = Code::kOk;
  bool exhausted = false;
};

struct Cluster::Coordinator {
  Coordinator(std::string n, size_t parts, int t) : name(std::move(n)), machine(parts), term(t) {}
  std::string name;
  CommitMachine machine;
  int term;
};

struct Cluster::Recoverer {
  std::string name;
  RecoveryMachine machine;
  int term;
};

Cluster::Cluster(int shards, Broken broken) : broken_(broken), shards_(shards) {}
Cluster::~Cluster() = default;

int Cluster::shards() const { return static_cast<int>(shards_.size()); }
void Cluster::Conflict(int shard, Code code) { shards_[shard].refuses = code; }
void Cluster::Exhaust(int shard) { shards_[shard].exhausted = true; }

// ---- who is live --------------------------------------------------------------------------------

bool Cluster::Live(const Coordinator& c) const {
  return c.term == shards_[0].term && !c.machine.settled();
}

bool Cluster::SomebodyLive() const {
  const auto live = [this](const auto& x) {
    return x->term == shards_[0].term && !x->machine.settled();
  };
  return std::any_of(coordinators_.begin(), coordinators_.end(), live) ||
         std::any_of(recoverers_.begin(), recoverers_.end(), live);
}

Cluster::Coordinator* Cluster::Find(const std::string& name) {
  for (const auto& c : coordinators_) {
    if (c->name == name) return c.get();
  }
  return nullptr;
}

std::vector<std::string> Cluster::Coordinators() const {
  std::vector<std::string> names;
  for (const auto& c : coordinators_) names.push_back(c->name);
  return names;
}

// ---- the coordinator ----------------------------------------------------------------------------

void Cluster::Commit(const std::string& name) {
  if (SomebodyLive()) return Trace(name + ": joins who is live, starts nothing");
  coordinators_.push_back(std::make_unique<Coordinator>(name, shards_.size(), shards_[0].term));
  Coordinator* c = coordinators_.back().get();
  c->machine.Start(Timestamp());
  Pump(c);
}

void Cluster::Pump(Coordinator* c) {
  while (const auto action = c->machine.Next()) Do(c, *action);
  Check();
}

void Cluster::Do(Coordinator* c, const CommitMachine::Action& action) {
  using Kind = CommitMachine::Action::Kind;
  const auto to = static_cast<int>(action.participant);
  switch (action.kind) {
    case Kind::kEvaluateOwn:
      return EvaluateOwn(c, action.ts);
    case Kind::kSendPrepare: {
      const auto hear = [this, c, to](const PartAnswer& answer) {
        c->machine.Answered(static_cast<size_t>(to), answer);
        Pump(c);
      };
      const std::string reply_label = ShardName(to) + ">" + c->name + " ";
      Send(
          fmt::format("{}>{} Prepare", c->name, ShardName(to)),
          [this, to, ts = action.ts, hear, reply_label] {
            Prepare(to, ts, [this, hear, reply_label](PartAnswer answer) {
              Send(
                  reply_label + Show(answer), [hear, answer] { hear(answer); },
                  [hear] { hear({}); });
            });
          },
          [hear] { hear({}); });
      return;
    }
    case Kind::kFetchSlot:
      Send(
          c->name + " slot",
          [this, c, slot = Timestamp::FromParts(next_slot_++, 0)] {
            c->machine.SlotArrived(slot);
            Pump(c);
          },
          [this, c] {
            c->machine.SlotFailed();
            Pump(c);
          });
      return;
    case Kind::kJoinRecovery:
      Trace(c->name + ": joins the recovery");
      if (!SomebodyLive()) StartRecovery(c->name + "'s recovery");
      return;
    case Kind::kAnswerCommitted:
      return Answer(
          c->name, State::kCommitted, action.ts,
          fmt::format("COMMITTED at {}, rounds {}", Show(action.ts), c->machine.rounds()));
    case Kind::kAnswerAborted: {
      const bool unlogged = action.code == Code::kReadConflict && c->machine.rounds() == 0;
      if (!unlogged && (!decided_ || decided_->state != State::kAborted)) {
        Violate("A2: ABORTED answered before a Decide was applied");
      }
      return Answer(c->name, State::kAborted, {},
                    fmt::format("ABORTED ({})", CodeName(action.code)));
    }
    case Kind::kAnswerUnknown:
      return Trace(fmt::format("{}: says nothing ({})", c->name, CodeName(action.code)));
    case Kind::kSendEarly:
      return Trace(c->name + ": tells the participants early");
    case Kind::kLogDecide: {
      Entry entry{.kind = Entry::Kind::kDecide,
                  .label = action.commit ? "Decide COMMITTED " + Show(action.ts) : "Decide ABORTED",
                  .ts = action.ts,
                  .commit = action.commit};
      const auto hear = [this, c](const Standing& s) {
        Send(
            fmt::format("A>{} decided {}", c->name, Show(s)),
            [this, c, s] {
              c->machine.Decided(s);
              Pump(c);
            },
            nullptr);
      };
      const bool may =
          broken_.coord_survives || (c->machine.rights() && c->term == shards_[0].term);
      if (!may) return hear(Never());
      Trace(fmt::format("{}: proposes {}", c->name, entry.label));
      if (broken_.abort_unlogged && !action.commit) Answer(c->name, State::kAborted, {}, "ABORTED");
      if (broken_.early_resolve && action.commit) Resolve(c->name, true, action.ts, [] {});
      entry.done.push_back(hear);
      return Propose(0, std::move(entry));
    }
    case Kind::kResolve:
      if (broken_.drop_unresolved) Propose(0, {.kind = Entry::Kind::kDone, .label = "Done"});
      return Resolve(c->name, action.commit, action.ts, [this, c] {
        c->machine.Resolved();
        Pump(c);
      });
    case Kind::kLogDone:
      return Propose(0, {.kind = Entry::Kind::kDone,
                         .label = "Done",
                         .done = {[c](const Standing&) { c->machine.DoneLogged(); }}});
  }
}

void Cluster::EvaluateOwn(Coordinator* c, Timestamp min_ts) {
  Shard& a = shards_[0];
  const auto refuse = [&](Code code) {
    Trace(fmt::format("A: refuses {} ({})", c->name, CodeName(code)));
    c->machine.OwnRefused(code);
  };
  if (c->term != a.term || !c->machine.rights()) return refuse(Code::kNotLeader);
  const bool over = broken_.restart_staged && txn_.state == State::kStaged;
  if (txn_.state != State::kNone && !over) {
    Trace(fmt::format("A: finds {}", Show(txn_)));
    return c->machine.OwnFound(txn_);
  }
  if (a.below) return refuse(Code::kTooOld);
  if (a.refuses != Code::kOk) return refuse(a.refuses);
  if (a.exhausted && !min_ts) return refuse(Code::kTimestampExhausted);
  const Timestamp ts = PrepareTs(a, min_ts);
  const bool one = shards_.size() == 1;
  Trace(fmt::format("{}: proposes {} {}", c->name, one ? "CommitOnePhase" : "Prepare+Stage",
                    Show(ts)));
  c->machine.OwnProposed();
  Propose(0, {.kind = one ? Entry::Kind::kOnePhase : Entry::Kind::kStage,
              .label = one ? "CommitOnePhase" : "Prepare+Stage",
              .ts = ts,
              .done = {[this, c](const Standing& s) {
                Send(
                    fmt::format("A>{} applied {}", c->name, Show(s)),
                    [this, c, s] {
                      c->machine.OwnApplied(s);
                      Pump(c);
                    },
                    nullptr);
              }}});
}

void Cluster::Deadline(const std::string& coordinator) {
  Coordinator* c = Find(coordinator);
  CHECK(c != nullptr, "no coordinator {}", coordinator);
  c->machine.Deadline();
  Pump(c);
}

void Cluster::Depose(const std::string& coordinator) {
  Coordinator* c = Find(coordinator);
  CHECK(c != nullptr, "no coordinator {}", coordinator);
  if (broken_.coord_survives) return;
  c->machine.RightsEnded();
  Pump(c);
}

void Cluster::DeposeIfOver(const std::string& coordinator) {
  if (Find(coordinator)->term != shards_[0].term) Depose(coordinator);
}

void Cluster::Answer(const std::string& who, State state, Timestamp ts, const std::string& text) {
  Trace(fmt::format("{}: answers {}", who, text));
  answers_.push_back(text);
  const Standing now{.state = state, .commit_ts = ts};
  if (answered_ && (answered_->state != state || answered_->commit_ts != ts)) {
    Violate(fmt::format("A1: answered {} and {}", Show(*answered_), Show(now)));
  }
  answered_ = now;
}

// ---- recovery -----------------------------------------------------------------------------------

void Cluster::Push(const std::string& name) {
  if (SomebodyLive()) return Trace(name + ": waits with who is live");
  StartRecovery(name);
}

void Cluster::StartRecovery(const std::string& name) {
  recoverers_.push_back(std::make_unique<Recoverer>(Recoverer{name, {}, shards_[0].term}));
  Recoverer* r = recoverers_.back().get();
  Trace(fmt::format("{}: finds {}", name, Show(txn_)));
  r->machine.Start({.state = txn_.state,
                    .commit_ts = txn_.commit_ts,
                    .participants = txn_.state == State::kStaged || txn_.state == State::kCommitted
                                        ? shards_.size()
                                        : 0,
                    .done = done_,
                    .below_horizon = shards_[0].below});
  Pump(r);
}

void Cluster::Pump(Recoverer* r) {
  while (const auto action = r->machine.Next()) Do(r, *action);
  Check();
}

void Cluster::Do(Recoverer* r, const RecoveryMachine::Action& action) {
  using Kind = RecoveryMachine::Action::Kind;
  const auto to = static_cast<int>(action.participant);
  switch (action.kind) {
    case Kind::kQuery: {
      const auto hear = [this, r, to](const PartAnswer& answer) {
        if (r->term != shards_[0].term) r->machine.RightsEnded();
        r->machine.Answered(static_cast<size_t>(to), answer);
        Pump(r);
      };
      const std::string reply_label = ShardName(to) + ">" + r->name + " ";
      Send(
          fmt::format("{}>{} Query", r->name, ShardName(to)),
          [this, to, hear, reply_label] {
            Query(to, [this, hear, reply_label](PartAnswer answer) {
              Send(
                  reply_label + Show(answer), [hear, answer] { hear(answer); },
                  [hear] { hear({}); });
            });
          },
          [hear] { hear({}); });
      return;
    }
    case Kind::kLogDecide: {
      const auto hear = [this, r](const Standing& s) {
        Send(
            fmt::format("A>{} decided {}", r->name, Show(s)),
            [this, r, s] {
              r->machine.Decided(s);
              Pump(r);
            },
            nullptr);
      };
      if (r->term != shards_[0].term) return hear(Never());
      Entry entry{.kind = Entry::Kind::kDecide,
                  .label = action.commit ? "Decide COMMITTED " + Show(action.ts) : "Decide ABORTED",
                  .ts = action.ts,
                  .commit = action.commit,
                  .done = {hear}};
      Trace(fmt::format("{}: proposes {}", r->name, entry.label));
      return Propose(0, std::move(entry));
    }
    case Kind::kAnswerCommitted:
      return Answer(r->name, State::kCommitted, action.ts, "COMMITTED at " + Show(action.ts));
    case Kind::kAnswerAborted:
      return Answer(r->name, State::kAborted, {}, "ABORTED");
    case Kind::kAnswerTooOld:
      return Trace(r->name + ": answers TOO_OLD");
    case Kind::kLookAgain:
      return Trace(r->name + ": looks again");
    case Kind::kResolve:
      return Resolve(r->name, action.commit, action.ts, [this, r] {
        r->machine.Resolved();
        Pump(r);
      });
    case Kind::kLogDone:
      return Propose(0, {.kind = Entry::Kind::kDone,
                         .label = "Done",
                         .done = {[r](const Standing&) { r->machine.DoneLogged(); }}});
  }
}

void Cluster::Resolve(const std::string& who, bool commit, Timestamp ts,
                      std::function<void()> all_done) {
  const auto left = std::make_shared<std::vector<bool>>(shards_.size(), true);
  for (int shard = 0; shard < shards(); ++shard) {
    // Sent until applied: losing it puts it back at the end.
    const auto send = std::make_shared<std::function<void()>>();
    *send = [=, this, weak = std::weak_ptr(send)] {
      const auto keep = weak.lock();
      Send(
          fmt::format("{}>{} Resolve {}", who, ShardName(shard), commit ? "COMMITTED" : "ABORTED"),
          [=, this] {
            Propose(shard, {.kind = Entry::Kind::kResolve,
                            .label = commit ? "Resolve COMMITTED" : "Resolve ABORTED",
                            .ts = ts,
                            .commit = commit,
                            .done = {[=](const Standing& s) {
                              if (s.code == Code::kNotLeader) return (*keep)();
                              if (!(*left)[shard]) return;
                              (*left)[shard] = false;
                              if (std::find(left->begin(), left->end(), true) == left->end()) {
                                all_done();
                              }
                            }}});
          },
          [keep] { (*keep)(); });
    };
    (*send)();
  }
}

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
  if (txn_.state == State::kStaged) Violate("L1: T1 is left STAGED");
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
  std::string text = fmt::format("T1: {}{}", Show(txn_), done_ ? ", done" : "");
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
