// KvStore: the ordered, durable key-value store of one node, beneath the overlay (ordered_store.h).
//
// Two implementations with one contract: lmdb_store (real) and memory_store (tests, simulation); a
// differential test holds them together.
//
// Keys. A store key is   body | suffix | suffix length (1 byte).   Keys are ordered by body
// bytewise, then by suffix bytewise, so that versions of one user key (suffix = descending
// timestamp) are neighbours whatever bytes the key has, and nothing has to be escaped. Build them
// with MakeKey. A whole key is at most limits::kLmdbKeyBytesMax bytes.
//
// Crash contract. A Commit is atomic and, once its callback ran with OK, durable. After a crash the
// store holds exactly a prefix of the commits, in the order of the calls; a commit whose callback
// did not run may or may not be in it.
//
// Threads: all calls on the executor's thread; the callback runs there too. Reads see only commits
// whose callback has run or is about to: what is in flight is the overlay's business.
#pragma once

#include <absl/functional/any_invocable.h>
#include <absl/functional/function_ref.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/status.h"

namespace quorate::storage {

// Store keys whose first body byte is this tag are the storage layer's own (ordered_store.h: a
// group's applied index). Every table of the layers above has a tag of its own, other than this
// one.
inline constexpr char kStorageTag = '\0';

std::string MakeKey(std::string_view body, std::string_view suffix = {});
// The body is `tag` and then `rest`.
std::string MakeKey(char tag, std::string_view rest, std::string_view suffix = {});

// Precondition: `key` was built by MakeKey.
inline std::string_view KeyBody(std::string_view key) {
  const size_t suffix = key.empty() ? 0 : static_cast<uint8_t>(key.back());
  CHECK(suffix < key.size(), "not a store key");
  return key.substr(0, key.size() - 1 - suffix);
}
inline std::string_view KeySuffix(std::string_view key) {
  const size_t suffix = key.empty() ? 0 : static_cast<uint8_t>(key.back());
  CHECK(suffix < key.size(), "not a store key");
  return key.substr(key.size() - 1 - suffix, suffix);
}
// <0, 0, >0 in the order of the store.
inline int CompareKeys(std::string_view a, std::string_view b) {
  const size_t a_suffix = static_cast<uint8_t>(a.back());
  const size_t b_suffix = static_cast<uint8_t>(b.back());
  const size_t a_body = a.size() - 1 - a_suffix;
  const size_t b_body = b.size() - 1 - b_suffix;
  const int bodies = a.substr(0, a_body).compare(b.substr(0, b_body));
  return bodies != 0 ? bodies : a.substr(a_body, a_suffix).compare(b.substr(b_body, b_suffix));
}
// The same; usable as a transparent comparator in ordered maps.
struct KeyLess {
  using is_transparent = void;
  bool operator()(std::string_view a, std::string_view b) const { return CompareKeys(a, b) < 0; }
};

// A set of puts and deletions, applied as one. A later operation on a key replaces an earlier one.
struct WriteBatch {
  struct Op {
    std::string key;
    std::optional<std::string> value;  // nullopt: delete
  };
  std::vector<Op> ops;

  void Put(std::string key, std::string value) {
    ops.push_back({std::move(key), std::move(value)});
  }
  void Delete(std::string key) { ops.push_back({std::move(key), std::nullopt}); }
};

class Overlay;

// Called for each pair in order; false ends the scan. The views live only during the call. A
// visitor may read, but not write.
using ScanVisitor = absl::FunctionRef<bool(std::string_view key, std::string_view value)>;

// What reads need; implemented by KvStore and by the overlay over it.
class KvReader {
 public:
  virtual ~KvReader() = default;
  // nullopt: absent.
  virtual Result<std::optional<std::string>> Get(std::string_view key) const = 0;
  // Visits [from, to) in store order; an empty `to` means the end. Keep it bounded: no read
  // transaction outlives the call, a long scan is many calls that seek again.
  virtual Status Scan(std::string_view from, std::string_view to, ScanVisitor visit) const = 0;
  // The same pairs, last one first.
  virtual Status ScanBack(std::string_view from, std::string_view to, ScanVisitor visit) const = 0;
};

using CommitCallback = absl::AnyInvocable<void(Status)>;

// The store as it was when it was pinned, whatever was committed since. While one lives, the pages
// that later commits free are not used again: LMDB's file grows by what is written meanwhile (and
// uses it again afterwards). So whoever pins ends, and there are few of them (OrderedStore, and
// raft::Host::Options::snapshots_max).
//
// Executor's thread, like the store, which outlives it. The pages are read on a thread of their
// own, since they may have to come from the disk.
class KvView {
 public:
  virtual ~KvView() = default;
  struct Range {
    std::string from;   // empty: from the first key
    std::string to;     // empty: to the last one
    std::string after;  // not empty: only what lies behind this key
  };
  struct Run {
    // key, value, key, value, ... in store order, each length-prefixed (base/coding.h).
    std::string pairs;
    std::string last;  // the last key; empty: none
    bool end = false;  // there is no more in the range
  };
  enum class What : uint8_t { kPairs, kKeys };  // kKeys: every value is empty instead
  using ReadCallback = absl::AnyInvocable<void(Result<Run>)>;
  // Reads until `bytes` are gathered, at least one pair if there is one; `done` runs in a later
  // turn, in the order of the calls, unless the view is gone by then. UNAVAILABLE: the view had to
  // be given up, another one will do. CORRUPTION: a page is damaged, and the store has dealt with
  // that as if nobody had asked (LmdbStore: as if the scrubber had come by).
  virtual void Read(Range range, size_t bytes, What what, ReadCallback done) = 0;
};

class KvStore : public KvReader {
 public:
  // Makes `batch` durable off the executor's thread. After a failure the store refuses everything:
  // the node must stop serving. A full disk is no failure: the commit waits for space.
  void Commit(WriteBatch batch, CommitCallback done);
  // The same, without a copy. The store may read `ops` on another thread until `done` runs.
  virtual void CommitOverlay(std::shared_ptr<const Overlay> ops, CommitCallback done) = 0;
  // What the commits made whose callback has run, and perhaps some after them.
  virtual Result<std::unique_ptr<KvView>> Pin() = 0;
  // Bytes of the store on disk, for the low-space rule and metrics.
  virtual uint64_t SizeBytes() const = 0;
  // Of them, those that later commits use before the file grows.
  virtual uint64_t ReusableBytes() const { return 0; }
  // Ranges of keys, [from, to), of which the store lost what it had (empty: without bound): whose
  // state lies there needs it from somebody else. Told at every start until ForgetDamage.
  using Range = std::pair<std::string, std::string>;
  virtual std::vector<Range> Damaged() const { return {}; }
  virtual void ForgetDamage() {}
  // A commit waits for space.
  virtual bool waits_for_space() const { return false; }
};

}  // namespace quorate::storage
