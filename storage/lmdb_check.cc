#include "storage/lmdb_check.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>

#include "base/crc32c.h"
#include "base/limits.h"
#include "base/status_macros.h"
#include "storage/kv_store.h"

namespace quorate::storage {
namespace {

// LMDB's data format, version 1 on a 64-bit machine.
//
//   page    number u64 | pad u16 | flags u16 | lower u16, upper u16 (overflow: pages u32) | ...
//   meta    page header | magic u32 | version u32 | address u64 | map size u64 | free tree |
//           pairs tree | last page u64 | transaction u64
//   tree    page size u32 | flags u16 | depth u16 | branch, leaf, overflow pages, entries, root u64
//   node    lo u16 | hi u16 | flags u16 | key size u16 | key | data; at even places, from the end
//           of the page down to `upper` without a gap; their places follow the header up to `lower`
constexpr uint32_t kMagic = 0xBEEFC0DE;
constexpr uint32_t kVersion = 1;
constexpr size_t kHeaderBytes = 16;
constexpr size_t kNodeBytes = 8;
constexpr size_t kMetaBytes = 152;
constexpr size_t kTreeBytes = 48;
constexpr uint64_t kMetaPages = 2;
constexpr uint64_t kNoPage = ~uint64_t{0};
constexpr uint64_t kDepthMax = 32;
enum PageFlags : uint16_t { kBranch = 1, kLeaf = 2, kOverflow = 4, kMeta = 8 };
constexpr uint16_t kBigData = 1;
constexpr uint16_t kIntegerKeys = 8;
constexpr uint64_t kMapBytesMax = uint64_t{1} << 46;
// A page that a commit takes at the end of the file and gives up again is not written.
constexpr uint64_t kUnwrittenPages = 1024;

template <class T>
T Get(const char* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}
template <class T>
void Put(char* at, T value) {
  std::memcpy(at, &value, sizeof value);
}
size_t Even(size_t n) { return (n + 1) & ~size_t{1}; }

// By errno.
Status Failed(std::string_view call, const std::string& path) {
  const Code code = errno == ENOSPC || errno == EDQUOT ? Code::kNoSpace : Code::kIoError;
  return {code, fmt::format("{} {}: {}", call, path, std::strerror(errno))};
}

Status Damage(uint64_t page, std::string_view what) {
  return Corruption(fmt::format("page {} of the store is damaged: {}", page, what));
}

// What a parent says of a page below it: keys in [from, to).
struct Bounds {
  std::string from;
  std::string to;  // empty: without bound
};

struct Node {
  std::string_view key;
  uint64_t child = 0;     // of a branch page
  std::string_view data;  // of a leaf page; with `big`, the number of its first page
  uint64_t size = 0;      // of the value
  bool big = false;
};

}  // namespace

void Seal(std::string_view key, std::string_view value, char* out) {
  const uint32_t crc = Crc32c(value, Crc32c(key));
  std::memcpy(out, value.data(), value.size());
  std::memcpy(out + value.size(), &crc, kSealBytes);
}

std::optional<std::string_view> Unseal(std::string_view key, std::string_view stored) {
  if (stored.size() < kSealBytes) return std::nullopt;
  const std::string_view value = stored.substr(0, stored.size() - kSealBytes);
  uint32_t crc = 0;
  std::memcpy(&crc, stored.data() + value.size(), kSealBytes);
  if (crc != Crc32c(value, Crc32c(key))) return std::nullopt;
  return value;
}

struct LmdbCheck::Rep {
  ~Rep() {
    if (fd >= 0) ::close(fd);
  }

  // The two tables differ in what a key is.
  enum class Table : uint8_t { kFree, kPairs };

