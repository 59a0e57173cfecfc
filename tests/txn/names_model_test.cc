// The rules about names (docs/transactions.md, section 8) on a naive model of the protocol: shards
// as plain maps with a log each, coordinators that crash, leaders that change, copies, recovery,
// horizons, and asking anywhere, in thousands of random interleavings. Each rule is also left out
// once, which must be noticed: none of them is there for nothing.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/random.h"

namespace quorate {
namespace {

// What a variant of the protocol leaves out.
struct Without {
  bool outcome_by_name = false;      // COMMITTED under the name does not stop another attempt
  bool closed_at_every_key = false;  // CLOSED only stops a part whose first key was asked about
  bool long_horizon = false;         // names are forgotten with the other records
  bool time_first = false;           // TOO_OLD only where there is a record to find too old
  bool names_elsewhere = false;      // only the anchor's shard remembers the name
  bool closing_logged = false;       // "no record" is answered ABORTED at once
  bool prepared_spared = false;      // a name is closed though a part of it is prepared
  bool apply_checks = false;         // evaluation looks for the name, applying does not
};

constexpr int kShards = 3;
constexpr int kKeys = 6;
constexpr int kLife = 12;       // distance of the horizon
constexpr int kRetention = 40;  // distance of the names horizon
int ShardOf(int key) { return key / (kKeys / kShards); }

enum class State { kNone, kPrepared, kStaged, kCommitted, kAborted };

struct Name {
  int time = 0;
  std::vector<int> keys;  // what the request writes, whoever sends it
};

struct Attempt {
  int name = -1;  // none
  int start = 0;
  int anchor = 0;
  std::map<int, std::vector<int>> parts;  // by shard
  bool rights = true;                     // its coordinator lives and leads
  bool proposed = false, refused = false, abort_proposed = false, answered = false;
  std::set<int> to_send;
  std::set<int> resolved;
};

struct Command {
  enum class Kind { kPrepare, kOnePhase, kDecide, kResolve, kRefuse, kClose, kHorizon } kind;
  int attempt = -1;
  bool commit = false;
  int name = -1, key = -1, ask = -1;
  int horizon = 0, names_horizon = 0;
};

struct NameRecord {
  bool committed = false;
  int attempt = -1, key = -1;
};

struct Shard {
  std::deque<Command> log;  // proposed, not applied
  int horizon = 0, names_horizon = 0;
  std::map<int, int> intents;  // key -> attempt
  std::map<int, State> parts, txns;
  std::map<int, NameRecord> names;
};

struct Ask {
  int name = 0, key = 0;
  bool answered = false;
};

class Model {
 public:
  Model(uint64_t seed, Without without) : random_(seed), without_(without) {}

  // Empty: everything held.
  std::string Run() {
    for (int step = 0; step < 350 && broken_.empty(); ++step) Step();
    for (int round = 0; round < 60 && broken_.empty(); ++round) Settle();
    CheckEnd();
    return broken_;
  }

 private:
  using Kind = Command::Kind;

  int Any(size_t size) { return static_cast<int>(random_.Below(size)); }
  void Break(const std::string& what) {
    if (broken_.empty()) broken_ = what;
  }

  // ---- what happens by chance -----------------------------------------------------------------
  void Step() {
    if (random_.Chance(0.3)) ++now_;
    switch (Any(12)) {
      case 0:
        if (names_.size() < 4) NewName();
        return;
      case 1:
        return Send(names_.empty() || random_.Chance(0.15) ? -1 : Any(names_.size()));
      case 2:
      case 3:
        if (!attempts_.empty()) Coordinate(Any(attempts_.size()));
        return;
      case 4:
        if (!attempts_.empty()) DeliverPrepare(Any(attempts_.size()));
        return;
      case 5:
      case 6:
      case 7:
        return ApplyNext(Any(kShards));
      case 8:
        if (random_.Chance(0.3)) ChangeLeader(Any(kShards));
        return;
      case 9:
        if (!attempts_.empty()) Recover(Any(attempts_.size()));
        return;
      case 10:
        if (!names_.empty() && random_.Chance(0.5))
          asks_.push_back({Any(names_.size()), Any(kKeys)});
        if (!asks_.empty()) Continue(Any(asks_.size()));
        return;
      case 11:
        Propose(
            Any(kShards),
            {.kind = Kind::kHorizon, .horizon = now_ - kLife, .names_horizon = now_ - kRetention});
        return;
    }
  }

