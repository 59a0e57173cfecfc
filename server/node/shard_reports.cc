#include "server/node/shard_reports.h"

#include <string_view>
#include <utility>

namespace quorate::server {
namespace {

// In so many heartbeats each shard is looked at, whether or not anything happened in it.
constexpr size_t kRound = 60;

}  // namespace

void ShardReports::Fill(const std::set<GroupId>& active, size_t count, const Look& look,
                        const Next& next, v1::HeartbeatRequest* heartbeat) {
  sent_.clear();
  heartbeat->set_number(++number_);
  heartbeat->set_base(base_);
  heartbeat->set_base_term(base_term_);
  for (const GroupId group : active) doubtful_.insert(ShardId(group.value()));
  doubtful_.insert(loaded_.begin(), loaded_.end());
  if (base_ == 0) return AddAll(look, next, heartbeat);
  for (size_t i = 0; i <= count / kRound; ++i) {
    looked_at_ = next(looked_at_);
    if (looked_at_) doubtful_.insert(looked_at_);
  }
  for (const ShardId id : std::set<ShardId>(doubtful_)) Add(id, look, heartbeat);
}

void ShardReports::AddAll(const Look& look, const Next& next, v1::HeartbeatRequest* heartbeat) {
  told_.clear();
  doubtful_.clear();
  loaded_.clear();
  for (ShardId id = next(ShardId()); id; id = next(id)) Add(id, look, heartbeat);
}

void ShardReports::Add(ShardId id, const Look& look, v1::HeartbeatRequest* heartbeat) {
  const auto told = told_.find(id);
  std::optional<v1::ShardReport> report = look(id);
  loaded_.erase(id);
  if (!report) {
    if (told == told_.end()) {
      doubtful_.erase(id);
    } else {
      heartbeat->add_left_shards(id.value());
      sent_[id] = std::nullopt;
    }
    return;
  }
  if (report->requests_per_second() > 0) loaded_.insert(id);
  const size_t digest = std::hash<std::string>()(report->SerializeAsString());
  if (told != told_.end() && told->second == digest) {
    doubtful_.erase(id);
    return;
  }
  *heartbeat->add_led_shards() = *std::move(report);
  sent_[id] = digest;
  // If this one is lost, so is what it told.
  doubtful_.insert(id);
}

void ShardReports::Answered(const v1::HeartbeatResponse& response) {
  // A leader of an earlier version keeps nothing.
  const bool kept = response.map_position().term() != 0 && !response.report_all();
  base_ = kept ? number_ : 0;
  base_term_ = kept ? response.map_position().term() : 0;
  for (const auto& [id, digest] : std::exchange(sent_, {})) {
    doubtful_.erase(id);
    if (digest) {
      told_[id] = *digest;
    } else {
      told_.erase(id);
    }
  }
  for (const uint64_t id : response.tell_again()) {
    told_.erase(ShardId(id));
    doubtful_.insert(ShardId(id));
  }
}

}  // namespace quorate::server