  // Bytes of the file; short: the file ends there.
  Result<std::string> Read(uint64_t offset, size_t size) const;
  Result<std::string> ReadPage(const Meta& meta, uint64_t page) const;
  Result<std::vector<Node>> Parse(const std::string& bytes, uint64_t page, PageFlags kind,
                                  Table table, const Bounds& bounds) const;
  // The whole value of a node; its pages are added to `pages` (if not null).
  Result<std::string> ReadBig(const Meta& meta, Table table, const Node& node,
                              std::vector<uint64_t>* pages) const;
  Status CheckPairs(const Meta& meta, const std::vector<Node>& nodes, uint64_t page,
                    uint64_t* bytes) const;
  // `file_pages`: how many the file has.
  std::optional<Meta> ParseMeta(const std::string& bytes, uint64_t page, uint64_t file_pages) const;
  Status ReadMetas(std::optional<Meta> (&metas)[kMetaPages]) const;

  // One pass over the branch pages of a tree; `leaf` is called with each leaf's number and bounds.
  template <class Leaf>
  Status Walk(const Meta& meta, const Tree& tree, Table table, uint64_t page, uint64_t depth,
              const Bounds& bounds, std::vector<bool>* seen, uint64_t* branches, Leaf leaf) const;

  // A page above leaves, and which of them a key leads to.
  struct Parent {
    Bounds bounds;
    std::vector<std::pair<uint64_t, Bounds>> leaves;
    size_t at = 0;
  };
  enum class Side : uint8_t { kAt, kBelow };
  // kBelow: of the keys right below `key`, which is where a page begins. Precondition: not empty.
  Status FindParent(const Meta& meta, std::string_view key, Side side, Parent* found) const;
  // Unless it was done before.
  Status VerifyOne(const Meta& meta, uint64_t page, const Bounds& bounds, LeafRange* damaged);

  bool Verified(uint64_t page) {
    std::lock_guard lock(mutex);
    return page < verified.size() && verified[page];
  }
  void SetVerified(uint64_t page) {
    std::lock_guard lock(mutex);
    if (page >= verified.size()) verified.resize(page + page / 4 + 1024);
    verified[page] = true;
  }