  void NewName() {
    Name name{.time = now_};
    while (name.keys.empty()) {
      for (int key = 0; key < kKeys; ++key) {
        if (random_.Chance(0.35)) name.keys.push_back(key);
      }
    }
    names_.push_back(std::move(name));
  }

  // A copy of the request arrives at some node, which makes an attempt of its own.
  void Send(int name) {
    if (attempts_.size() >= 14) return;
    Attempt attempt{.name = name, .start = now_};
    std::vector<int> keys = name < 0 ? std::vector<int>{Any(kKeys)} : names_[name].keys;
    if (name < 0 && random_.Chance(0.5)) keys = {0, Any(2) + 2, 5};
    attempt.anchor = keys[Any(keys.size())];
    for (int key : keys) attempt.parts[ShardOf(key)].push_back(key);
    attempts_.push_back(std::move(attempt));
  }

  // What was proposed last may never become part of the log; the rest is applied before the new
  // leader serves. The coordinators of this shard's anchors were on the old one's node.
  void ChangeLeader(int shard) {
    std::deque<Command>& log = shards_[shard].log;
    log.resize(log.empty() ? 0 : random_.Below(log.size() + 1), Command{});
    while (!log.empty()) ApplyNext(shard);
    for (Attempt& attempt : attempts_) {
      if (ShardOf(attempt.anchor) == shard) attempt.rights = false;
    }
  }

  // Everything that is still open is finished: coordinators are gone, recovery runs.
  void Settle() {
    for (int shard = 0; shard < kShards; ++shard) ChangeLeader(shard);
    for (size_t i = 0; i < attempts_.size(); ++i) Recover(static_cast<int>(i));
    for (size_t i = 0; i < asks_.size(); ++i) Continue(static_cast<int>(i));
    for (int shard = 0; shard < kShards; ++shard) {
      while (!shards_[shard].log.empty()) ApplyNext(shard);
    }
  }

  // ---- a shard's leader -----------------------------------------------------------------------
  void Propose(int shard, Command command) { shards_[shard].log.push_back(command); }

  bool Locked(const Shard& shard, int attempt, const std::vector<int>& keys, bool in_flight) const {
    for (int key : keys) {
      const auto intent = shard.intents.find(key);
      if (intent != shard.intents.end() && intent->second != attempt) return true;
      if (!in_flight) continue;
      for (const Command& command : shard.log) {
        const bool locks = command.kind == Kind::kPrepare || command.kind == Kind::kOnePhase;
        if (!locks || command.attempt == attempt) continue;
        const auto& other = attempts_[command.attempt].parts.at(ShardOf(key));
        if (std::find(other.begin(), other.end(), key) != other.end()) return true;
      }
    }
    return false;
  }

  bool TooOld(const Shard& shard, int name) const {
    return names_[name].time < shard.names_horizon;
  }

  // Whether the name keeps this part from being prepared.
  bool RefusedByName(const Shard& shard, const Attempt& attempt,
                     const std::vector<int>& keys) const {
    if (attempt.name < 0) return false;
    if (TooOld(shard, attempt.name) && !without_.time_first) return true;
    const auto record = shard.names.find(attempt.name);
    if (record == shard.names.end()) return false;
    if (record->second.committed) return !without_.outcome_by_name;
    return !without_.closed_at_every_key || record->second.key == keys.front();
  }

  bool AnyPrepared(const Shard& shard, int name) const {
    return std::any_of(shard.parts.begin(), shard.parts.end(), [&](const auto& part) {
      return part.second == State::kPrepared && attempts_[part.first].name == name;
    });
  }

