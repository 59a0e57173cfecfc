// Peers: where the other nodes are, for as long as the map cannot tell: placement has to be found
// first.
//
//   DIR/PEERS     the nodes of the map as it was last heard: read at the start
//   hello         who answers as a node of this cluster is where it says that it is
//   introduction  a node that is not where it was known to be asks its --join, and all that it
//                 knows, to register it; whoever hears that asks back at the new address
//
// What was found so counts until the map names another address than it did then (cluster_view.h).
// So nodes that were all moved at once find each other by their --join, elect, and tell placement.
//
// PEERS is text, replaced as a whole and in the background; a lost or damaged one costs nothing but
// what it knew:
//
//   quorate peers
//   format 1
//   cluster 3f2a...              32 hex digits
//   node 3 91bc... 10.0.0.3:7400   id, storage id, address
//   crc 1a2b3c4d                 CRC-32C of the lines above
//
// Threads: executor's thread only.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/env.h"
#include "base/task.h"
#include "client/route/channel.h"
#include "quorate/v1/placement.pb.h"
#include "server/node/cluster_view.h"
#include "storage/file.h"

namespace quorate::server {

class Peers {
 public:
  struct Deps {
    Env& env;
    storage::FileSystem& files;
    client::Channel& channel;
    ClusterView& view;
  };
  struct Options {
    std::string directory;
    std::string cluster_id;
    v1::NodeInfo self;
    std::vector<std::string> join;
    std::function<void()> on_found;  // the view has another address for some node
    // Whether the newest start of the node is the one at the address (incarnations.h).
    std::function<Task<bool>(NodeId, std::string)> verify;
  };
  Peers(Deps deps, Options options);
  ~Peers() { *alive_ = false; }

  // Puts what the file knows into the view, and where this node is itself. Blocking.
  void Load();
  // Looks for the others until placement has answered.
  void Start();
  // Placement has answered, and the view has its map.
  void OnMap();
  // A node says where it is: judged by asking it there.
  void OnIntroduced(const v1::NodeInfo& node);

  // The file, and what it says; nullopt: it is damaged, of a later version, or another cluster's.
  static std::string Encode(const std::string& cluster_id,
                            const std::map<NodeId, v1::NodeInfo>& nodes);
  static std::optional<std::vector<v1::NodeInfo>> Decode(std::string_view text,
                                                         const std::string& cluster_id);

 private:
  Task<void> MeetLoop();
  // Says hello there; to who answers, this node introduces itself if it has moved.
  Task<bool> Meet(std::string address, bool named);
  Task<std::optional<v1::NodeInfo>> Greet(std::string address);
  Task<void> AskBack(NodeId id, std::string address);
  void Found(const v1::NodeInfo& node);
  void Save();

  const Deps deps_;
  const Options options_;
  bool moved_ = false;  // since the others last heard where this node is
  bool mapped_ = false;
  bool saving_ = false;
  std::string saved_;
  std::set<NodeId> asking_back_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  TaskScope scope_;
};

}  // namespace quorate::server
