// GrpcChannel: requests to nodes over gRPC, one bidirectional stream per address.
//
//   Call ─► the stream's queue ─► (end of the turn) one CallBatch ─► gRPC
//   gRPC ─► one CallBatch ─► every waiting Call of it
//
// One write is outstanding per stream; what is queued meanwhile leaves in the next batch. A broken
// stream fails its calls in flight with UNAVAILABLE; the next call opens another, at once the first
// time and then after a growing pause, during which calls fail without being sent.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/env.h"
#include "client/route/channel.h"

namespace quorate::client {

class GrpcLoop;

// Calls in one batch; a node ends the stream of whoever sends more. Far below what it handles at
// once (limits::kCallsInFlightMax), so a batch is told from an attack by its size alone.
inline constexpr size_t kBatchCallsMax = 16'384;

class GrpcChannel final : public Channel {
 public:
  // Both outlive it; the executor of `env` waits in `loop`.
  GrpcChannel(Env& env, GrpcLoop& loop);
  // Polls until gRPC has let go of every stream. Executor's thread, or any once the executor no
  // longer runs.
  ~GrpcChannel() override;

  Task<Result<v1::NodeResponse>> Call(std::string address, v1::NodeRequest request,
                                      Duration timeout) override;
  void SetClusterId(const std::string& cluster_id) override;

 private:
  class Peer;
  struct Shared;

  std::shared_ptr<Shared> shared_;
  std::map<std::string, std::shared_ptr<Peer>, std::less<>> peers_;
};

}  // namespace quorate::client