  // ---- coordinator ----------------------------------------------------------------------------
  void Coordinate(int id) {
    Attempt& attempt = attempts_[id];
    const int own = ShardOf(attempt.anchor);
    Shard& anchor = shards_[own];
    const bool several = attempt.parts.size() > 1;
    if (attempt.rights && !attempt.proposed && !attempt.refused) {
      const auto& keys = attempt.parts[own];
      if (anchor.txns.contains(id) || attempt.start < anchor.horizon) {
        attempt.refused = true;
      } else if (RefusedByName(anchor, attempt, keys)) {
        attempt.refused = true;
        asks_.push_back({attempt.name, attempt.anchor});
      } else if (!Locked(anchor, id, keys, true)) {
        Propose(own, {.kind = several ? Kind::kPrepare : Kind::kOnePhase, .attempt = id});
        attempt.proposed = true;
        for (const auto& [shard, part] : attempt.parts) {
          if (shard != own) attempt.to_send.insert(shard);
        }
      }
      return;
    }
    if (!attempt.proposed || attempt.answered) return;
    const auto record = anchor.txns.find(id);
    const State state = record == anchor.txns.end() ? State::kNone : record->second;
    bool facts = state == State::kStaged && !attempt.abort_proposed;
    for (const auto& [shard, part] : attempt.parts) {
      const auto prepared = shards_[shard].parts.find(id);
      facts &= prepared != shards_[shard].parts.end() && prepared->second == State::kPrepared;
    }
    if (facts || state == State::kCommitted) {
      attempt.answered = true;
      AnswerCommitted(attempt.name, id);
      if (attempt.rights && several)
        Propose(own, {.kind = Kind::kDecide, .attempt = id, .commit = true});
    } else if (attempt.rights && (attempt.refused || random_.Chance(0.1)) &&
               state != State::kAborted) {
      attempt.abort_proposed = true;
      Propose(own, {.kind = Kind::kDecide, .attempt = id});
    } else if (state == State::kAborted) {
      attempt.answered = true;  // this attempt's end, not the name's
    }
  }

  // A Prepare, or a copy of one, reaches a participant; it may be lost, and it may be late.
  void DeliverPrepare(int id) {
    Attempt& attempt = attempts_[id];
    if (attempt.to_send.empty()) return;
    const int shard_id = *attempt.to_send.begin();
    Shard& shard = shards_[shard_id];
    if (random_.Chance(0.8)) attempt.to_send.erase(shard_id);
    if (random_.Chance(0.1) || shard.parts.contains(id)) return;
    const auto& keys = attempt.parts[shard_id];
    if (attempt.start < shard.horizon || RefusedByName(shard, attempt, keys) ||
        Locked(shard, id, keys, true)) {
      attempt.refused = true;
      return;
    }
    Propose(shard_id, {.kind = Kind::kPrepare, .attempt = id});
  }

  // ---- recovery: by anyone, where no coordinator has the right to decide ------------------------
  void Recover(int id) {
    Attempt& attempt = attempts_[id];
    if (attempt.rights) return;
    const int own = ShardOf(attempt.anchor);
    Shard& anchor = shards_[own];
    const auto record = anchor.txns.find(id);
    const State state = record == anchor.txns.end() ? State::kNone : record->second;
    if (state == State::kCommitted || state == State::kAborted ||
        (state == State::kNone && attempt.start < anchor.horizon)) {
      for (const auto& [shard, part] : attempt.parts) {
        const auto prepared = shards_[shard].parts.find(id);
        if (prepared == shards_[shard].parts.end() || prepared->second != State::kPrepared)
          continue;
        Propose(shard,
                {.kind = Kind::kResolve, .attempt = id, .commit = state == State::kCommitted});
      }
      return;
    }
    if (state == State::kNone) return Propose(own, {.kind = Kind::kDecide, .attempt = id});
    bool all = true, any_aborted = false;
    for (const auto& [shard_id, part] : attempt.parts) {
      Shard& shard = shards_[shard_id];
      const auto prepared = shard.parts.find(id);
      if (prepared != shard.parts.end()) {
        any_aborted |= prepared->second == State::kAborted;
        continue;
      }
      all = false;
      if (attempt.start < shard.horizon) {
        any_aborted = true;
      } else {
        Propose(shard_id, {.kind = Kind::kRefuse, .attempt = id});
      }
    }
    if (any_aborted || all) {
      Propose(own, {.kind = Kind::kDecide, .attempt = id, .commit = !any_aborted});
    }
  }

