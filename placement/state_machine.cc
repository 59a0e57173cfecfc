#include "placement/state_machine.h"

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/coding.h"
#include "base/crc32c.h"

namespace quorate::placement {

namespace {

constexpr char kTag = 'P';
constexpr char kRoot = 'r';
constexpr char kNode = 'n';
constexpr char kShard = 's';

std::string KeyOf(char table, std::string_view rest = {}) {
  std::string body{kTag, table};
  body.append(rest);
  return storage::MakeKey(body);
}
std::string NodeKey(uint64_t id) {
  std::string rest;
  PutOrdered64(&rest, id);
  return KeyOf(kNode, rest);
}

raft::ApplyResult Done(const v1::PlacementApplyResult& result) {
  return {Status::Ok(), result.SerializeAsString()};
}
raft::ApplyResult Refused(Status status) { return {std::move(status), {}}; }

}  // namespace

StateMachine::StateMachine(storage::OrderedStore& store, const v1::BootstrapRequest* seed)
    : store_(store) {
  Load();
  if (!stored_ && seed != nullptr) Seed(*seed);
}

void StateMachine::Load() {
  root_.Clear();
  nodes_.Clear();
  map_.Clear();
  stored_ = false;
  const auto spans = Spans();
  const Status scanned = store_.Scan(
      spans[0].first, spans[0].second, [this](std::string_view key, std::string_view value) {
        const std::string_view body = storage::KeyBody(key);
        CHECK(body.size() >= 2, "placement: store key {}", ToHex(key));
        const int size = static_cast<int>(value.size());
        v1::NodeInfo node;
        v1::ShardDescriptor piece;
        switch (body[1]) {
          case kRoot:
            CHECK(root_.ParseFromArray(value.data(), size), "placement: root does not parse");
            stored_ = true;
            break;
          case kNode:
            CHECK(node.ParseFromArray(value.data(), size), "placement: node does not parse");
            nodes_.Load(std::move(node));
            break;
          case kShard:
            CHECK(piece.ParseFromArray(value.data(), size), "placement: shard does not parse");
            map_.Load(std::move(piece));
            break;
          default:
            CHECK(false, "placement: store key {} of a newer version", ToHex(key));
        }
        return true;
      });
  CHECK(scanned.ok(), "placement: {}", scanned.ToString());
  node_ids_ = IdAllocator(root_.next_node_id());
  shard_ids_ = IdAllocator(root_.next_shard_id());
}

void StateMachine::Seed(const v1::BootstrapRequest& seed) {
  root_.set_cluster_id(seed.cluster_id());
  for (const uint64_t id : seed.placement_nodes()) root_.add_placement_nodes(id);
  for (const v1::NodeInfo& node : seed.nodes()) {
    nodes_.Load(node);
    node_ids_.Reserve(node.node_id());
  }
  shard_ids_.Reserve(1);  // group 1 is the placement group
  for (const v1::ShardDescriptor& shard : seed.shards()) {
    map_.Put(shard);
    shard_ids_.Reserve(shard.shard_id());
  }
}

raft::ApplyResult StateMachine::Apply(raft::LogIndex, raft::Term term, std::string_view payload,
                                      storage::WriteBatch* batch) {
  StoreFirstState(batch);  // a directory of an earlier version has its first entry behind it
  v1::PlacementCommand command;
  // Only what this group proposed is in its log: bytes that do not parse are damage or a newer
  // version, and going on would let replicas diverge.
  CHECK(command.ParseFromArray(payload.data(), static_cast<int>(payload.size())),
        "placement: an entry does not parse");
  if (command.term() != term.value()) {
    return Refused(Status(Code::kNotLeader, "proposed in an earlier term"));
  }
  switch (command.command_case()) {
    case v1::PlacementCommand::kRaiseCeiling:
      return ApplyCeiling(command.raise_ceiling(), batch);
    case v1::PlacementCommand::kPutNode:
      return ApplyNode(command.put_node(), batch);
    case v1::PlacementCommand::kPutShards:
      return ApplyShards(command.put_shards(), batch);
    case v1::PlacementCommand::kStart: {
      if (observer_ != nullptr) observer_->OnStarted(term);
      v1::PlacementApplyResult result;
      result.set_ceiling(root_.ceiling());
      return Done(result);
    }
    case v1::PlacementCommand::COMMAND_NOT_SET:
      break;
  }
  CHECK(false, "placement: entry with unknown command {}", int{command.command_case()});
}

raft::ApplyResult StateMachine::ApplyCeiling(const v1::RaiseCeiling& command,
                                             storage::WriteBatch* batch) {
  if (command.ceiling() > root_.ceiling()) {
    root_.set_ceiling(command.ceiling());
    WriteRoot(batch);
  }
  if (observer_ != nullptr) observer_->OnCeiling(ceiling());
  v1::PlacementApplyResult result;
  result.set_ceiling(root_.ceiling());
  return Done(result);
}

raft::ApplyResult StateMachine::ApplyNode(const v1::PutNode& command, storage::WriteBatch* batch) {
  Result<NodeId> id = nodes_.Put(command.node(), &node_ids_);
  if (!id.ok()) return Refused(id.status());
  batch->Put(NodeKey(id->value()), nodes_.Find(*id)->SerializeAsString());
  WriteRoot(batch);
  if (observer_ != nullptr) observer_->OnMapChanged();
  v1::PlacementApplyResult result;
  result.set_node_id(id->value());
  return Done(result);
}

raft::ApplyResult StateMachine::ApplyShards(const v1::PutShards& command,
                                            storage::WriteBatch* batch) {
  for (const v1::ShardDescriptor& shard : command.shards()) {
    const ShardMap::Change change = map_.Put(shard);
    for (const std::string& from : change.removed) batch->Delete(KeyOf(kShard, from));
    for (const std::string& from : change.written) {
      batch->Put(KeyOf(kShard, from), map_.pieces().at(from).SerializeAsString());
    }
    shard_ids_.Reserve(shard.shard_id());
  }
  WriteRoot(batch);
  if (observer_ != nullptr) observer_->OnMapChanged();
  return Done(v1::PlacementApplyResult());
}

void StateMachine::WriteRoot(storage::WriteBatch* batch) const {
  v1::PlacementState root = root_;
  root.set_next_node_id(node_ids_.next());
  root.set_next_shard_id(shard_ids_.next());
  batch->Put(KeyOf(kRoot), root.SerializeAsString());
}

void StateMachine::WriteAll(storage::WriteBatch* batch) const {
  WriteRoot(batch);
  for (const auto& [id, node] : nodes_.nodes()) {
    batch->Put(NodeKey(id.value()), node.SerializeAsString());
  }
  for (const auto& [from, piece] : map_.pieces()) {
    batch->Put(KeyOf(kShard, from), piece.SerializeAsString());
  }
}

void StateMachine::StoreFirstState(storage::WriteBatch* batch) {
  if (stored_ || !HasState()) return;
  WriteAll(batch);
  stored_ = true;
}

void StateMachine::OnSoftState(const raft::SoftState& state) {
  if (observer_ != nullptr) observer_->OnLeadership(state);
}

std::vector<std::pair<std::string, std::string>> StateMachine::Spans() const {
  return {{storage::MakeKey(std::string(1, kTag)), storage::MakeKey(std::string(1, kTag + 1))}};
}

bool StateMachine::HasState() const { return !root_.cluster_id().empty(); }

void StateMachine::OnSnapshotInstalled(raft::LogIndex) {
  Load();
  if (observer_ == nullptr) return;
  observer_->OnCeiling(ceiling());
  observer_->OnMapChanged();
}

uint64_t StateMachine::StateDigest() const {
  std::string text = fmt::format("{} {} {} {}", root_.cluster_id(), root_.ceiling(),
                                 node_ids_.next(), shard_ids_.next());
  for (const auto& [id, node] : nodes_.nodes()) {
    text += fmt::format("|{} {} {}", id, node.address(), node.storage_id());
  }
  for (const auto& [from, d] : map_.pieces()) {
    text += fmt::format("|{} {} {} {} {}", ToHex(from), ToHex(d.to()), d.shard_id(), d.version(),
                        d.membership_version());
  }
  return Crc32c(text) | (uint64_t{text.size()} << 32);
}

}  // namespace quorate::placement
