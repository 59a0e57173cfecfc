#include "placement/schedule/operator_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/mutant.h"
#include "base/plural.h"
#include "placement/schedule/rule_check.h"
#include "placement/schedule/safety.h"

namespace quorate::placement {

namespace {

// What could not be split may not have changed much in a moment.
constexpr Duration kSplitAgainAfter = std::chrono::minutes(1);
constexpr Duration kMergeAgainAfter = std::chrono::minutes(10);
constexpr uint64_t kIdsPerTerm = 1'000'000;

// Whether the members are those before, or after, one of the steps: else somebody else changed
// them.
bool Fits(const Operator& op, const Members& members) {
  Members expected = op.members;
  if (members == expected) return true;
  for (const Step& step : op.steps) {
    expected = After(step, std::move(expected));
    if (members == expected) return true;
  }
  return false;
}

// The first step that is to be done. One that changes the members is done for good once its change
// is seen, and so are those before it; a leadership may come back, and is handed over again.
size_t CurrentStep(const Operator& op, const ShardView& shard) {
  size_t at = 0;
  for (size_t i = 0; i < op.steps.size(); ++i) {
    const bool transfers = std::holds_alternative<TransferLeader>(op.steps[i]);
    if (!transfers && Done(op, op.steps[i], shard)) at = i + 1;
  }
  while (at < op.steps.size() && Done(op, op.steps[at], shard)) ++at;
  return at;
}

// Whether `op.to` is a learner that all further steps wait for.
bool CatchesUp(const OperatorStatus& status, const ShardView& shard) {
  if (status.step == 0 || !status.op.copies()) return false;
  const Replica* learner = shard.Learner(status.op.to);
  return learner != nullptr && !learner->caught_up && !MUTANT("schedule-promotes-before-caught-up");
}

// The step as it is ordered: a leadership that only has to leave goes to whoever can take it now.
Step ToOrder(const ClusterView& view, const ShardView& shard, const Operator& op,
             const Step& step) {
  const auto* transfer = std::get_if<TransferLeader>(&step);
  if (transfer == nullptr || op.steps.size() == 1) return step;
  NodeId best = transfer->to;
  int64_t least = -1;
  for (const Replica& voter : shard.voters) {
    if (voter.node == op.from || CheckChange(view, shard, TransferLeader{voter.node})) continue;
    const NodeView& node = view.Find(voter.node)->view;
    // As it was planned, if that can be; to who hands it on again only if no other can.
    const bool passes_on = node.draining || node.low_space;
    const int64_t rank = voter.node == transfer->to && !passes_on
                             ? 0
                             : 1 + view.Find(voter.node)->load.leaders + (passes_on ? 1 << 30 : 0);
    if (least >= 0 && rank >= least) continue;
    best = voter.node;
    least = rank;
  }
  return TransferLeader{best};
}

std::string NodeName(NodeId node) { return fmt::format("node {}", node); }

std::string Ago(Duration d) { return fmt::format("{} s", ToMillis(d) / 1000); }

// Why an operator that has not got beyond copying need not go on; empty: it is still wanted.
std::string NoLongerWanted(const ClusterView& view, const Settings& settings, const Operator& op,
                           Instant now) {
  if (op.to) {
    const std::string who =
        fmt::format("node {}, which was to {},", op.to, op.copies() ? "hold a replica" : "lead");
    const ClusterView::Node* to = view.Find(op.to);
    if (to == nullptr) return who + " is gone";
    if (to->view.liveness == Liveness::kDown) return who + " is down";
    if (to->view.draining) return who + " is being drained";
    const ShardView* shard = view.Find(op.shard);
    if (shard != nullptr && op.copies() && !view.Fits(op.to, *shard, kRequired)) {
      return who + " is not where the shard's rule lets replicas be";
    }
  }
  if (!op.from || !op.copies()) return "";
  const ClusterView::Node* from = view.Find(op.from);
  if (op.kind == OperatorKind::kRepair && !Lost(view, op.from, settings.down_after, now)) {
    return fmt::format("node {} is back", op.from);
  }
  if (op.kind == OperatorKind::kDrain && (from == nullptr || !from->view.draining)) {
    return fmt::format("node {} is drained no more", op.from);
  }
  return "";
}

}  // namespace

void OperatorTable::Clear(uint64_t term) {
  *this = OperatorTable();
  last_id_ = term * kIdsPerTerm;
}

Result<OperatorId> OperatorTable::Admit(const ClusterView& view, const Settings& settings,
                                        Operator op, Instant now) {
  if (effects_.Has(op.shard) || (op.into() && effects_.Has(op.into()))) {
    return Status(Code::kAlreadyExists,
                  fmt::format("{} has an operator under way already",
                              NameOf(effects_.Has(op.shard) ? op.shard : op.into())));
  }
  const ShardView* shard = view.Find(op.shard);
  if (shard == nullptr || shard->epoch != op.epoch || MembersOf(*shard) != op.members) {
    return Status(Code::kFailedPrecondition,
                  fmt::format("the members of {} have changed meanwhile", NameOf(op.shard)));
  }
  if (auto over = effects_.OverLimit(view, settings, *shard, op)) {
    return Status(Code::kOverloaded, std::move(*over));
  }
  op.id = OperatorId(++last_id_);
  Tell(op, fmt::format("begun: {}", op.explanation.why));
  effects_.Put(view, *shard, op);
  OperatorStatus status;
  status.op = std::move(op);
  status.began = status.step_began = now;
  const OperatorId id = status.op.id;
  operators_.emplace(status.op.shard, std::move(status));
  return id;
}

const Operator* OperatorTable::FindUnderWay(ShardId shard) const {
  for (const auto& [id, status] : operators_) {
    if (id == shard || status.op.into() == shard) return &status.op;
  }
  return nullptr;
}

OperatorTable::Operators::iterator OperatorTable::End(Operators::iterator it, Outcome outcome,
                                                      std::string reason, Instant now) {
  OperatorStatus& status = it->second;
  Tell(status.op, outcome == Outcome::kDone ? "done" : "ended: " + reason);
  ++counts_[{status.op.kind, outcome}];
  effects_.Remove(it->first);
  if (status.op.kind == OperatorKind::kSplit && outcome == Outcome::kEnded) {
    effects_.Avoid(it->first, NodeId(), now + kSplitAgainAfter);
  }
  if (status.op.kind == OperatorKind::kMerge && outcome == Outcome::kEnded) {
    effects_.Avoid(it->first, NodeId(), now + kMergeAgainAfter);
  }
  ended_.push_back({std::move(status.op), outcome, std::move(reason), status.began, now});
  if (ended_.size() > kEndedMax) ended_.pop_front();
  return operators_.erase(it);
}

OperatorTable::Operators::iterator OperatorTable::GiveUp(Operators::iterator it, std::string reason,
                                                         Instant now) {
  const Operator& op = it->second.op;
  if (op.copies() && !it->second.caught_up && !MUTANT("schedule-failed-target-tried-again")) {
    effects_.Avoid(op.shard, op.to, now + kAvoidFor);
  }
  return End(it, Outcome::kEnded, std::move(reason), now);
}

std::optional<Order> OperatorTable::Next(const ClusterView& view, const Settings& settings,
                                         ShardId id, Instant now) {
  const auto it = operators_.find(id);
  if (it == operators_.end()) return std::nullopt;
  OperatorStatus& status = it->second;
  const ShardView* shard = view.Find(id);
  if (shard == nullptr) {
    End(it, status.op.into() ? Outcome::kDone : Outcome::kEnded,
        fmt::format("{} is gone", NameOf(id)), now);
    return std::nullopt;
  }
  effects_.Put(view, *shard, status.op);
  if (shard->joint) {
    status.waits_for = "the change of members that is under way";
    return std::nullopt;
  }
  if (!Fits(status.op, MembersOf(*shard))) {
    End(it, Outcome::kEnded, "the members were changed by somebody else", now);
    return std::nullopt;
  }
  // Its leader changed or the refusal was lost: what was frozen and thawed has another version.
  if (status.op.into() && shard->epoch.version != status.op.epoch.version) {
    End(it, Outcome::kEnded, fmt::format("{} was not absorbed, and goes on", NameOf(id)), now);
    return std::nullopt;
  }
  const size_t step = CurrentStep(status.op, *shard);
  if (step == status.op.steps.size()) {
    End(it, Outcome::kDone, "", now);
    return std::nullopt;
  }
  const Replica* learner = shard->Learner(status.op.to);
  const bool caught_up = shard->Voter(status.op.to) || (learner != nullptr && learner->caught_up);
  if (step != status.step || caught_up != status.caught_up) {
    status.step = step;
    status.caught_up = caught_up;
    status.step_began = now;
    status.refusals = 0;
  }
  if (CatchesUp(status, *shard)) {
    status.waits_for = fmt::format("the replica on node {} to catch up", status.op.to);
    return std::nullopt;
  }
  const Step ordered = ToOrder(view, *shard, status.op, status.op.steps[step]);
  if (Refusal refusal = CheckChange(view, *shard, ordered)) {
    status.waits_for = std::move(*refusal);
    return std::nullopt;
  }
  status.waits_for.clear();
  return Order{status.op.id, id, shard->epoch, ordered};
}

void OperatorTable::OrderHeld(ShardId shard, std::string waits_for) {
  const auto it = operators_.find(shard);
  if (it != operators_.end()) it->second.waits_for = std::move(waits_for);
}

void OperatorTable::OrderRefused(OperatorId id, std::string why, Instant now) {
  for (auto it = operators_.begin(); it != operators_.end(); ++it) {
    if (it->second.op.id != id) continue;
    it->second.waits_for = fmt::format("the shard's leader, which refused: {}", why);
    const Step& step = it->second.op.steps[it->second.step];
    const bool merges = std::holds_alternative<MergeShards>(step);
    if (++it->second.refusals >= (merges ? kMergeRefusalsMax : kRefusalsMax)) {
      // Whom it adds need not be to blame, and may be tried again at once.
      End(it, Outcome::kEnded,
          fmt::format("the shard's leader refused to {}: {}", ToString(step), why), now);
    }
    return;
  }
}

void OperatorTable::Sweep(const ClusterView& view, const Settings& settings, Instant now) {
  effects_.ForgetAvoided(now);
  for (auto it = operators_.begin(); it != operators_.end();) {
    const OperatorStatus& status = it->second;
    const ShardView* shard = view.Find(it->first);
    if (shard == nullptr) {
      it = End(it, status.op.into() ? Outcome::kDone : Outcome::kEnded,
               fmt::format("{} is gone", NameOf(it->first)), now);
      continue;
    }
    // What was reported since it was last asked for is in the view: it must not count twice.
    effects_.Put(view, *shard, status.op);
    std::string unwanted;
    if (!status.caught_up || !status.op.copies()) {
      unwanted = NoLongerWanted(view, settings, status.op, now);
    }
    if (!unwanted.empty()) {
      it = End(it, Outcome::kEnded, std::move(unwanted), now);
      continue;
    }
    const bool catches_up = CatchesUp(status, *shard);
    // By its size, too: a large state takes long however well it goes.
    const Duration copying =
        settings.learner_timeout + std::chrono::seconds(shard->bytes / kCopiedPerSecondMin);
    const Duration limit = catches_up ? copying : settings.step_timeout;
    if (now - status.step_began < limit) {
      ++it;
      continue;
    }
    std::string reason =
        fmt::format("not done within {}: {}", Ago(limit),
                    status.step < status.op.steps.size() ? ToString(status.op.steps[status.step])
                                                         : std::string("the last step"));
    if (!status.waits_for.empty()) reason += fmt::format(" (waited for: {})", status.waits_for);
    it = GiveUp(it, std::move(reason), now);
  }
}

Status OperatorTable::Cancel(OperatorId id, std::string reason, Instant now) {
  for (auto it = operators_.begin(); it != operators_.end(); ++it) {
    if (it->second.op.id != id) continue;
    End(it, Outcome::kEnded, std::move(reason), now);
    return Status::Ok();
  }
  return NotFound(fmt::format("operator {} is not under way", id));
}

uint64_t OperatorTable::Ended(OperatorKind kind, Outcome outcome) const {
  const auto it = counts_.find({kind, outcome});
  return it == counts_.end() ? 0 : it->second;
}

// ---- explaining ---------------------------------------------------------------------------------
namespace {

void ExplainOperator(const Operator& op, std::vector<std::string>* lines) {
  lines->push_back(ToString(op));
  if (!op.explanation.why.empty()) lines->push_back(fmt::format("why: {}", op.explanation.why));
  for (const Explanation::Candidate& candidate : op.explanation.candidates) {
    lines->push_back(fmt::format("considered: node {}, which bears {:.2f} of the mean: {}",
                                 candidate.node, candidate.load, candidate.verdict));
  }
  for (const auto& [rule, nodes] : op.explanation.vetoes) {
    lines->push_back(fmt::format("ruled out: {}, because {} {}", Plural(nodes, "node"),
                                 nodes == 1 ? "it" : "each",
                                 rule.starts_with("its ") ? "has too little room: " + rule : rule));
  }
}

void ExplainProgress(const OperatorStatus& status, Instant now, std::vector<std::string>* lines) {
  for (size_t i = 0; i < status.op.steps.size(); ++i) {
    lines->push_back(fmt::format("step {} of {}: {}{}", i + 1, status.op.steps.size(),
                                 ToString(status.op.steps[i]),
                                 i < status.step    ? " (done)"
                                 : i == status.step ? " (under way)"
                                                    : ""));
  }
  lines->push_back(fmt::format("began {} ago; this step {} ago", Ago(now - status.began),
                               Ago(now - status.step_began)));
  if (!status.waits_for.empty()) lines->push_back(fmt::format("waits for: {}", status.waits_for));
}

std::string Line(const EndedOperator& ended, Instant now) {
  return fmt::format("{} ago: {}: {}", Ago(now - ended.ended), ToString(ended.op),
                     ended.outcome == Outcome::kDone ? "done" : ended.reason);
}

// Where nobody said in which zone or rack nodes are, all of them share both: that tells nothing.
std::string StandingText(const ClusterView& view, const ShardView& shard,
                         const Standing& standing) {
  std::set<uint32_t> hosts;
  for (const Replica& voter : shard.voters) {
    const ClusterView::Node* node = view.Find(voter.node);
    if (node == nullptr) continue;
    hosts.insert(node->domains.host);
    const Locality& locality = node->view.locality;
    if (locality.contains("zone") || locality.contains("rack")) return ToString(standing);
  }
  if (standing.outside + standing.unpreferred > 0) return ToString(standing);
  return fmt::format("no zone or rack is given; {} on {}", Plural(shard.voters.size(), "replica"),
                     Plural(hosts.size(), "host"));
}

void ExplainStanding(const ClusterView& view, const Settings& settings, const ShardView& shard,
                     Instant now, std::vector<std::string>* lines) {
  std::string voters;
  for (const Replica& voter : shard.voters) {
    const ClusterView::Node* node = view.Find(voter.node);
    std::string state = voter.node == shard.leader ? "leads" : "";
    const auto add = [&state](std::string_view what) {
      state += fmt::format("{}{}", state.empty() ? "" : ", ", what);
    };
    if (node == nullptr) {
      add("gone");
    } else {
      if (node->view.liveness == Liveness::kDown) add("down");
      if (node->view.liveness == Liveness::kNone) add("not heard of yet");
      if (node->view.draining) add("being drained");
      if (!voter.caught_up) add("catching up");
    }
    voters += fmt::format("{}{}{}", voters.empty() ? "" : ", ", NodeName(voter.node),
                          state.empty() ? "" : fmt::format(" ({})", state));
  }
  lines->push_back(fmt::format("{} has {} of {} replicas: {}", NameOf(shard.id),
                               shard.voters.size(), view.ReplicationFactorOf(shard), voters));
  if (const Rule* rule = view.RuleOf(shard)) {
    lines->push_back(fmt::format("its rule: {}: {}", RangeOf(*rule), ToString(*rule)));
  } else if (shard.id != kPlacementShard) {
    lines->push_back("its rule: none, so it is as the settings say");
  }
  for (const Replica& learner : shard.learners) {
    lines->push_back(fmt::format(
        "node {} is {}", learner.node,
        learner.caught_up ? "a learner that has caught up" : "a learner that is catching up"));
  }
  const auto survives = FailuresSurvived(view, shard);
  lines->push_back(survives ? fmt::format("it survives {}", Plural(*survives, "further failure"))
                            : "it has no quorum: nothing can be written or changed");
  const Standing standing = view.StandingOf(shard);
  lines->push_back(fmt::format("{}{}", StandingText(view, shard, standing),
                               standing <= view.LeastStanding(shard)
                                   ? ", which is as well as nodes allow"
                                   : ": nodes allow better"));
  for (const std::string& breach : Breaches(view, settings, now, shard)) {
    lines->push_back(fmt::format("not as its rule says: {}", breach));
  }
  if (settings.paused == 0) return;
  lines->push_back(fmt::format("paused: {}", *settings.Get("placement.pause")));
}

}  // namespace

Result<std::vector<std::string>> OperatorTable::Explain(const ClusterView& view,
                                                        const Settings& settings, ShardId id,
                                                        Instant now) const {
  const ShardView* shard = view.Find(id);
  if (shard == nullptr) return NotFound(fmt::format("there is no shard {}", id));
  std::vector<std::string> lines;
  ExplainStanding(view, settings, *shard, now, &lines);
  if (const auto it = operators_.find(id); it != operators_.end()) {
    ExplainOperator(it->second.op, &lines);
    ExplainProgress(it->second, now, &lines);
  }
  for (const Wanted& wanted : wanted_) {
    if (wanted.shard != id) continue;
    lines.push_back(
        fmt::format("{} would do something, but: {}", KindName(wanted.kind), wanted.why_not));
  }
  size_t told = 0;
  constexpr size_t kToldMax = 5;
  for (auto it = ended_.rbegin(); it != ended_.rend() && told < kToldMax; ++it) {
    if (it->op.shard != id) continue;
    lines.push_back(Line(*it, now));
    ++told;
  }
  return lines;
}

Result<std::vector<std::string>> OperatorTable::Explain(OperatorId id, Instant now) const {
  std::vector<std::string> lines;
  for (const auto& [shard, status] : operators_) {
    if (status.op.id != id) continue;
    ExplainOperator(status.op, &lines);
    ExplainProgress(status, now, &lines);
    return lines;
  }
  for (const EndedOperator& ended : ended_) {
    if (ended.op.id != id) continue;
    ExplainOperator(ended.op, &lines);
    lines.push_back(Line(ended, now));
    return lines;
  }
  const uint64_t term = id.value() / kIdsPerTerm, now_term = last_id_ / kIdsPerTerm;
  if (term != 0 && term != now_term) {
    return NotFound(
        fmt::format("operator {} was begun by another placement leader, of term {}, and what is "
                    "known of it ended with that term (now: {}); its log tells",
                    id, term, now_term));
  }
  return NotFound(fmt::format("operator {} is neither under way nor among the last {} that ended",
                              id, kEndedMax));
}

// ---- the round ----------------------------------------------------------------------------------
namespace {

bool Balances(Scheduler scheduler) {
  return scheduler == Scheduler::kBalanceReplicas || scheduler == Scheduler::kBalanceLeaders;
}

}  // namespace

RoundReport RunRound(ClusterView* view, const Settings& settings, Instant now,
                     OperatorTable* table) {
  constexpr size_t kJudgedMax = 10'000;
  static constexpr Proposals (*kAll[kSchedulers])(const Situation&) = {
      Repair, Rules, Drain, Split, Merge, BalanceReplicas, BalanceLeaders};
  view->SetReplicationFactor(settings.replication_factor);
  view->Refresh(kJudgedMax);
  table->Sweep(*view, settings, now);
  RoundReport report;
  std::vector<Wanted> wanted;
  // What a node bears is not known before it has reported: nothing is balanced by half of it.
  const bool all_heard_of = view->AllHeardOf();
  for (size_t i = 0; i < kSchedulers; ++i) {
    const Scheduler scheduler = static_cast<Scheduler>(i);
    if (settings.Paused(scheduler) || (Balances(scheduler) && !all_heard_of)) continue;
    Proposals proposals =
        kAll[i]({*view, settings, now, table->effects(), table->cursor(scheduler)});
    table->set_cursor(scheduler, proposals.reached);
    report.more |= proposals.more;
    for (Operator& op : proposals.operators) {
      report.admitted[i] += table->Admit(*view, settings, std::move(op), now).ok();
    }
    for (Wanted& one : proposals.wanted) {
      if (wanted.size() < kSchedulers * kWantedMax) wanted.push_back(std::move(one));
    }
  }
  report.wanted = wanted.size();
  table->SetWanted(std::move(wanted));
  return report;
}

}  // namespace quorate::placement