  // ---- asking ---------------------------------------------------------------------------------
  void Continue(int id) {
    Ask& ask = asks_[id];
    if (ask.answered) return;
    Shard& shard = shards_[ShardOf(ask.key)];
    const auto record = shard.names.find(ask.name);
    if (TooOld(shard, ask.name) && !(without_.time_first && record == shard.names.end())) {
      ask.answered = true;  // TOO_OLD says nothing
    } else if (record != shard.names.end()) {
      Answer(&ask, record->second);
    } else if (AnyPrepared(shard, ask.name) && !without_.prepared_spared) {
      for (const auto& [attempt, state] : shard.parts) {
        if (state == State::kPrepared && attempts_[attempt].name == ask.name) Recover(attempt);
      }
    } else if (without_.closing_logged) {
      Answer(&ask, {});
    } else {
      Propose(ShardOf(ask.key),
              {.kind = Kind::kClose, .name = ask.name, .key = ask.key, .ask = id});
    }
  }

  void Answer(Ask* ask, const NameRecord& record) {
    if (ask->answered) return;
    ask->answered = true;
    if (record.committed) return AnswerCommitted(ask->name, record.attempt);
    // About a key that it does not write it says that it has no part there, which is true of a
    // shard in which it has none.
    const auto& keys = names_[ask->name].keys;
    if (std::find(keys.begin(), keys.end(), ask->key) != keys.end()) aborted_.insert(ask->name);
    CheckName(ask->name);
  }

  void AnswerCommitted(int name, int attempt) {
    if (name >= 0) committed_[name].insert(attempt);
    if (name >= 0) CheckName(name);
  }

  // ---- the log --------------------------------------------------------------------------------
  void ApplyNext(int shard_id) {
    Shard& shard = shards_[shard_id];
    if (shard.log.empty()) return;
    const Command command = shard.log.front();
    shard.log.pop_front();
    switch (command.kind) {
      case Kind::kPrepare:
      case Kind::kOnePhase:
        return ApplyPrepare(shard_id, command);
      case Kind::kDecide: {
        State& state = shard.txns[command.attempt];
        const bool old = attempts_[command.attempt].start < shard.horizon;
        if (state == State::kStaged) {
          state = command.commit ? State::kCommitted : State::kAborted;
        } else if (state == State::kNone && !command.commit && !old) {
          state = State::kAborted;
        }
        if (state == State::kNone) shard.txns.erase(command.attempt);
        return;
      }
      case Kind::kResolve:
        return ApplyResolve(shard_id, command);
      case Kind::kRefuse:
        if (attempts_[command.attempt].start >= shard.horizon) {
          shard.parts.try_emplace(command.attempt, State::kAborted);
        }
        return;
      case Kind::kClose:
        return ApplyClose(&shard, command);
      case Kind::kHorizon:
        shard.horizon = std::max(shard.horizon, command.horizon);
        shard.names_horizon = std::max(shard.names_horizon, command.names_horizon);
        return Collect(&shard);
    }
  }

  void ApplyPrepare(int shard_id, const Command& command) {
    Shard& shard = shards_[shard_id];
    Attempt& attempt = attempts_[command.attempt];
    const bool anchor = ShardOf(attempt.anchor) == shard_id;
    const auto& keys = attempt.parts[shard_id];
    if ((anchor && shard.txns.contains(command.attempt)) || shard.parts.contains(command.attempt) ||
        attempt.start < shard.horizon || Locked(shard, command.attempt, keys, false) ||
        (RefusedByName(shard, attempt, keys) && !without_.apply_checks)) {
      attempt.refused = true;
      return;
    }
    if (command.kind == Kind::kOnePhase) {
      shard.txns[command.attempt] = State::kCommitted;
      Commit(&shard, shard_id, command.attempt);
      return;
    }
    shard.parts[command.attempt] = State::kPrepared;
    for (int key : keys) shard.intents[key] = command.attempt;
    if (anchor) shard.txns[command.attempt] = State::kStaged;
  }

  void ApplyResolve(int shard_id, const Command& command) {
    Shard& shard = shards_[shard_id];
    const auto part = shard.parts.find(command.attempt);
    if (part == shard.parts.end() || part->second != State::kPrepared) return;
    for (int key : attempts_[command.attempt].parts[shard_id]) shard.intents.erase(key);
    part->second = command.commit ? State::kCommitted : State::kAborted;
    if (command.commit) Commit(&shard, shard_id, command.attempt);
  }

