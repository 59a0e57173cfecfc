#include "tests/sim/injector.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/crc32c.h"

namespace quorate::sim {

namespace {

constexpr Duration kRetryBoot = 1s;
// A failure may show only after its cause is gone.
constexpr Duration kExcuseGrace = 2s;

}  // namespace

Injector::Injector(Cluster& cluster, Hooks hooks)
    : world_(cluster.world()), cluster_(cluster), atlas_(cluster), hooks_(std::move(hooks)) {
  for (auto& node : cluster_.nodes()) {
    node->OnFatal([this, &node = *node](const Status& status) {
      const bool stale = status.code() == Code::kFailedPrecondition && atlas_.MayBeStale(node);
      if (!excused(node) && !stale) {
        Violation(node.address() + " stopped by itself: " + status.ToString());
      }
      BootLater(node, 1s);
    });
  }
}

void Injector::Start(const std::vector<Fault>& schedule) {
  for (const Fault& fault : schedule) {
    Later(fault.at, [this, fault] { Inject(fault); });
  }
}

void Injector::Inject(const Fault& fault) {
  world_.Trace(Crc32c(fault.kind->name), fault.draw);
  fault.kind->inject(*this, fault);
}

SimNode& Injector::Other(const Fault& fault) {
  const int node = fault.node % count();
  const int other = fault.other % count();
  return NodeAt(other == node ? other + 1 : other);
}

// The address that a fault without links hits; empty: everybody.
std::string Injector::TargetOf(const Fault& fault) {
  const std::string_view name = fault.kind->name;
  const auto about = [name](std::string_view what) { return name.find(what) != name.npos; };
  if (about("client")) return fmt::format("c{}.", fault.node);
  if (about("-all") || about("majority") || about("rolling") || about("storm")) return {};
  SimNode* node = &Node(fault);
  if (about("leader")) node = cluster_.BusiestLeader();
  if (about("oracle")) node = cluster_.PlacementLeader();
  return node == nullptr ? std::string() : node->address();
}

void Injector::Count(const Fault& fault) {
  ++injected_[std::string(fault.kind->name)];
  if (!hooks_.hit || fault.kind->type == FaultClass::kNetwork) return;
  const std::string target = TargetOf(fault);
  hooks_.hit(fault, target, target);
}

// ---- windows ------------------------------------------------------------------------------------

void Injector::Until(const Fault& fault, Closure undo) {
  const uint64_t window = ++last_window_;
  windows_.emplace(window, std::move(undo));
  world_.At(fault.length, [this, window] {
    const auto it = windows_.find(window);
    if (it == windows_.end()) return;
    Closure undo = std::move(it->second);
    windows_.erase(it);
    undo();
  });
}

void Injector::BorrowDisk(const Fault& fault, SimNode& node, Closure undo) {
  CHECK(borrowed_disks_.insert(node.index()).second);
  node.Harm();
  Until(fault, [this, &node, undo = std::move(undo)]() mutable {
    borrowed_disks_.erase(node.index());
    undo();
  });
}

void Injector::Later(Duration delay, Closure fn) {
  world_.At(delay, [this, healed = healed_, fn = std::move(fn)]() mutable {
    if (healed_ == healed) fn();
  });
}

void Injector::Rule(const Fault& fault, LinkRule rule) {
  if (hooks_.hit) hooks_.hit(fault, rule.from, rule.to);
  const SimNetwork::RuleId id = network().AddRule(std::move(rule));
  Until(fault, [this, id] { network().RemoveRule(id); });
}

void Injector::BlockBothWays(const Fault& fault, const std::string& a, const std::string& b) {
  Rule(fault, {.from = a, .to = b, .block = true});
  Rule(fault, {.from = b, .to = a, .block = true});
}

void Injector::BlockSomehow(const Fault& fault, const std::string& a, const std::string& b) {
  if (fault.draw % 2 == 0) return BlockBothWays(fault, a, b);
  Rule(fault, {.from = a, .to = b, .block_peers = true});
  Rule(fault, {.from = b, .to = a, .block_peers = true});
}

SimNode* Injector::NodeOf(const std::string& address) {
  for (auto& node : cluster_.nodes()) {
    if (node->address() == address) return node.get();
  }
  return nullptr;
}

void Injector::AwaitRequest(const Fault& fault, SeeFn see) {
  auto tap = std::make_shared<SimNetwork::TapId>();
  *tap = network().AddTap([this, tap, see = std::move(see)](const std::string& from,
                                                            const std::string& to,
                                                            const v1::NodeRequest& request) {
    SimNode* sender = NodeOf(from);
    SimNode* receiver = NodeOf(to);
    if (sender == nullptr || receiver == nullptr) return Duration(0);
    const std::optional<Duration> later = see(*sender, *receiver, request);
    if (!later) return Duration(0);
    network().RemoveTap(*tap);
    return *later;
  });
  Until(fault, [this, tap] { network().RemoveTap(*tap); });
}

void Injector::Silence(const Fault& fault, GroupId group, Duration length) {
  Fault window = fault;
  window.length = length;
  network().Silence(group);
  Until(window, [this, group] { network().Unsilence(group); });
}

void Injector::CutClients(const Fault& fault, const SimNode& node) {
  Random random(fault.draw ^ 0xc1);
  for (int i = 0; i < cluster_.options().clients; ++i) {
    SimClient* client = hooks_.client(i);
    if (client != nullptr && random.Chance(0.5)) {
      BlockBothWays(fault, client->address(), node.address());
    }
  }
}

SimClient& Injector::Bystander(const std::string& name, Duration length) {
  const uint64_t number = ++last_bystander_;
  auto& client = bystanders_[number] = cluster_.MakeClient(name);
  world_.At(length, [this, number] { bystanders_.erase(number); });
  return *client;
}

// ---- nodes --------------------------------------------------------------------------------------

void Injector::Kill(SimNode& node, Duration down) {
  node.Crash();
  BootLater(node, down);
}

void Injector::PowerLoss(SimNode& node, PowerLossMode mode, Duration down) {
  node.PowerLoss(mode);
  BootLater(node, down);
}

void Injector::BootLater(SimNode& node, Duration delay) {
  world_.At(delay, [this, &node] { Boot(node); });
}

void Injector::Boot(SimNode& node) {
  if (node.up() || held_down_.contains(node.index())) return;
  const bool misdirects = node.disk().faults().misdirect_next_write;
  const Status status = node.Start();
  // That write is this start's, and found by the next one.
  if (misdirects) atlas_.Damaged(node);
  if (status.ok()) return;
  // What was lost with a log, or damaged, must be written down before it serves. Where the disk is
  // full and the reserve is spent it says so, and is tried again; one that lost nothing starts.
  const bool must_write = node.harmed() && status.code() == Code::kNoSpace;
  if (!excused(node) && !must_write) {
    Violation(fmt::format("{} does not start: {}", node.address(), status.ToString()));
  }
  BootLater(node, kRetryBoot);
}

void Injector::Excuse(SimNode& node, Duration length) {
  Instant& until = excused_until_[node.index()];
  until = std::max(until, world_.now() + length + kExcuseGrace);
}

bool Injector::excused(const SimNode& node) const {
  const auto run = excused_runs_.find(node.index());
  if (run != excused_runs_.end() && run->second == node.incarnations()) return true;
  const auto it = excused_until_.find(node.index());
  return it != excused_until_.end() && it->second >= world_.now();
}

// ---- healing ------------------------------------------------------------------------------------

void Injector::Heal(const std::set<int>& left_down, const std::set<int>& left_cut) {
  ++healed_;
  // An undo may end a node that must come back with another disk.
  for (auto& [window, undo] : std::exchange(windows_, {})) undo();
  for (const SimNetwork::RuleId cut : std::exchange(cuts_, {})) network().RemoveRule(cut);
  held_down_ = left_down;
  for (auto& node : cluster_.nodes()) {
    if (held_down_.contains(node->index())) {
      node->Crash();
    } else {
      Boot(*node);
    }
  }
  Cut(left_cut);
}

void Injector::Cut(const std::set<int>& nodes) {
  for (const int inside : nodes) {
    for (auto& node : cluster_.nodes()) {
      if (nodes.contains(node->index())) continue;
      const std::string& a = NodeAt(inside).address();
      cuts_.push_back(network().AddRule({.from = a, .to = node->address(), .block = true}));
      cuts_.push_back(network().AddRule({.from = node->address(), .to = a, .block = true}));
    }
  }
}

}  // namespace quorate::sim
