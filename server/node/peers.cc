#include "server/node/peers.h"

#include <fmt/format.h>

#include <charconv>
#include <utility>

#include "base/crc32c.h"
#include "base/limits.h"
#include "base/probe.h"
#include "quorate/v1/node.pb.h"
#include "server/node/small_file.h"
#include "txn/judge.h"

namespace quorate::server {

namespace {

constexpr char kFileName[] = "PEERS";
constexpr std::string_view kTitle = "quorate peers\nformat 1\n";
constexpr Duration kCallTimeout = 2s;
constexpr Duration kMeetInterval = 1s;
// A start after which placement answers needs nobody met.
constexpr Duration kMeetAfter = 3s;

// Up to the line feed, which goes as well; nullopt: there is none.
std::optional<std::string_view> TakeLine(std::string_view* text) {
  const size_t end = text->find('\n');
  if (end == text->npos) return std::nullopt;
  const std::string_view line = text->substr(0, end);
  text->remove_prefix(end + 1);
  return line;
}

// Up to the blank, which goes as well; all of it without one.
std::string_view TakeWord(std::string_view* line) {
  const size_t end = std::min(line->find(' '), line->size());
  const std::string_view word = line->substr(0, end);
  line->remove_prefix(std::min(end + 1, line->size()));
  return word;
}

template <class T>
bool ParseNumber(std::string_view text, T* value, int base = 10) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value, base);
  return error == std::errc() && end == text.data() + text.size();
}

std::optional<v1::NodeInfo> ParseNode(std::string_view line) {
  uint64_t id = 0;
  if (TakeWord(&line) != "node" || !ParseNumber(TakeWord(&line), &id) || id == 0) {
    return std::nullopt;
  }
  v1::NodeInfo node;
  node.set_node_id(id);
  node.set_storage_id(std::string(TakeWord(&line)));
  node.set_address(std::string(line));
  return CheckNode(node).ok() ? std::optional(node) : std::nullopt;
}

}  // namespace

Peers::Peers(Deps deps, Options options)
    : deps_(deps), options_(std::move(options)), scope_(deps.env.executor) {}

// ---- the file -----------------------------------------------------------------------------------

std::string Peers::Encode(const std::string& cluster_id,
                          const std::map<NodeId, v1::NodeInfo>& nodes) {
  std::string text = fmt::format("{}cluster {}\n", kTitle, cluster_id);
  for (const auto& [id, node] : nodes) {
    text += fmt::format("node {} {} {}\n", id, node.storage_id(), node.address());
  }
  return text + fmt::format("crc {:08x}\n", Crc32c(text));
}

std::optional<std::vector<v1::NodeInfo>> Peers::Decode(std::string_view text,
                                                       const std::string& cluster_id) {
  const std::string_view whole = text;
  const std::string head = fmt::format("{}cluster {}\n", kTitle, cluster_id);
  if (!text.starts_with(head)) return std::nullopt;
  text.remove_prefix(head.size());
  std::vector<v1::NodeInfo> nodes;
  while (true) {
    const std::string_view covered = whole.substr(0, whole.size() - text.size());
    std::optional<std::string_view> line = TakeLine(&text);
    if (!line) return std::nullopt;
    if (line->starts_with("crc ")) {
      uint32_t crc = 0;
      line->remove_prefix(4);
      if (!ParseNumber(*line, &crc, 16) || crc != Crc32c(covered)) return std::nullopt;
      return nodes;
    }
    std::optional<v1::NodeInfo> node = ParseNode(*line);
    if (!node || nodes.size() >= limits::kNodesMax) return std::nullopt;
    nodes.push_back(*std::move(node));
  }
}

void Peers::Load() {
  const std::string path = fmt::format("{}/{}", options_.directory, kFileName);
  const Result<bool> exists = deps_.files.Exists(path);
  if (exists.ok() && *exists) {
    const Result<std::string> text = ReadFile(deps_.files, path);
    const auto nodes = text.ok() ? Decode(*text, options_.cluster_id) : std::nullopt;
    if (nodes && !nodes->empty()) {
      v1::RoutesResponse map;
      map.set_cluster_id(options_.cluster_id);
      for (const v1::NodeInfo& node : *nodes) *map.add_nodes() = node;
      deps_.view.Update(map);
    } else {
      PROBE("peers: the file is of no use");
      deps_.env.log.Warn(
          "node: '{}' is damaged or another cluster's: where the others are is "
          "asked of --join",
          path);
    }
  }
  const v1::NodeInfo* self = deps_.view.FindNode(NodeId(options_.self.node_id()));
  if (self == nullptr || self->address() == options_.self.address()) return;
  moved_ = true;
  deps_.env.log.Info(
      "node: this node was at '{}' when it last belonged to the cluster, and is at "
      "'{}' now: it tells the others",
      self->address(), options_.self.address());
  deps_.view.SetFound(options_.self);
}

