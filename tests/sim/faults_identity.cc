// Identity faults: a machine comes up with another disk than its own. It must refuse, or be no
// member, or be repaired; its own disk is put back at the end of the window, and is then one that
// was away for a while.
#include <fmt/format.h>

#include "base/crc32c.h"
#include "tests/sim/injector.h"

namespace quorate::sim {

namespace {

constexpr auto kIdentity = FaultClass::kIdentity;
constexpr char kIdentityPath[] = "data/IDENTITY";

// Runs the machine on `image` for the window.
void SwapDisk(Injector& in, const Fault& fault, const SimNode::Image& image) {
  SimNode& node = in.Node(fault);
  if (!in.own_disk(node)) return;
  in.Count(fault);
  in.Excuse(node, fault.length);
  node.Crash();
  auto own = std::make_shared<SimNode::Image>(node.TakeImage());
  node.Restore(image);
  in.BootLater(node, 100ms);
  in.BorrowDisk(fault, node, [&in, &node, own] {
    node.Crash();
    node.Restore(*own);
    in.BootLater(node, 100ms);
  });
}

void EmptyDisk(Injector& in, const Fault& fault) { SwapDisk(in, fault, {}); }

// Puts `lines` in the place of those that name cluster and node; false: there are none.
bool ReplaceMembership(std::string* identity, const std::string& lines) {
  const size_t from = identity->find("cluster ");
  const size_t to = identity->find("storage ");
  const size_t crc = identity->find("crc ");
  if (from == std::string::npos || to == std::string::npos || crc == std::string::npos)
    return false;
  identity->resize(crc);
  identity->replace(from, to - from, lines);
  *identity += fmt::format("crc {:08x}\n", Crc32c(*identity));
  return true;
}

// As if it had died when it had stored the message that made it a member, and before its identity
// said so: it must come up as that member.
void EarlyIdentity(Injector& in, const Fault& fault) {
  SimNode& node = in.Node(fault);
  const std::string* content = node.disk().Content(kIdentityPath);
  if (!in.own_disk(node) || content == nullptr) return;
  std::string identity = *content;
  if (!ReplaceMembership(&identity, "cluster none\nnode 0\n")) return;
  in.Count(fault);
  node.Crash();
  node.disk().ReplaceFile(kIdentityPath, identity);
  in.BootLater(node, fault.length);
}

// The disk of a cluster with the same names and another id.
void WrongCluster(Injector& in, const Fault& fault) {
  SimNode::Image image = in.Node(fault).TakeImage();
  std::string& identity = image.disk.files[kIdentityPath];
  const std::string other =
      fmt::format("cluster {}\nnode {}\n", std::string(32, 'e'), in.Node(fault).index() + 1);
  if (!ReplaceMembership(&identity, other)) return;
  for (const char* name : {"data/BOOTSTRAP", "data/BOOTSTRAPPED"}) image.disk.files.erase(name);
  SwapDisk(in, fault, image);
}

}  // namespace

std::vector<FaultKind> IdentityFaults() {
  // clang-format off
  return {
      {"empty-disk", kIdentity, "a node comes back with an empty disk, later with its own", 0.12,
       {10, 60}, {0.5, 8}, {}, EmptyDisk},
      {"wrong-cluster-disk", kIdentity, "a node comes up with the disk of another cluster", 0.12,
       {10, 60}, {0.5, 8}, {}, WrongCluster},
      {"early-identity", kIdentity, "the identity file is as before the node was a member", 0.1,
       {10, 60}, {0.1, 5}, {}, EarlyIdentity},
  };
  // clang-format on
}

}  // namespace quorate::sim
