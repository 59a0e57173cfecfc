// Process faults: kills at any and at chosen moments, pauses, slowness, restarts, second copies.
#include <fmt/format.h>

#include "tests/sim/injector.h"

namespace quorate::sim {

namespace {

constexpr auto kProcess = FaultClass::kProcess;
constexpr Duration kStopTimeout = 5s;

void Kill(Injector& in, const Fault& fault) {
  if (!in.Node(fault).up()) return;
  in.Count(fault);
  in.Kill(in.Node(fault), fault.length);
}

void KillAll(Injector& in, const Fault& fault) {
  in.Count(fault);
  Random random(fault.draw);
  for (auto& node : in.cluster().nodes()) {
    in.Kill(*node, Duration(random.Below(static_cast<uint64_t>(fault.length.count()) + 1)));
  }
}

void KillLeader(Injector& in, const Fault& fault) {
  SimNode* leader = in.cluster().BusiestLeader();
  if (leader == nullptr) return;
  in.Count(fault);
  in.Kill(*leader, fault.length);
}

// Dies at one of the next moments of a kind, or not at all if none comes within the window.
void KillAtPoint(Injector& in, const Fault& fault, std::function<bool(DiskPoint)> wanted) {
  SimNode& node = in.Node(fault);
  auto skip = std::make_shared<uint64_t>(fault.draw % 20);
  node.disk().AtPoint([&in, &node, fault, wanted, skip](DiskPoint point, const std::string&) {
    if (!node.up() || !wanted(point) || (*skip)-- > 0) return;
    in.Count(fault);
    node.disk().AtPoint(nullptr);
    node.DieHere([&in, &node, fault] { in.BootLater(node, fault.length / 4); });
  });
  in.Until(fault, [&node] { node.disk().AtPoint(nullptr); });
}

void KillBeforeSync(Injector& in, const Fault& fault) {
  KillAtPoint(in, fault, [](DiskPoint point) { return point == DiskPoint::kSyncBegun; });
}

void KillAfterSync(Injector& in, const Fault& fault) {
  KillAtPoint(in, fault, [](DiskPoint point) { return point == DiskPoint::kSynced; });
}

void KillAtSegmentChange(Injector& in, const Fault& fault) {
  Fault soon = fault;
  soon.draw %= 4;
  KillAtPoint(in, soon, [](DiskPoint point) {
    return point != DiskPoint::kSyncBegun && point != DiskPoint::kSynced;
  });
}

void KillAtStorePoint(Injector& in, const Fault& fault, SimNode::StorePoint wanted) {
  SimNode& node = in.Node(fault);
  node.AtStorePoint([&in, &node, fault, wanted](SimNode::StorePoint point) {
    if (!node.up() || point != wanted) return;
    in.Count(fault);
    node.AtStorePoint(nullptr);
    node.DieHere([&in, &node, fault] { in.BootLater(node, fault.length / 4); });
  });
  in.Until(fault, [&node] { node.AtStorePoint(nullptr); });
}

void KillInCheckpoint(Injector& in, const Fault& fault) {
  KillAtStorePoint(in, fault, SimNode::StorePoint::kCommitBegun);
}

void KillAfterCheckpoint(Injector& in, const Fault& fault) {
  KillAtStorePoint(in, fault, SimNode::StorePoint::kCommitted);
}

void RestartStorm(Injector& in, const Fault& fault) {
  in.Count(fault);
  Random random(fault.draw);
  const int times = static_cast<int>(random.Between(3, 12));
  for (int i = 0; i < times; ++i) {
    in.Later(Duration(random.Below(static_cast<uint64_t>(fault.length.count()) + 1)),
             [&in, &node = in.NodeAt(static_cast<int>(random.Below(100)))] {
               if (node.up()) in.Kill(node, 50ms);
             });
  }
}

void KillWhileStarting(Injector& in, const Fault& fault) {
  SimNode& node = in.Node(fault);
  if (!node.up()) return;
  in.Count(fault);
  in.Kill(node, 100ms);
  in.Later(100ms + Duration(fault.draw % 400'000'000), [&in, &node] {
    if (node.up()) in.Kill(node, 100ms);
  });
}

// ---- pauses -------------------------------------------------------------------------------------

void Pause(Injector& in, const Fault& fault) {
  SimNode& node = in.Node(fault);
  if (!node.up()) return;
  in.Count(fault);
  node.process()->Pause(in.world().now() + fault.length);
}

void PauseLeader(Injector& in, const Fault& fault) {
  SimNode* leader = in.cluster().BusiestLeader();
  if (leader == nullptr) return;
  in.Count(fault);
  leader->process()->Pause(in.world().now() + fault.length);
}

void FreezeAll(Injector& in, const Fault& fault) {
  in.Count(fault);
  for (auto& node : in.cluster().nodes()) {
    if (node->up()) node->process()->Pause(in.world().now() + fault.length);
  }
}

void Strobe(Injector& in, const Fault& fault) {
  in.Count(fault);
  SimNode& node = in.Node(fault);
  for (Duration at(0); at < fault.length; at += 200ms) {
    in.Later(at, [&in, &node] {
      if (node.up()) node.process()->Pause(in.world().now() + 150ms);
    });
  }
}

void SlowNode(Injector& in, const Fault& fault) {
  SimNode& node = in.Node(fault);
  if (!node.up()) return;
  in.Count(fault);
  node.process()->SlowDown(Duration(static_cast<int64_t>(fault.strength * 1e9)));
  in.Until(fault, [&node] {
    if (node.up()) node.process()->SlowDown(Process::kTurnDelayMax);
  });
}

// ---- clean stops --------------------------------------------------------------------------------

void CleanRestart(Injector& in, const Fault& fault) {
  SimNode& node = in.Node(fault);
  if (!node.up()) return;
  in.Count(fault);
  node.Stop(kStopTimeout, [&in, &node, fault] { in.BootLater(node, fault.length); });
}

void KillWhileStopping(Injector& in, const Fault& fault) {
  SimNode& node = in.Node(fault);
  if (!node.up()) return;
  in.Count(fault);
  node.Stop(kStopTimeout, [&in, &node, fault] { in.BootLater(node, fault.length); });
  in.Later(Duration(fault.draw % 1'000'000'000), [&in, &node, fault] {
    if (node.up() && node.node()->stopping()) in.Kill(node, fault.length);
  });
}

// The next one goes when the one before serves again.
void RollFrom(Injector& in, int index, int left) {
  if (left == 0) return;
  SimNode& node = in.NodeAt(index);
  if (!node.up() || !node.node()->ready()) {
    in.Later(500ms, [&in, index, left] { RollFrom(in, index, left); });
    return;
  }
  node.Stop(kStopTimeout, [&in, &node, index, left] {
    in.BootLater(node, 100ms);
    in.Later(500ms, [&in, index, left] { RollFrom(in, index + 1, left - 1); });
  });
}

void RollingRestart(Injector& in, const Fault& fault) {
  in.Count(fault);
  RollFrom(in, fault.node, in.count());
}

// ---- second copies ------------------------------------------------------------------------------

void SecondCopy(Injector& in, const Fault& fault) {
  SimNode& node = in.Node(fault);
  if (!node.up() || in.excused(node)) return;
  in.Count(fault);
  const Status status = node.StartCopy();
  if (status.code() == Code::kFailedPrecondition) return;
  in.Violation(fmt::format("a second process on the directory of {} was not refused: {}",
                           node.address(), status.ToString()));
}

}  // namespace

std::vector<FaultKind> ProcessFaults() {
  // clang-format off
  return {
      {"kill", kProcess, "a process is killed", 0.5, {4, 40}, {0.05, 8}, {}, Kill},
      {"kill-leader", kProcess, "the node that leads most shards is killed", 0.25, {6, 40}, {0.05,
       8}, {}, KillLeader},
      {"kill-all", kProcess, "all processes are killed", 0.12, {15, 60}, {0.1, 4}, {}, KillAll},
      {"kill-before-sync", kProcess, "killed with a log write on its way to the disk", 0.15, {5,
       40}, {1, 8}, {}, KillBeforeSync},
      {"kill-after-sync", kProcess, "killed when a sync is done and nobody knows", 0.15, {5, 40},
       {1, 8}, {}, KillAfterSync},
      {"kill-at-segment-change", kProcess, "killed right after a file was made, renamed or removed",
       0.15, {5, 40}, {5, 20}, {}, KillAtSegmentChange},
      {"kill-in-checkpoint", kProcess, "killed with a checkpoint on its way to the store", 0.15, {5,
       40}, {3, 10}, {}, KillInCheckpoint},
      {"kill-after-checkpoint", kProcess, "killed right after a checkpoint", 0.12, {5, 40}, {3, 10},
       {}, KillAfterCheckpoint},
      {"restart-storm", kProcess, "processes are killed again and again", 0.1, {15, 60}, {1, 10},
       {}, RestartStorm},
      {"kill-while-starting", kProcess, "killed again while it recovers", 0.12, {10, 60}, {}, {},
       KillWhileStarting},
      {"pause", kProcess, "a process stands still for a while", 0.3, {5, 40}, {0.05, 6}, {}, Pause},
      {"pause-leader", kProcess, "the node that leads most shards stands still", 0.2, {5, 40},
       {0.05, 6}, {}, PauseLeader},
      {"freeze-all", kProcess, "all processes stand still", 0.1, {15, 60}, {0.1, 5}, {}, FreezeAll},
      {"stutter", kProcess, "a process runs 50 ms of every 200", 0.1, {15, 60}, {1, 10}, {},
       Strobe},
      {"slow-node", kProcess, "every turn of a process is late", 0.15, {10, 60}, {1, 15}, {1e-4,
       2e-2}, SlowNode},
      {"clean-restart", kProcess, "a node is asked to stop, and started again", 0.15, {10, 60},
       {0.1, 5}, {}, CleanRestart},
      {"kill-while-stopping", kProcess, "killed in the middle of a clean stop", 0.1, {10, 60}, {0.1,
       5}, {}, KillWhileStopping},
      {"rolling-restart", kProcess, "all nodes are restarted cleanly, one after the other", 0.1,
       {30, 90}, {}, {}, RollingRestart},
      {"second-copy", kProcess, "a second process on one directory: must be refused", 0.15, {5, 40},
       {}, {}, SecondCopy},
  };
  // clang-format on
}

}  // namespace quorate::sim
