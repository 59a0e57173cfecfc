#include "tests/coordinator/cluster.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "tests/coordinator/cluster_rep.h"

namespace quorate::coordinator::model {

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
    case Kind::kSendPrepare:
      return SendPrepare(c, to, action.ts);
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
    case Kind::kLogDecide:
      return LogDecide(c, action);
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

void Cluster::SendPrepare(Coordinator* c, int to, Timestamp ts) {
  const auto hear = [this, c, to](const PartAnswer& answer) {
    c->machine.Answered(static_cast<size_t>(to), answer);
    Pump(c);
  };
  const std::string reply_label = ShardName(to) + ">" + c->name + " ";
  Send(
      fmt::format("{}>{} Prepare", c->name, ShardName(to)),
      [this, to, ts, hear, reply_label] {
        Prepare(to, ts, [this, hear, reply_label](PartAnswer answer) {
          Send(
              reply_label + Show(answer), [hear, answer] { hear(answer); }, [hear] { hear({}); });
        });
      },
      [hear] { hear({}); });
}

void Cluster::LogDecide(Coordinator* c, const CommitMachine::Action& action) {
  const bool commit = action.commit;
  const Timestamp ts = action.ts;
  Entry entry{.kind = Entry::Kind::kDecide,
              .label = commit ? "Decide COMMITTED " + Show(ts) : "Decide ABORTED",
              .ts = ts,
              .commit = commit,
              .unstaged = action.unstaged};
  const auto hear = [this, c](const Standing& s) {
    Send(
        fmt::format("A>{} decided {}", c->name, Show(s)),
        [this, c, s] {
          c->machine.Decided(s);
          Pump(c);
        },
        nullptr);
  };
  const bool may = broken_.coord_survives || (c->machine.rights() && c->term == shards_[0].term);
  if (!may) return hear(Never());
  Trace(fmt::format("{}: proposes {}", c->name, entry.label));
  if (broken_.abort_unlogged && !commit) Answer(c->name, State::kAborted, {}, "ABORTED");
  if (broken_.early_resolve && commit) Resolve(c->name, true, ts, [] {});
  entry.done.push_back(hear);
  return Propose(0, std::move(entry));
}

void Cluster::EvaluateOwn(Coordinator* c, Timestamp min_ts) {
  Shard& a = shards_[0];
  const auto refuse = [&](Code code) {
    Trace(fmt::format("A: refuses {} ({})", c->name, CodeName(code)));
    c->machine.OwnRefused(code);
  };
  if (c->term != a.term || !c->machine.rights()) return refuse(Code::kNotLeader);
  // Whoever has no room looks no further.
  if (a.refuses == Code::kOverloaded) return refuse(a.refuses);
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
  recoverers_.push_back(std::make_unique<Recoverer>(
      Recoverer{name, {}, shards_[0].term, txn_.state != State::kNone}));
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
                  .unstaged = !r->recorded,
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

}  // namespace quorate::coordinator::model
