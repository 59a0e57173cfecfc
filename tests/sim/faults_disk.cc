// Disk faults. Refusals and delays may hit any number of machines; damage to what was synced is
// limited by the atlas to one machine at a time, and must heal from its peers.
//
// Two things no log can tell from what is allowed, so they are not injected: damage within the last
// write before a stop (that is what a torn write looks like), and the newest segment gone or put
// back to an earlier state as a whole (that is a log that ends earlier).
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>
#include <type_traits>

#include "raft/host/host.h"
#include "server/node/member.h"
#include "shard/shard.h"
#include "storage/wal_format.h"
#include "storage/wal_reader.h"
#include "tests/sim/injector.h"

namespace quorate::sim {

namespace {

constexpr auto kDisk = FaultClass::kDisk;
constexpr char kLogs[] = "data/wal/";

// ---- power --------------------------------------------------------------------------------------

template <PowerLossMode kMode>
void PowerLossOfOne(Injector& in, const Fault& fault) {
  if (!in.Node(fault).up()) return;
  in.Count(fault);
  in.PowerLoss(in.Node(fault), kMode, fault.length);
}

void PowerLossOfMajority(Injector& in, const Fault& fault) {
  in.Count(fault);
  const int majority = in.count() / 2 + 1;
  for (int i = 0; i < majority; ++i) {
    in.PowerLoss(in.NodeAt(fault.node + i), PowerLossMode::kSome, fault.length);
  }
}

void PowerLossOfAll(Injector& in, const Fault& fault) {
  in.Count(fault);
  Random random(fault.draw);
  const auto mode = static_cast<PowerLossMode>(random.Below(3));
  for (auto& node : in.cluster().nodes()) {
    in.PowerLoss(*node, mode,
                 Duration(random.Below(static_cast<uint64_t>(fault.length.count()) + 1)));
  }
}

// ---- refusals and delays ------------------------------------------------------------------------

// Sets a field of the disk's faults for the window. The node may stop, and refuse to start.
template <class T>
void With(Injector& in, const Fault& fault, T DiskFaults::*field, std::type_identity_t<T> value) {
  in.Count(fault);
  SimNode& node = in.Node(fault);
  in.Excuse(node, fault.length);
  node.disk().faults().*field = value;
  in.Until(fault, [&node, field] { node.disk().faults().*field = DiskFaults().*field; });
}

void SyncFails(Injector& in, const Fault& fault) {
  in.Node(fault).disk().faults().failed_sync_stays_cached = fault.draw % 2 == 0;
  With(in, fault, &DiskFaults::sync_failure, fault.strength);
}
void WriteFails(Injector& in, const Fault& fault) {
  With(in, fault, &DiskFaults::write_failure, fault.strength);
}
// Any read, or one of the log's.
void ReadFails(Injector& in, const Fault& fault) {
  if (fault.draw % 2 == 0) {
    With(in, fault, &DiskFaults::read_failure, fault.strength);
  } else {
    With(in, fault, &DiskFaults::log_reads_until_failure, 1 + fault.draw / 2 % 16);
  }
  if (in.Node(fault).up()) in.Kill(in.Node(fault), 200ms);
}

void SyncStalls(Injector& in, const Fault& fault) {
  in.Node(fault).disk().faults().stall =
      Duration(Random(fault.draw).Between(100'000'000, 5'000'000'000));
  With(in, fault, &DiskFaults::stall_chance, fault.strength);
}

// Takes from the node what its disk does not have: once it has started again, and perhaps counted
// on it, or right away.
void TakeFromCache(Injector& in, const Fault& fault, int incarnations) {
  SimNode& node = in.Node(fault);
  if (!node.disk().HoldsCachedOnly()) return;
  if (fault.draw % 4 == 0 && !node.up()) return node.disk().Evict();
  if (!node.up() || node.incarnations() == incarnations) {
    return in.Later(100ms, [&in, fault, incarnations] { TakeFromCache(in, fault, incarnations); });
  }
  in.Later(Duration(fault.draw % 3'000'000'000), [&in, &node, fault] {
    if (fault.draw % 4 == 1) {
      node.Crash();
      node.disk().Evict();
      return in.BootLater(node, 300ms);
    }
    in.PowerLoss(node, PowerLossMode::kNothingUnsynced, 300ms);
  });
}

// The next sync of the log fails, and what it was to sync stays readable until the machine loses
// power or its cache is short of room.
void SyncFailedThenCached(Injector& in, const Fault& fault) {
  SimNode& node = in.Node(fault);
  if (!node.up() || !in.own_disk(node)) return;
  in.Count(fault);
  in.Excuse(node, fault.length);
  node.disk().faults().fail_next_log_sync = true;
  in.Until(fault, [&node] { node.disk().faults().fail_next_log_sync = false; });
  in.Later(50ms, [&in, &node, fault, incarnations = node.incarnations()] {
    node.disk().faults().fail_next_log_sync = false;
    TakeFromCache(in, fault, incarnations);
  });
}

// Behind writeback a directory's sync may take longer than a lease. Nobody who serves waits for it.
void SlowDirectorySync(Injector& in, const Fault& fault) {
  SimNode& node = in.Node(fault);
  node.disk().OnBlocked([&in, &node](const std::string& path) {
    if (node.node() != nullptr && path.ends_with("/wal")) {
      in.Violation(node.address() + " waits for a directory while it serves: " + path);
    }
  });
  With(in, fault, &DiskFaults::slow_directory,
       Duration(static_cast<int64_t>(fault.strength * 1e9)));
}

void SlowDisk(Injector& in, const Fault& fault) {
  With(in, fault, &DiskFaults::slower, Duration(static_cast<int64_t>(fault.strength * 1e9)));
}

constexpr uint64_t kNearlyAll = (64ull << 30) - (128ull << 20);

// Below the watermark: writes are refused, nothing else happens.
void LowSpace(Injector& in, const Fault& fault) {
  With(in, fault, &DiskFaults::taken_bytes, kNearlyAll);
}

bool AllLowBut(Injector& in, SimNode& spare) {
  const auto& nodes = in.cluster().nodes();
  return std::all_of(nodes.begin(), nodes.end(), [&](const auto& node) {
    return node.get() == &spare || (node->up() && !node->node()->Status().accepts_writes());
  });
}

// Whether it leads a shard, has just heard of a majority, and would log what grows.
bool TakesGrowth(SimNode& node) {
  const server::Member* member = node.up() ? node.node()->member() : nullptr;
  if (member == nullptr || node.process()->paused()) return false;
  const auto shards = node.node()->shards();
  return std::any_of(shards.begin(), shards.end(), [&](const shard::Shard* shard) {
    const raft::GroupHandle* group = member->FindGroup(GroupId(shard->id().value()));
    return shard->serving() && group != nullptr && node.process()->Now() < group->lease_until() &&
           group->CheckRoom(raft::Growth::kGrows).ok();
  });
}

constexpr Duration kLook = 250ms;
constexpr Duration kNoticed = 4s;  // a node has looked at its disk, and others have heard of it

// Every disk but one is below the watermark: once all have heard of it, nobody takes what grows,
// not even the leader whose own disk has room.
void LowSpaceButOne(Injector& in, const Fault& fault) {
  SimNode* spare = in.cluster().BusiestLeader();
  for (auto& node : in.cluster().nodes()) {
    if (!node->up() || node->disk().faults().taken_bytes != 0) return;
  }
  if (spare == nullptr) return;
  in.Count(fault);
  for (auto& node : in.cluster().nodes()) {
    if (node.get() == spare) continue;
    node->disk().faults().taken_bytes = kNearlyAll;
    in.Until(fault, [&disk = node->disk()] { disk.faults().taken_bytes = 0; });
  }
  const auto taken_for = std::make_shared<Duration>(0);
  for (Duration at = kNoticed; at < fault.length; at += kLook) {
    in.Later(at, [&in, spare, taken_for] {
      const bool taken = AllLowBut(in, *spare) && TakesGrowth(*spare);
      *taken_for = taken ? *taken_for + kLook : Duration(0);
      if (*taken_for != 8 * kLook) return;
      in.Violation(spare->address() + " takes writes for disks that are nearly full");
    });
  }
}

// A node gives its reserve up soon after its disk is full, and before anything needs it.
void WatchReserve(Injector& in, const Fault& fault) {
  SimNode& node = in.Node(fault);
  struct Kept {
    int incarnation = 0;
    Instant since;  // on the node's own clock
  };
  const auto kept = std::make_shared<Kept>();
  for (Duration at = kLook; at < fault.length; at += kLook) {
    in.Later(at, [&in, &node, kept] {
      if (!node.up() || node.node()->stopping()) return;
      const bool keeps = node.disk().free() == 0 && node.disk().Content("data/RESERVE") != nullptr;
      const bool looks = !node.process()->paused() && kept->incarnation == node.incarnations();
      if (!keeps || !looks) *kept = {node.incarnations(), node.process()->Now()};
      if (node.process()->Now() - kept->since < kNoticed) return;
      in.Violation(node.address() + " keeps its reserve while its disk is full");
      kept->since = Instant::max();
    });
  }
}

// Not a byte left: what grows a file fails. The node may neither stop nor refuse to start.
void DiskFull(Injector& in, const Fault& fault) {
  in.Count(fault);
  SimDisk& disk = in.Node(fault).disk();
  disk.faults().taken_bytes = DiskOptions().capacity_bytes - disk.used();
  in.Until(fault, [&disk] { disk.faults().taken_bytes = 0; });
  WatchReserve(in, fault);
}

// The same on one node while all others have room, and the node is killed and started meanwhile.
void DiskFullOnOne(Injector& in, const Fault& fault) {
  for (auto& node : in.cluster().nodes()) {
    if (node->disk().faults().taken_bytes != 0) return;
  }
  DiskFull(in, fault);
  in.Later(fault.length / 3, [&in, fault] {
    if (in.Node(fault).up()) in.Kill(in.Node(fault), 200ms);
  });
}

void CheckpointFails(Injector& in, const Fault& fault) {
  SimNode& node = in.Node(fault);
  if (!node.up()) return;
  in.Count(fault);
  in.ExcuseRun(node);  // whenever it commits next
  node.store_disk().FailCommits(IoError("simulated failure of the store"));
}

// ---- damage -------------------------------------------------------------------------------------

// A place in the log whose damage recovery can tell from a torn write.
struct Place {
  std::string path;
  uint64_t begin = 0;
  uint64_t end = 0;
};

std::optional<Place> PlaceInLog(SimNode& node, Random& random) {
  const SimDisk& disk = node.disk();
  const std::vector<std::string> paths = disk.Paths(kLogs);
  if (paths.empty() || disk.Content(disk.last_log_path()) == nullptr) return std::nullopt;
  // Segments behind the last written one are prepared, and hold nothing.
  std::vector<std::string> used;
  for (const std::string& path : paths) {
    if (path <= disk.last_log_path()) used.push_back(path);
  }
  const std::string& path = used[random.Below(used.size())];
  const uint64_t end =
      path == disk.last_log_path() ? disk.last_log_offset() : disk.Content(path)->size();
  if (end < 1024) return std::nullopt;
  const uint64_t begin = random.Below(end - 512);
  return Place{path, begin, std::min<uint64_t>(end, begin + 1 + random.Below(512))};
}

// Damages a machine that goes down for it, as far as the atlas allows; `damage` says whether it
// could.
void DamageWhileDown(Injector& in, const Fault& fault,
                     const std::function<bool(SimNode&, Random&)>& damage) {
  SimNode& node = in.Node(fault);
  if (!in.own_disk(node) || !in.atlas().MayDamage(node)) return;
  Random random(fault.draw);
  node.Crash();
  if (damage(node, random)) {
    in.Count(fault);
    in.atlas().Damaged(node);
  }
  in.BootLater(node, fault.length);
}

void DamageLog(Injector& in, const Fault& fault,
               std::function<std::string(std::string old, Random& random)> change) {
  DamageWhileDown(in, fault, [&change](SimNode& node, Random& random) {
    const auto place = PlaceInLog(node, random);
    if (!place) return false;
    const std::string old =
        node.disk().Content(place->path)->substr(place->begin, place->end - place->begin);
    node.disk().Damage(place->path, place->begin, change(old, random));
    return true;
  });
}

void BitRot(Injector& in, const Fault& fault) {
  DamageLog(in, fault, [](std::string bytes, Random& random) {
    bytes[random.Below(bytes.size())] ^= static_cast<char>(1 << random.Below(8));
    return bytes;
  });
}

void ZeroedSector(Injector& in, const Fault& fault) {
  DamageLog(in, fault, [](std::string bytes, Random&) { return std::string(bytes.size(), '\0'); });
}

void Garbage(Injector& in, const Fault& fault) {
  DamageLog(in, fault, [](std::string bytes, Random& random) {
    for (char& c : bytes) c = static_cast<char>(random.Next());
    return bytes;
  });
}

// Where the last record of each group lies, of those that the newest segment holds none of: only
// the digest at its start says that there must be one.
std::map<GroupId, Place> LastRecordsBefore(SimNode& node) {
  std::map<GroupId, Place> last;
  const SimDisk& disk = node.disk();
  for (const std::string& path : disk.Paths(kLogs)) {
    if (path > disk.last_log_path()) break;
    const std::string& content = *disk.Content(path);
    storage::SegmentHeader header;
    if (storage::DecodeSegmentHeader(content, &header) != storage::HeaderState::kValid) continue;
    const uint32_t seed = storage::SegmentSeed(header.log_id, header.number);
    for (const storage::ScanItem& item : storage::ScanSegment(content, seed)) {
      if (item.kind == storage::ScanItem::Kind::kRecord) {
        last[item.frame.group] = {path, item.begin, item.end};
      }
    }
  }
  last.erase(storage::kNoteGroup);
  std::erase_if(last, [&](const auto& group) { return group.second.path == disk.last_log_path(); });
  return last;
}

// Not even its group can be told any more.
void LostLastRecord(Injector& in, const Fault& fault) {
  DamageWhileDown(in, fault, [](SimNode& node, Random&) {
    // The newest of them: what it holds may be in no checkpoint yet.
    const std::map<GroupId, Place> last = LastRecordsBefore(node);
    const auto newest =
        std::max_element(last.begin(), last.end(), [](const auto& a, const auto& b) {
          return std::tie(a.second.path, a.second.begin) < std::tie(b.second.path, b.second.begin);
        });
    if (newest == last.end()) return false;
    const Place& place = newest->second;
    node.disk().Damage(place.path, place.begin, std::string(storage::kFrameBytes, '\0'));
    return true;
  });
}

// The next log write lands elsewhere in the same file; found at the next start, which comes soon,
// but only after another write: the last one may be torn.
void MisdirectedWrite(Injector& in, const Fault& fault) {
  SimNode& node = in.Node(fault);
  if (!node.up() || !in.own_disk(node) || !in.atlas().MayDamage(node)) return;
  in.Count(fault);
  in.atlas().Damaged(node);
  node.disk().faults().misdirect_next_write = true;
  in.Later(fault.length, [&in, &node] {
    node.disk().faults().misdirect_next_write = false;
    in.Kill(node, 200ms);
  });
}

// The log that a segment's header names; 0: none.
uint64_t LogIdOf(const std::string& segment) {
  storage::SegmentHeader header;
  const bool valid = storage::DecodeSegmentHeader(segment, &header) == storage::HeaderState::kValid;
  return valid ? header.log_id : 0;
}

// A segment that is not the newest is as it was a while ago. Of a log that is gone since, nothing
// comes back: its files went with it.
void StaleSegment(Injector& in, const Fault& fault) {
  SimNode& node = in.Node(fault);
  const std::string path = node.disk().last_log_path();
  const std::string* content = node.disk().Content(path);
  if (content == nullptr || !in.own_disk(node)) return;
  in.Later(fault.length, [&in, fault, path, old = *content] {
    DamageWhileDown(in, fault, [&](SimNode& node, Random&) {
      const std::string* now = node.disk().Content(path);
      if (now == nullptr || path >= node.disk().last_log_path() || *now == old) return false;
      if (LogIdOf(*now) != LogIdOf(old)) return false;
      node.disk().ReplaceFile(path, old);
      return true;
    });
  });
}

void LostSegment(Injector& in, const Fault& fault) {
  DamageWhileDown(in, fault, [](SimNode& node, Random& random) {
    std::vector<std::string> old;
    for (const std::string& path : node.disk().Paths(kLogs)) {
      if (path < node.disk().last_log_path()) old.push_back(path);
    }
    if (old.empty()) return false;
    node.disk().LoseFile(old[random.Below(old.size())]);
    return true;
  });
}

void LostLog(Injector& in, const Fault& fault) {
  DamageWhileDown(in, fault, [](SimNode& node, Random&) {
    for (const std::string& path : node.disk().Paths(kLogs)) node.disk().LoseFile(path);
    return true;
  });
}

void LostStore(Injector& in, const Fault& fault) {
  DamageWhileDown(in, fault, [](SimNode& node, Random&) {
    node.store_disk() = storage::MemoryDisk();
    return true;
  });
}

void DamagedPage(Injector& in, const Fault& fault) {
  DamageWhileDown(in, fault,
                  [](SimNode& node, Random& random) { return node.store_disk().LoseSome(random); });
}

void StaleStore(Injector& in, const Fault& fault) {
  SimNode& node = in.Node(fault);
  if (!in.own_disk(node)) return;
  in.Later(fault.length, [&in, fault, old = node.TakeImage().store] {
    DamageWhileDown(in, fault, [&](SimNode& node, Random&) {
      node.store_disk() = old;
      return true;
    });
  });
}

// Refused loudly until somebody puts the file back.
void Unreadable(Injector& in, const Fault& fault, const std::function<void(SimNode&)>& damage,
                std::function<void(SimNode&)> repair) {
  SimNode& node = in.Node(fault);
  if (!in.own_disk(node)) return;
  in.Count(fault);
  in.Excuse(node, fault.length);
  node.Crash();
  damage(node);
  // OK and not up: another fault killed it before it had looked.
  if (node.Start().ok() && node.up()) {
    in.Violation(fmt::format("{} started on a disk with {}", node.address(), fault.kind->name));
  }
  in.BorrowDisk(fault, node, [&in, &node, repair] {
    node.Crash();
    repair(node);
    in.BootLater(node, 100ms);
  });
}

constexpr char kPath[] = "data/IDENTITY";

void DamagedIdentity(Injector& in, const Fault& fault) {
  const std::string* content = in.Node(fault).disk().Content(kPath);
  if (content == nullptr) return;
  const std::string original = *content;
  Random random(fault.draw);
  std::string damaged = original;
  damaged[random.Below(damaged.size())] ^= 1;
  Unreadable(
      in, fault, [&](SimNode& node) { node.disk().ReplaceFile(kPath, damaged); },
      [original](SimNode& node) { node.disk().ReplaceFile(kPath, original); });
}

void UnreadableStore(Injector& in, const Fault& fault) {
  Unreadable(
      in, fault,
      [](SimNode& node) { node.BreakStore(Corruption("simulated damage to the store's file")); },
      [](SimNode& node) { node.BreakStore(Status::Ok()); });
}

// Rights, memory, descriptors: the store is sound, and what is in it counts when it can be opened.
void CheckFailsForAnotherReason(Injector& in, const Fault& fault) {
  SimNode& node = in.Node(fault);
  const storage::MemoryDisk before = node.store_disk();
  Unreadable(
      in, fault, [](SimNode& node) { node.BreakStore(IoError("simulated lack of memory")); },
      [&in, before](SimNode& node) {
        if (node.store_disk().commits() < before.commits()) {
          in.Violation(
              fmt::format("{} has thrown a store away that it could not open", node.address()));
        }
        node.BreakStore(Status::Ok());
      });
}

}  // namespace

std::vector<FaultKind> DiskFaultKinds() {
  // clang-format off
  return {
      {"power-loss", kDisk, "a machine loses power: unsynced writes kept, lost or torn", 0.4, {5,
       40}, {0.1, 8}, {}, PowerLossOfOne<PowerLossMode::kSome>},
      {"lost-unsynced", kDisk, "a machine loses power and everything unsynced", 0.2, {5, 40}, {0.1,
       8}, {}, PowerLossOfOne<PowerLossMode::kNothingUnsynced>},
      {"torn-writes", kDisk, "a machine loses power and tears every unsynced write", 0.2, {5, 40},
       {0.1, 8}, {}, PowerLossOfOne<PowerLossMode::kTearEveryWrite>},
      {"power-loss-majority", kDisk, "a majority of the machines loses power", 0.12, {15, 60}, {0.1,
       4}, {}, PowerLossOfMajority},
      {"power-loss-all", kDisk, "all machines lose power", 0.2, {15, 60}, {0.1, 4}, {},
       PowerLossOfAll},
      {"sync-failure", kDisk, "a sync fails, and what was unsynced is gone", 0.15, {5, 40}, {1, 6},
       {1e-3, 0.5}, SyncFails},
      {"sync-failed-then-cached", kDisk, "a sync fails, is read back, and then gone", 0.25, {4, 30},
       {8, 20}, {}, SyncFailedThenCached},
      {"slow-directory-sync", kDisk, "a directory's sync takes longer than a lease", 0.15, {5, 40},
       {1, 20}, {0.5, 5}, SlowDirectorySync},
      {"sync-stall", kDisk, "a sync takes seconds", 0.2, {5, 40}, {1, 20}, {1e-3, 0.2}, SyncStalls},
      {"slow-disk", kDisk, "every sync takes longer", 0.15, {10, 60}, {1, 20}, {5e-3, 0.3},
       SlowDisk},
      {"write-error", kDisk, "a write fails", 0.12, {5, 40}, {0.5, 4}, {1e-3, 0.5}, WriteFails},
      {"read-error", kDisk, "reads fail while a node starts", 0.2, {10, 60}, {0.5, 4}, {0.01, 1},
       ReadFails},
      {"low-space", kDisk, "free space is below the watermark: writes are refused", 0.12, {10, 60},
       {1, 10}, {}, LowSpace},
      {"low-space-but-one", kDisk, "free space is below the watermark on all disks but one", 0.2,
       {10, 60}, {9, 18}, {}, LowSpaceButOne},
      {"disk-full", kDisk, "not a byte is left", 0.1, {10, 60}, {1, 8}, {}, DiskFull},
      {"disk-full-on-one", kDisk, "one disk is full, all others have room, and it starts again",
       0.12, {10, 60}, {2, 12}, {}, DiskFullOnOne},
      {"checkpoint-failure", kDisk, "the store fails to commit: the node must stop", 0.12, {10, 60},
       {}, {}, CheckpointFails},
      {"bit-rot", kDisk, "a bit of the log flips", 0.2, {8, 40}, {0.1, 5}, {}, BitRot},
      {"zeroed-sector", kDisk, "a piece of the log is zeros", 0.12, {8, 40}, {0.1, 5}, {},
       ZeroedSector},
      {"lost-last-record", kDisk, "the last record of a group is zeros, in an older segment", 0.25,
       {4, 30}, {0.1, 5}, {}, LostLastRecord},
      {"garbage-sector", kDisk, "a piece of the log is garbage", 0.12, {8, 40}, {0.1, 5}, {},
       Garbage},
      {"misdirected-write", kDisk, "a log write lands elsewhere", 0.12, {8, 40}, {0.5, 3}, {},
       MisdirectedWrite},
      {"stale-segment", kDisk, "a segment of the log is as it was a while ago", 0.15, {8, 40}, {2,
       20}, {}, StaleSegment},
      {"lost-segment", kDisk, "a segment of the log is gone", 0.12, {8, 40}, {0.1, 5}, {},
       LostSegment},
      {"lost-log", kDisk, "the whole log is gone", 0.1, {10, 60}, {0.1, 5}, {}, LostLog},
      {"lost-store", kDisk, "the checkpointed state is gone", 0.12, {8, 40}, {0.1, 5}, {},
       LostStore},
      {"damaged-page", kDisk, "a page of the checkpointed state is lost, and known to be", 0.15,
       {8, 40}, {0.1, 5}, {}, DamagedPage},
      {"stale-store", kDisk, "the checkpointed state is as it was a while ago", 0.12, {8, 40}, {1,
       20}, {}, StaleStore},
      {"damaged-identity", kDisk, "the identity file is damaged: must be refused", 0.1, {10, 60},
       {0.5, 4}, {}, DamagedIdentity},
      {"unreadable-store", kDisk, "the store cannot be opened: must be refused", 0.1, {10, 60},
       {0.5, 4}, {}, UnreadableStore},
      {"check-fails-for-another-reason", kDisk, "the store is sound and cannot be opened", 0.1,
       {10, 60}, {0.5, 4}, {}, CheckFailsForAnotherReason},
  };
  // clang-format on
}

}  // namespace quorate::sim
