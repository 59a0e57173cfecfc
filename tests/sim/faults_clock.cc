// Clock faults. Only leases rest on a clock, on the boot clock's rate; the wall clock feeds the
// oracle, which must stand anything.
#include "base/limits.h"
#include "tests/sim/injector.h"

namespace quorate::sim {

namespace {

constexpr auto kClock = FaultClass::kClock;

int64_t Milliseconds(const Fault& fault) { return static_cast<int64_t>(fault.strength * 1e3); }

void JumpForward(Injector& in, const Fault& fault) {
  in.Count(fault);
  in.Node(fault).clock().JumpWall(Milliseconds(fault));
}

void JumpBack(Injector& in, const Fault& fault) {
  in.Count(fault);
  in.Node(fault).clock().JumpWall(-Milliseconds(fault));
}

void Skew(Injector& in, const Fault& fault) {
  in.Count(fault);
  SimNode& node = in.Node(fault);
  node.clock().SkewWall(fault.draw % 2 == 0 ? Milliseconds(fault) : -Milliseconds(fault));
  in.Until(fault, [&node] { node.clock().SkewWall(0); });
}

void Strobe(Injector& in, const Fault& fault) {
  in.Count(fault);
  SimNode& node = in.Node(fault);
  bool ahead = false;
  for (Duration at(0); at < fault.length; at += 50ms) {
    ahead = !ahead;
    in.Later(at, [&node, ms = ahead ? Milliseconds(fault) : 0] { node.clock().SkewWall(ms); });
  }
  in.Until(fault, [&node] { node.clock().SkewWall(0); });
}

void Freeze(Injector& in, const Fault& fault) {
  in.Count(fault);
  SimNode& node = in.Node(fault);
  node.clock().FreezeWall();
  in.Until(fault, [&node] { node.clock().ThawWall(); });
}

// Within what the lease's margin allows for.
void Drift(Injector& in, const Fault& fault) {
  in.Count(fault);
  SimNode& node = in.Node(fault);
  const double usual = node.clock().drift();
  node.clock().SetDrift(fault.draw % 2 == 0 ? fault.strength : -fault.strength);
  in.Until(fault, [&node, usual] { node.clock().SetDrift(usual); });
}

// The machine is suspended and its boot clock with it: no lease can notice (DX5).
void FrozenGuest(Injector& in, const Fault& fault) {
  SimNode& node = in.Node(fault);
  if (!node.up()) return;
  in.Count(fault);
  node.process()->Pause(in.world().now() + fault.length);
  node.clock().FreezeBoot(fault.length);
  in.world().At(fault.length, [&node] { node.clock().ThawBoot(); });
}

}  // namespace

std::vector<FaultKind> ClockFaults() {
  // clang-format off
  return {
      {"clock-jump-forward", kClock, "a wall clock jumps ahead", 0.15, {5, 40}, {}, {0.01, 120},
       JumpForward},
      {"clock-jump-back", kClock, "a wall clock jumps back", 0.15, {5, 40}, {}, {0.01, 120},
       JumpBack},
      {"clock-skew", kClock, "a wall clock is wrong for a while", 0.15, {5, 40}, {1, 20}, {0.01,
       30}, Skew},
      {"clock-strobe", kClock, "a wall clock jumps to and fro", 0.1, {10, 60}, {1, 10}, {0.01, 10},
       Strobe},
      {"clock-freeze", kClock, "a wall clock stands still", 0.1, {10, 60}, {1, 15}, {}, Freeze},
      {"clock-drift", kClock, "a boot clock runs fast or slow, within the lease's margin", 0.15,
       {10, 60}, {1, 20}, {1e-4, 2e-2}, Drift},
      {"clock-drift-wild", kClock, "a boot clock runs at half to double rate", 0.5, {10, 60}, {1,
       20}, {0.05, 0.5}, Drift, true},
      {"frozen-guest", kClock, "a machine is suspended and its boot clock does not notice", 0.5,
       {10, 60}, {0.1, 10}, {}, FrozenGuest, true},
  };
  // clang-format on
}

}  // namespace quorate::sim
