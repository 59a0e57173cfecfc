#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <initializer_list>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "base/mutant.h"
#include "base/plural.h"
#include "placement/schedule/board.h"
#include "placement/schedule/schedulers.h"

namespace quorate::placement {

namespace {

constexpr size_t kLooksMax = 10'000;  // shards looked at in one round
constexpr double kRequestsMin = 100;  // per second; what is less apart is let be

class LeaderBalancer {
 public:
  explicit LeaderBalancer(const Situation& situation) : board_(situation) {
    for (const Place& place : board_.places()) {
      if (place.leads()) nodes_.push_back(&place);
    }
  }

  void EvenNumbers();
  void EvenRequests();
  Proposals Take(ShardId after) { return board_.Take(after, looks_ == 0); }

 private:
  using Place = Board::Place;
  struct Handover {
    const ShardView* shard = nullptr;
    NodeId to;
  };

  const Place& At(NodeId id) const { return *board_.Find(id); }
  double part() const { return board_.settings().balance_tolerance_percent / 100.0; }
  // Within one of even is even, and so is what differs by little.
  double NumberSlack() const { return std::max(1.0, part() * board_.mean().leaders / 2); }
  bool Apart(double more, double less) const {
    const double mean = board_.mean().leaders;
    return more - less >= 2 && (more > mean + NumberSlack() || less < mean - NumberSlack());
  }
  // By how much requests may differ: they rise and fall by themselves.
  double RequestsApart() const {
    return std::max(8 * part() * board_.mean().requests, kRequestsMin);
  }
  bool AtLimit(NodeId id) const {
    return At(id).under_way.operators >= static_cast<int32_t>(board_.settings().operators_per_node);
  }
  // Whether so many more may begin that each of these nodes has a part in: all or none, since
  // half of it would have to be undone.
  bool RoomFor(size_t operators, std::initializer_list<NodeId> nodes) const {
    const Settings& settings = board_.settings();
    if (board_.under_way().size() + operators > settings.operators) return false;
    return std::all_of(nodes.begin(), nodes.end(), [&](NodeId id) {
      return At(id).under_way.operators + operators <= settings.operators_per_node;
    });
  }
  // Whether a node's number of leaders may become this without being evened again.
  bool NumberFits(double leaders) const {
    return leaders >= board_.mean().leaders - NumberSlack() &&
           leaders <= board_.mean().leaders + NumberSlack();
  }
  bool Free(const ShardView& shard) const {
    return !shard.joint && !shard.leader_stays && !board_.under_way().Has(shard.id);
  }
  bool CanLead(const Replica& voter) const {
    const Place* place = board_.Find(voter.node);
    return voter.caught_up && place != nullptr && place->leads();
  }
  // It does not take a leadership away from where the shard's rule rather has it.
  bool Prefers(const ShardView& shard, NodeId to) const {
    const ClusterView& view = board_.view();
    return view.Fits(to, shard, kLeads) || !view.Fits(shard.leader, shard, kLeads) ||
           MUTANT("schedule-balance-ignores-leader-rules");
  }
  template <class Look>  // bool(const ShardView&, NodeId other): false: enough
  void WalkLed(NodeId leader, const Look& look);
  bool HandOver(const Handover& handover, std::string why);
  // Straight from those that lead more than the mean.
  void Pull(NodeId to);
  // Straight to those that lead less than `below`.
  void Push(NodeId from, double below);
  // Over other nodes, each of which hands on what it gets.
  bool PushOver(NodeId from);
  bool EvenRequestsOf(NodeId from);

