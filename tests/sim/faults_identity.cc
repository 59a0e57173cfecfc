// Identity faults: a machine comes up with another disk than its own. It must refuse, or be no
// member, or be repaired; its own disk is put back at the end of the window, and is then one that
// was away for a while. Or it comes up with an earlier state of its own disk, which counts as
// damage to all that it had, or a copy of that comes up elsewhere, which must not count at all.
#include <fmt/format.h>

#include <algorithm>

#include "base/crc32c.h"
#include "server/node/incarnations.h"
#include "server/node/member.h"
#include "storage/wal_format.h"
#include "storage/wal_reader.h"
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

// ---- copied, and put back -----------------------------------------------------------------------

// Whether placement's log has the start of `node` that runs. Until then an earlier one may take its
// place, if this one is not heard of there (0021, "What it does not find out").
bool PlacementKnows(Injector& in, SimNode& node) {
  const auto& nodes = in.cluster().nodes();
  return std::any_of(nodes.begin(), nodes.end(), [&](const auto& other) {
    const server::Member* member = other->up() ? other->node()->member() : nullptr;
    if (member == nullptr || member->placement() == nullptr) return false;
    const v1::NodeInfo* known = member->placement()->machine().nodes().Find(node.node()->id());
    return known != nullptr &&
           server::FromProto(known->incarnation()) == node.node()->incarnations().current();
  });
}

// Whether each other node runs and has heard of the start of `node` that runs, so that it will not
// listen to an earlier one.
bool OthersKnow(Injector& in, SimNode& node) {
  if (!node.up() || !node.node()->id() || !PlacementKnows(in, node)) return false;
  const auto& nodes = in.cluster().nodes();
  return std::all_of(nodes.begin(), nodes.end(), [&](const auto& other) {
    return other.get() == &node ||
           (other->up() && other->node()->incarnations().Remembered(node.node()->id()) ==
                               node.node()->incarnations().current());
  });
}

using WithImage = std::function<void(SimNode& node, const SimNode::Image& image)>;

void WhenOthersKnow(Injector& in, const Fault& fault, std::shared_ptr<SimNode::Image> image,
                    int since, int tries, const WithImage& act) {
  SimNode& node = in.Node(fault);
  if (tries == 0 || !in.own_disk(node)) return;
  if (node.up() && node.incarnations() > since && OthersKnow(in, node)) return act(node, *image);
  in.Later(500ms, [&in, fault, image, since, tries, act] {
    WhenOthersKnow(in, fault, image, since, tries - 1, act);
  });
}

// The machine stops and goes on, and with what it had at the stop `act` does something a while
// later.
void WithEarlierState(Injector& in, const Fault& fault, const WithImage& act) {
  SimNode& node = in.Node(fault);
  if (!node.up() || !in.own_disk(node)) return;
  node.Crash();
  auto image = std::make_shared<SimNode::Image>(node.TakeImage());
  in.BootLater(node, 100ms);
  in.Later(fault.length, [&in, fault, image, since = node.incarnations(), act] {
    WhenOthersKnow(in, fault, image, since, 20, act);
  });
}

// Whether the node has written down that its log may lack records.
bool SaysLost(SimNode& node) {
  for (const std::string& path : node.disk().Paths("data/wal/")) {
    const std::string& content = *node.disk().Content(path);
    storage::SegmentHeader header;
    if (storage::DecodeSegmentHeader(content, &header) != storage::HeaderState::kValid) continue;
    const uint32_t seed = storage::SegmentSeed(header.log_id, header.number);
    for (const storage::ScanItem& item : storage::ScanSegment(content, seed)) {
      storage::Note note;
      if (item.kind == storage::ScanItem::Kind::kRecord &&
          item.frame.group == storage::kNoteGroup && storage::DecodeNote(item.body, &note) &&
          note.lost) {
        return true;
      }
    }
  }
  return false;
}

// Once the others listen to the node again, it has given up what its replicas had promised: of its
// promises since, the disk says nothing.
void WatchReverted(Injector& in, SimNode& node, int harms) {
  if (node.harms() != harms || !in.own_disk(node)) return;
  if (!OthersKnow(in, node)) {
    return in.Later(250ms, [&in, &node, harms] { WatchReverted(in, node, harms); });
  }
  if (SaysLost(node)) return;
  in.Violation(node.address() + " was put back to an earlier state, and its log goes on");
}

void Reverted(Injector& in, const Fault& fault) {
  WithEarlierState(in, fault, [&in, fault](SimNode& node, const SimNode::Image& image) {
    if (!in.atlas().MayDamage(node)) return;
    in.Count(fault);
    in.atlas().Reverted(node);
    node.Crash();
    node.Restore(image);
    // Of one that has lost records before, nobody can tell.
    if (!SaysLost(node)) WatchReverted(in, node, node.harms());
    in.BootLater(node, Duration(fault.draw % 5'000'000'000));
  });
}

// A second process of the same node, elsewhere, while the node goes on: it must end by itself.
void Copied(Injector& in, const Fault& fault) {
  WithEarlierState(in, fault, [&in, fault](SimNode& node, const SimNode::Image& image) {
    in.Count(fault);
    const std::shared_ptr<SimNode> copy = in.cluster().MakeMachine();
    copy->Restore(image);
    copy->OnFatal([&in, copy = copy.get()](const Status& status) {
      if (status.code() == Code::kFailedPrecondition) return;
      in.Violation("the copy of a node stopped: " + status.ToString());
    });
    const Status started = copy->Start(in.cluster().addresses());
    if (!started.ok()) in.Violation("the copy of a node does not start: " + started.ToString());
    for (Duration at = 250ms; at < 8s; at += 250ms) {
      in.Later(at, [&in, copy] {
        if (copy->up() && copy->node()->ready()) in.Violation("the copy of a node serves");
      });
    }
    Fault window = fault;
    window.length = 8s;
    in.Until(window, [copy] { copy->Crash(); });
  });
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
      {"directory-reverted", kIdentity, "a data directory is put back to an earlier state", 0.2,
       {10, 60}, {1, 15}, {}, Reverted},
      {"directory-copied", kIdentity, "a copy of a data directory is started beside it", 0.15,
       {10, 60}, {1, 15}, {}, Copied},
  };
  // clang-format on
}

}  // namespace quorate::sim
