#include "placement/state_machine.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/bytes.h"
#include "base/check.h"
#include "base/coding.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "base/mutant.h"
#include "placement/rules.h"

namespace quorate::placement {

namespace {

constexpr char kTag = 'P';
constexpr char kRoot = 'r';
constexpr char kNode = 'n';
constexpr char kShard = 's';
constexpr char kRule = 'u';
constexpr char kTable = 't';
// What fits a store key behind two tags and before the length of its suffix.
constexpr size_t kSettingBytesMax = 256;
constexpr size_t kSettingsMax = 1'000;
constexpr size_t kBoundBytesMax = limits::kLmdbKeyBytesMax - 3;

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
std::string TableKey(uint32_t id) {
  std::string rest;
  PutOrdered64(&rest, id);
  return KeyOf(kTable, rest);
}

// The table that a store key is of; 0: none.
char TableOf(std::string_view key) {
  const std::string_view body = storage::KeyBody(key);
  return body.size() >= 2 && body[0] == kTag ? body[1] : '\0';
}

template <class Message>
bool Parse(std::string_view bytes, Message* message) {
  return message->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
}

raft::ApplyResult Done(const v1::PlacementApplyResult& result) {
  return {Status::Ok(), result.SerializeAsString()};
}
raft::ApplyResult Refused(Status status) { return {std::move(status), {}}; }

}  // namespace

StateMachine::StateMachine(storage::OrderedStore& store, const v1::BootstrapRequest* seed)
    : store_(store) {
  Load();
  if (!stored_ && broken_.empty() && seed != nullptr) Seed(*seed);
}

void StateMachine::Break(std::string why) {
  if (broken_.empty()) broken_ = std::move(why);
}

void StateMachine::Load() {
  root_.Clear();
  nodes_.Clear();
  map_.Clear();
  rules_.Clear();
  catalog_ = {};
  stored_ = false;
  broken_.clear();
  const auto spans = Spans();
  const Status scanned = store_.Scan(
      spans[0].first, spans[0].second, [this](std::string_view key, std::string_view value) {
        if (LoadPair(key, value)) return true;
        Break(fmt::format("the pair at {} in the store does not parse", ToHex(key)));
        return false;
      });
  CHECK(scanned.ok(), "placement: {}", scanned.ToString());
  node_ids_ = IdAllocator(root_.next_node_id());
  shard_ids_ = IdAllocator(root_.next_shard_id());
  catalog_.SetVersion(root_.catalog_version(), root_.next_table_id());
}

bool StateMachine::LoadPair(std::string_view key, std::string_view value) {
  v1::NodeInfo node;
  v1::ShardDescriptor piece;
  v1::PlacementRule rule;
  switch (TableOf(key)) {
    case kRoot:
      stored_ = true;
      return Parse(value, &root_);
    case kNode:
      if (!Parse(value, &node)) return false;
      nodes_.Load(std::move(node));
      return true;
    case kShard:
      if (!Parse(value, &piece)) return false;
      map_.Load(std::move(piece));
      return true;
    case kRule:
      if (MUTANT("placement-rules-not-loaded")) return true;
      return Parse(value, &rule) && rules_.Put(RuleOf(rule)).ok();
    case kTable: {
      if (MUTANT("placement-tables-not-loaded")) return true;
      v1::TableDescriptor table;
      return Parse(value, &table) && catalog_.Load(std::move(table));
    }
    default:
      return false;
  }
}

bool StateMachine::Understands(std::string_view key, std::string_view value) const {
  v1::PlacementState root;
  v1::NodeInfo node;
  v1::ShardDescriptor piece;
  v1::PlacementRule rule;
  switch (TableOf(key)) {
    case kRoot:
      return Parse(value, &root);
    case kNode:
      return Parse(value, &node) && NodeKey(node.node_id()) == key;
    case kShard:
      return Parse(value, &piece) && KeyOf(kShard, piece.from()) == key;
    case kRule:
      return Parse(value, &rule) && CheckRule(RuleOf(rule)).ok() &&
             KeyOf(kRule, rule.from()) == key;
    case kTable: {
      v1::TableDescriptor table;
      return Parse(value, &table) && TableKey(table.table_id()) == key;
    }
    default:
      return false;
  }
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
  if (seed.shards().empty()) return;
  // What was asked for at the beginning is what is kept up.
  PutSetting("placement.replication_factor", std::to_string(seed.shards(0).replicas_size()));
}

raft::ApplyResult StateMachine::Apply(raft::LogIndex index, raft::Term term,
                                      std::string_view payload, storage::WriteBatch* batch) {
  v1::PlacementCommand command;
  // Nothing that this version logs does not parse or has no case, so it is a later one's: going on
  // without knowing what it does would make this replica another one.
  if (!Parse(payload, &command)) {
    Break("an entry of the log does not parse");
  } else if (command.command_case() == v1::PlacementCommand::COMMAND_NOT_SET) {
    Break("the log holds a command that this version does not know");
  } else if (command.raise_cluster_version().version() > kFeatureLevel) {
    Break(
        fmt::format("the cluster version is {}, this version of quorate has {}: start a newer one",
                    command.raise_cluster_version().version(), kFeatureLevel));
  }
  if (!broken_.empty()) {
    raft::ApplyResult stuck;
    stuck.stuck = fmt::format("entry {} of placement: {}", index, broken_);
    return stuck;
  }
  StoreFirstState(batch);  // a directory of an earlier version has its first entry behind it
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
    case v1::PlacementCommand::kSetDraining:
      return ApplyDraining(command.set_draining(), batch);
    case v1::PlacementCommand::kRemoveNode:
      return ApplyRemoval(command.remove_node(), batch);
    case v1::PlacementCommand::kPutSetting:
      return ApplySetting(command.put_setting(), batch);
    case v1::PlacementCommand::kAllocateShardId:
      return ApplyAllocation(batch);
    case v1::PlacementCommand::kRaiseClusterVersion:
      return ApplyClusterVersion(command.raise_cluster_version(), batch);
    case v1::PlacementCommand::kPutRule:
      return ApplyRule(command.put_rule(), batch);
    case v1::PlacementCommand::kDeleteRule:
      return ApplyRuleDeletion(command.delete_rule(), batch);
    case v1::PlacementCommand::kChangeCatalog:
      return ApplyCatalog(command.change_catalog(), batch);
    case v1::PlacementCommand::kStart: {
      if (observer_ != nullptr) observer_->OnStarted(term);
      v1::PlacementApplyResult result;
      result.set_ceiling(root_.ceiling());
      return Done(result);
    }
    case v1::PlacementCommand::COMMAND_NOT_SET:
      break;
  }
  return Refused(InvalidArgument("no command"));
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

uint32_t StateMachine::CommonFeatureLevel() const {
  uint32_t level = kFeatureLevel;
  for (const auto& [id, node] : nodes_.nodes()) level = std::min(level, node.feature_level());
  return level;
}

raft::ApplyResult StateMachine::ApplyClusterVersion(const v1::RaiseClusterVersion& command,
                                                    storage::WriteBatch* batch) {
  // Not by this binary's own level: the replicas' binaries may differ.
  for (const auto& [id, node] : nodes_.nodes()) {
    if (node.feature_level() >= command.version()) continue;
    return Refused(Status(Code::kFailedPrecondition,
                          fmt::format("node {} has feature level {}", id, node.feature_level())));
  }
  if (command.version() > root_.cluster_version()) {
    constexpr auto kMarked = static_cast<uint32_t>(Feature::kMerges);
    if (root_.cluster_version() < kMarked && command.version() >= kMarked) {
      root_.set_unmarked_shards_below(shard_ids_.next());
    }
    root_.set_cluster_version(command.version());
    WriteRoot(batch);
    if (observer_ != nullptr) observer_->OnMapChanged();
  }
  return Done(v1::PlacementApplyResult());
}

raft::ApplyResult StateMachine::ApplyNode(const v1::PutNode& command, storage::WriteBatch* batch) {
  if (command.node().feature_level() < root_.cluster_version()) {
    return Refused(Status(Code::kFailedPrecondition,
                          fmt::format("its feature level is {}, the cluster's version {}",
                                      command.node().feature_level(), root_.cluster_version())));
  }
  // Earlier versions do not tell starts apart, and all replicas must do the same.
  const auto starts =
      Allows(Feature::kIncarnations) ? NodeTable::Starts::kToldApart : NodeTable::Starts::kAlike;
  Result<NodeId> id = nodes_.Put(command.node(), &node_ids_, starts);
  if (!id.ok()) return Refused(id.status());
  batch->Put(NodeKey(id->value()), nodes_.Find(*id)->SerializeAsString());
  WriteRoot(batch);
  if (observer_ != nullptr) observer_->OnMapChanged();
  v1::PlacementApplyResult result;
  result.set_node_id(id->value());
  return Done(result);
}

raft::ApplyResult StateMachine::ApplyDraining(const v1::SetDraining& command,
                                              storage::WriteBatch* batch) {
  const NodeId id(command.node_id());
  if (!nodes_.SetDraining(id, command.draining())) {
    return Refused(NotFound(fmt::format("there is no node {}", id)));
  }
  batch->Put(NodeKey(id.value()), nodes_.Find(id)->SerializeAsString());
  if (observer_ != nullptr) observer_->OnMapChanged();
  return Done(v1::PlacementApplyResult());
}

raft::ApplyResult StateMachine::ApplyRemoval(const v1::RemoveNode& command,
                                             storage::WriteBatch* batch) {
  const NodeId id(command.node_id());
  if (Status removable = CheckRemoval(id); !removable.ok()) return Refused(std::move(removable));
  nodes_.Remove(id);
  batch->Delete(NodeKey(id.value()));
  if (observer_ != nullptr) observer_->OnMapChanged();
  return Done(v1::PlacementApplyResult());
}

Status StateMachine::CheckRemoval(NodeId id) const {
  if (nodes_.Find(id) == nullptr) return NotFound(fmt::format("there is no node {}", id));
  // Its own group could not be told who its members are.
  for (const auto* ids : {&root_.placement_nodes(), &root_.placement_learners()}) {
    if (std::find(ids->begin(), ids->end(), id.value()) == ids->end()) continue;
    return {Code::kFailedPrecondition,
            fmt::format("node {} has a replica of the placement group: another node takes its "
                        "place some time after it went down; if there is none, start one with "
                        "--join, and repeat this",
                        id)};
  }
  return Status::Ok();
}

void StateMachine::PutSetting(const std::string& name, const std::string& value) {
  std::map<std::string, std::string> settings;
  for (const v1::PutSetting& setting : root_.settings()) settings[setting.name()] = setting.value();
  settings[name] = value;
  root_.clear_settings();
  for (const auto& [each, text] : settings) {
    v1::PutSetting* setting = root_.add_settings();
    setting->set_name(each);
    setting->set_value(text);
  }
}

raft::ApplyResult StateMachine::ApplySetting(const v1::PutSetting& command,
                                             storage::WriteBatch* batch) {
  const bool fits = command.name().size() <= kSettingBytesMax &&
                    command.value().size() <= kSettingBytesMax &&
                    static_cast<size_t>(root_.settings_size()) < kSettingsMax;
  if (!fits) return Refused(InvalidArgument("void: a setting too long, or one too many"));
  PutSetting(command.name(), command.value());
  WriteRoot(batch);
  if (observer_ != nullptr) observer_->OnMapChanged();
  return Done(v1::PlacementApplyResult());
}

raft::ApplyResult StateMachine::ApplyShards(const v1::PutShards& command,
                                            storage::WriteBatch* batch) {
  // The frontend asks for more; this much the store does.
  for (const v1::ShardDescriptor& shard : command.shards()) {
    if (std::max(shard.from().size(), shard.to().size()) <= kBoundBytesMax) continue;
    return Refused(InvalidArgument(fmt::format("void: bounds of shard {} of over {} bytes",
                                               shard.shard_id(), kBoundBytesMax)));
  }
  for (const v1::ShardDescriptor& shard : command.shards()) {
    const ShardMap::Change change = map_.Put(shard);
    for (const std::string& from : change.removed) {
      batch->Delete(KeyOf(kShard, from));
      if (observer_ != nullptr) observer_->OnPieceGone(from);
    }
    for (const std::string& from : change.written) {
      batch->Put(KeyOf(kShard, from), map_.pieces().at(from).SerializeAsString());
      if (observer_ != nullptr) observer_->OnPiece(from);
    }
    shard_ids_.Reserve(shard.shard_id());
  }
  WriteRoot(batch);
  if (observer_ != nullptr) observer_->OnMapChanged();
  return Done(v1::PlacementApplyResult());
}

raft::ApplyResult StateMachine::ApplyRule(const v1::PutRule& command, storage::WriteBatch* batch) {
  // The frontend has judged it; another rule may have been logged since.
  if (Status put = rules_.Put(RuleOf(command.rule())); !put.ok()) return Refused(std::move(put));
  const std::string& from = command.rule().from();
  batch->Put(KeyOf(kRule, from), ToProto(*rules_.Find(from)).SerializeAsString());
  if (observer_ != nullptr) observer_->OnMapChanged();
  return Done(v1::PlacementApplyResult());
}

raft::ApplyResult StateMachine::ApplyRuleDeletion(const v1::DeleteRule& command,
                                                  storage::WriteBatch* batch) {
  if (!rules_.Remove(command.from())) {
    return Refused(NotFound(fmt::format("no rule begins at key '{}'", Printable(command.from()))));
  }
  batch->Delete(KeyOf(kRule, command.from()));
  if (observer_ != nullptr) observer_->OnMapChanged();
  return Done(v1::PlacementApplyResult());
}

raft::ApplyResult StateMachine::ApplyCatalog(const v1::CatalogChange& command,
                                             storage::WriteBatch* batch) {
  if (Status applied = catalog_.Apply(command); !applied.ok()) return Refused(std::move(applied));
  for (const v1::TableDescriptor& table : command.tables()) {
    batch->Put(TableKey(table.table_id()), table.SerializeAsString());
  }
  WriteRoot(batch);
  return Done(v1::PlacementApplyResult());
}

raft::ApplyResult StateMachine::ApplyAllocation(storage::WriteBatch* batch) {
  v1::PlacementApplyResult result;
  result.set_shard_id(shard_ids_.Allocate());
  WriteRoot(batch);
  return Done(result);
}

void StateMachine::ApplyMembers(raft::LogIndex index, const raft::Configuration& members,
                                storage::WriteBatch* batch) {
  if (!HasState()) return;
  std::set<uint64_t> voters;
  for (const raft::ReplicaId id : members.voters) voters.insert(id.value());
  for (const raft::ReplicaId id : members.voters_outgoing) voters.insert(id.value());
  root_.clear_placement_nodes();
  for (const uint64_t id : voters) root_.add_placement_nodes(id);
  root_.clear_placement_learners();
  for (const raft::ReplicaId id : members.learners) {
    if (!voters.contains(id.value())) root_.add_placement_learners(id.value());
  }
  root_.set_placement_members_index(index.value());
  StoreFirstState(batch);
  WriteRoot(batch);
  if (observer_ != nullptr) observer_->OnMapChanged();
}

void StateMachine::WriteRoot(storage::WriteBatch* batch) const {
  v1::PlacementState root = root_;
  root.set_next_node_id(node_ids_.next());
  root.set_next_shard_id(shard_ids_.next());
  if (catalog_.version() != 0) {
    root.set_catalog_version(catalog_.version());
    root.set_next_table_id(catalog_.next_table_id());
  }
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
  for (const auto& [from, rule] : rules_.rules()) {
    batch->Put(KeyOf(kRule, from), ToProto(rule).SerializeAsString());
  }
  for (const auto& [id, table] : catalog_.tables()) {
    batch->Put(TableKey(id), table.SerializeAsString());
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
  std::string text = fmt::format("{} {} {} {} {}", root_.cluster_id(), root_.ceiling(),
                                 node_ids_.next(), shard_ids_.next(), root_.cluster_version());
  for (const auto& [id, node] : nodes_.nodes()) {
    text += fmt::format("|{} {} {} {} {} {}", id, node.address(), node.storage_id(),
                        node.draining(), node.incarnation().number(), node.incarnation().nonce());
  }
  for (const v1::PutSetting& setting : root_.settings()) {
    text += fmt::format("|{}={}", setting.name(), setting.value());
  }
  for (const auto& [from, rule] : rules_.rules()) {
    text += fmt::format("|{} {} {}", ToHex(from), ToHex(rule.to), ToString(rule));
  }
  // By name and version: descriptors serialise in more ways than one.
  text += fmt::format("|{} {}", catalog_.version(), catalog_.next_table_id());
  for (const auto& [id, table] : catalog_.tables()) {
    text += fmt::format("|{} {} {}", id, table.name(), table.version());
  }
  for (const auto& [from, d] : map_.pieces()) {
    text += fmt::format("|{} {} {} {} {}", ToHex(from), ToHex(d.to()), d.shard_id(), d.version(),
                        d.membership_version());
  }
  return Crc32c(text) | (uint64_t{text.size()} << 32);
}

}  // namespace quorate::placement