  int fd = -1;
  std::string path;
  size_t page_bytes = 0;
  std::mutex mutex;
  std::vector<bool> verified;
};

Result<std::string> LmdbCheck::Rep::Read(uint64_t offset, size_t size) const {
  std::string bytes(size, '\0');
  size_t got = 0;
  while (got < size) {
    const ssize_t n = ::pread(fd, bytes.data() + got, size - got, static_cast<off_t>(offset + got));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return IoError(fmt::format("read {}: {}", path, std::strerror(errno)));
    if (n == 0) break;
    got += static_cast<size_t>(n);
  }
  bytes.resize(got);
  return bytes;
}

Result<std::string> LmdbCheck::Rep::ReadPage(const Meta& meta, uint64_t page) const {
  if (page < kMetaPages || page > meta.last_page) return Damage(page, "there is no such page");
  ASSIGN_OR_RETURN(std::string bytes, Read(page * page_bytes, page_bytes));
  if (bytes.size() != page_bytes) return Damage(page, "the file ends before it");
  if (Get<uint64_t>(bytes.data()) != page) return Damage(page, "it says it is another one");
  return bytes;
}

Result<std::vector<Node>> LmdbCheck::Rep::Parse(const std::string& bytes, uint64_t page,
                                                PageFlags kind, Table table,
                                                const Bounds& bounds) const {
  const char* const at = bytes.data();
  if (Get<uint16_t>(at + 10) != kind) return Damage(page, "it is of the wrong kind");
  const size_t lower = Get<uint16_t>(at + 12);
  const size_t upper = Get<uint16_t>(at + 14);
  if (lower < kHeaderBytes || lower > upper || upper > page_bytes || lower % 2 != 0) {
    return Damage(page, "its bounds are wrong");
  }
  const size_t count = (lower - kHeaderBytes) / 2;
  if (count == 0) return Damage(page, "it holds nothing");
  std::vector<Node> nodes(count);
  size_t used = 0;
  for (size_t i = 0; i < count; ++i) {
    const size_t place = Get<uint16_t>(at + kHeaderBytes + 2 * i);
    if (place < upper || place % 2 != 0 || place + kNodeBytes > page_bytes) {
      return Damage(page, "a piece lies outside of it");
    }
    const uint64_t low = Get<uint16_t>(at + place) | uint64_t{Get<uint16_t>(at + place + 2)} << 16;
    const uint16_t flags = Get<uint16_t>(at + place + 4);
    const size_t key_bytes = Get<uint16_t>(at + place + 6);
    Node& node = nodes[i];
    size_t data_bytes = 0;
    if (kind == kBranch) {
      node.child = low | uint64_t{flags} << 32;
    } else {
      if (flags != 0 && flags != kBigData) return Damage(page, "a piece is of no kind");
      node.big = flags == kBigData;
      node.size = low;
      data_bytes = node.big ? sizeof(uint64_t) : low;
    }
    if (key_bytes > limits::kLmdbKeyBytesMax ||
        place + kNodeBytes + key_bytes + data_bytes > page_bytes) {
      return Damage(page, "a piece is longer than it");
    }
    node.key = std::string_view(bytes).substr(place + kNodeBytes, key_bytes);
    node.data = std::string_view(bytes).substr(place + kNodeBytes + key_bytes, data_bytes);
    used += Even(kNodeBytes + key_bytes + data_bytes);
    // The first key of a branch page stands for everything below the second.
    if (kind == kBranch && i == 0) continue;
    if (table == Table::kFree) {
      if (key_bytes != sizeof(uint64_t)) return Damage(page, "a key is none");
      continue;
    }
    if (key_bytes == 0 || static_cast<uint8_t>(node.key.back()) >= key_bytes) {
      return Damage(page, "a key is none");
    }
    const bool first = i == (kind == kBranch ? 1u : 0u);
    const bool below = first ? !bounds.from.empty() && CompareKeys(node.key, bounds.from) < 0
                             : CompareKeys(nodes[i - 1].key, node.key) >= 0;
    if (below || (!bounds.to.empty() && CompareKeys(node.key, bounds.to) >= 0)) {
      return Damage(page, "its keys are out of order");
    }
  }
  if (used != page_bytes - upper) return Damage(page, "its pieces do not fill it");
  return nodes;
}

Result<std::string> LmdbCheck::Rep::ReadBig(const Meta& meta, Table table, const Node& node,
                                            std::vector<uint64_t>* pages) const {
  const uint64_t first = Get<uint64_t>(node.data.data());
  ASSIGN_OR_RETURN(const std::string head, ReadPage(meta, first));
  const uint64_t count = Get<uint32_t>(head.data() + 12);
  const uint64_t needed = (kHeaderBytes + node.size + page_bytes - 1) / page_bytes;
  // LMDB frees as many as it says. A pair's value is written once per commit, and has what it
  // needs; LMDB itself makes a list of free pages shorter in place.
  const bool fits = table == Table::kPairs ? count == needed : count >= needed;
  if (Get<uint16_t>(head.data() + 10) != kOverflow || !fits || count > meta.last_page + 1 - first) {
    return Damage(first, "it does not begin a large value");
  }
  if (pages != nullptr) {
    for (uint64_t i = 0; i < count; ++i) pages->push_back(first + i);
  }
  ASSIGN_OR_RETURN(std::string value, Read(first * page_bytes + kHeaderBytes, node.size));
  if (value.size() != node.size) return Damage(first, "the file ends within it");
  return value;
}

Status LmdbCheck::Rep::CheckPairs(const Meta& meta, const std::vector<Node>& nodes, uint64_t page,
                                  uint64_t* bytes) const {
  for (const Node& node : nodes) {
    std::string big;
    if (node.big) {
      ASSIGN_OR_RETURN(big, ReadBig(meta, Table::kPairs, node, nullptr));
      *bytes += big.size();
    }
    const std::string_view stored = node.big ? std::string_view(big) : node.data;
    if (IsExcised(stored)) continue;
    if (!Unseal(node.key, stored)) return Damage(page, "a pair does not match its checksum");
  }
  return Status::Ok();
}

// ---- meta pages ---------------------------------------------------------------------------------

std::optional<LmdbCheck::Meta> LmdbCheck::Rep::ParseMeta(const std::string& bytes, uint64_t page,
                                                         uint64_t file_pages) const {
  const char* const at = bytes.data();
  if (bytes.size() < kMetaBytes || Get<uint64_t>(at) != page || Get<uint16_t>(at + 10) != kMeta ||
      Get<uint32_t>(at + 16) != kMagic || Get<uint32_t>(at + 20) != kVersion ||
      Get<uint32_t>(at + 40) != page_bytes) {
    return std::nullopt;
  }
  const auto tree = [](const char* t) {
    Tree tree;
    tree.depth = Get<uint16_t>(t + 6);
    tree.branch_pages = Get<uint64_t>(t + 8);
    tree.leaf_pages = Get<uint64_t>(t + 16);
    tree.overflow_pages = Get<uint64_t>(t + 24);
    tree.root = Get<uint64_t>(t + 40);
    return tree;
  };
  // Flags of a table of another kind than ours would change what LMDB takes its keys for, and more
  // address space than there is is nothing that it asked for.
  const uint16_t free_flags = Get<uint16_t>(at + 44);
  const uint16_t pairs_flags = Get<uint16_t>(at + 44 + kTreeBytes);
  if (free_flags != kIntegerKeys || pairs_flags != 0) return std::nullopt;
  const uint64_t map_bytes = Get<uint64_t>(at + 32);
  if (map_bytes > kMapBytesMax) return std::nullopt;
  Meta meta;
  meta.free = tree(at + 40);
  meta.pairs = tree(at + 40 + kTreeBytes);
  meta.last_page = Get<uint64_t>(at + 40 + 2 * kTreeBytes);
  meta.transaction = Get<uint64_t>(at + 48 + 2 * kTreeBytes);
  // What is allocated by it, here and by LMDB, is as large as the file; and no page is ever taken
  // outside of the map.
  if (meta.last_page < kMetaPages - 1 || meta.last_page >= map_bytes / page_bytes ||
      meta.last_page / 2 > file_pages + kUnwrittenPages) {
    return std::nullopt;
  }
  for (const Tree* t : {&meta.free, &meta.pairs}) {
    const bool empty = t->root == kNoPage;
    if (t->depth > kDepthMax || empty != (t->depth == 0)) return std::nullopt;
    if (!empty && (t->root < kMetaPages || t->root > meta.last_page)) return std::nullopt;
  }
  return meta;
}

Status LmdbCheck::Rep::ReadMetas(std::optional<Meta> (&metas)[kMetaPages]) const {
  std::string bytes[kMetaPages];
  for (uint64_t page = 0; page < kMetaPages; ++page) {
    // A commit may be writing it: what was read is whole if it is read twice.
    std::string again;
    do {
      ASSIGN_OR_RETURN(bytes[page], Read(page * page_bytes, kMetaBytes));
      ASSIGN_OR_RETURN(again, Read(page * page_bytes, kMetaBytes));
    } while (bytes[page] != again);
  }
  // Behind them: the pages that a meta page counts are written before it.
  struct stat info {};
  if (::fstat(fd, &info) != 0) return Failed("stat", path);
  const uint64_t file_pages = static_cast<uint64_t>(info.st_size) / page_bytes;
  for (uint64_t page = 0; page < kMetaPages; ++page) {
    metas[page] = ParseMeta(bytes[page], page, file_pages);
  }
  return Status::Ok();
}

Result<LmdbCheck::Meta> LmdbCheck::ReadMeta() const {
  std::optional<Meta> metas[kMetaPages];
  RETURN_IF_ERROR(rep_->ReadMetas(metas));
  // LMDB refuses the file unless both look like meta pages.
  if (!metas[0] || !metas[1]) return Damage(metas[0] ? 1 : 0, "it is no meta page");
  const bool first = metas[0]->transaction >= metas[1]->transaction;
  const Meta& newest = *metas[first ? 0 : 1];
  const Meta& other = *metas[first ? 1 : 0];
  // They take turns, and a file never gets smaller.
  const bool created = newest.transaction == 0;
  if ((!created && (newest.transaction != other.transaction + 1 ||
                    newest.transaction % kMetaPages != (first ? 0 : 1))) ||
      newest.last_page < other.last_page) {
    return Damage(0, "the meta pages do not follow one another");
  }
  return newest;
}

Result<LmdbCheck::Meta> LmdbCheck::ReadMeta(uint64_t transaction) const {
  std::optional<Meta> metas[kMetaPages];
  RETURN_IF_ERROR(rep_->ReadMetas(metas));
  for (const auto& meta : metas) {
    if (meta && meta->transaction == transaction) return *meta;
  }
  if (!metas[0] || !metas[1]) return Damage(metas[0] ? 1 : 0, "it is no meta page");
  return NotFound("the transaction is over");
}

// ---- what leads to the leaves -------------------------------------------------------------------

template <class Leaf>
Status LmdbCheck::Rep::Walk(const Meta& meta, const Tree& tree, Table table, uint64_t page,
                            uint64_t depth, const Bounds& bounds, std::vector<bool>* seen,
                            uint64_t* branches, Leaf leaf) const {
  if (page < kMetaPages || page > meta.last_page) return Damage(page, "there is no such page");
  if ((*seen)[page]) return Damage(page, "it is used twice");
  (*seen)[page] = true;
  if (depth == tree.depth) return leaf(page, bounds);
  ++*branches;
  ASSIGN_OR_RETURN(const std::string bytes, ReadPage(meta, page));
  ASSIGN_OR_RETURN(const std::vector<Node> nodes, Parse(bytes, page, kBranch, table, bounds));
  for (size_t i = 0; i < nodes.size(); ++i) {
    const Bounds below{i == 0 ? bounds.from : std::string(nodes[i].key),
                       i + 1 == nodes.size() ? bounds.to : std::string(nodes[i + 1].key)};
    RETURN_IF_ERROR(
        Walk(meta, tree, table, nodes[i].child, depth + 1, below, seen, branches, leaf));
  }
  return Status::Ok();
}

Status LmdbCheck::CheckSkeleton(const Meta& meta) const {
  std::vector<bool> seen(meta.last_page + 1);
  uint64_t branches = 0;
  uint64_t leaves = 0;
  if (meta.pairs.depth > 0) {
    RETURN_IF_ERROR(rep_->Walk(meta, meta.pairs, Rep::Table::kPairs, meta.pairs.root, 1, {}, &seen,
                               &branches, [&](uint64_t, const Bounds&) {
                                 ++leaves;
                                 return Status::Ok();
                               }));
  }
  if (branches != meta.pairs.branch_pages || leaves != meta.pairs.leaf_pages) {
    return Damage(meta.pairs.root, "pages below it are missing");
  }
  // What the list frees is written over: it must be nothing that lives.
  branches = 0;
  leaves = 0;
  uint64_t overflows = 0;
  const auto freed = [&](const Node& node) -> Status {
    std::string big;
    std::vector<uint64_t> own;
    if (node.big) {
      ASSIGN_OR_RETURN(big, rep_->ReadBig(meta, Rep::Table::kFree, node, &own));
    }
    const std::string_view numbers = node.big ? std::string_view(big) : node.data;
    overflows += own.size();
    for (const uint64_t page : own) {
      if (seen[page]) return Damage(page, "it is used twice");
      seen[page] = true;
    }
    const uint64_t count = numbers.size() < 8 ? 0 : Get<uint64_t>(numbers.data());
    if (count == 0 || count > numbers.size() / 8 - 1)
      return Damage(meta.free.root, "a list of free pages is wrong");
    for (uint64_t i = 1; i <= count; ++i) {
      const uint64_t page = Get<uint64_t>(numbers.data() + 8 * i);
      if (page < kMetaPages || page > meta.last_page || seen[page]) {
        return Damage(page, "it is free and used, or there is no such page");
      }
      seen[page] = true;
    }
    return Status::Ok();
  };
  const auto list = [&](uint64_t page, const Bounds& bounds) -> Status {
    ++leaves;
    ASSIGN_OR_RETURN(const std::string bytes, rep_->ReadPage(meta, page));
    ASSIGN_OR_RETURN(const std::vector<Node> nodes,
                     rep_->Parse(bytes, page, kLeaf, Rep::Table::kFree, bounds));
    for (const Node& node : nodes) RETURN_IF_ERROR(freed(node));
    return Status::Ok();
  };
  if (meta.free.depth > 0) {
    RETURN_IF_ERROR(rep_->Walk(meta, meta.free, Rep::Table::kFree, meta.free.root, 1, {}, &seen,
                               &branches, list));
  }
  if (branches != meta.free.branch_pages || leaves != meta.free.leaf_pages ||
      overflows != meta.free.overflow_pages) {
    return Damage(meta.free.root, "pages below it are missing");
  }
  // What is neither is left for values in pages of their own.
  const auto unseen = static_cast<uint64_t>(std::count(seen.begin(), seen.end(), false));
  if (meta.pairs.overflow_pages > unseen - kMetaPages) {
    return Damage(meta.pairs.root, "it counts more pages than there are");
  }
  return Status::Ok();
}

// ---- leaves -------------------------------------------------------------------------------------

namespace {

// The child of a branch page that `key` belongs to.
size_t ChildFor(const std::vector<Node>& nodes, std::string_view key) {
  const auto above =
      std::upper_bound(nodes.begin() + 1, nodes.end(), key,
                       [](std::string_view k, const Node& n) { return CompareKeys(k, n.key) < 0; });
  return static_cast<size_t>(above - nodes.begin()) - 1;
}

}  // namespace

Status LmdbCheck::Rep::FindParent(const Meta& meta, std::string_view key, Side side,
                                  Parent* found) const {
  found->leaves = {{meta.pairs.root, Bounds()}};  // if the root is a leaf
  found->bounds = {};
  found->at = 0;
  for (uint64_t depth = 1; depth < meta.pairs.depth; ++depth) {
    const auto [page, bounds] = found->leaves[found->at];
    ASSIGN_OR_RETURN(const std::string bytes, ReadPage(meta, page));
    ASSIGN_OR_RETURN(const std::vector<Node> nodes,
                     Parse(bytes, page, kBranch, Table::kPairs, bounds));
    found->bounds = bounds;
    found->leaves.clear();
    for (size_t i = 0; i < nodes.size(); ++i) {
      found->leaves.emplace_back(
          nodes[i].child,
          Bounds{i == 0 ? bounds.from : std::string(nodes[i].key),
                 i + 1 == nodes.size() ? bounds.to : std::string(nodes[i + 1].key)});
    }
    found->at = key.empty() ? 0 : ChildFor(nodes, key);
    const bool begins_there = found->at > 0 && nodes[found->at].key == key;
    if (side == Side::kBelow && begins_there) --found->at;
  }
  return Status::Ok();
}

Status LmdbCheck::Rep::VerifyOne(const Meta& meta, uint64_t page, const Bounds& bounds,
                                 LeafRange* damaged) {
  if (Verified(page)) return Status::Ok();
  uint64_t bytes = 0;
  const auto check = [&]() -> Status {
    ASSIGN_OR_RETURN(const std::string content, ReadPage(meta, page));
    ASSIGN_OR_RETURN(const std::vector<Node> nodes,
                     Parse(content, page, kLeaf, Table::kPairs, bounds));
    return CheckPairs(meta, nodes, page, &bytes);
  };
  const Status status = check();
  if (status.ok()) SetVerified(page);
  if (status.code() == Code::kCorruption) *damaged = {page, bounds.from, bounds.to};
  return status;
}

Status LmdbCheck::VerifyLeaf(const Meta& meta, std::string_view key, std::string* end,
                             LeafRange* damaged) {
  *damaged = {};
  if (end != nullptr) end->clear();
  if (meta.pairs.depth == 0) return Status::Ok();
  Rep::Parent parent;
  RETURN_IF_ERROR(rep_->FindParent(meta, key, Rep::Side::kAt, &parent));
  const auto& [page, bounds] = parent.leaves[parent.at];
  RETURN_IF_ERROR(rep_->VerifyOne(meta, page, bounds, damaged));
  if (end != nullptr) *end = bounds.to;
  return Status::Ok();
}

Status LmdbCheck::VerifyAround(const Meta& meta, std::string_view key, Beside beside,
                               std::string* from, std::string* end, LeafRange* damaged) {
  *damaged = {};
  from->clear();
  end->clear();
  if (meta.pairs.depth == 0) return Status::Ok();
  const auto all = [&](const Rep::Parent& parent) {
    for (const auto& [page, bounds] : parent.leaves) {
      RETURN_IF_ERROR(rep_->VerifyOne(meta, page, bounds, damaged));
    }
    return Status::Ok();
  };
  const auto next_to = [&](std::string_view bound, Rep::Side side) {
    if (bound.empty()) return Status::Ok();
    Rep::Parent parent;
    RETURN_IF_ERROR(rep_->FindParent(meta, bound, side, &parent));
    if (beside == Beside::kParents) return all(parent);
    const auto& [page, bounds] = parent.leaves[parent.at];
    return rep_->VerifyOne(meta, page, bounds, damaged);
  };
  Rep::Parent own;
  RETURN_IF_ERROR(rep_->FindParent(meta, key, Rep::Side::kAt, &own));
  RETURN_IF_ERROR(all(own));
  RETURN_IF_ERROR(next_to(own.bounds.from, Rep::Side::kBelow));
  RETURN_IF_ERROR(next_to(own.bounds.to, Rep::Side::kAt));
  *from = own.bounds.from;
  *end = own.bounds.to;
  return Status::Ok();
}

Result<LmdbCheck::Progress> LmdbCheck::CheckLeaves(const Meta& meta, std::string_view from,
                                                   uint64_t bytes,
                                                   std::vector<LeafRange>* damaged) {
  Progress progress;
  progress.next = from;
  if (meta.pairs.depth == 0) return Progress{};
  while (progress.bytes < bytes) {
    // The way down again for each parent of leaves: some hundred leaves.
    uint64_t page = meta.pairs.root;
    Bounds bounds;
    std::vector<std::pair<uint64_t, Bounds>> leaves;
    if (meta.pairs.depth == 1) leaves.emplace_back(page, bounds);
    for (uint64_t depth = 1; depth < meta.pairs.depth; ++depth) {
      ASSIGN_OR_RETURN(const std::string content, rep_->ReadPage(meta, page));
      ASSIGN_OR_RETURN(const std::vector<Node> nodes,
                       rep_->Parse(content, page, kBranch, Rep::Table::kPairs, bounds));
      progress.bytes += rep_->page_bytes;
      const size_t at = progress.next.empty() ? 0 : ChildFor(nodes, progress.next);
      const Bounds outer = bounds;
      for (size_t i = at; i < nodes.size(); ++i) {
        const Bounds below{i == 0 ? outer.from : std::string(nodes[i].key),
                           i + 1 == nodes.size() ? outer.to : std::string(nodes[i + 1].key)};
        if (i == at) {
          page = nodes[i].child;
          bounds = below;
        }
        if (depth + 1 == meta.pairs.depth) leaves.emplace_back(nodes[i].child, below);
      }
    }
    for (const auto& [leaf, range] : leaves) {
      const auto check = [&, leaf = leaf, &range = range]() -> Status {
        ASSIGN_OR_RETURN(const std::string content, rep_->ReadPage(meta, leaf));
        ASSIGN_OR_RETURN(const std::vector<Node> nodes,
                         rep_->Parse(content, leaf, kLeaf, Rep::Table::kPairs, range));
        return rep_->CheckPairs(meta, nodes, leaf, &progress.bytes);
      };
      const Status status = check();
      if (status.code() == Code::kCorruption) {
        damaged->push_back({leaf, range.from, range.to});
      } else if (!status.ok()) {
        return status;
      } else {
        rep_->SetVerified(leaf);
      }
      progress.bytes += rep_->page_bytes;
      progress.next = range.to;
      if (progress.next.empty()) return progress;
      if (progress.bytes >= bytes) break;
    }
  }
  return progress;
}

Status LmdbCheck::Excise(const LeafRange& leaf) const {
  const std::string key = leaf.from.empty() ? MakeKey(std::string(1, '\0')) : leaf.from;
  const size_t size = Even(kNodeBytes + key.size());
  const size_t place = rep_->page_bytes - size;
  std::string bytes(rep_->page_bytes, '\0');
  Put<uint64_t>(bytes.data(), leaf.page);
  Put<uint16_t>(bytes.data() + 10, kLeaf);
  Put<uint16_t>(bytes.data() + 12, kHeaderBytes + 2);
  Put<uint16_t>(bytes.data() + 14, static_cast<uint16_t>(place));
  Put<uint16_t>(bytes.data() + kHeaderBytes, static_cast<uint16_t>(place));
  Put<uint16_t>(bytes.data() + place + 6, static_cast<uint16_t>(key.size()));
  std::memcpy(bytes.data() + place + kNodeBytes, key.data(), key.size());
  const off_t offset = static_cast<off_t>(leaf.page * rep_->page_bytes);
  const ssize_t written = ::pwrite(rep_->fd, bytes.data(), bytes.size(), offset);
  if (written < 0) return Failed("write", rep_->path);
  if (static_cast<size_t>(written) != bytes.size()) {
    errno = ENOSPC;
    return Failed("write", rep_->path);
  }
  return Sync();
}

Status LmdbCheck::Sync() const {
  if (::fsync(rep_->fd) == 0) return Status::Ok();
  // Never NO_SPACE, which says that the same may be tried again.
  return IoError(fmt::format("fsync {}: {}", rep_->path, std::strerror(errno)));
}

// ---- the file -----------------------------------------------------------------------------------

LmdbCheck::LmdbCheck(std::unique_ptr<Rep> rep) : rep_(std::move(rep)) {}
LmdbCheck::~LmdbCheck() = default;

Result<std::unique_ptr<LmdbCheck>> LmdbCheck::Open(const std::string& path) {
  auto rep = std::make_unique<Rep>();
  rep->path = path;
  rep->fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (rep->fd < 0) {
    if (errno != ENOENT) return Failed("open", path);
    return NotFound(fmt::format("{} does not exist", path));
  }
  ASSIGN_OR_RETURN(const std::string head, rep->Read(0, kMetaBytes));
  // A crash right behind its creation leaves an empty file, which LMDB fills.
  if (head.empty()) return NotFound(fmt::format("{} is empty", path));
  if (head.size() < kMetaBytes) return Damage(0, "the file ends within it");
  const uint32_t page_bytes = Get<uint32_t>(head.data() + 40);
  if (page_bytes < 512 || page_bytes > 65536 || (page_bytes & (page_bytes - 1)) != 0) {
    return Damage(0, "it names no size of pages");
  }
  rep->page_bytes = page_bytes;
  return std::unique_ptr<LmdbCheck>(new LmdbCheck(std::move(rep)));
}

}  // namespace quorate::storage
