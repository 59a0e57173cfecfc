#include "shard/evaluate_read.h"

#include <algorithm>
#include <map>

#include "base/check.h"
#include "base/limits.h"
#include "base/mutant.h"
#include "base/probe.h"
#include "proto/shard.pb.h"
#include "shard/intents.h"
#include "shard/mvcc.h"
#include "txn/errors.h"

namespace quorate::shard {
namespace {

// The committed intent on `key`, as the version that it is about to become.
std::optional<Version> CommittedIntent(std::string_view key, Timestamp at, const Table& table,
                                       const LockTable& locks) {
  const PreparedLock* lock = locks.CommittedOn(key);
  if (lock == nullptr || lock->commit_ts > at) return std::nullopt;
  auto intent = GetIntent(table.store(), key);
  CHECK(intent.has_value() && intent->Of(lock->owner), "a committed lock without its intent");
  PROBE("shard: a read took an intent for the version that it is");
  return Version{lock->commit_ts, intent->deletion, std::move(intent->value)};
}

// ScanVersions with committed intents in their places. `visit` as there.
std::optional<std::string> ScanMerged(const Span& span, Timestamp at, size_t step_versions,
                                      const Table& table, const LockTable& locks,
                                      VersionVisitor visit) {
  std::map<std::string, Version, std::less<>> intents;
  if (locks.any_committed() && !MUTANT("txn-scan-misses-committed-intents")) {
    for (const auto& [key, lock] : locks.CommittedIn(span)) {
      if (auto version = CommittedIntent(key, at, table, locks)) {
        intents.emplace(key, *std::move(version));
      }
    }
  }
  bool stopped = false;
  auto give = [&](std::string_view key, const Version& version) {
    stopped = !visit(key, version.commit_ts, version.deletion, version.value);
    return !stopped;
  };
  auto next = intents.begin();
  const auto resume = ScanVersions(
      table.store(), span, at, step_versions,
      [&](std::string_view key, Timestamp commit_ts, bool deletion, std::string_view value) {
        for (; next != intents.end() && next->first < key; ++next) {
          if (!give(next->first, next->second)) return false;
        }
        if (next != intents.end() && next->first == key) {
          const bool newer = next->second.commit_ts > commit_ts;
          const auto intent = next++;
          if (newer) return give(intent->first, intent->second);
        }
        stopped = !visit(key, commit_ts, deletion, value);
        return !stopped;
      });
  for (; !stopped && next != intents.end(); ++next) {
    if (resume && next->first >= *resume) break;
    if (!give(next->first, next->second)) break;
  }
  return stopped ? std::nullopt : resume;
}

}  // namespace

Result<ReadAsk> ParseRead(const v1::ReadRequest& request, size_t scan_step_versions) {
  ReadAsk ask;
  if (!request.txn_id().empty()) {
    const auto reader = TxnId::FromBytes(request.txn_id());
    if (!reader) return InvalidArgument("txn_id has 16 bytes");
    ask.reader = *reader;
  }
  const auto asked = static_cast<size_t>(request.keys_size() + request.scans_size());
  if (asked > limits::kScanRowsMax) {
    return InvalidArgument(
        fmt::format("{} keys and scans in one read: the limit is {}", asked, limits::kScanRowsMax));
  }
  ask.keys.reserve(request.keys_size());
  for (const std::string& key : request.keys()) {
    RETURN_IF_ERROR(CheckKey(key));
    ask.keys.push_back(key);
  }
  for (const v1::ScanSpan& scan : request.scans()) {
    RETURN_IF_ERROR(CheckSpan(scan.span().from(), scan.span().to()));
    size_t limit = std::min<size_t>(scan.limit(), limits::kScanRowsMax);
    if (limit == 0) limit = limits::kScanRowsMax;
    ask.scans.push_back(
        {{scan.span().from(), scan.span().to()}, limit, scan.reverse(), scan_step_versions});
  }
  return ask;
}

bool OwnsAll(const ReadAsk& ask, const Span& span) {
  return std::all_of(ask.keys.begin(), ask.keys.end(),
                     [&](std::string_view key) { return span.Contains(key); }) &&
         std::all_of(ask.scans.begin(), ask.scans.end(),
                     [&](const ScanAsk& scan) { return span.Contains(scan.span); });
}

const PreparedLock* BlockerOf(const ReadAsk& ask, Timestamp at, const LockTable& locks) {
  if (locks.prepared().empty() || MUTANT("txn-read-ignores-locks")) return nullptr;
  for (std::string_view key : ask.keys) {
    if (const PreparedLock* lock = locks.ReadBlocker(key, at, ask.reader)) return lock;
  }
  for (const ScanAsk& scan : ask.scans) {
    if (MUTANT("txn-scan-ignores-locks")) break;
    if (const PreparedLock* lock = locks.ReadBlocker(scan.span, at, ask.reader)) return lock;
  }
  return nullptr;
}

Status ReadKeys(const ReadAsk& ask, Timestamp at, const Table& table, const LockTable& locks,
                v1::ReadResponse* response) {
  size_t bytes = 0;
  for (std::string_view key : ask.keys) {
    std::optional<Version> version = VersionAt(table.store(), key, at);
    if (locks.any_committed()) {
      auto intent = CommittedIntent(key, at, table, locks);
      if (intent && (!version || intent->commit_ts > version->commit_ts)) version = intent;
    }
    v1::KeyValue* answer = response->add_gets();
    answer->set_key(key.data(), key.size());
    if (!version) continue;
    answer->set_commit_ts(version->commit_ts.bits());
    if (version->deletion) continue;
    bytes += key.size() + version->value.size();
    answer->set_found(true);
    answer->set_value(std::move(version->value));
    if (bytes > limits::kTxnBytesMax) {
      return InvalidArgument(fmt::format("values of one read exceed {} bytes: ask for fewer keys",
                                         limits::kTxnBytesMax));
    }
  }
  return Status::Ok();
}

void ScanForward(const ScanAsk& ask, Timestamp at, const Table& table, const LockTable& locks,
                 v1::ScanResult* result) {
  size_t bytes = 0;
  bool full = false;
  const auto resume = ScanMerged(
      ask.span, at, ask.step_versions, table, locks,
      [&](std::string_view key, Timestamp commit_ts, bool deletion, std::string_view value) {
        if (deletion) return true;
        v1::KeyValue* row = result->add_rows();
        row->set_key(key.data(), key.size());
        row->set_value(value.data(), value.size());
        row->set_found(true);
        row->set_commit_ts(commit_ts.bits());
        bytes += key.size() + value.size();
        full =
            static_cast<size_t>(result->rows_size()) == ask.limit || bytes >= limits::kScanBytesMax;
        return !full;
      });
  if (resume) {
    PROBE("shard: a scan was cut by the versions it looked at");
    result->set_resume_key(*resume);
  } else if (full) {
    std::string next = result->rows(result->rows_size() - 1).key();
    next.push_back('\0');
    if (ask.span.Contains(next)) result->set_resume_key(std::move(next));
  }
}

bool ReverseScan::Step(const Table& table, const LockTable& locks) {
  auto resume = ScanMerged(
      rest_, at_, ask_.step_versions, table, locks,
      [&](std::string_view key, Timestamp commit_ts, bool deletion, std::string_view value) {
        if (deletion) return true;
        rows_.push_back({std::string(key), std::string(value), commit_ts});
        bytes_ += key.size() + value.size();
        while (rows_.size() > ask_.limit || (rows_.size() > 1 && bytes_ > limits::kScanBytesMax)) {
          bytes_ -= rows_.front().key.size() + rows_.front().value.size();
          rows_.pop_front();
          cut_ = true;
        }
        return true;
      });
  if (!resume) return true;
  rest_.from = *std::move(resume);
  return false;
}

void ReverseScan::Finish(v1::ScanResult* result) {
  for (auto row = rows_.rbegin(); row != rows_.rend(); ++row) {
    v1::KeyValue* out = result->add_rows();
    out->set_key(std::move(row->key));
    out->set_value(std::move(row->value));
    out->set_found(true);
    out->set_commit_ts(row->commit_ts.bits());
  }
  if (cut_) result->set_resume_key(result->rows(result->rows_size() - 1).key());
}

}  // namespace quorate::shard
