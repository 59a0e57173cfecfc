// Incarnations: which starts of other nodes this one listens to, and whether its own directory is
// of an earlier state than the others remember (docs/decisions/0021-incarnations.md).
//
//   batch of an unknown start ─► dropped; hello to where the node is known to be ─► does it descend
//   from the one that is remembered? ─► remembered durably ─► listened to
//   hello's answer ─► what the other remembers of us: not in our history ─► on_stale
//
// Only what this node asks itself, of a node at its known address, is believed: a hello that
// arrives is at most a reason to ask.
//
// Threads: executor's thread only.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/env.h"
#include "base/task.h"
#include "client/route/channel.h"
#include "quorate/v1/placement.pb.h"
#include "server/node/cluster_view.h"
#include "storage/incarnation_file.h"

namespace quorate::server {

v1::Incarnation ToProto(const storage::Incarnation& incarnation);
storage::Incarnation FromProto(const v1::Incarnation& incarnation);

class Incarnations {
 public:
  struct Deps {
    Env& env;
    client::Channel& channel;
    const ClusterView& view;
    storage::IncarnationFile& file;
  };
  struct Options {
    std::string cluster_id;
    v1::NodeInfo self;
    // This process must end: another one of this node is newer, or the directory is of an earlier
    // state, which is noted by then (IncarnationFile::doubted), for the next start. At most once.
    std::function<void(Status)> on_stale;
  };
  Incarnations(Deps deps, Options options);
  ~Incarnations() { *alive_ = false; }

  // Tells all nodes of the view of this start.
  void Start();
  // Whether this start of `from` is listened to; if not, it is asked. For each batch.
  bool Listens(NodeId from, const storage::Incarnation& incarnation);
  // Whether the newest start of the node is the one at `address`, as far as is known here, and
  // remembered. Where it is not known to be, it is believed only once the other one is silent.
  Task<bool> Verify(NodeId node, std::string address);
  // The view has the whole map: who is not in it was removed.
  void OnMap();
  void OnHello(const v1::HelloRequest& request, v1::HelloResponse* response);
  // Somebody trusted remembers this of us.
  void Judge(const v1::RememberedNode& remembered);
  // One in this directory's history that placement knows, as far as can be told.
  v1::Incarnation descends_from() const { return ToProto(descends_from_); }

 private:
  Task<void> Check(NodeId node);
  Task<void> Greet();
  Instant LastHeard(NodeId node) const;
  std::string AddressOf(NodeId node) const;
  void SayRefused(NodeId node, const std::string& address);

  const Deps deps_;
  const Options options_;
  const NodeId self_;
  const Instant started_;
  storage::Incarnation descends_from_;
  bool stale_ = false;
  std::map<NodeId, Instant> heard_;       // of the start that is remembered
  std::map<NodeId, Instant> check_next_;  // not before
  std::map<NodeId, Instant> said_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  TaskScope scope_;
};

}  // namespace quorate::server
