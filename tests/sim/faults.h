// Faults: what goes wrong during the chaos phase.
//
// A kind has a name, a class and a sentence; faults_<class>.cc holds how each is injected. What
// happens in a run is a schedule: a list of faults, each a kind, a time and its parameters, drawn
// from the seed before the run. So single ones can be left out, and the rest stays what it was
// (shrink.h, script.h).
//
// What the cluster must survive: any number of nodes killed, paused or cut off at any moment, power
// loss of any of them with unsynced writes lost or torn, refusals and delays of their disks, and
// damage to synced data on a minority of each group's replicas (atlas.h). What it need not: damage
// to a majority, and boot clocks that drift beyond the lease's margin while leases are used.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/random.h"

namespace quorate::sim {

struct Options;
class Injector;
struct FaultKind;

// One occurrence.
struct Fault {
  Duration at{0};  // since the start of chaos
  const FaultKind* kind = nullptr;
  int node = 0;         // index; taken modulo the number of nodes
  int other = 0;        // a second one, where the kind needs it; may be equal
  Duration length{0};   // of those that last
  double strength = 0;  // a probability, a factor, a share: see the kind
  uint64_t draw = 0;    // seeds what else the occurrence decides
};

enum class FaultClass : uint8_t { kNetwork, kProcess, kDisk, kClock, kIdentity, kCluster };
std::string_view ClassName(FaultClass type);

struct Range {
  double low = 0;
  double high = 0;
};

struct FaultKind {
  std::string_view name;
  FaultClass type;
  std::string_view meaning;
  double chance;   // that a seed has it
  Range every_s;   // mean time between two of them, over the whole cluster
  Range length_s;  // empty: a moment
  Range strength;
  void (*inject)(Injector& injector, const Fault& fault);
  // Only where reads are confirmed by a quorum: it breaks what leases rest on.
  bool quorum_reads_only = false;
};

// All kinds, by class and then as they are defined.
const std::vector<FaultKind>& FaultKinds();
const FaultKind* FindFaultKind(std::string_view name);

// Which kinds a run may draw; `only` empty: all.
struct FaultFilter {
  std::set<std::string, std::less<>> only;
  std::set<std::string, std::less<>> without;
  bool Allows(const FaultKind& kind) const;
  // Named in `only`: drawn in every seed.
  bool Forces(const FaultKind& kind) const { return only.contains(kind.name); }
};

// In order of time. Each kind draws from a stream of its own.
std::vector<Fault> DrawSchedule(const Options& options, const FaultFilter& filter);

// One line: "at=12.345 kill node=2 ..."; what is zero is left out.
std::string ToText(const Fault& fault);
bool ParseFault(std::string_view line, Fault* fault, std::string* error);

// Log-uniform within the range.
double DrawFrom(Random& random, Range range);

// The tables of the classes.
std::vector<FaultKind> NetworkFaults();
std::vector<FaultKind> ProcessFaults();
std::vector<FaultKind> DiskFaultKinds();
std::vector<FaultKind> ClockFaults();
std::vector<FaultKind> IdentityFaults();
std::vector<FaultKind> ClusterFaults();
// Of several classes: aimed at a step of a commit or an election.
std::vector<FaultKind> AimedFaults();

}  // namespace quorate::sim
