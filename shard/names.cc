#include "shard/names.h"

#include <fmt/format.h>

#include "base/check.h"
#include "base/coding.h"

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
  if (const Entry* stands = Find(record.name); stands != nullptr) {
    const bool same = stands->state == record.state && stands->commit_ts == record.commit_ts;
    const bool another_part = same && record.state == NameRecord::State::kCommitted;
    if (!another_part || record.key == stands->key) return;
  }
  std::string out;
  out.push_back(static_cast<char>(record.state));
  PutFixed64(&out, record.commit_ts.bits());
  PutLengthPrefixed(&out, record.last_key);
  batch->Put(NameKey(record.key, record.name), std::move(out));
  Load(record);
}

void Names::Load(const NameRecord& record) {
  const auto [it, first] =
      records_.try_emplace(record.name, Entry{record.state, record.commit_ts, record.key, nullptr});
  if (first) return Count(1);
  auto& more = it->second.more_keys;
  if (more == nullptr) more = std::make_unique<std::vector<std::string>>();
  more->push_back(record.key);
}

void Names::Collect(Timestamp horizon, size_t max, storage::WriteBatch* batch) {
  for (; max > 0 && AnyBelow(horizon); --max) {
    const auto oldest = records_.begin();
    batch->Delete(NameKey(oldest->second.key, oldest->first));
    if (const auto& more = oldest->second.more_keys; more != nullptr) {
      for (const std::string& key : *more) batch->Delete(NameKey(key, oldest->first));
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
