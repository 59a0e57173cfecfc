// Versions: (key, commit_ts) -> value or deletion, and reading them at a timestamp. Plain functions
// over the store; intents and locks are looked at by whoever calls them.
#pragma once

#include <absl/functional/function_ref.h>

#include <optional>
#include <string>
#include <string_view>

#include "storage/kv_store.h"
#include "txn/key_span.h"
#include "txn/timestamp.h"

namespace quorate::shard {

struct Version {
  Timestamp commit_ts;
  bool deletion = false;
  std::string value;
};

void PutVersion(std::string_view key, Timestamp commit_ts, bool deletion, std::string_view value,
                storage::WriteBatch* batch);

// Whether a pair of the store is a version. What the functions below find was put there by
// PutVersion, or came with a snapshot that had been asked this (Understands, state_machine.h).
bool IsVersion(std::string_view store_key, std::string_view stored);

// The commit_ts of the newest version of `key`; zero if it has none.
Timestamp NewestVersion(const storage::KvReader& store, std::string_view key);
// The newest version with commit_ts <= `at`, deletions included.
std::optional<Version> VersionAt(const storage::KvReader& store, std::string_view key,
                                 Timestamp at);

// One key's version at the timestamp of a scan, deletions included. False ends the scan.
using VersionVisitor = absl::FunctionRef<bool(std::string_view key, Timestamp commit_ts,
                                              bool deletion, std::string_view value)>;
// Visits, in key order, the version at `at` of every key in `span` that has one. At most about
// `examined_max` versions are looked at; then the key to go on from is returned (nullopt: the whole
// span was visited, or the visitor ended it).
std::optional<std::string> ScanVersions(const storage::KvReader& store, const Span& span,
                                        Timestamp at, size_t examined_max, VersionVisitor visit);

// The same backwards, from the last key of `span`, at most about `keys_max` keys. What is returned
// is the key below which to go on.
std::optional<std::string> ScanVersionsBack(const storage::KvReader& store, const Span& span,
                                            Timestamp at, size_t keys_max, VersionVisitor visit);

// What a seek costs, in versions read on from it.
inline constexpr size_t kVersionsPerSeek = 4;

// Deletes the versions of `key` that no read at or above `horizon` can return: those below the
// newest one with commit_ts <= `horizon`, and that one too if it is a deletion. At most `max` of
// them; returns how many versions were deleted.
//
// Every version has a record that comes here with its commit_ts, and the newest one's does the work
// for all: does nothing if that is another's. (Each for itself would read all that is deleted
// already and not flushed, which is quadratic for a key that is written often.)
size_t CollectVersions(const storage::KvReader& store, std::string_view key, Timestamp commit_ts,
                       Timestamp horizon, size_t max, storage::WriteBatch* batch);

}  // namespace quorate::shard
