// OperatorTable: the operators under way, what each shard's leader is to do next, and those that
// ended. The placement leader's, and volatile: a next leader begins with an empty table and derives
// anew what is needed from the actual members (a learner that an earlier leader began to add is
// gone on with, or removed).
//
//   each round:             RunRound(&view, settings, now, &table)
//   for a shard's report:   view.Put(shard); order = table.Next(view, settings, shard.id, now)
//   the order was refused:  table.OrderRefused(order.id, why, now)
//
// One thread. Bounded: operators by settings, ended ones and wishes by the limits here.
#pragma once

#include <absl/container/btree_map.h>

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "placement/schedule/cluster_view.h"
#include "placement/schedule/operator.h"
#include "placement/schedule/schedulers.h"
#include "placement/schedule/settings.h"
#include "placement/schedule/under_way.h"

namespace quorate::placement {

// To the shard's leader: make this true, if you still lead, your epoch is still this one, you are
// not who is to be removed, and those voters that you know to have the log are a quorum before and
// after.
struct Order {
  OperatorId id;
  ShardId shard;
  ShardEpoch epoch;
  Step step;
};

struct OperatorStatus {
  Operator op;
  size_t step = 0;  // the first that is not done; op.steps.size(): all are
  Instant began;
  Instant step_began;
  bool caught_up = false;  // whom it adds has the log
  uint32_t refusals = 0;   // of this step
  std::string waits_for;   // a sentence; empty: the step was ordered
};

enum class Outcome : uint8_t { kDone, kEnded };  // kEnded: before all steps were done; see reason

struct EndedOperator {
  Operator op;
  Outcome outcome = Outcome::kDone;
  std::string reason;  // a sentence; empty if done
  Instant began;
  Instant ended;
};

class OperatorTable {
 public:
  static constexpr size_t kEndedMax = 1000;
  static constexpr size_t kRefusalsMax = 5;  // of one step; then the operator ends
  // Of a merge: each attempt may freeze the shard, until it is abandoned.
  static constexpr size_t kMergeRefusalsMax = 1;
  // What slower a copy is, is given up (placement.learner_timeout comes on top).
  static constexpr uint64_t kCopiedPerSecondMin = 1 << 20;
  static constexpr Duration kAvoidFor = std::chrono::minutes(30);  // a node that did not catch up

  // Told what becomes of each operator: that it begins and why, that it is done, or why it ended.
  using Listener = std::function<void(const Operator& op, std::string_view event)>;
  void SetListener(Listener listener) { listener_ = std::move(listener); }

  // As with a new term of the placement group. Ids of operators begin at term * 1,000,000, so that
  // an answer to an earlier leader's order is not taken for one to ours.
  void Clear(uint64_t term);

  // Admits an operator and gives it its id.
  //   ALREADY_EXISTS       the shard has one under way
  //   OVERLOADED           a limit, named
  //   FAILED_PRECONDITION  the shard's members are not those that it was made for
  Result<OperatorId> Admit(const ClusterView& view, const Settings& settings, Operator op,
                           Instant now);
  // What the shard's leader should do now; nothing: nothing, or wait. To be asked for each report
  // of a shard; asking twice gives the same order again. Ends the operator if it is done, or if the
  // members are not those of any of its steps.
  std::optional<Order> Next(const ClusterView& view, const Settings& settings, ShardId shard,
                            Instant now);
  // What Next said is not ordered yet: it waits for something else.
  void OrderHeld(ShardId shard, std::string waits_for);
  // The leader would not: it is asked again with its next reports, a few times, or, to merge, not.
  void OrderRefused(OperatorId id, std::string why, Instant now);
  // Ends what took too long, what is needed no more, and what cannot end well. Each round.
  void Sweep(const ClusterView& view, const Settings& settings, Instant now);
  // NOT_FOUND: no such operator is under way. What was begun is undone by the schedulers.
  Status Cancel(OperatorId id, std::string reason, Instant now);

  const absl::btree_map<ShardId, OperatorStatus>& under_way() const { return operators_; }
  // The one that the shard has a part in: its own, or one that is to merge another into it.
  const Operator* FindUnderWay(ShardId shard) const;
  const UnderWay& effects() const { return effects_; }
  // Oldest first.
  const std::deque<EndedOperator>& ended() const { return ended_; }
  // How many ended since Clear(), by kind and outcome.
  uint64_t Ended(OperatorKind kind, Outcome outcome) const;

  // Replaces what was wanted and not possible in the last round.
  void SetWanted(std::vector<Wanted> wanted) { wanted_ = std::move(wanted); }
  const std::vector<Wanted>& wanted() const { return wanted_; }
  // Where each scheduler goes on in the next round.
  ShardId cursor(Scheduler scheduler) const { return cursors_[static_cast<size_t>(scheduler)]; }
  void set_cursor(Scheduler scheduler, ShardId at) {
    cursors_[static_cast<size_t>(scheduler)] = at;
  }

  // Sentences. Of a shard: how it stands, what is under way and why, what it waits for, what ended
  // lately. NOT_FOUND.
  Result<std::vector<std::string>> Explain(const ClusterView& view, const Settings& settings,
                                           ShardId shard, Instant now) const;
  // NOT_FOUND tells an operator of another term, whose fate nobody here knows, from one of this.
  Result<std::vector<std::string>> Explain(OperatorId id, Instant now) const;

 private:
  using Operators = absl::btree_map<ShardId, OperatorStatus>;
  // The one after it.
  Operators::iterator End(Operators::iterator it, Outcome outcome, std::string reason, Instant now);
  // It ends because of whom it adds, who is not tried again for a while.
  Operators::iterator GiveUp(Operators::iterator it, std::string reason, Instant now);

  void Tell(const Operator& op, std::string_view event) const {
    if (listener_) listener_(op, event);
  }

  Listener listener_;
  uint64_t last_id_ = 0;
  Operators operators_;
  UnderWay effects_;
  std::deque<EndedOperator> ended_;
  std::map<std::pair<OperatorKind, Outcome>, uint64_t> counts_;
  std::vector<Wanted> wanted_;
  std::array<ShardId, kSchedulers> cursors_{};
};

struct RoundReport {
  std::array<uint32_t, kSchedulers> admitted{};  // by Scheduler
  size_t wanted = 0;                             // what could not be, up to a bound
  bool more = false;  // something was begun, and more is to be looked at: go on in another turn
};
// One round: brings the view's judgement up to date, sweeps, asks each scheduler that is not paused
// in the order of importance and admits what it proposes. The leader runs it every second, and
// while there is more again after a turn. Bounded: a fraction of a millisecond if nothing is to do,
// some tens of milliseconds if much is, with a thousand nodes.
RoundReport RunRound(ClusterView* view, const Settings& settings, Instant now,
                     OperatorTable* table);

}  // namespace quorate::placement
