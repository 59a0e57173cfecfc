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

// The disk of a cluster with the same names and another id.
void WrongCluster(Injector& in, const Fault& fault) {
  SimNode::Image image = in.Node(fault).TakeImage();
  std::string& identity = image.disk.files[kIdentityPath];
  const size_t at = identity.find("cluster ");
  const size_t crc = identity.find("crc ");
  if (at == std::string::npos || crc == std::string::npos) return;
  identity.replace(at + 8, 32, std::string(32, 'e'));
  identity.resize(crc);
  identity += fmt::format("crc {:08x}\n", Crc32c(identity));
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
  };
  // clang-format on
}

}  // namespace quorate::sim
