// Network faults. Most are rules on links for a while (sim_network.h); partitions are sets of
// blocked directions. Clients are cut off only where the kind says so.
#include <algorithm>
#include <numeric>

#include "tests/sim/injector.h"

namespace quorate::sim {

namespace {

constexpr auto kNetwork = FaultClass::kNetwork;
// How long a stranded node sees no other once it goes on.
constexpr Duration kStrandedFor = 1500ms;
// How long a restarted bridge sees one half only: about a lease.
constexpr Duration kUnseenFor = 600ms;
// By how much answers get later, and how often; less than they are apart, so that some still come.
constexpr Duration kLaterBy = 80ms;
constexpr Duration kLaterEvery = 100ms;

// A probability on every link.
template <double LinkRule::*kWhat>
void OnAllLinks(Injector& in, const Fault& fault) {
  in.Count(fault);
  LinkRule rule;
  rule.*kWhat = fault.strength;
  in.Rule(fault, rule);
}

void LatencyTail(Injector& in, const Fault& fault) {
  in.Count(fault);
  Random random(fault.draw);
  in.Rule(fault, {.tail = fault.strength,
                  .tail_max = Duration(random.Between(20'000'000, 1'000'000'000))});
}

void SlowLink(Injector& in, const Fault& fault) {
  in.Count(fault);
  const Duration delay(static_cast<int64_t>(fault.strength * 1e9));
  in.Rule(fault, {.from = in.Node(fault).address(), .delay = delay});
  in.Rule(fault, {.to = in.Node(fault).address(), .delay = delay});
}

void BandwidthCap(Injector& in, const Fault& fault) {
  in.Count(fault);
  in.Rule(fault, {.from = in.Node(fault).address(),
                  .bytes_per_second = static_cast<uint64_t>(fault.strength)});
}

void Clog(Injector& in, const Fault& fault) {
  in.Count(fault);
  in.Rule(fault, {.from = in.Node(fault).address(), .to = in.Other(fault).address(), .hold = true});
}

// Nodes are clogged one after the other, and released in another order.
void SwizzleClog(Injector& in, const Fault& fault) {
  in.Count(fault);
  Random random(fault.draw);
  for (int i = 0; i < in.count(); ++i) {
    if (!random.Chance(0.6)) continue;
    const auto begin = Duration(random.Below(static_cast<uint64_t>(fault.length.count()) + 1));
    Fault window = fault;
    window.length = Duration(random.Below(static_cast<uint64_t>(fault.length.count()) + 1));
    in.Later(begin, [&in, window, address = in.NodeAt(i).address()] {
      in.Rule(window, {.from = address, .hold = true});
      in.Rule(window, {.to = address, .hold = true});
    });
  }
}

// ---- partitions ---------------------------------------------------------------------------------

void Partition(Injector& in, const Fault& fault) {
  Random random(fault.draw);
  std::vector<int> sides(static_cast<size_t>(in.count()));
  for (int& side : sides) side = random.Chance(0.4) ? 1 : 0;
  const bool divides = std::count(sides.begin(), sides.end(), sides[0]) != in.count();
  if (!divides) sides[static_cast<size_t>(fault.node % in.count())] ^= 1;
  in.Count(fault);
  for (int a = 0; a < in.count(); ++a) {
    for (int b = 0; b < a; ++b) {
      if (sides[static_cast<size_t>(a)] == sides[static_cast<size_t>(b)]) continue;
      in.BlockBothWays(fault, in.NodeAt(a).address(), in.NodeAt(b).address());
    }
  }
}

void OneWay(Injector& in, const Fault& fault) {
  in.Count(fault);
  for (int i = 0; i < in.count(); ++i) {
    if (i == in.Node(fault).index()) continue;
    in.Rule(fault, {.from = in.Node(fault).address(), .to = in.NodeAt(i).address(), .block = true});
  }
}

// One pair does not see each other; everybody else sees both.
void Partial(Injector& in, const Fault& fault) {
  in.Count(fault);
  in.BlockBothWays(fault, in.Node(fault).address(), in.Other(fault).address());
}

// Each node sees a majority, no two the same: only neighbours on a ring talk to each other.
void MajoritiesRing(Injector& in, const Fault& fault) {
  in.Count(fault);
  Random random(fault.draw);
  std::vector<int> ring(static_cast<size_t>(in.count()));
  std::iota(ring.begin(), ring.end(), 0);
  std::shuffle(ring.begin(), ring.end(), random);
  const int n = in.count();
  if (n == 3) return Partial(in, fault);
  for (int a = 0; a < n; ++a) {
    for (int b = 0; b < a; ++b) {
      if (a - b == 1 || a - b == n - 1) continue;
      in.BlockBothWays(fault, in.NodeAt(ring[static_cast<size_t>(a)]).address(),
                       in.NodeAt(ring[static_cast<size_t>(b)]).address());
    }
  }
}

// Which half a node belongs to, if `bridge` belongs to both.
int HalfOf(int node, int bridge) { return (node > bridge ? node - 1 : node) % 2; }

// Two halves that only one node sees both of.
void Bridge(Injector& in, const Fault& fault) {
  in.Count(fault);
  const int bridge = in.Node(fault).index();
  for (int a = 0; a < in.count(); ++a) {
    for (int b = 0; b < a; ++b) {
      if (a == bridge || b == bridge || HalfOf(a, bridge) == HalfOf(b, bridge)) continue;
      in.BlockSomehow(fault, in.NodeAt(a).address(), in.NodeAt(b).address());
    }
  }
}

void Isolate(Injector& in, const Fault& fault, SimNode* node) {
  if (node == nullptr) return;
  in.Count(fault);
  for (int i = 0; i < in.count(); ++i) {
    if (i != node->index()) in.BlockSomehow(fault, node->address(), in.NodeAt(i).address());
  }
}

// Its peers' answers come later and later, and then it is not heard any more: it still gets answers
// to what it sent seconds ago when another leads.
void LateAnswers(Injector& in, const Fault& fault) {
  SimNode* leader = in.cluster().BusiestLeader();
  if (leader == nullptr) return;
  in.Count(fault);
  const auto to_and_from = [&in, address = leader->address()](auto visit) {
    for (const auto& node : in.cluster().nodes()) {
      if (node->address() != address) visit(node->address(), address);
    }
  };
  Fault window = fault;  // of the first delay: until the leader has been mute as long as it was not
  window.length = 2 * fault.length;
  for (Duration at(0); at < fault.length; at += kLaterEvery) {
    in.Later(at, [&in, window, to_and_from] {
      to_and_from([&](const std::string& peer, const std::string& leader) {
        in.Rule(window, {.from = peer, .to = leader, .delay = kLaterBy});
      });
    });
    window.length -= kLaterEvery;
  }
  in.Later(fault.length, [&in, fault, to_and_from] {
    to_and_from([&](const std::string& peer, const std::string& leader) {
      const bool peers_only = fault.draw % 2 != 0;
      in.Rule(fault, {.from = leader, .to = peer, .block = !peers_only, .block_peers = peers_only});
    });
  });
}

// Two halves, and the node that sees both dies again and again, but for a moment only, and then
// sees one half first: who asks it for its vote right after that must not get it while the leader
// on the other side has its lease. Clients see one half each, so that both would be written to.
void RestartedBridge(Injector& in, const Fault& fault) {
  Bridge(in, fault);
  Random random(fault.draw);
  const int bridge = in.Node(fault).index();
  for (int i = 0; i < in.cluster().options().clients; ++i) {
    const SimClient* client = in.hooks().client(i);
    const int half = static_cast<int>(random.Below(2));
    for (int a = 0; a < in.count() && client != nullptr; ++a) {
      if (a == bridge || HalfOf(a, bridge) == half) continue;
      in.BlockBothWays(fault, client->address(), in.NodeAt(a).address());
    }
  }
  for (Duration at(0); at < fault.length;) {
    at += Duration(random.Between(300'000'000, 1'500'000'000));
    const Duration down(random.Between(1'000'000, 50'000'000));
    const int unseen = static_cast<int>(random.Below(2));
    if (at >= fault.length) break;
    in.Later(at, [&in, fault, bridge, down, unseen] {
      in.Kill(in.Node(fault), down);
      Fault window = fault;
      window.length = kUnseenFor;
      for (int a = 0; a < in.count(); ++a) {
        if (a == bridge || HalfOf(a, bridge) != unseen) continue;
        const std::string &from = in.Node(fault).address(), &to = in.NodeAt(a).address();
        in.Rule(window, {.from = from, .to = to, .block_peers = true});
        in.Rule(window, {.from = to, .to = from, .block_peers = true});
      }
    });
  }
}

void IsolateLeader(Injector& in, const Fault& fault) {
  Isolate(in, fault, in.cluster().BusiestLeader());
}

void IsolateOracle(Injector& in, const Fault& fault) {
  Isolate(in, fault, in.cluster().PlacementLeader());
}

// It stands still until its lease is over and another leads; when it goes on it does not know, and
// clients that do not know either are served by it, while others write elsewhere.
void Strand(Injector& in, const Fault& fault, SimNode* node) {
  if (node == nullptr) return;
  node->process()->Pause(in.world().now() + fault.length);
  Fault cut = fault;
  cut.length += kStrandedFor;
  Isolate(in, cut, node);
  in.CutClients(cut, *node);
}

void StrandLeader(Injector& in, const Fault& fault) {
  Strand(in, fault, in.cluster().BusiestLeader());
}

void StrandOracle(Injector& in, const Fault& fault) {
  Strand(in, fault, in.cluster().PlacementLeader());
}

// Nobody at all reaches it, clients included.
void BlackHole(Injector& in, const Fault& fault) {
  in.Count(fault);
  in.Rule(fault, {.from = in.Node(fault).address(), .block = true, .half_open = true});
  in.Rule(fault, {.to = in.Node(fault).address(), .block = true, .half_open = true});
}

void ClientCut(Injector& in, const Fault& fault) {
  SimClient* client = in.hooks().client(fault.node);
  if (client == nullptr) return;
  in.Count(fault);
  in.Rule(fault, {.from = client->address(), .to = in.Other(fault).address(), .block = true});
  if (fault.draw % 2 == 0) {
    in.Rule(fault, {.from = in.Other(fault).address(), .to = client->address(), .block = true});
  }
}

void HalfOpen(Injector& in, const Fault& fault) {
  in.Count(fault);
  in.Rule(fault, {.half_open = true});
  in.Kill(in.Node(fault), fault.length / 2);
}

}  // namespace

std::vector<FaultKind> NetworkFaults() {
  // clang-format off
  return {
      {"loss", kNetwork, "messages are lost", 0.3, {5, 40}, {1, 60}, {1e-4, 5e-2},
       OnAllLinks<&LinkRule::loss>},
      {"duplicate", kNetwork, "messages arrive twice, soon", 0.2, {5, 40}, {1, 60}, {1e-4, 5e-2},
       OnAllLinks<&LinkRule::duplicate_soon>},
      {"duplicate-late", kNetwork, "messages arrive again up to two minutes late", 0.2, {5, 40}, {1,
       60}, {1e-4, 2e-2}, OnAllLinks<&LinkRule::duplicate_late>},
      {"reorder", kNetwork, "messages are overtaken by later ones", 0.2, {5, 40}, {1, 60}, {1e-3,
       0.3}, OnAllLinks<&LinkRule::reorder>},
      {"latency-tail", kNetwork, "some messages take up to a second", 0.3, {5, 40}, {1, 60}, {1e-4,
       5e-2}, LatencyTail},
      {"slow-link", kNetwork, "all messages from and to one node take longer", 0.15, {10, 60}, {1,
       15}, {0.01, 0.4}, SlowLink},
      {"bandwidth-cap", kNetwork, "a node sends at a few kilobytes per second", 0.12, {10, 60}, {1,
       10}, {5e3, 5e5}, BandwidthCap},
      {"clog", kNetwork, "one direction is held back, then released at once", 0.15, {5, 40}, {0.2,
       8}, {}, Clog},
      {"swizzle-clog", kNetwork, "nodes are clogged one by one and released in another order", 0.12,
       {10, 60}, {1, 8}, {}, SwizzleClog},
      {"partition", kNetwork, "the nodes fall into two sides", 0.25, {5, 40}, {0.5, 10}, {},
       Partition},
      {"partition-one-way", kNetwork, "a node hears others and is not heard", 0.2, {5, 40}, {0.5,
       10}, {}, OneWay},
      {"partition-partial", kNetwork, "two nodes cannot talk, others reach both", 0.2, {5, 40},
       {0.5, 10}, {}, Partial},
      {"majorities-ring", kNetwork, "every node sees a majority, no two the same", 0.1, {10, 60},
       {0.5, 10}, {}, MajoritiesRing},
      {"bridge-node", kNetwork, "two halves, and one node that sees both", 0.1, {10, 60}, {0.5, 10},
       {}, Bridge},
      {"restarted-bridge", kNetwork, "two halves, and the node that sees both dies for moments",
       0.2, {4, 30}, {1, 8}, {}, RestartedBridge},
      {"late-answers", kNetwork, "a leader's answers get later and later, then it goes unheard",
       0.15, {5, 40}, {1, 4}, {}, LateAnswers},
      {"isolated-leader", kNetwork, "the node that leads most shards sees no other", 0.2, {5, 40},
       {0.5, 10}, {}, IsolateLeader},
      {"isolated-oracle", kNetwork, "the node that hands out timestamps sees no other", 0.15, {5,
       40}, {0.5, 10}, {}, IsolateOracle},
      {"stranded-leader", kNetwork, "the busiest leader stands still, then sees clients only",
       0.25, {4, 30}, {0.8, 4}, {}, StrandLeader},
      {"stranded-oracle", kNetwork, "as stranded-leader, the node that hands out timestamps", 0.15,
       {5, 40}, {0.6, 3}, {}, StrandOracle},
      {"black-hole", kNetwork, "nothing gets to or from a node, and nobody is told", 0.12, {10, 60},
       {0.5, 8}, {}, BlackHole},
      {"client-cut", kNetwork, "a client does not reach one node, or is not answered", 0.15, {5,
       40}, {0.5, 10}, {}, ClientCut},
      {"half-open", kNetwork, "a node dies and its connections look alive", 0.1, {10, 60}, {1, 6},
       {}, HalfOpen},
      {"reset", kNetwork, "a call fails early though the other side may act", 0.2, {5, 40}, {1, 60},
       {1e-4, 2e-2}, OnAllLinks<&LinkRule::reset_call>},
      {"reset-mid-message", kNetwork, "a connection breaks in the middle of a message", 0.15, {5,
       40}, {1, 60}, {1e-4, 1e-2}, OnAllLinks<&LinkRule::reset_message>},
      {"bit-flip", kNetwork, "a bit of a frame flips: decoded, then dropped by TCP's checksum",
       0.12, {5, 40}, {1, 60}, {1e-4, 1e-2}, OnAllLinks<&LinkRule::bit_flip>},
      {"bit-flip-chunk", kNetwork, "a bit of a snapshot's data flips: its checksum must tell", 0.3,
       {5, 40}, {1, 60}, {0.01, 0.5}, OnAllLinks<&LinkRule::flip_chunk>},
      {"truncated-frame", kNetwork, "a frame ends early: decoded, then the connection breaks", 0.12,
       {5, 40}, {1, 60}, {1e-4, 1e-2}, OnAllLinks<&LinkRule::truncate>},
      {"oversized-frame", kNetwork, "a frame is larger than one may be", 0.05, {10, 60}, {1, 20},
       {1e-5, 1e-4}, OnAllLinks<&LinkRule::oversize>},
      {"stray-garbage", kNetwork, "frames of random bytes arrive besides", 0.12, {5, 40}, {1, 60},
       {1e-4, 1e-2}, OnAllLinks<&LinkRule::stray_garbage>},
      {"stray-cluster", kNetwork, "frames for another cluster arrive: must be refused", 0.12, {5,
       40}, {1, 60}, {1e-4, 1e-2}, OnAllLinks<&LinkRule::stray_cluster>},
      {"stray-node", kNetwork, "frames for another node arrive: must be refused", 0.12, {5, 40}, {1,
       60}, {1e-4, 1e-2}, OnAllLinks<&LinkRule::stray_node>},
  };
  // clang-format on
}

}  // namespace quorate::sim
