#include "shard/mvcc.h"

#include <vector>

#include "base/check.h"
#include "base/mutant.h"
#include "shard/keys.h"

namespace quorate::shard {
namespace {

constexpr char kValue = 0;
constexpr char kDeletion = 1;
// After this many versions of a key that are of no use, seek over the rest instead of reading on.
constexpr int kStepsBeforeSeek = 8;

bool IsDeletion(std::string_view stored) {
  CHECK(!stored.empty() && (stored[0] == kValue || stored[0] == kDeletion), "a version of no kind");
  return stored[0] == kDeletion;
}

// A store that cannot be read cannot be served from; going on could answer what is not there.
void Scan(const storage::KvReader& store, std::string_view from, std::string_view to,
          storage::ScanVisitor visit) {
  const Status status = store.Scan(from, to, visit);
  CHECK(status.ok(), "reading the store: {}", status.ToString());
}

}  // namespace

void PutVersion(std::string_view key, Timestamp commit_ts, bool deletion, std::string_view value,
                storage::WriteBatch* batch) {
  std::string stored;
  stored.reserve(1 + value.size());
  stored.push_back(deletion ? kDeletion : kValue);
  if (!deletion) stored.append(value);
  batch->Put(VersionKey(key, commit_ts), std::move(stored));
}

bool IsVersion(std::string_view store_key, std::string_view stored) {
  return IsVersionKey(store_key) && !stored.empty() &&
         (stored[0] == kValue || stored[0] == kDeletion);
}

Timestamp NewestVersion(const storage::KvReader& store, std::string_view key) {
  Timestamp newest;
  const auto [from, to] = StoreSpanOfKey(Tag::kVersions, key);
  Scan(store, from, to, [&](std::string_view store_key, std::string_view) {
    newest = VersionTimestamp(store_key);
    return false;
  });
  return newest;
}

std::optional<Version> VersionAt(const storage::KvReader& store, std::string_view key,
                                 Timestamp at) {
  std::optional<Version> version;
  const std::string to = StoreSpanOfKey(Tag::kVersions, key).second;
  Scan(store, VersionKey(key, at), to, [&](std::string_view store_key, std::string_view stored) {
    version.emplace();
    version->commit_ts = VersionTimestamp(store_key);
    version->deletion = IsDeletion(stored);
    version->value = stored.substr(1);
    return false;
  });
  return version;
}

std::optional<std::string> ScanVersions(const storage::KvReader& store, const Span& span,
                                        Timestamp at, size_t examined_max, VersionVisitor visit) {
  auto [position, end] = StoreSpan(Tag::kVersions, span.from, span.to);
  std::string current;
  bool any = false;     // `current` names a key
  bool passed = false;  // its version was visited
  int steps = 0;
  size_t examined = 0;
  std::optional<std::string> resume;
  for (bool seek = true; seek;) {
    seek = false;
    const std::string from = std::move(position);
    Scan(store, from, end, [&](std::string_view store_key, std::string_view stored) {
      const std::string_view key = UserKey(store_key);
      if (!any || key != current) {
        if (examined >= examined_max) {
          resume.emplace(key);
          return false;
        }
        current = key;
        any = true;
        passed = false;
        steps = 0;
      }
      ++examined;
      if (!passed && VersionTimestamp(store_key) <= at) {
        passed = true;
        steps = 0;
        return visit(key, VersionTimestamp(store_key), IsDeletion(stored), stored.substr(1));
      }
      if (++steps < kStepsBeforeSeek) return true;
      position = passed ? StoreSpanOfKey(Tag::kVersions, current).second : VersionKey(current, at);
      seek = true;
      return false;
    });
  }
  return resume;
}

// Backwards a key's versions come oldest first; so each key is found from behind, and its version
// by a seek of its own.
std::optional<std::string> ScanVersionsBack(const storage::KvReader& store, const Span& span,
                                            Timestamp at, size_t keys_max, VersionVisitor visit) {
  auto [begin, position] = StoreSpan(Tag::kVersions, span.from, span.to);
  for (size_t keys = 0;; ++keys) {
    std::string key;
    const Status status =
        store.ScanBack(begin, position, [&](std::string_view store_key, std::string_view) {
          key = UserKey(store_key);
          position = StoreSpanOfKey(Tag::kVersions, key).first;
          return false;
        });
    CHECK(status.ok(), "reading the store: {}", status.ToString());
    if (key.empty()) return std::nullopt;
    if (keys == keys_max) {
      key.push_back('\0');
      return key;
    }
    const std::optional<Version> version = VersionAt(store, key, at);
    if (!version) continue;
    if (!visit(key, version->commit_ts, version->deletion, version->value)) return std::nullopt;
  }
}

size_t CollectVersions(const storage::KvReader& store, std::string_view key, Timestamp commit_ts,
                       Timestamp horizon, size_t max, storage::WriteBatch* batch) {
  const std::string to = StoreSpanOfKey(Tag::kVersions, key).second;
  std::vector<std::string> obsolete;
  std::optional<std::string> deletion;  // the newest one at the horizon, if it is a deletion
  bool first = true;
  bool complete = true;
  Scan(store, VersionKey(key, horizon), to,
       [&](std::string_view store_key, std::string_view stored) {
         if (first && !MUTANT("gc-newest-version-collected")) {
           first = false;
           if (VersionTimestamp(store_key) != commit_ts && !MUTANT("gc-above-horizon"))
             return false;
           if (IsDeletion(stored)) deletion.emplace(store_key);
           return true;
         }
         if (obsolete.size() == max) {
           complete = false;
           return false;
         }
         obsolete.emplace_back(store_key);
         return true;
       });
  const size_t deleted = obsolete.size() + (complete && deletion ? 1 : 0);
  for (std::string& store_key : obsolete) batch->Delete(std::move(store_key));
  // Last: while an older version is left, the deletion is what hides it.
  if (complete && deletion) batch->Delete(std::move(*deletion));
  return deleted;
}

}  // namespace quorate::shard
