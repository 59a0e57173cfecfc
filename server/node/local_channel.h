// LocalChannel: the node's own way out. Calls to its own address go to its handlers without the
// network; all others go over the world's channel.
#pragma once

#include <functional>
#include <string>

#include "base/env.h"
#include "base/task.h"
#include "client/route/channel.h"
#include "quorate/v1/node.pb.h"

namespace quorate::server {

class LocalChannel final : public client::Channel {
 public:
  using Serve = std::function<Task<v1::NodeResponse>(v1::NodeRequest)>;
  // `scope` runs what is served here, so that a caller that goes away tears nothing off halfway, as
  // it would not over the network either. It outlives the channel's calls.
  LocalChannel(Env& env, client::Channel& remote, std::string own_address, TaskScope& scope,
               Serve serve);

  Task<Result<v1::NodeResponse>> Call(std::string address, v1::NodeRequest request,
                                      Duration timeout) override;
  // The node tells the world's channel itself, from its identity.
  void SetClusterId(const std::string&) override {}

 private:
  Env& env_;
  client::Channel& remote_;
  const std::string own_address_;
  TaskScope& scope_;
  Serve serve_;
};

}  // namespace quorate::server
