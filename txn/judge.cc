#include "txn/judge.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "base/bytes.h"
#include "base/limits.h"
#include "base/mutant.h"
#include "base/status_macros.h"
#include "quorate/v1/node.pb.h"
#include "txn/errors.h"
#include "txn/footprint.h"
#include "txn/given_name.h"
#include "txn/id.h"
#include "txn/key_span.h"
#include "txn/table_key.h"
#include "txn/txn_size.h"

namespace quorate {
namespace {

Status CheckCount(int count, size_t max, std::string_view what) {
  if (static_cast<size_t>(count) <= max) return Status::Ok();
  return InvalidArgument(fmt::format("{} {} in one request: the limit is {}", count, what, max));
}

Status CheckText(std::string_view text, std::string_view what) {
  if (text.size() <= kTextBytesMax) return Status::Ok();
  return InvalidArgument(
      fmt::format("{} of {} bytes: the limit is {} bytes", what, text.size(), kTextBytesMax));
}

// Text that is shown to people and written to logs as it is: one line of printable ASCII.
Status CheckLabel(std::string_view text, std::string_view what) {
  RETURN_IF_ERROR(CheckText(text, what));
  const bool printable =
      std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
  if (printable) return Status::Ok();
  return InvalidArgument(
      fmt::format("{} \"{}\": only printable ASCII may be in it", what, Printable(text)));
}

Status CheckAddress(std::string_view address, std::string_view what) {
  RETURN_IF_ERROR(CheckLabel(address, what));
  if (const auto parsed = ParseHostPort(address); !parsed.ok()) {
    return InvalidArgument(fmt::format("{}: {}", what, parsed.status().message()));
  }
  return Status::Ok();
}

// What an oracle gave: with bits below it, a timestamp would leave commits no room in its slot.
Status CheckSlot(uint64_t ts, std::string_view field) {
  if (Timestamp(ts).is_slot()) return Status::Ok();
  return InvalidArgument(fmt::format("{} {} is no slot", field, Timestamp(ts)));
}

// Without `read_ts` the one who answers chooses it.
Status CheckStale(const v1::StaleRead& stale, uint64_t read_ts) {
  if (read_ts == 0) RETURN_IF_ERROR(CheckMaxAge(stale.max_age_ms()));
  if (stale.max_age_ms() > ToMillis(limits::kTxnLifetimeMax)) {
    return CheckMaxAge(stale.max_age_ms());
  }
  if (read_ts == 0 || stale.not_before() <= read_ts) return Status::Ok();
  return InvalidArgument(fmt::format("not_before {} is above read_ts {}",
                                     Timestamp(stale.not_before()), Timestamp(read_ts)));
}

Status CheckStart(uint64_t start_ts) {
  return start_ts != 0 ? Status::Ok() : InvalidArgument("start_ts is missing");
}

Status CheckDigest(uint64_t digest) {
  return digest != 0 ? Status::Ok() : InvalidArgument("digest is missing");
}

// The id of an earlier attempt is as good as any, but there must be one.
Status CheckPriority(const v1::Priority& priority) {
  if (TxnId::FromBytes(priority.txn_id()).has_value()) return Status::Ok();
  return InvalidArgument("priority.txn_id has 16 bytes");
}

Status CheckName(std::string_view name) {
  if (name.empty() || GivenName::FromBytes(name)) return Status::Ok();
  return InvalidArgument("name is no UUIDv7 of 16 bytes");
}

// Sums up what a transaction, or a part of one, writes and reads.
class Sizes {
 public:
  template <class Writes>
  Status AddWrites(const Writes& writes) {
    const std::string* previous = nullptr;
    for (const v1::Write& write : writes) {
      RETURN_IF_ERROR(CheckKey(write.key()));
      RETURN_IF_ERROR(CheckValue(write.value()));
      if (previous != nullptr && *previous >= write.key()) {
        return InvalidArgument(fmt::format(
            "writes must be sorted by key without duplicates: \"{}\"", Printable(write.key())));
      }
      previous = &write.key();
      size_.AddWrite(write.key(), write.value());
    }
    return Status::Ok();
  }
  template <class Spans>
  Status AddSpans(const Spans& spans) {
    for (const v1::KeySpan& span : spans) {
      RETURN_IF_ERROR(CheckSpan(span.from(), span.to()));
      size_.AddRead(span.from(), span.to());
    }
    return Status::Ok();
  }
  Status Sum() const { return size_.Check(); }

