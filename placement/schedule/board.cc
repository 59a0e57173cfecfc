#include "placement/schedule/board.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <tuple>
#include <utility>

#include "base/mutant.h"
#include "placement/schedule/safety.h"

namespace quorate::placement {

namespace {

// A disk counts for at most so many times the mean, and for at least this part of it.
constexpr double kWeightMax = 4;

std::string JoinVetoes(const std::map<std::string, uint32_t>& vetoes) {
  std::string text;
  for (const auto& [rule, nodes] : vetoes) {
    text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", rule, nodes);
  }
  return text;
}

}  // namespace

Board::Board(const Situation& situation) : situation_(situation), under_way_(situation.under_way) {
  double total = 0;
  bool known = true;
  for (const auto& [id, node] : view().nodes()) {
    Place place;
    place.id = id;
    place.node = &node;
    place.under_way = under_way_.Of(id);
    places_.push_back(place);
    if (!place.stays()) continue;
    ++mean_.nodes;
    total += static_cast<double>(node.view.total_bytes);
    known &= node.view.total_bytes != 0;
  }
  if (mean_.nodes == 0) return;
  const double nodes = static_cast<double>(mean_.nodes);
  double weights = 0, leading = 0;
  for (Place& place : places_) {
    if (known && place.node->view.total_bytes != 0) {
      place.weight = std::clamp(static_cast<double>(place.node->view.total_bytes) / (total / nodes),
                                1 / kWeightMax, kWeightMax);
    }
    if (!place.stays()) continue;
    weights += place.weight;
    mean_.replicas += place.replicas() * place.weight;
    mean_.bytes += place.bytes() * place.weight;
    if (!place.leads()) continue;
    ++leading;
    mean_.leaders += place.leaders();
    mean_.requests += place.requests();
  }
  mean_.replicas /= weights;
  mean_.bytes /= weights;
  mean_.leaders /= std::max(1.0, leading);
  mean_.requests /= std::max(1.0, leading);
}

const Board::Place* Board::Find(NodeId node) const {
  const auto it = std::lower_bound(places_.begin(), places_.end(), node,
                                   [](const Place& place, NodeId id) { return place.id < id; });
  return it == places_.end() || it->id != node ? nullptr : &*it;
}

double Board::LoadOf(const Place& place) const {
  const double replicas = mean_.replicas > 0 ? place.replicas() / mean_.replicas : place.replicas();
  if (mean_.bytes <= 0) return replicas;
  return (replicas + place.bytes() / mean_.bytes) / 2;
}

bool Board::Approachable(OperatorKind kind, const ShardView& shard) {
  if (under_way_.Has(shard.id) || shard.joint) return false;
  if (!FailuresSurvived(view(), shard)) {
    // Within down_after, or before all nodes were heard of, this says little yet.
    const auto lost = [&](const Replica& voter) {
      return Lost(view(), voter.node, settings().down_after, situation_.now);
    };
    if (std::any_of(shard.voters.begin(), shard.voters.end(), lost)) {
      Want(kind, shard.id,
           fmt::format("{} has no quorum: of {} voters {} are up and caught up, and nothing can "
                       "be changed before more are",
                       NameOf(shard.id), shard.voters.size(), LiveVoters(view(), shard)));
    }
    return false;
  }
  return static_cast<bool>(shard.leader);
}

// ---- choosing a node ----------------------------------------------------------------------------
std::string_view Board::VetoName(Veto veto) {
  switch (veto) {
    case Veto::kNone:
      return "";
    case Veto::kHoldsOne:
      return "holds a replica of the shard";
    case Veto::kOutside:
      return "is not where the shard's rule lets replicas be";
    case Veto::kNotUp:
      return "is not up";
    case Veto::kDraining:
      return "is being drained";
    case Veto::kLowSpace:
      return "its disk is nearly full";
    case Veto::kNoRoom:
      return "has no room for the shard";
    case Veto::kFailed:
      return "did not catch up lately";
    case Veto::kSharesHost:
      return "is on the host of another replica of the shard";
    case Veto::kCloser:
      return "stands closer to other replicas";
    case Veto::kBusy:
      return "is at its limit of operators or snapshots";
  }
  return "";
}

Board::Veto Board::HardVeto(const Place& place, const ShardView& shard) const {
  const NodeView& node = place.node->view;
  if (shard.Voter(place.id) != nullptr && !MUTANT("schedule-two-replicas-on-a-node")) {
    return Veto::kHoldsOne;
  }
  if (!view().Fits(place.id, shard, kRequired) && !MUTANT("schedule-rule-places-ignored")) {
    return Veto::kOutside;
  }
  if (node.liveness != Liveness::kUp) return Veto::kNotUp;
  if (node.draining && !MUTANT("schedule-chooses-a-draining-node")) return Veto::kDraining;
  if (node.low_space) return Veto::kLowSpace;
  const int64_t room = static_cast<int64_t>(node.free_bytes) - place.under_way.load.bytes;
  if (node.total_bytes != 0 && shard.Learner(place.id) == nullptr &&
      room < static_cast<int64_t>(shard.bytes)) {
    return Veto::kNoRoom;
  }
  if (under_way_.Avoids(shard.id, place.id, situation_.now)) return Veto::kFailed;
  return Veto::kNone;
}

bool Board::SharesHost(const Place& place, const ShardView& shard, NodeId leaving) const {
  if (!view().HostsSuffice(shard) || MUTANT("schedule-hosts-shared")) return false;
  return std::any_of(shard.voters.begin(), shard.voters.end(), [&](const Replica& voter) {
    const ClusterView::Node* node = view().Find(voter.node);
    return voter.node != leaving && voter.node != place.id && node != nullptr &&
           node->domains.host == place.node->domains.host;
  });
}

std::optional<Standing> Board::Judge(const ShardView& shard, NodeId leaving) {
  std::array<Domains, 2 * limits::kReplicationFactorMax> others;
  size_t count = 0;
  Standing among;
  const auto one = [&](NodeId id) {
    Standing standing;
    standing.outside = !view().Fits(id, shard, kRequired);
    standing.unpreferred = !view().Fits(id, shard, kPreferred);
    return standing;
  };
  for (const Replica& voter : shard.voters) {
    const ClusterView::Node* node = view().Find(voter.node);
    if (voter.node == leaving || node == nullptr || node->view.draining) continue;
    if (Lost(view(), voter.node, settings().down_after, situation_.now)) continue;
    if (count == others.size()) break;
    among = among + one(voter.node) + Added(others.data(), others.data() + count, node->domains);
    others[count++] = node->domains;
  }
  vetoes_.assign(places_.size(), Veto::kNone);
  standing_.resize(places_.size());
  std::optional<Standing> best;
  for (size_t i = 0; i < places_.size(); ++i) {
    const Place& place = places_[i];
    vetoes_[i] = HardVeto(place, shard);
    if (vetoes_[i] != Veto::kNone) continue;
    if (SharesHost(place, shard, leaving)) {
      vetoes_[i] = Veto::kSharesHost;
      continue;
    }
    standing_[i] =
        among + one(place.id) + Added(others.data(), others.data() + count, place.node->domains);
    if (!best || standing_[i] < *best) best = standing_[i];
  }
  return best;
}

std::optional<Standing> Board::LeastStandingWith(const ShardView& shard, NodeId leaving) {
  return Judge(shard, leaving);
}

bool Board::Busy(const Place& place) const {
  return place.under_way.operators >= static_cast<int32_t>(settings().operators_per_node) ||
         place.under_way.receiving >= static_cast<int32_t>(settings().snapshots_per_node);
}

Explanation Board::Explain(const std::vector<const Place*>& best) const {
  Explanation explanation;
  for (const Place* place : best) {
    const bool chosen = place == best.front();
    explanation.candidates.push_back({place->id, LoadOf(*place), chosen ? "chosen" : "bears more"});
  }
  std::array<uint32_t, kVetoes> counts{};
  for (Veto veto : vetoes_) ++counts[static_cast<size_t>(veto)];
  for (size_t i = 1; i < kVetoes; ++i) {
    if (counts[i] == 0) continue;
    explanation.vetoes.emplace(VetoName(static_cast<Veto>(i)), counts[i]);
  }
  return explanation;
}

Board::Choice Board::ChooseTarget(const ShardView& shard, NodeId leaving) {
  const std::optional<Standing> least = Judge(shard, leaving);
  // Best first: a learner that is there already, then by load.
  std::vector<std::pair<double, const Place*>> best;
  for (size_t i = 0; least && i < places_.size(); ++i) {
    if (vetoes_[i] != Veto::kNone) continue;
    const Place& place = places_[i];
    const bool learner = shard.Learner(place.id) != nullptr;
    if (standing_[i] != *least && !MUTANT("schedule-spread-ignored")) {
      vetoes_[i] = Veto::kCloser;
      continue;
    }
    if (!learner && Busy(place)) {
      vetoes_[i] = Veto::kBusy;
      continue;
    }
    const double load = learner ? -1 : LoadOf(place);
    if (best.size() == Explanation::kCandidatesMax && load >= best.back().first) continue;
    const auto at = std::upper_bound(best.begin(), best.end(), load,
                                     [](double l, const auto& other) { return l < other.first; });
    best.emplace(at, load, &place);
    if (best.size() > Explanation::kCandidatesMax) best.pop_back();
  }
  std::vector<const Place*> places;
  for (const auto& [load, place] : best) places.push_back(place);
  Choice choice;
  choice.explanation = Explain(places);
  if (!places.empty()) {
    choice.to = places.front()->id;
  } else {
    choice.why_not = fmt::format("none of {} nodes can take a replica of {} ({})", places_.size(),
                                 NameOf(shard.id), JoinVetoes(choice.explanation.vetoes));
  }
  return choice;
}

NodeId Board::ChooseHeir(const ShardView& shard, NodeId leaving) const {
  const Place* best = nullptr;
  for (const Replica& voter : shard.voters) {
    const Place* place = Find(voter.node);
    if (voter.node == leaving || !voter.caught_up || place == nullptr) continue;
    if (place->node->view.liveness != Liveness::kUp) continue;
    const auto rank = [&](const Place& p) {
      return std::tuple(!p.leads(), !view().Fits(p.id, shard, kLeads), p.leaders());
    };
    if (best == nullptr || rank(*place) < rank(*best)) best = place;
  }
  return best == nullptr ? NodeId() : best->id;
}

// ---- making operators ---------------------------------------------------------------------------
namespace {

Operator Make(OperatorKind kind, const ShardView& shard, NodeId from, NodeId to) {
  Operator op;
  op.kind = kind;
  op.shard = shard.id;
  op.epoch = shard.epoch;
  op.members = MembersOf(shard);
  op.from = from;
  op.to = to;
  return op;
}

}  // namespace

// Who leads may change while data are copied: the leadership is asked for in any case, which is
// done at once if somebody else leads.
Operator Board::Replace(OperatorKind kind, const ShardView& shard, NodeId from, NodeId to) const {
  Operator op = Make(kind, shard, from, to);
  op.steps.push_back(AddLearner{to});
  if (const NodeId heir = ChooseHeir(shard, from)) {
    if (!MUTANT("schedule-removes-the-leader")) op.steps.push_back(TransferLeader{heir});
    op.steps.push_back(Swap{to, from});
    return op;
  }
  // Nobody else could lead: the new one votes beside the old one first.
  op.steps.push_back(Promote{to});
  op.steps.push_back(TransferLeader{to});
  op.steps.push_back(placement::Remove{from});
  return op;
}

Operator Board::Add(OperatorKind kind, const ShardView& shard, NodeId to) const {
  Operator op = Make(kind, shard, NodeId(), to);
  op.steps = {AddLearner{to}, Promote{to}};
  return op;
}

Operator Board::Drop(OperatorKind kind, const ShardView& shard, NodeId from) const {
  Operator op = Make(kind, shard, from, NodeId());
  if (shard.Voter(from) != nullptr) {
    if (const NodeId heir = ChooseHeir(shard, from)) op.steps.push_back(TransferLeader{heir});
  }
  op.steps.push_back(placement::Remove{from});
  return op;
}

Operator Board::Transfer(OperatorKind kind, const ShardView& shard, NodeId to) const {
  Operator op = Make(kind, shard, shard.leader, to);
  op.steps.push_back(TransferLeader{to});
  return op;
}

bool Board::ProposeReplica(OperatorKind kind, const ShardView& shard, NodeId from,
                           std::string why) {
  const UnderWay::Node sender = under_way_.Of(shard.leader);
  if (sender.sending >= static_cast<int32_t>(settings().snapshots_per_node) ||
      sender.operators >= static_cast<int32_t>(settings().operators_per_node)) {
    Want(kind, shard.id,
         fmt::format("node {}, which leads {}, is at its limit of operators or snapshots",
                     shard.leader, NameOf(shard.id)));
    return false;
  }
  Choice choice = ChooseTarget(shard, from);
  if (!choice.to) {
    Want(kind, shard.id, std::move(choice.why_not));
    return false;
  }
  Operator op = from ? Replace(kind, shard, from, choice.to) : Add(kind, shard, choice.to);
  op.explanation = std::move(choice.explanation);
  op.explanation.why = std::move(why);
  return Propose(shard, std::move(op));
}

bool Board::Propose(const ShardView& shard, Operator op) {
  // What can be checked now is the first step that is not done, unless it waits for a learner that
  // is there already: others are checked when they come.
  Refusal refusal;
  for (const Step& step : op.steps) {
    if (Done(op, step, shard)) continue;
    if (std::holds_alternative<Swap>(step) || std::holds_alternative<Promote>(step)) break;
    refusal = CheckChange(view(), shard, step);
    break;
  }
  if (!refusal) refusal = under_way_.OverLimit(view(), settings(), shard, op);
  if (refusal) {
    Want(op.kind, shard.id, std::move(*refusal));
    return false;
  }
  under_way_.Put(view(), shard, op);
  for (NodeId id : {op.from, op.to, shard.leader}) {
    if (const Place* place = Find(id))
      places_[place - places_.data()].under_way = under_way_.Of(id);
  }
  for (const Step& step : op.steps) {
    const auto* transfer = std::get_if<TransferLeader>(&step);
    const Place* heir = transfer == nullptr ? nullptr : Find(transfer->to);
    if (heir != nullptr) places_[heir - places_.data()].under_way = under_way_.Of(heir->id);
  }
  proposals_.operators.push_back(std::move(op));
  return true;
}

void Board::Want(OperatorKind kind, ShardId shard, std::string why_not) {
  if (proposals_.wanted.size() >= kWantedMax) return;
  proposals_.wanted.push_back({kind, shard, std::move(why_not)});
}

bool Board::full() const {
  return proposals_.operators.size() >= kProposalsMax || under_way_.size() >= settings().operators;
}

Proposals Board::Take(ShardId reached, bool cut_short) {
  proposals_.reached = reached;
  cut_short |= proposals_.operators.size() >= kProposalsMax;
  proposals_.more = cut_short && !proposals_.operators.empty();
  return std::move(proposals_);
}

Proposals WalkUnsettled(const Situation& situation,
                        const std::function<Looked(Board*, const ShardView&)>& look,
                        const absl::btree_set<ShardId>& first) {
  const auto& unsettled = situation.view.unsettled();
  if (unsettled.empty()) return {};
  constexpr size_t kCostOfALook = 16;  // against one that is passed over
  Board board(situation);
  // The walk goes on where the last one ended and counts by what it sees itself, as if there were
  // none of these: so nobody is passed over for good, however many they are.
  absl::btree_set<ShardId> seen;
  auto next = first.upper_bound(situation.after);
  for (size_t left = std::min(first.size(), kShardsLookedAtMax); left > 0 && !board.full();
       --left, ++next) {
    if (next == first.end()) next = first.begin();
    look(&board, *situation.view.Find(*next));
    seen.insert(*next);
  }
  size_t budget = kShardsLookedAtMax * kCostOfALook;
  auto it = unsettled.upper_bound(situation.after);
  ShardId reached = situation.after;
  size_t left = unsettled.size();
  for (; left > 0 && budget >= kCostOfALook && !board.full(); --left) {
    if (it == unsettled.end()) it = unsettled.begin();
    const bool again = seen.contains(*it);
    const ShardView& shard = *situation.view.Find(*it);
    budget -= !again && look(&board, shard) == Looked::kLooked ? kCostOfALook : 1;
    reached = *it;
    ++it;
  }
  return board.Take(reached, left > 0);
}

}  // namespace quorate::placement
