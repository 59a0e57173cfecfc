#include "shard/evaluate_read.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

#include "base/check.h"
#include "base/limits.h"
#include "base/mutant.h"
#include "base/probe.h"
#include "base/status_macros.h"
#include "quorate/v1/shard.pb.h"
#include "shard/intents.h"
#include "shard/mvcc.h"

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

// What takes as long as looking at a version: copying so many bytes.
constexpr size_t kBytesPerVersion = 64;

using Intents = std::map<std::string, Version, std::less<>>;

Intents CommittedIntents(const Span& span, Timestamp at, const Table& table,
                         const LockTable& locks) {
  Intents intents;
  if (!locks.any_committed() || MUTANT("txn-scan-misses-committed-intents")) return intents;
  for (const auto& [key, lock] : locks.CommittedIn(span)) {
    if (auto version = CommittedIntent(key, at, table, locks)) {
      intents.emplace(key, *std::move(version));
    }
  }
  return intents;
}

// Visits what ScanVersions or ScanVersionsBack visits, with committed intents in their places.
class Merge {
 public:
  // `visit` outlives it.
  Merge(Intents intents, bool reverse, VersionVisitor visit)
      : intents_(std::move(intents)), reverse_(reverse), visit_(visit) {}

  // In the order of the scan. False ends it.
  bool Stored(std::string_view key, Timestamp commit_ts, bool deletion, std::string_view value) {
    while (!intents_.empty()) {
      const auto next = Next();
      if (next->first != key && (next->first < key) == reverse_) break;
      const bool same = next->first == key;
      if (same && next->second.commit_ts < commit_ts) {
        intents_.erase(next);
        break;
      }
      if (!VisitIntent(next)) return false;
      if (same) return true;
    }
    return visit_(key, commit_ts, deletion, value);
  }
  // Behind the last stored one, up to where the scan came: all that are left without `resume`.
  void Rest(const std::optional<std::string>& resume) {
    while (!intents_.empty()) {
      const auto next = Next();
      if (resume && (reverse_ ? next->first < *resume : next->first >= *resume)) return;
      if (!VisitIntent(next)) return;
    }
  }

 private:
  Intents::iterator Next() { return reverse_ ? std::prev(intents_.end()) : intents_.begin(); }
  bool VisitIntent(Intents::iterator next) {
    const auto intent = intents_.extract(next);
    const Version& version = intent.mapped();
    return visit_(intent.key(), version.commit_ts, version.deletion, version.value);
  }

  Intents intents_;
  const bool reverse_;
  const VersionVisitor visit_;
};

// Above every key: where a scan that goes back from the end of the key space goes on.
std::string AboveAllKeys() { return std::string(limits::kKeyBytesMax + 1, '\xff'); }

}  // namespace