void Peers::Save() {
  std::string text = Encode(options_.cluster_id, deps_.view.nodes());
  if (saving_ || text == saved_) return;
  saving_ = true;
  saved_ = std::move(text);
  deps_.files.Background(
      [&files = deps_.files, directory = options_.directory, bytes = saved_] {
        return ReplaceFile(files, directory, kFileName, bytes);
      },
      [this, alive = alive_](const Status& status) {
        if (!*alive) return;
        saving_ = false;
        // The next change is written again; until then a start knows a little less.
        if (!status.ok()) deps_.env.log.Warn("node: {}: {}", kFileName, status.ToString());
      });
}

// ---- looking for the others ---------------------------------------------------------------------

void Peers::Start() { scope_.Spawn(MeetLoop()); }

void Peers::OnMap() {
  mapped_ = true;
  Save();
}

Task<void> Peers::MeetLoop() {
  if (!moved_) co_await Sleep(deps_.env.executor, kMeetAfter);
  while (!mapped_) {
    PROBE("peers: looking for the others");
    const std::set<std::string> named(options_.join.begin(), options_.join.end());
    std::set<std::string> addresses = named;
    for (const auto& [id, node] : deps_.view.nodes()) addresses.insert(node.address());
    addresses.erase(options_.self.address());
    std::vector<Task<bool>> meeting;
    for (const std::string& address : addresses) {
      meeting.push_back(Meet(address, named.contains(address)));
    }
    (void)co_await WhenAll(deps_.env.executor, std::move(meeting));
    co_await Sleep(deps_.env.executor, kMeetInterval);
  }
}

Task<std::optional<v1::NodeInfo>> Peers::Greet(std::string address) {
  v1::NodeRequest request;
  request.mutable_hello();
  const Result<v1::NodeResponse> result =
      co_await deps_.channel.Call(std::move(address), std::move(request), kCallTimeout);
  if (!result.ok() || result->error().code() != v1::OK) co_return std::nullopt;
  const v1::HelloResponse& hello = result->hello();
  v1::NodeInfo node;
  node.set_node_id(hello.node_id());
  node.set_storage_id(hello.storage_id());
  node.set_address(hello.address());
  const bool peer = hello.cluster_id() == options_.cluster_id && hello.node_id() != 0 &&
                    hello.node_id() != options_.self.node_id() && CheckNode(node).ok();
  co_return peer ? std::optional(node) : std::nullopt;
}

// `named` by the operator: may be a node that nothing is known of yet.
Task<bool> Peers::Meet(std::string address, bool named) {
  const std::optional<v1::NodeInfo> node = co_await Greet(address);
  if (!node) co_return false;
  const NodeId id(node->node_id());
  if ((named || deps_.view.FindNode(id) != nullptr) && co_await options_.verify(id, address)) {
    Found(*node);
  }
  if (!moved_) co_return true;
  v1::NodeRequest request;
  *request.mutable_register_node()->mutable_node() = options_.self;
  (void)co_await deps_.channel.Call(std::move(address), std::move(request), kCallTimeout);
  co_return true;
}

void Peers::OnIntroduced(const v1::NodeInfo& node) {
  const NodeId id(node.node_id());
  const v1::NodeInfo* known = deps_.view.FindNode(id);
  const bool news = known != nullptr && known->storage_id() == node.storage_id() &&
                    known->address() != node.address() && id.value() != options_.self.node_id();
  if (news && asking_back_.insert(id).second) scope_.Spawn(AskBack(id, node.address()));
}

Task<void> Peers::AskBack(NodeId id, std::string address) {
  const std::optional<v1::NodeInfo> node = co_await Greet(address);
  if (node && NodeId(node->node_id()) == id && node->address() == address &&
      co_await options_.verify(id, address)) {
    Found(*node);
  }
  asking_back_.erase(id);
}

void Peers::Found(const v1::NodeInfo& node) {
  const v1::NodeInfo* known = deps_.view.FindNode(NodeId(node.node_id()));
  if (known != nullptr &&
      (known->storage_id() != node.storage_id() || known->address() == node.address())) {
    return;
  }
  PROBE("peers: a node is found elsewhere");
  deps_.env.log.Info("node: node {} is at '{}', it was at '{}'", node.node_id(), node.address(),
                     known == nullptr ? "an unknown address" : known->address());
  deps_.view.SetFound(node);
  options_.on_found();
}

}  // namespace quorate::server
