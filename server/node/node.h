// Node: one quorate node, built over a World. The only place that knows every part; the same object
// tree runs in the program (server/program/run) and in the simulator (tests/sim/cluster).
//
//   requests ─► Handle ─► handlers ─┬─► shards        (read, lock, prepare, resolve, query)
//                                   ├─► coordinator   (commit, push)
//                                   └─► placement     (slot, routes, register, heartbeat, init)
//
// Life: Open (recovers identity, WAL, store, replicas; blocking) ─► Start ─► [Bootstrap or join] ─►
// serving ─► Stop. A node without identity answers hello, init, bootstrap and register only
// (UNINITIALIZED otherwise); with `join` it keeps asking those addresses to be registered.
//
// A crash is the destruction of the object without Stop. Threads: executor's thread only.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/task.h"
#include "client/route/channel.h"
#include "raft/host/host.h"
#include "raft/host/transport.h"
#include "shard/shard.h"
#include "storage/file.h"
#include "storage/incarnation_file.h"
#include "storage/kv_store.h"
#include "storage/ordered_store.h"

namespace quorate::v1 {
class ExecuteRequest;
class ExecuteResponse;
class NodeRequest;
class NodeResponse;
class ProcessStatus;
class StatusResponse;
}  // namespace quorate::v1

namespace quorate::client {
class Database;
}

namespace quorate::server {

// What a node is built over. All outlive the node.
struct World {
  Env& env;
  storage::FileSystem& files;
  // Opens the ordered store in a directory (LMDB, or the simulator's model of it).
  std::function<Result<std::unique_ptr<storage::KvStore>>(const std::string& directory)> open_store;
  raft::Transport& transport;
  client::Channel& channel;
};

struct NodeOptions {
  std::string data_dir;
  std::string address;            // HOST:PORT that others reach this node at
  std::string http_address;       // for status pages; empty: none
  std::vector<std::string> join;  // addresses of nodes to register with
  std::map<std::string, std::string> locality;
  uint64_t min_free_bytes = 256 << 20;  // low-space watermark
  uint64_t reserve_bytes = 0;           // as storage::LowSpace::Options
  uint64_t wal_segment_bytes = 0;       // 0: limits::kWalSegmentBytes
  uint64_t wal_copy_step_bytes = 0;     // 0: storage::kCopyStepBytes
  shard::Settings shard;
  storage::OrderedStore::Options store;
  raft::Host::Options raft;  // the node sets `self`
  size_t part_bytes_max = limits::kPartBytesMax;
  // Fills in what a status says of the process; none in the simulator.
  std::function<void(v1::ProcessStatus*)> process_status;
};

class Member;

class Node {
 public:
  // FAILED_PRECONDITION: directory in use, of another cluster or a newer format. CORRUPTION,
  // IO_ERROR: as storage says. The message is one line that names the cause and the fix.
  static Result<std::unique_ptr<Node>> Open(World world, NodeOptions options);
  ~Node();

  void Start();
  // Hands leaderships over, lets requests in flight end (bounded by `timeout`), flushes, marks a
  // clean stop. Nothing is accepted meanwhile.
  Task<void> Stop(Duration timeout);
  // Hands every leadership over that it can, and goes on.
  Task<void> HandOver(Duration timeout);
  // Called once when storage fails: the node acknowledges nothing any more and must be destroyed.
  void OnFatal(std::function<void(Status)> callback);

  // One request of another process. `cluster_id` and `to_node` are the batch's: WRONG_CLUSTER or
  // WRONG_NODE, counted, without any effect, if they are not this node's.
  Task<v1::NodeResponse> Handle(std::string cluster_id, uint64_t to_node, v1::NodeRequest request);

  // The client library over this node's own channel: what the public service and sessions run on.
  client::Database& database();

  // Serves reads and writes: registered, and every local replica knows a leader.
  bool ready() const;
  bool stopping() const;
  // Member::excluded.
  std::string excluded() const;
  std::string cluster_id() const;  // empty: none yet
  NodeId id() const;               // 0: none yet
  v1::StatusResponse Status() const;
  // For tests and the simulator's checkers.
  std::vector<const shard::Shard*> shards() const;
  const Member* member() const;  // nullptr: not of a cluster yet
  const storage::IncarnationFile& incarnations() const;
  struct WalUse {
    uint64_t file_bytes = 0;
    uint64_t live_bytes = 0;
    uint64_t segment_bytes = 0;
  };
  WalUse wal() const;

 private:
  struct Rep;
  explicit Node(std::unique_ptr<Rep> rep);
  std::unique_ptr<Rep> rep_;
};

}  // namespace quorate::server