  Board board_;
  std::vector<const Place*> nodes_;  // that lead
  size_t looks_ = kLooksMax;
};

template <class Look>
void LeaderBalancer::WalkLed(NodeId leader, const Look& look) {
  const auto& led = At(leader).node->led;
  auto it = led.upper_bound(board_.situation().after);
  for (size_t left = led.size(); left > 0 && looks_ > 0; --left, ++it) {
    if (it == led.end()) it = led.begin();
    const ShardView& shard = *board_.view().Find(*it);
    if (!Free(shard)) continue;
    --looks_;
    for (const Replica& voter : shard.voters) {
      if (voter.node == leader || !CanLead(voter) || !Prefers(shard, voter.node)) continue;
      if (!look(shard, voter.node)) return;
    }
  }
}

bool LeaderBalancer::HandOver(const Handover& handover, std::string why) {
  Operator op = board_.Transfer(OperatorKind::kBalanceLeaders, *handover.shard, handover.to);
  op.explanation.why = std::move(why);
  if (board_.under_way().OverLimit(board_.view(), board_.settings(), *handover.shard, op))
    return false;
  return board_.Propose(*handover.shard, std::move(op));
}

void LeaderBalancer::Pull(NodeId to) {
  for (ShardId id : At(to).node->shards) {
    if (looks_ == 0 || board_.full() || AtLimit(to)) return;
    if (At(to).leaders() >= board_.mean().leaders) return;
    --looks_;
    const ShardView& shard = *board_.view().Find(id);
    const Replica* voter = shard.Voter(to);
    const Place* leader = board_.Find(shard.leader);
    if (voter == nullptr || !CanLead(*voter) || !Free(shard) || leader == nullptr) continue;
    if (leader->id == to || !leader->leads() || leader->leaders() <= board_.mean().leaders)
      continue;
    if (!Prefers(shard, to)) continue;
    if (!Apart(leader->leaders(), At(to).leaders())) continue;
    HandOver({&shard, to}, fmt::format("node {} leads {}, node {} leads {}; {:.1f} is the mean", to,
                                       Plural(At(to).leaders(), "shard"), leader->id,
                                       leader->leaders(), board_.mean().leaders));
  }
}

void LeaderBalancer::Push(NodeId from, double below) {
  WalkLed(from, [&](const ShardView& shard, NodeId to) {
    const double more = At(from).leaders(), less = At(to).leaders();
    // Not below the mean, since others would have to make up for it.
    if (board_.full() || AtLimit(from) || more <= board_.mean().leaders) return false;
    if (!Free(shard) || less >= below || !Apart(more, less)) return true;
    HandOver({&shard, to},
             fmt::format("node {} leads {}, node {} leads {}; {:.1f} is the mean", from,
                         Plural(more, "shard"), to, less, board_.mean().leaders));
    return true;
  });
}

// Breadth first, so that as few as possible are handed over.
bool LeaderBalancer::PushOver(NodeId from) {
  std::map<NodeId, std::pair<NodeId, const ShardView*>> came;  // from whom, with which shard
  std::deque<NodeId> queue{from};
  came[from] = {NodeId(), nullptr};
  NodeId found;
  while (!queue.empty() && !found) {
    const NodeId at = queue.front();
    queue.pop_front();
    WalkLed(at, [&](const ShardView& shard, NodeId to) {
      if (!came.emplace(to, std::pair(at, &shard)).second) return true;
      if (Apart(At(from).leaders(), At(to).leaders())) {
        found = to;
        return false;
      }
      queue.push_back(to);
      return true;
    });
  }
  if (!found) return false;
  std::vector<Handover> path;
  for (NodeId at = found; at != from; at = came[at].first) {
    if (AtLimit(at)) return false;
    path.push_back({came[at].second, at});
  }
  if (!RoomFor(path.size(), {})) return false;
  const std::string why =
      fmt::format("node {} leads {}, node {} leads {}; over {} they come closer", from,
                  Plural(At(from).leaders(), "shard"), found, At(found).leaders(),
                  Plural(path.size(), "handover"));
  for (const Handover& handover : path) {
    if (!HandOver(handover, why)) return false;
  }
  return true;
}

void LeaderBalancer::EvenNumbers() {
  if (nodes_.size() < 2) return;
  const auto less = [](const Place* a, const Place* b) { return a->leaders() < b->leaders(); };
  const auto least = [&] {
    return (*std::min_element(nodes_.begin(), nodes_.end(), less))->leaders();
  };
  if (!Apart((*std::max_element(nodes_.begin(), nodes_.end(), less))->leaders(), least())) return;
  std::vector<const Place*> sources = nodes_;
  std::stable_sort(sources.begin(), sources.end(),
                   [&](const Place* a, const Place* b) { return less(b, a); });
  for (auto target = sources.rbegin(); target != sources.rend(); ++target) {
    if (looks_ == 0 || !Apart(sources.front()->leaders(), (*target)->leaders())) break;
    Pull((*target)->id);
  }
  // While replicas move, the nodes that they come to can be handed over to soon enough.
  const bool over_others = std::none_of(nodes_.begin(), nodes_.end(), [](const Place* place) {
    return place->under_way.receiving > 0;
  });
  for (const Place* source : sources) {
    const NodeId from = source->id;
    if (looks_ == 0 || board_.full() || !Apart(source->leaders(), least())) return;
    // First where there are too few: else one might be handed over twice.
    Push(from, board_.mean().leaders);
    Push(from, source->leaders());
    if (!over_others) continue;
    while (looks_ > 0 && !board_.full() && source->leaders() > board_.mean().leaders &&
           !AtLimit(from) && Apart(source->leaders(), least())) {
      if (!PushOver(from)) break;
    }
  }
}

bool LeaderBalancer::EvenRequestsOf(NodeId from) {
  const double gap_min = RequestsApart();
  const auto evens = [&](NodeId to, double requests) {
    const double more = At(from).requests(), less = At(to).requests();
    return requests > 0 && more - less > gap_min && more - requests >= less + requests;
  };
  Handover best, blocked;  // `blocked`: too much alone, or against the number of leaders
  WalkLed(from, [&](const ShardView& shard, NodeId to) {
    const double requests = static_cast<double>(shard.requests_per_second);
    const double gap = At(from).requests() - At(to).requests();
    if (AtLimit(to) || requests <= 0 || requests > gap || gap <= gap_min) return true;
    const bool fits = evens(to, requests) && NumberFits(At(from).leaders() - 1) &&
                      NumberFits(At(to).leaders() + 1);
    Handover* slot = fits ? &best : &blocked;
    if (slot->shard == nullptr || slot->shard->requests_per_second < shard.requests_per_second) {
      *slot = {&shard, to};
    }
    return true;
  });
  const auto why = [&](NodeId to) {
    return fmt::format(
        "of the shards that node {} leads {:.0f} requests/s are served, of node {} {:.0f}", from,
        At(from).requests(), to, At(to).requests());
  };
  if (best.shard != nullptr) return HandOver(best, why(best.to));
  if (blocked.shard == nullptr) return false;
  // In exchange for one with fewer requests.
  Handover back;
  WalkLed(blocked.to, [&](const ShardView& shard, NodeId to) {
    if (to != from) return true;
    const double net = static_cast<double>(blocked.shard->requests_per_second) -
                       static_cast<double>(shard.requests_per_second);
    if (!evens(blocked.to, net)) return true;
    if (back.shard == nullptr || shard.requests_per_second < back.shard->requests_per_second) {
      back = {&shard, from};
    }
    return true;
  });
  if (back.shard == nullptr || !RoomFor(2, {from, blocked.to})) return false;
  const std::string both = why(blocked.to);
  return HandOver(blocked, both) && HandOver(back, both);
}

void LeaderBalancer::EvenRequests() {
  if (nodes_.size() < 2) return;
  const auto less = [](const Place* a, const Place* b) { return a->requests() < b->requests(); };
  const auto [idlest, busiest] = std::minmax_element(nodes_.begin(), nodes_.end(), less);
  const double least = (*idlest)->requests();
  const double gap_min = RequestsApart();
  if ((*busiest)->requests() - least <= gap_min) return;
  std::set<std::pair<double, NodeId>> sources;
  for (const Place* place : nodes_) sources.emplace(place->requests(), place->id);
  while (!sources.empty() && looks_ > 0 && !board_.full()) {
    const auto [requests, from] = *sources.rbegin();
    if (requests - least <= gap_min) return;
    sources.erase(std::prev(sources.end()));
    if (AtLimit(from) || !EvenRequestsOf(from)) continue;
    sources.emplace(At(from).requests(), from);
  }
}

}  // namespace

Proposals BalanceLeaders(const Situation& situation) {
  LeaderBalancer balancer(situation);
  balancer.EvenNumbers();
  balancer.EvenRequests();
  return balancer.Take(situation.after);
}

}  // namespace quorate::placement
