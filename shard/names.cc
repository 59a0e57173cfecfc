#include "shard/names.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "base/coding.h"
#include "base/mutant.h"
#include "base/probe.h"

namespace quorate::shard {

bool DecodeRecord(std::string_view store_key, std::string_view in, NameRecord* record) {
  const auto name = GivenName::FromBytes(storage::KeySuffix(store_key));
  if (!name.has_value() || in.empty()) return false;
  const auto state = static_cast<NameRecord::State>(in.front());
  if (state != NameRecord::State::kCommitted && state != NameRecord::State::kClosed) return false;
  in.remove_prefix(1);
  uint64_t commit_ts = 0;
  std::string_view last_key;
  if (!GetFixed64(&in, &commit_ts) || !GetLengthPrefixed(&in, &last_key) || !in.empty()) {
    return false;
  }
  *record = {state, *name, Timestamp(commit_ts), std::string(UserKey(store_key)),
             std::string(last_key)};
  return true;
}

Status Names::CheckRoom() const {
  if (records_.size() >= bounds_.shard) {
    return {Code::kOverloaded,
            fmt::format("the shard remembers {} names, the most it may", records_.size())};
  }
  if (bounds_.on_node != nullptr && *bounds_.on_node >= bounds_.node) {
    return {Code::kOverloaded,
            fmt::format("the node remembers {} names, the most it may", *bounds_.on_node)};
  }
  return Status::Ok();
}

void Names::Clear() {
  Count(-static_cast<ptrdiff_t>(records_.size()));
  records_.clear();
  prepared_.clear();
}

void Names::Store(NameRecord record, storage::WriteBatch* batch) {
  if (const auto stands = records_.find(record.name); stands != records_.end()) {
    if (record.state != NameRecord::State::kCommitted) return;
    if (stands->second.state == NameRecord::State::kClosed) {
      StateCommitted(record.commit_ts, stands, batch);
    } else if (record.commit_ts != stands->second.commit_ts || record.key == stands->second.key) {
      return;
    }
  }
  Put(record, batch);
  Load(record);
}

void Names::StateCommitted(Timestamp commit_ts, Records::iterator stands,
                           storage::WriteBatch* batch) {
  PROBE("shard: a closed name was committed in what was a neighbour");
  Entry& entry = stands->second;
  entry.state = NameRecord::State::kCommitted;
  entry.commit_ts = commit_ts;
  const auto put = [&](const std::string& key, const std::string& last_key) {
    Put({entry.state, stands->first, commit_ts, key, last_key.empty() ? key : last_key}, batch);
  };
  put(entry.key, entry.last_key);
  if (entry.more == nullptr) return;
  for (const Kept& each : *entry.more) put(each.key, each.last_key);
}

void Names::Absorb(NameRecord record, storage::WriteBatch* batch) {
  if (const auto stands = records_.find(record.name); stands != records_.end()) {
    Entry& entry = stands->second;
    const bool committed = record.state == NameRecord::State::kCommitted;
    if (entry.state == NameRecord::State::kCommitted) {
      record.state = entry.state;
      record.commit_ts = entry.commit_ts;
      Put(record, batch);
    } else if (committed) {
      StateCommitted(record.commit_ts, stands, batch);
    }
  }
  Load(record);
}

void Names::Put(const NameRecord& record, storage::WriteBatch* batch) {
  std::string out;
  out.push_back(static_cast<char>(record.state));
  PutFixed64(&out, record.commit_ts.bits());
  PutLengthPrefixed(&out, record.last_key);
  batch->Put(NameKey(record.key, record.name), std::move(out));
}

void Names::Split(std::string_view at, storage::WriteBatch* child) {
  for (auto it = records_.begin(); it != records_.end();) {
    Entry& entry = it->second;
    std::vector<Kept> kept = {{entry.key, entry.last_key}};
    if (entry.more != nullptr) kept.insert(kept.end(), entry.more->begin(), entry.more->end());
    bool across = false;
    std::string last_key;  // of what the child is to know at `at`
    for (const Kept& each : kept) {
      const std::string& last = each.last_key.empty() ? each.key : each.last_key;
      if (each.key > at || last < at) continue;
      across |= each.key < at;
      last_key = std::max(last_key, last);
    }
    std::erase_if(kept, [at](const Kept& each) { return each.key >= at; });
    if (kept.empty()) {
      it = records_.erase(it);
      Count(-1);
      continue;
    }
    if (across && child != nullptr && !MUTANT("split-names-not-copied")) {
      PROBE("shard: a name record was copied to the other side of a split");
      Put({entry.state, it->first, entry.commit_ts, std::string(at), last_key}, child);
    }
    entry.key = std::move(kept.front().key);
    entry.last_key = std::move(kept.front().last_key);
    kept.erase(kept.begin());
    entry.more = kept.empty() ? nullptr : std::make_unique<std::vector<Kept>>(std::move(kept));
    ++it;
  }
}

void Names::Load(const NameRecord& record) {
  const bool one_key = record.last_key == record.key;
  std::string last_key = one_key ? std::string() : record.last_key;
  const auto it = records_.find(record.name);
  if (it == records_.end()) {
    records_.try_emplace(
        record.name, Entry{record.state, record.commit_ts, record.key, std::move(last_key), {}});
    return Count(1);
  }
  if (record.state == NameRecord::State::kCommitted) {
    it->second.state = record.state;
    it->second.commit_ts = record.commit_ts;
  }
  auto& more = it->second.more;
  const auto is = [&record](const Kept& each) { return each.key == record.key; };
  // Closed at a key, and committed there.
  if (record.key == it->second.key) {
    it->second.last_key = std::move(last_key);
    return;
  }
  if (more == nullptr) more = std::make_unique<std::vector<Kept>>();
  if (const auto known = std::find_if(more->begin(), more->end(), is); known != more->end()) {
    known->last_key = std::move(last_key);
    return;
  }
  more->push_back({record.key, std::move(last_key)});
}

void Names::Collect(Timestamp horizon, size_t max, storage::WriteBatch* batch) {
  for (; max > 0 && AnyBelow(horizon); --max) {
    const auto oldest = records_.begin();
    batch->Delete(NameKey(oldest->second.key, oldest->first));
    if (const auto& more = oldest->second.more; more != nullptr) {
      for (const Kept& each : *more) batch->Delete(NameKey(each.key, oldest->first));
    }
    records_.erase(oldest);
    Count(-1);
  }
}

const Names::Entry* Names::Find(const GivenName& name) const {
  const auto it = records_.find(name);
  return it == records_.end() ? nullptr : &it->second;
}

std::vector<Owner> Names::Prepared(const GivenName& name) const {
  std::vector<Owner> owners;
  for (auto it = prepared_.lower_bound({name, Owner()}); it != prepared_.end() && it->first == name;
       ++it) {
    owners.push_back(it->second);
  }
  return owners;
}

bool Names::AnyBelow(Timestamp horizon) const {
  return !records_.empty() && TooOld(records_.begin()->first, horizon);
}

}  // namespace quorate::shard