ReadAsk AskOf(const Judged<v1::ReadRequest>& request) {
  ReadAsk ask;
  ask.reader = TxnId::FromBytes(request->txn_id()).value_or(TxnId());
  ask.keys_bytes = std::min<size_t>(request->limit_bytes(), limits::kTxnBytesMax);
  if (ask.keys_bytes == 0) ask.keys_bytes = limits::kTxnBytesMax;
  ask.keys.assign(request->keys().begin(), request->keys().end());
  ask.scans.reserve(request->scans_size());
  for (const v1::ScanSpan& scan : request->scans()) {
    size_t limit = std::min<size_t>(scan.limit(), limits::kScanRowsMax);
    if (limit == 0) limit = limits::kScanRowsMax;
    size_t bytes = std::min<size_t>(scan.limit_bytes(), limits::kReadBytesMax);
    if (bytes == 0) bytes = limits::kReadBytesMax;
    ask.scans.push_back(
        {{scan.span().from(), scan.span().to()}, limit, scan.reverse(), scan.keys_only(), bytes});
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

Reading::Reading(const ReadAsk& ask, Timestamp at, size_t versions_max, v1::ReadResponse* response)
    : ask_(ask), at_(at), response_(response), versions_left_(versions_max) {}

bool Reading::ReadKey(std::string_view key, const Table& table, const LockTable& locks) {
  std::optional<Version> version = VersionAt(table.store(), key, at_);
  if (locks.any_committed()) {
    auto intent = CommittedIntent(key, at_, table, locks);
    if (intent && (!version || intent->commit_ts > version->commit_ts)) version = std::move(intent);
  }
  key_bytes_ += key.size() + (version ? version->value.size() : 0);
  step_bytes_ += version ? version->value.size() : 0;
  if (key_bytes_ > ask_.keys_bytes && response_->gets_size() > 0) return false;
  v1::KeyValue* answer = response_->add_gets();
  answer->set_key(key.data(), key.size());
  if (!version) return true;
  answer->set_commit_ts(version->commit_ts.bits());
  if (version->deletion) return true;
  answer->set_found(true);
  answer->set_value(std::move(version->value));
  return true;
}

bool Reading::paused() const { return step_bytes_ >= step_bytes_max_; }

bool Reading::full(const ScanAsk& scan) const {
  return static_cast<size_t>(result_->rows_size()) >= scan.limit || rows_left_ == 0 ||
         bytes_left_ == 0 || scan_bytes_ >= scan.limit_bytes;
}

void Reading::AddRow(const ScanAsk& scan, std::string_view key, Timestamp commit_ts,
                     std::string_view value) {
  if (scan.keys_only) value = {};
  v1::KeyValue* row = result_->add_rows();
  row->set_key(key.data(), key.size());
  row->set_value(value.data(), value.size());
  row->set_found(true);
  row->set_commit_ts(commit_ts.bits());
  --rows_left_;
  bytes_left_ -= std::min(bytes_left_, key.size() + value.size());
  scan_bytes_ += key.size() + value.size();
  step_bytes_ += key.size() + value.size();
}

void Reading::Cut(const ScanAsk& scan) {
  const bool by_bytes = static_cast<size_t>(result_->rows_size()) < scan.limit;
  if (by_bytes && MUTANT("txn-scan-cut-by-bytes-is-its-end")) return;
  if (scan.reverse) {
    result_->set_resume_key(rest_.to.empty() ? AboveAllKeys() : rest_.to);
  } else {
    // No key is empty, so the first one there can be is this.
    result_->set_resume_key(rest_.from.empty() ? std::string(1, '\0') : rest_.from);
  }
}

void Reading::EndScan() {
  result_ = nullptr;
  ++scan_;
}

size_t Reading::StepForward(const ScanAsk& scan, const Table& table, const LockTable& locks,
                            size_t max) {
  size_t looked = kVersionsPerSeek;
  const auto add = [&](std::string_view key, Timestamp commit_ts, bool deletion,
                       std::string_view value) {
    rest_.from = key;
    rest_.from.push_back('\0');
    if (!deletion) AddRow(scan, key, commit_ts, value);
    return !full(scan) && !paused();
  };
  Merge merge(CommittedIntents(rest_, at_, table, locks), false, add);
  const auto resume = ScanVersions(
      table.store(), Span(rest_), at_, max,
      [&](std::string_view key, Timestamp commit_ts, bool deletion, std::string_view value) {
        ++looked;
        return merge.Stored(key, commit_ts, deletion, value);
      });
  if (full(scan)) {
    if (!rest_.empty()) Cut(scan);
    EndScan();
    return looked;
  }
  if (!paused()) merge.Rest(resume);
  if (full(scan)) {
    if (!rest_.empty()) Cut(scan);
    EndScan();
  } else if (paused()) {
    return looked;  // on from behind the last row
  } else if (resume) {
    rest_.from = *resume;
    return max;
  } else {
    EndScan();
  }
  return looked;
}

size_t Reading::StepBack(const ScanAsk& scan, const Table& table, const LockTable& locks,
                         size_t max) {
  size_t looked = kVersionsPerSeek;
  const auto add = [&](std::string_view key, Timestamp commit_ts, bool deletion,
                       std::string_view value) {
    rest_.to = key;
    if (!deletion) AddRow(scan, key, commit_ts, value);
    return !full(scan) && !paused();
  };
  Merge merge(CommittedIntents(rest_, at_, table, locks), true, add);
  const auto resume = ScanVersionsBack(
      table.store(), Span(rest_), at_, max / (2 * kVersionsPerSeek) + 1,
      [&](std::string_view key, Timestamp commit_ts, bool deletion, std::string_view value) {
        looked += 2 * kVersionsPerSeek;
        return merge.Stored(key, commit_ts, deletion, value);
      });
  if (!full(scan) && !paused()) merge.Rest(resume);
  if (full(scan)) {
    // Whether there is a row below the last one is not known without looking: the next Read does.
    if (!rest_.empty() && rest_.to != rest_.from) Cut(scan);
    EndScan();
  } else if (paused()) {
    return looked;  // on from below the last row
  } else if (resume) {
    rest_.to = *resume;
    return max;
  } else {
    EndScan();
  }
  return looked;
}

bool Reading::Step(const Table& table, const LockTable& locks, size_t versions_max) {
  size_t budget = versions_max;
  step_bytes_ = 0;
  step_bytes_max_ = versions_max * kBytesPerVersion;
  const auto spend = [&budget](size_t versions) { budget -= std::min(budget, versions); };
  for (; key_ < ask_.keys.size(); ++key_, spend(kVersionsPerSeek)) {
    if (budget == 0 || paused()) return false;
    if (!ReadKey(ask_.keys[key_], table, locks)) {
      key_ = ask_.keys.size();
      break;
    }
  }
  while (scan_ < ask_.scans.size()) {
    if (budget == 0 || paused()) return false;
    const ScanAsk& scan = ask_.scans[scan_];
    if (result_ == nullptr) {
      result_ = response_->add_scans();
      rest_ = scan.span;
      scan_bytes_ = 0;
    }
    if (versions_left_ == 0 || full(scan)) {
      PROBE("shard: a scan was cut by what its read looked at");
      Cut(scan);
      EndScan();
      spend(1);
      continue;
    }
    const size_t max = std::min(budget, versions_left_);
    const size_t looked =
        scan.reverse ? StepBack(scan, table, locks, max) : StepForward(scan, table, locks, max);
    spend(looked);
    versions_left_ -= std::min(versions_left_, looked);
  }
  return true;
}

}  // namespace quorate::shard