  // The part's writes are versions now.
  void Commit(Shard* shard, int shard_id, int id) {
    Attempt& attempt = attempts_[id];
    attempt.resolved.insert(shard_id);
    if (attempt.name < 0) return;
    effects_[attempt.name].insert(id);
    CheckName(attempt.name);
    if (without_.names_elsewhere && ShardOf(attempt.anchor) != shard_id) return;
    shard->names.try_emplace(attempt.name, NameRecord{true, id, attempt.parts[shard_id].front()});
  }

  void ApplyClose(Shard* shard, const Command& command) {
    Ask& ask = asks_[command.ask];
    const auto record = shard->names.find(command.name);
    if (TooOld(*shard, command.name) && !(without_.time_first && record == shard->names.end()))
      return;
    if (record != shard->names.end()) return Answer(&ask, record->second);
    if (AnyPrepared(*shard, command.name) && !without_.prepared_spared) return;
    shard->names[command.name] = {false, -1, command.key};
    Answer(&ask, shard->names[command.name]);
  }

  void Collect(Shard* shard) {
    std::erase_if(shard->parts, [&](const auto& part) {
      return part.second != State::kPrepared && attempts_[part.first].start < shard->horizon;
    });
    std::erase_if(shard->txns, [&](const auto& txn) {
      const Attempt& attempt = attempts_[txn.first];
      const bool done =
          txn.second == State::kAborted ||
          (txn.second == State::kCommitted && attempt.resolved.size() == attempt.parts.size());
      return done && attempt.start < shard->horizon;
    });
    std::erase_if(shard->names, [&](const auto& name) {
      const int horizon = without_.long_horizon ? shard->horizon : shard->names_horizon;
      return names_[name.first].time < horizon;
    });
  }

  // ---- what must hold -------------------------------------------------------------------------
  void CheckName(int name) {
    std::set<int> all = effects_[name];
    all.insert(committed_[name].begin(), committed_[name].end());
    if (all.size() > 1) Break("a name took effect twice");
    if (!all.empty() && aborted_.contains(name)) Break("ABORTED was answered of what committed");
  }

  void CheckEnd() {
    for (size_t id = 0; id < attempts_.size(); ++id) {
      const Attempt& attempt = attempts_[id];
      const auto answered = committed_.find(attempt.name);
      const bool acknowledged = attempt.name >= 0 && answered != committed_.end() &&
                                answered->second.contains(static_cast<int>(id));
      const bool happened = !attempt.resolved.empty() || acknowledged;
      if (happened && attempt.resolved.size() != attempt.parts.size()) Break("a commit in parts");
    }
    for (const Shard& shard : shards_) {
      if (!shard.intents.empty()) Break("a lock outlived its transaction's recovery");
    }
  }

  Random random_;
  const Without without_;
  int now_ = 100;
  Shard shards_[kShards];
  std::vector<Name> names_;
  std::vector<Attempt> attempts_;
  std::deque<Ask> asks_;
  std::map<int, std::set<int>> effects_, committed_;  // attempts, by name
  std::set<int> aborted_;
  std::string broken_;
};

// The first seed that breaks, of `seeds`.
std::optional<std::string> FirstBroken(uint64_t seeds, Without without) {
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    const std::string broken = Model(seed, without).Run();
    if (!broken.empty()) return broken + ", seed " + std::to_string(seed);
  }
  return std::nullopt;
}

TEST(NamesModel, EveryNameTakesEffectAtMostOnceAndAllAnswersAgree) {
  EXPECT_EQ(FirstBroken(20'000, {}), std::nullopt);
}

TEST(NamesModel, NoRuleIsThereForNothing) {
  constexpr uint64_t kSeeds = 20'000;
  const auto noticed = [&](Without without) { return FirstBroken(kSeeds, without).has_value(); };
  EXPECT_TRUE(noticed({.outcome_by_name = true}));
  EXPECT_TRUE(noticed({.closed_at_every_key = true}));
  EXPECT_TRUE(noticed({.long_horizon = true}));
  EXPECT_TRUE(noticed({.time_first = true}));
  EXPECT_TRUE(noticed({.names_elsewhere = true}));
  EXPECT_TRUE(noticed({.closing_logged = true}));
  EXPECT_TRUE(noticed({.prepared_spared = true}));
  EXPECT_TRUE(noticed({.apply_checks = true}));
}

}  // namespace
}  // namespace quorate