 private:
  TxnSize size_;
};

Status CheckTables(const google::protobuf::RepeatedPtrField<v1::TableVersion>& tables,
                   const google::protobuf::RepeatedPtrField<v1::Write>& writes) {
  RETURN_IF_ERROR(CheckCount(tables.size(), kTablesOfTxnMax, "tables"));
  uint32_t previous = 0;
  for (const v1::TableVersion& table : tables) {
    if (table.table_id() <= previous) {
      return InvalidArgument("tables must be sorted by id, without duplicates and without id 0");
    }
    if (table.version() == 0) return InvalidArgument("a table's version is missing");
    previous = table.table_id();
  }
  if (MUTANT("txn-raw-writes-in-tables")) return Status::Ok();
  for (const v1::Write& write : writes) {
    if (!IsTableKey(write.key())) continue;
    const uint32_t id = TableIdOf(write.key()).value_or(0);
    const auto at = std::lower_bound(
        tables.begin(), tables.end(), id,
        [](const v1::TableVersion& table, uint32_t other) { return table.table_id() < other; });
    if (id != 0 && at != tables.end() && at->table_id() == id) continue;
    RETURN_IF_ERROR(
        CheckRawWrite(write.key(), write.deletion() ? WriteKind::kDeletion : WriteKind::kPut));
  }
  return Status::Ok();
}

Status CheckResolutions(const google::protobuf::RepeatedPtrField<v1::Resolution>& resolutions) {
  RETURN_IF_ERROR(CheckCount(resolutions.size(), kResolutionsMax, "resolutions"));
  for (const v1::Resolution& resolution : resolutions) {
    RETURN_IF_ERROR(CheckTxnId(resolution.txn_id()));
    RETURN_IF_ERROR(CheckDigest(resolution.digest()));
    RETURN_IF_ERROR(CheckMarker(resolution.marker_key()));
    RETURN_IF_ERROR(CheckStart(resolution.start_ts()));
    const bool commit = resolution.outcome() == v1::COMMITTED;
    if (!commit && resolution.outcome() != v1::ABORTED_STATE) {
      return InvalidArgument("a resolution's outcome is COMMITTED or ABORTED_STATE");
    }
    if (commit && resolution.commit_ts() <= resolution.start_ts()) {
      return InvalidArgument("a transaction commits above its start_ts");
    }
  }
  return Status::Ok();
}

Status CheckShard(const v1::ShardDescriptor& shard) {
  RETURN_IF_ERROR(CheckSpan(shard.from(), shard.to()));
  RETURN_IF_ERROR(CheckCount(shard.replicas_size(), kReplicasMax, "replicas of a shard"));
  for (const v1::Replica& replica : shard.replicas()) {
    RETURN_IF_ERROR(CheckText(replica.address(), "address"));
  }
  return Status::Ok();
}

Status CheckVersion(uint64_t version, std::string_view field) {
  if (version > 0 && version < kShardVersionMax) return Status::Ok();
  return InvalidArgument(fmt::format("{} {} is none that a shard can have", field, version));
}

// A right neighbour: something begins before it.
Status CheckRight(uint64_t shard_id, std::string_view from) {
  if (shard_id == 0) return InvalidArgument("shard_id is missing");
  return CheckKey(from, "from");
}

Status Check(const v1::FreeSpan& free) {
  if (free.into_shard_id() == 0) return InvalidArgument("into_shard_id is missing");
  RETURN_IF_ERROR(CheckRight(free.shard_id(), free.span().from()));
  return CheckSpan(free.span().from(), free.span().to());
}

Status Check(const v1::ConfirmFrozen& confirm) {
  RETURN_IF_ERROR(CheckRight(confirm.shard_id(), confirm.from()));
  return CheckVersion(confirm.version(), "version");
}

Status Check(const v1::RoutesRequest& request) { return CheckSpan(request.from(), request.to()); }

Status Check(const v1::RegisterNodeRequest& request) {
  RETURN_IF_ERROR(CheckText(request.cluster_id(), "cluster_id"));
  return CheckNode(request.node());
}

Status Check(const v1::HeartbeatRequest& request) {
  RETURN_IF_ERROR(CheckCount(request.led_shards_size(), limits::kShardsMax, "shards"));
  for (const v1::ShardReport& report : request.led_shards()) {
    RETURN_IF_ERROR(CheckShard(report.shard()));
    RETURN_IF_ERROR(CheckCount(report.caught_up_size(), kReplicasMax, "replicas of a shard"));
  }
  RETURN_IF_ERROR(CheckCount(request.begun_shards_size(), limits::kBegunShardsMax, "begun shards"));
  for (const v1::ShardDescriptor& shard : request.begun_shards()) {
    RETURN_IF_ERROR(CheckShard(shard));
  }
  RETURN_IF_ERROR(CheckCount(request.refusals_size(), limits::kShardsMax, "refusals"));
  for (const v1::OrderRefusal& refusal : request.refusals()) {
    RETURN_IF_ERROR(CheckText(refusal.why(), "why"));
  }
  return CheckNode(request.node());
}

Status Check(const v1::InitRequest& request) {
  RETURN_IF_ERROR(CheckCount(request.split_keys_size(), limits::kShardsMax, "split keys"));
  RETURN_IF_ERROR(CheckCount(request.addresses_size(), limits::kNodesMax, "addresses"));
  for (const std::string& key : request.split_keys()) {
    RETURN_IF_ERROR(CheckKey(key, "split key"));
  }
  for (const std::string& address : request.addresses()) {
    RETURN_IF_ERROR(CheckText(address, "address"));
  }
  // 0: as many as usual. As the setting that they become (placement.replication_factor).
  const uint32_t replicas = request.replication_factor();
  if (replicas != 0 && (replicas % 2 == 0 || replicas > limits::kReplicationFactorMax)) {
    return InvalidArgument(fmt::format("replicas: {} is none of 1, 3, 5, 7", replicas));
  }
  return Status::Ok();
}

Status CheckRule(const v1::PlacementRule& rule) {
  RETURN_IF_ERROR(CheckSpan(rule.from(), rule.to()));
  for (const auto* labels : {&rule.require(), &rule.prefer(), &rule.leaders()}) {
    RETURN_IF_ERROR(CheckCount(labels->size(), kLocalityMax, "labels"));
    size_t bytes = 0;
    for (const v1::PlacementLabel& label : *labels) {
      RETURN_IF_ERROR(CheckLabel(label.name(), "label"));
      RETURN_IF_ERROR(CheckLabel(label.value(), "label"));
      bytes += label.name().size() + label.value().size();
    }
    if (bytes <= kLocalityBytesMax) continue;
    return InvalidArgument(fmt::format("labels of {} bytes together: the limit is {} bytes", bytes,
                                       kLocalityBytesMax));
  }
  return Status::Ok();
}

Status Check(const v1::PlacementRequest& request) {
  if (request.has_set_rule()) RETURN_IF_ERROR(CheckRule(request.set_rule().rule()));
  if (!request.unset_rule().from().empty()) {
    RETURN_IF_ERROR(CheckKey(request.unset_rule().from(), "from"));
  }
  for (const auto* setting : {&request.change_setting(), &request.check_setting()}) {
    RETURN_IF_ERROR(CheckText(setting->name(), "setting"));
    RETURN_IF_ERROR(CheckText(setting->value(), "value"));
  }
  RETURN_IF_ERROR(CheckCount(request.get_catalog().names_size(), kTablesOfTxnMax, "names"));
  for (const std::string& name : request.get_catalog().names()) {
    RETURN_IF_ERROR(CheckText(name, "name"));
  }
  RETURN_IF_ERROR(
      CheckCount(request.change_tables().change().tables_size(), kTablesOfTxnMax, "tables"));
  if (!request.split_shard().at().empty()) {
    RETURN_IF_ERROR(CheckKey(request.split_shard().at(), "at"));
  }
  return Status::Ok();
}

Status Check(const v1::BootstrapRequest& request) {
  RETURN_IF_ERROR(CheckText(request.cluster_id(), "cluster_id"));
  RETURN_IF_ERROR(CheckCount(request.nodes_size(), limits::kNodesMax, "nodes"));
  RETURN_IF_ERROR(CheckCount(request.placement_nodes_size(), limits::kNodesMax, "placement nodes"));
  RETURN_IF_ERROR(CheckCount(request.shards_size(), limits::kShardsMax, "shards"));
  for (const v1::NodeInfo& node : request.nodes()) RETURN_IF_ERROR(CheckNode(node));
  for (const v1::ShardDescriptor& shard : request.shards()) RETURN_IF_ERROR(CheckShard(shard));
  return Status::Ok();
}

}  // namespace

Status CheckLocality(const std::map<std::string, std::string>& locality) {
  RETURN_IF_ERROR(CheckCount(static_cast<int>(locality.size()), kLocalityMax, "localities"));
  size_t bytes = 0;
  for (const auto& [name, value] : locality) {
    if (name.empty() || value.empty()) return InvalidArgument("locality: an empty name or value");
    RETURN_IF_ERROR(CheckLabel(name, "locality"));
    RETURN_IF_ERROR(CheckLabel(value, "locality"));
    bytes += name.size() + value.size();
  }
  if (bytes <= kLocalityBytesMax) return Status::Ok();
  return InvalidArgument(fmt::format("localities of {} bytes together: the limit is {} bytes",
                                     bytes, kLocalityBytesMax));
}

Status CheckNode(const v1::NodeInfo& node) {
  RETURN_IF_ERROR(CheckAddress(node.address(), "address"));
  if (!node.http_address().empty()) {
    RETURN_IF_ERROR(CheckAddress(node.http_address(), "http_address"));
  }
  const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  if (node.storage_id().size() != kStorageIdDigits ||
      !std::all_of(node.storage_id().begin(), node.storage_id().end(), is_hex)) {
    return InvalidArgument(fmt::format("storage_id has {} hex digits", kStorageIdDigits));
  }
  RETURN_IF_ERROR(CheckLabel(node.version(), "version"));
  return CheckLocality({node.locality().begin(), node.locality().end()});
}

Status CheckTxnId(std::string_view txn_id) {
  const auto id = TxnId::FromBytes(txn_id);
  if (id.has_value() && id->valid()) return Status::Ok();
  return InvalidArgument("txn_id has 16 bytes, not all 0");
}

Status CheckMarker(std::string_view marker_key) {
  if (marker_key.size() <= kMarkerBytesMax || MUTANT("txn-marker-unbounded")) return Status::Ok();
  return InvalidArgument(fmt::format("marker_key of {} bytes: the limit is {} bytes",
                                     marker_key.size(), kMarkerBytesMax));
}

Status Check(const v1::CommitRequest& request) {
  RETURN_IF_ERROR(CheckTxnId(request.txn_id()));
  RETURN_IF_ERROR(CheckStart(request.start_ts()));
  const TxnPriority priority{Timestamp(request.priority().start_ts()),
                             TxnId::FromBytes(request.priority().txn_id()).value_or(TxnId())};
  if (!priority.start_ts || !priority.txn_id.valid() ||
      priority.start_ts > Timestamp(request.start_ts())) {
    return InvalidArgument("priority must be (start_ts, txn_id) of this attempt or an earlier one");
  }
  RETURN_IF_ERROR(CheckName(request.name()));
  if (request.writes().empty()) {
    return InvalidArgument("nothing is written: a read-only transaction has no commit step");
  }
  Sizes sizes;
  RETURN_IF_ERROR(sizes.AddWrites(request.writes()));
  RETURN_IF_ERROR(sizes.AddSpans(request.reads()));
  RETURN_IF_ERROR(CheckTables(request.tables(), request.writes()));
  const bool anchor_written =
      std::any_of(request.writes().begin(), request.writes().end(),
                  [&](const v1::Write& write) { return write.key() == request.anchor_key(); });
  if (!anchor_written) return InvalidArgument("anchor_key must be one of the written keys");
  return sizes.Sum();
}

Status Check(const v1::PrepareRequest& request) {
  RETURN_IF_ERROR(CheckTxnId(request.txn_id()));
  RETURN_IF_ERROR(CheckPriority(request.priority()));
  RETURN_IF_ERROR(CheckStart(request.start_ts()));
  RETURN_IF_ERROR(CheckKey(request.anchor_key(), "anchor_key"));
  RETURN_IF_ERROR(CheckName(request.name()));
  if (request.writes().empty() && request.guards().empty()) {
    return InvalidArgument("a prepare of nothing");
  }
  Sizes sizes;
  RETURN_IF_ERROR(sizes.AddWrites(request.writes()));
  RETURN_IF_ERROR(sizes.AddSpans(request.guards()));
  RETURN_IF_ERROR(CheckTables(request.tables(), request.writes()));
  RETURN_IF_ERROR(sizes.Sum());

  std::vector<std::string_view> writes;
  writes.reserve(request.writes_size());
  for (const v1::Write& write : request.writes()) writes.push_back(write.key());
  std::vector<Span> guards;
  guards.reserve(request.guards_size());
  for (const v1::KeySpan& guard : request.guards()) {
    if (!guards.empty() && (guards.back().to.empty() || guard.from() < guards.back().to)) {
      return InvalidArgument("guards must be sorted and must not overlap");
    }
    guards.push_back({guard.from(), guard.to()});
  }
  // Where the record is kept, and what it is called, follow from the content: two parts of one
  // name that differ would be taken for each other.
  std::string_view marker = writes.empty() ? std::string_view(guards.front().from) : writes.front();
  if (!guards.empty()) marker = std::min(marker, std::string_view(guards.front().from));
  if (request.marker_key() != marker) {
    return InvalidArgument("marker_key must be the first of the written keys and guards");
  }
  if (request.digest() != DigestOf(marker, writes, guards).value()) {
    return InvalidArgument("digest must be that of marker, keys and guards");
  }
  return Status::Ok();
}

Status Check(const v1::ReadRequest& request) {
  RETURN_IF_ERROR(CheckSlot(request.read_ts(), "read_ts"));
  if (request.has_stale()) RETURN_IF_ERROR(CheckStale(request.stale(), request.read_ts()));
  if (!request.txn_id().empty() && !TxnId::FromBytes(request.txn_id())) {
    return InvalidArgument("txn_id has 16 bytes");
  }
  RETURN_IF_ERROR(CheckCount(request.keys_size() + request.scans_size(), limits::kScanRowsMax,
                             "keys and scans"));
  for (const std::string& key : request.keys()) RETURN_IF_ERROR(CheckKey(key));
  for (const v1::ScanSpan& scan : request.scans()) {
    RETURN_IF_ERROR(CheckSpan(scan.span().from(), scan.span().to()));
  }
  return Status::Ok();
}

Status Check(const v1::LockRequest& request) {
  RETURN_IF_ERROR(CheckTxnId(request.txn_id()));
  if (!request.release()) RETURN_IF_ERROR(CheckPriority(request.priority()));
  RETURN_IF_ERROR(CheckCount(request.keys_size(), kAdvisoryKeysMax, "keys to lock"));
  for (const std::string& key : request.keys()) RETURN_IF_ERROR(CheckKey(key));
  return Status::Ok();
}

Status Check(const v1::ResolveRequest& request) { return CheckResolutions(request.resolutions()); }

Status Check(const v1::EarlyOutcomeRequest& request) {
  return CheckResolutions(request.resolutions());
}

Status Check(const v1::QueryPrepareRequest& request) {
  RETURN_IF_ERROR(CheckTxnId(request.txn_id()));
  RETURN_IF_ERROR(CheckDigest(request.digest()));
  RETURN_IF_ERROR(CheckMarker(request.marker_key()));
  return CheckStart(request.start_ts());
}

Status Check(const v1::PushRequest& request) {
  if (!request.name().empty()) {
    RETURN_IF_ERROR(CheckName(request.name()));
    return CheckKey(request.key());
  }
  RETURN_IF_ERROR(CheckTxnId(request.txn().txn_id()));
  RETURN_IF_ERROR(CheckKey(request.txn().anchor_key(), "anchor_key"));
  return CheckStart(request.txn().start_ts());
}

Status Check(const v1::FrozenShard& frozen) {
  const v1::ShardDescriptor& shard = frozen.state().shard();
  RETURN_IF_ERROR(CheckShard(shard));
  RETURN_IF_ERROR(CheckRight(shard.shard_id(), shard.from()));
  RETURN_IF_ERROR(CheckVersion(shard.version(), "shard.version"));
  if (frozen.state().frozen_into() == 0) return InvalidArgument("that is no frozen shard");
  RETURN_IF_ERROR(CheckCount(frozen.state().merges_size(), kSettledMergesMax, "settled merges"));
  if (frozen.pairs().size() <= kAbsorbedBytesMax) return Status::Ok();
  return InvalidArgument(fmt::format("a frozen shard with {} bytes: the limit is {}",
                                     frozen.pairs().size(), kAbsorbedBytesMax));
}

Status Check(const v1::AbandonMerge& merge) {
  RETURN_IF_ERROR(CheckRight(merge.shard_id(), merge.from()));
  return CheckVersion(merge.version(), "version");
}

namespace {

Status Check(const v1::MergeRequest& request) {
  switch (request.ask_case()) {
    case v1::MergeRequest::kAbsorb:
      return quorate::Check(request.absorb());
    case v1::MergeRequest::kAbandon:
      return quorate::Check(request.abandon());
    case v1::MergeRequest::kFree:
      return Check(request.free());
    case v1::MergeRequest::kConfirm:
      return Check(request.confirm());
    case v1::MergeRequest::ASK_NOT_SET:
      break;
  }
  return InvalidArgument("a merge request that this version does not know");
}

}  // namespace

Status Check(const v1::NodeRequest& request) {
  switch (request.body_case()) {
    case v1::NodeRequest::kRead:
      return Check(request.read());
    case v1::NodeRequest::kLock:
      return Check(request.lock());
    case v1::NodeRequest::kCommit:
      return Check(request.commit());
    case v1::NodeRequest::kPrepare:
      return Check(request.prepare());
    case v1::NodeRequest::kResolve:
      return Check(request.resolve());
    case v1::NodeRequest::kEarlyOutcome:
      return Check(request.early_outcome());
    case v1::NodeRequest::kQueryPrepare:
      return Check(request.query_prepare());
    case v1::NodeRequest::kPush:
      return Check(request.push());
    case v1::NodeRequest::kRoutes:
      return Check(request.routes());
    case v1::NodeRequest::kRegisterNode:
      return Check(request.register_node());
    case v1::NodeRequest::kHeartbeat:
      return Check(request.heartbeat());
    case v1::NodeRequest::kInit:
      return Check(request.init());
    case v1::NodeRequest::kBootstrap:
      return Check(request.bootstrap());
    case v1::NodeRequest::kPlacement:
      return Check(request.placement());
    case v1::NodeRequest::kMerge:
      return Check(request.merge());
    case v1::NodeRequest::kSlot:
    case v1::NodeRequest::kHello:
    case v1::NodeRequest::kStatus:
      return Status::Ok();  // nothing in them
    case v1::NodeRequest::BODY_NOT_SET:
      break;
  }
  return InvalidArgument("the request has no body that this version knows");
}

}  // namespace quorate
