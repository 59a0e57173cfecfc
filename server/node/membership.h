// Membership: how a node comes to belong to a cluster.
//
//   init ─► gather members (hello) ─► plan ─► the member with the smallest address ─► the others
//   join ─► ask the given addresses to register, again and again, until one gives an id
//
// Init is decided when the member with the smallest address has the bootstrap message on its disk:
// of two concurrent inits one loses there, and nothing has happened for the loser. From then on
// every member that has the message hands it to those that have not, over restarts, until all have
// confirmed. So an init that broke off halfway completes by itself, and asking again waits for it.
// A member that belongs to another cluster by then has not confirmed: its replicas are missing.
//
// Files: DIR/BOOTSTRAP holds the message (magic, CRC-32C, bytes), DIR/BOOTSTRAPPED says that all
// members have it. Order on a member: message, identity, groups. A crash between the first two is
// repaired at the next start; the groups' first state is made from the message until it is stored.
//
// Threads: executor's thread only.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/env.h"
#include "base/task.h"
#include "client/route/channel.h"
#include "quorate/v1/node.pb.h"
#include "storage/file.h"
#include "storage/incarnation_file.h"
#include "storage/node_identity.h"

namespace quorate::server {

class Membership {
 public:
  // Whether a data directory holds the message that a cluster was founded with, and so belongs
  // to a member, whatever its identity says.
  static Result<bool> Founded(storage::FileSystem& files, const std::string& directory);
  // That message; nullopt: there is none. CORRUPTION: it is damaged; what to do, behind a
  // semicolon.
  static Result<std::optional<v1::BootstrapRequest>> ReadBootstrap(storage::FileSystem& files,
                                                                   const std::string& directory);
  struct Options {
    v1::NodeInfo self;  // without ids
    const storage::IncarnationFile* incarnations = nullptr;
    std::vector<std::string> join;
  };
  // Reads the bootstrap message, if there is one, and repairs the identity from it. References
  // outlive the object. CORRUPTION, IO_ERROR.
  static Result<std::unique_ptr<Membership>> Open(Env& env, storage::FileSystem& files,
                                                  storage::DataDirectory& directory,
                                                  client::Channel& channel, Options options);

  // Runs when the node becomes a member, and again if it gets the bootstrap message only after it
  // was registered.
  void OnMember(std::function<void()> callback) { on_member_ = std::move(callback); }
  // Begins joining, or handing the bootstrap message to the others.
  void Start();
  void Stop() { scope_.Clear(); }

  bool member() const { return !directory_.identity().cluster_id.empty(); }
  // nullptr: this node was registered later, or is no member.
  const v1::BootstrapRequest* bootstrap() const { return bootstrap_ ? &*bootstrap_ : nullptr; }
  // What this node tells about itself.
  v1::NodeInfo self() const;

  v1::HelloResponse Hello() const;
  Task<v1::InitResponse> Init(v1::InitRequest request, Instant deadline);
  v1::BootstrapResponse Accept(const v1::BootstrapRequest& request);
  // A node asks to join while there is no cluster here: remembered for init.
  void Remember(const v1::NodeInfo& node);

 private:
  Membership(Env& env, storage::FileSystem& files, storage::DataDirectory& directory,
             client::Channel& channel, Options options);

  Status Load();
  Status StoreBootstrap(const v1::BootstrapRequest& request);
  Status CheckForMe(const v1::BootstrapRequest& request) const;
  void NotifyMember();

  Task<void> JoinLoop();
  Task<Status> RegisterAt(std::string address);
  void SayCannotJoin(const std::string& address, const Status& why);
  Task<void> FinishLoop();
  // OK: the other has it, on its disk.
  Task<Status> SendBootstrap(v1::NodeInfo to);
  Task<Status> SendFirst(v1::BootstrapRequest plan);

  using Members = Result<std::vector<v1::NodeInfo>>;
  Task<Status> RunInit(v1::InitRequest request, Instant deadline);
  // Those named, or all that are known to this node: it waits for as many as there are to be
  // replicas.
  Task<Members> Gather(v1::InitRequest request, Instant deadline);
  Task<Members> GatherOnce(v1::InitRequest request, Instant deadline);
  Task<Result<v1::NodeInfo>> Reach(std::string address, Instant until);
  Task<Result<v1::NodeInfo>> Greet(std::string address);
  Task<Status> WaitUntilFinished(Instant deadline);

  Env& env_;
  storage::FileSystem& files_;
  storage::DataDirectory& directory_;
  client::Channel& channel_;
  const Options options_;
  std::function<void()> on_member_;
  std::optional<v1::BootstrapRequest> bootstrap_;
  bool started_ = false;
  bool finished_ = false;  // every member has the message, or it is not this node's to hand out
  // Members that have not confirmed, and why; of an init that is not finished.
  std::map<std::string, std::string> unconfirmed_;
  bool init_running_ = false;
  storage::Incarnation descends_from_;  // as placement knows it; none: the one before
  struct Asked {
    v1::NodeInfo node;
    Instant at;
  };
  std::map<std::string, Asked> asked_to_join_;  // by address
  // What the log says about an address, and since when.
  std::map<std::string, std::pair<std::string, Instant>> cannot_join_;
  TaskScope scope_;
};

}  // namespace quorate::server
