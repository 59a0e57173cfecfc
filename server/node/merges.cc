#include "server/node/merges.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/features.h"
#include "base/limits.h"
#include "base/mutant.h"
#include "base/probe.h"
#include "base/status_macros.h"
#include "base/timer_guard.h"
#include "shard/apply/frozen.h"
#include "txn/errors.h"

namespace quorate::server {

namespace {

constexpr Duration kFrozenMax = 5s;  // then it is abandoned, if nobody objects
constexpr Duration kAskFor = 4s;
constexpr Duration kFreeFor = 1s;
// Before anything stands still for it, a member may take the time to flush.
constexpr Duration kFreeAtFirst = SharedFlush::kEvery + 1s;
constexpr Duration kAskAgain = 200ms;
constexpr Duration kFreezeFor = 3s;
constexpr int kMovedMax = 3;  // that the left neighbour has divided since, or was absorbed

// The last key that can be below `from`.
std::string KeyBelow(std::string from) {
  if (from.back() == '\0') {
    from.pop_back();
    return from;
  }
  --from.back();
  from.resize(limits::kKeyBytesMax, '\xff');
  return from;
}

Status Refused(std::string why) { return Status(Code::kFailedPrecondition, std::move(why)); }

}  // namespace

Merges::Merges(Deps deps)
    : deps_(deps),
      flush_(
          deps.env.executor, deps.env.clock,
          [&store = deps.store](std::function<void(Status)> done) { store.Flush(std::move(done)); },
          [&replicas = deps.replicas] { return replicas.key_changes(); }),
      scope_(deps.env.executor) {}

// Marks a shard as one half of a merge.
class Merges::Hold {
 public:
  Hold(Merges* merges, ShardId shard) : merges_(merges), shard_(shard) {
    merges_->busy_.insert(shard);
  }
  Hold(const Hold&) = delete;
  ~Hold() { merges_->busy_.erase(merges_->busy_.find(shard_)); }

 private:
  Merges* const merges_;
  const ShardId shard_;
};

// ---- the right one's leader ---------------------------------------------------------------------

Task<Status> Merges::Merge(ShardId id, ShardId into) {
  if (!deps_.view.Allows(Feature::kMerges)) co_return Refused("not every node knows merges");
  if (Busy(id)) co_return Refused("a merge of the shard is under way");
  shard::Shard* shard = deps_.replicas.Find(id);
  if (shard == nullptr || !shard->serving()) {
    co_return Status(Code::kNotLeader, "it is not led from here any more");
  }
  const Hold hold(this, id);
  const Span span = shard->span();
  if (span.from.empty()) co_return Refused("it has no left neighbour");
  // First: whoever is asked in vain later has stood still for it.
  v1::MergeRequest request;
  request.mutable_free()->set_shard_id(id.value());
  request.mutable_free()->set_into_shard_id(into.value());
  request.mutable_free()->mutable_span()->set_from(span.from);
  request.mutable_free()->mutable_span()->set_to(span.to);
  const Result<v1::MergeResponse> free = co_await AskLeft(span.from, std::move(request), kAskFor);
  if (!free.ok()) co_return free.status();
  CO_RETURN_IF_ERROR(StatusFromError(free->error()));
  shard = deps_.replicas.Find(id);
  if (shard == nullptr) co_return Status(Code::kNotLeader, "its replica here is gone");
  CO_RETURN_IF_ERROR(co_await shard->Freeze(into, deps_.env.Now() + kFreezeFor));
  deps_.env.log.Info("node: shard {} is frozen, for shard {} to absorb", id, into);
  co_return co_await Settle(id, deps_.env.Now() + kFrozenMax);
}

Task<Status> Merges::Settle(ShardId id, Instant until) {
  std::string why = "another node led it before";
  for (;; co_await Sleep(deps_.env.executor, kAskAgain)) {
    shard::Shard* shard = deps_.replicas.Find(id);
    if (shard == nullptr || !shard->leads() || !shard->frozen_into()) {
      co_return Status(Code::kNotLeader, "it is not led from here any more");
    }
    v1::MergeRequest request;
    request.set_asked_by(deps_.replicas.self().value());
    const v1::ShardDescriptor frozen = shard->descriptor();
    const bool abandons = deps_.env.Now() >= until;
    if (abandons) {
      request.mutable_abandon()->set_shard_id(id.value());
      request.mutable_abandon()->set_version(frozen.version());
      request.mutable_abandon()->set_from(frozen.from());
      if (MUTANT("merge-thaw-without-abandon")) co_return co_await shard->Thaw();
    } else {
      auto contents = shard->Contents();
      if (!contents.ok()) {
        why = contents.status().message();
        until = {};
        continue;
      }
      *request.mutable_absorb() = *std::move(contents);
    }
    const auto answer = co_await AskLeft(frozen.from(), std::move(request), kAskFor);
    const Status status = answer.ok() ? StatusFromError(answer->error()) : answer.status();
    if (!status.ok()) {
      if (!abandons) why = status.message();
      continue;
    }
    shard = deps_.replicas.Find(id);
    if (answer->absorbed()) {
      const v1::ShardDescriptor& by = answer->shard();
      deps_.env.log.Info("node: shard {} was absorbed by shard {}", id, by.shard_id());
      if (shard != nullptr) shard->EndAbsorbed(&by);
      deps_.view.Update(by);
      deps_.routes.Update(by);
      co_return Status::Ok();
    }
    // An answer that says nothing, whosever it is, is none of them.
    if (!abandons || !answer->abandoned() || shard == nullptr) continue;
    // Nor is one of an earlier freeze: another leader may have thawed that, and frozen it again.
    if (!shard->leads() || shard->descriptor().version() != frozen.version()) continue;
    PROBE("server: a frozen shard is thawed");
    deps_.env.log.Info("node: shard {} is not merged, and thawed: {}", id, why);
    CO_RETURN_IF_ERROR(co_await shard->Thaw());
    co_return Refused(std::move(why));
  }
}

void Merges::Look(ShardId id) {
  const shard::Shard* shard = deps_.replicas.Find(id);
  if (shard != nullptr && shard->frozen_into()) frozen_.insert(id);
}

void Merges::Resume() {
  std::erase_if(frozen_, [this](ShardId id) {
    const shard::Shard* shard = deps_.replicas.Find(id);
    return shard == nullptr || !shard->frozen_into();
  });
  for (const ShardId id : frozen_) {
    if (!deps_.replicas.Find(id)->leads() || Busy(id)) continue;
    PROBE("server: a frozen shard has another leader");
    scope_.Spawn(ResumeOne(id));
  }
}

Task<void> Merges::ResumeOne(ShardId id) {
  if (Busy(id)) co_return;
  const Hold hold(this, id);
  (void)co_await Settle(id, {});
}

Task<Result<v1::MergeResponse>> Merges::AskLeft(std::string from, v1::MergeRequest request,
                                                Duration patience) {
  const Instant deadline = deps_.env.Now() + patience;
  const std::string key = KeyBelow(from);
  const auto shared = std::make_shared<v1::MergeRequest>(std::move(request));
  const auto fill = [shared](const client::Route& to) {
    v1::NodeRequest out;
    *out.mutable_merge() = *shared;
    client::SetRoute(to, out.mutable_merge()->mutable_route());
    return out;
  };
  for (int moved = 0;; ++moved) {
    auto answer = co_await deps_.caller.CallShard(key, fill, deadline);
    if (!answer.ok()) co_return answer.status();
    if (answer->error().code() != v1::OK) co_return StatusFromError(answer->error());
    // What it says of its range is known by now.
    const bool again = answer->merge().error().code() == v1::STALE_EPOCH && moved < kMovedMax &&
                       deps_.env.Now() < deadline;
    if (!again) co_return std::move(*answer->mutable_merge());
  }
}

// ---- the left one's leader ----------------------------------------------------------------------

Task<v1::MergeResponse> Merges::OnRequest(v1::MergeRequest request, Instant deadline) {
  v1::MergeResponse response;
  Status status;
  shard::Shard* left = deps_.replicas.Find(ShardId(request.route().shard_id()));
  ShardId right;
  const NodeId asked_by(request.asked_by());
  if (!deps_.view.Allows(Feature::kMerges)) {
    status = Refused("this cluster does not merge shards");
    left = nullptr;
  } else if (request.has_free() && request.route().shard_id() == 0) {
    status = co_await Free(std::move(*request.mutable_free()));
  } else if (request.has_confirm()) {
    status = Confirm(request.confirm(), &response);
    left = nullptr;
  } else if (left == nullptr) {
    status = Status(Code::kNotLeader, "the shard has no replica here");
  } else if (request.has_free()) {
    status = co_await AllFree(left, std::move(*request.mutable_free()), kFreeAtFirst);
  } else if (request.has_absorb()) {
    right = ShardId(request.absorb().state().shard().shard_id());
    status = co_await Absorb(left, std::move(*request.mutable_absorb()), asked_by, deadline);
  } else if (request.has_abandon()) {
    right = ShardId(request.abandon().shard_id());
    status = co_await Abandon(left, std::move(*request.mutable_abandon()), asked_by);
  } else {
    status = InvalidArgument("nothing that this version knows is asked");
  }
  if (left != nullptr && right && left->HasAbsorbed(right)) {
    response.set_absorbed(true);
    *response.mutable_shard() = left->descriptor();
  } else if (!status.ok() && left != nullptr) {
    left->FillError(status, response.mutable_error());
  } else if (!status.ok()) {
    StatusToError(status, response.mutable_error());
  } else if (request.has_absorb()) {
    StatusToError(Unavailable("it was not absorbed"), response.mutable_error());
  } else {
    response.set_abandoned(left != nullptr && right);
  }
  co_return response;
}

Task<Status> Merges::Absorb(shard::Shard* left, v1::FrozenShard frozen, NodeId asked_by,
                            Instant deadline) {
  const v1::ShardDescriptor& right = frozen.state().shard();
  if (left->HasAbsorbed(ShardId(right.shard_id()))) co_return Status::Ok();
  v1::FreeSpan span;
  span.set_shard_id(right.shard_id());
  span.set_into_shard_id(left->id().value());
  span.mutable_span()->set_from(right.from());
  span.mutable_span()->set_to(right.to());
  v1::ConfirmFrozen confirm;
  confirm.set_shard_id(right.shard_id());
  confirm.set_version(right.version());
  confirm.set_from(right.from());
  confirm.set_into_shard_id(left->id().value());
  confirm.set_seed(deps_.env.random.Next() | 1);
  const uint64_t contents = shard::HashOf(frozen, confirm.seed());
  const Hold hold(this, left->id());
  CO_RETURN_IF_ERROR(co_await IsFrozen(asked_by, std::move(confirm), contents));
  // As of now: whoever becomes a member later has not been asked.
  const uint64_t members = left->descriptor().membership_version();
  CO_RETURN_IF_ERROR(co_await AllFree(left, std::move(span), kFreeFor));
  if (deps_.env.Now() >= deadline) co_return DeadlineExceeded("it was not absorbed in time");
  if (deps_.replicas.Find(left->id()) != left) {
    co_return Status(Code::kNotLeader, "its replica here is gone");
  }
  co_return co_await left->Absorb(std::move(frozen), members, deadline);
}

Task<Status> Merges::Abandon(shard::Shard* left, v1::AbandonMerge merge, NodeId asked_by) {
  // What was absorbed is so for good, whoever leads.
  if (left->HasAbsorbed(ShardId(merge.shard_id()))) co_return Status::Ok();
  v1::ConfirmFrozen confirm;
  confirm.set_shard_id(merge.shard_id());
  confirm.set_version(merge.version());
  confirm.set_from(merge.from());
  CO_RETURN_IF_ERROR(co_await IsFrozen(asked_by, std::move(confirm), 0));
  if (deps_.replicas.Find(left->id()) != left) {
    co_return Status(Code::kNotLeader, "its replica here is gone");
  }
  co_return co_await left->Abandon(std::move(merge));
}

Task<Status> Merges::IsFrozen(NodeId asked, v1::ConfirmFrozen confirm, uint64_t contents) {
  const v1::NodeInfo* node = deps_.view.FindNode(asked);
  if (node == nullptr) co_return Refused(fmt::format("nobody knows node {}", asked));
  v1::NodeRequest request;
  *request.mutable_merge()->mutable_confirm() = std::move(confirm);
  const std::string address = node->address();
  const auto answer = co_await deps_.channel.Call(address, std::move(request), kFreeFor);
  if (!answer.ok()) co_return answer.status();
  if (answer->error().code() != v1::OK) co_return StatusFromError(answer->error());
  CO_RETURN_IF_ERROR(StatusFromError(answer->merge().error()));
  if (answer->has_merge() && answer->merge().contents() == contents) co_return Status::Ok();
  co_return Refused(fmt::format("node {} has something else", asked));
}

// Where another replica still has keys of the range, A's could not take them: on a majority of A's
// nodes that would be the end of A. Since the range is B's nothing comes there any more, so what is
// free stays free.
Task<Status> Merges::AllFree(shard::Shard* left, v1::FreeSpan span, Duration patience) {
  if (!left->serving()) co_return Status(Code::kNotLeader, "it is not led from here any more");
  const v1::ShardDescriptor members = left->descriptor();
  if (left->id().value() != span.into_shard_id()) {
    co_return Status(Code::kStaleEpoch, "another shard ends where it begins");
  }
  if (members.to().empty() || members.to() != span.span().from()) {
    co_return Status(Code::kStaleEpoch, "it ends elsewhere");
  }
  // What could be neither absorbed nor abandoned is not to be frozen.
  const ShardId right = left->right();
  if (right && right.value() != span.shard_id()) {
    co_return Status(Code::kStaleEpoch, fmt::format("shard {} begins where it ends", right));
  }
  const raft::GroupHandle* group = deps_.replicas.FindGroup(GroupId(left->id().value()));
  if (group != nullptr) CO_RETURN_IF_ERROR(group->CheckRoom(raft::Growth::kGrows));
  if (group == nullptr || group->configuration_index() > group->applied_index()) {
    co_return Refused("a change of members is under way");
  }
  const auto asked = std::make_shared<Asked>();
  asked->ended = std::make_shared<Promise<bool>>(deps_.env.executor);
  size_t voters = 0;
  for (const v1::Replica& replica : members.replicas()) {
    if (replica.role() == v1::OUTGOING) co_return Refused("a change of members is under way");
    if (replica.role() != v1::VOTER) continue;
    ++voters;
    const v1::NodeInfo* node = deps_.view.FindNode(NodeId(replica.node_id()));
    if (node == nullptr) continue;
    ++asked->open;
    scope_.Spawn(AskFree(asked, node->address(), span, patience));
  }
  const TimerGuard timer(deps_.env.executor, patience + kFreeFor,
                         [ended = asked->ended] { ended->Set(false); });
  if (asked->open > 0) co_await asked->ended->future();
  if (!asked->why_not.empty()) co_return Refused(asked->why_not);
  if (2 * asked->free <= voters) {
    co_return Refused(
        fmt::format("{} of {} members are known to be free for it", asked->free, voters));
  }
  co_return Status::Ok();
}

Task<void> Merges::AskFree(std::shared_ptr<Asked> asked, std::string address, v1::FreeSpan span,
                           Duration patience) {
  v1::NodeRequest request;
  *request.mutable_merge()->mutable_free() = std::move(span);
  const auto answer = co_await deps_.channel.Call(address, std::move(request), patience);
  if (answer.ok() && answer->error().code() == v1::OK && answer->has_merge()) {
    const v1::Error& error = answer->merge().error();
    if (error.code() == v1::OK) {
      ++asked->free;
    } else if (asked->why_not.empty()) {
      asked->why_not = fmt::format("at '{}': {}", address, error.message());
    }
  }
  if (--asked->open == 0) asked->ended->Set(true);
}

// ---- a member -----------------------------------------------------------------------------------

Status Merges::Confirm(const v1::ConfirmFrozen& confirm, v1::MergeResponse* response) {
  const shard::Shard* shard = deps_.replicas.Find(ShardId(confirm.shard_id()));
  const bool frozen = shard != nullptr && shard->HasState() && shard->frozen_into() &&
                      shard->descriptor().version() == confirm.version() &&
                      shard->span().from == confirm.from();
  const ShardId into(confirm.into_shard_id());
  if (!frozen || (into && shard->frozen_into() != into)) {
    return Refused("the shard is not frozen here");
  }
  if (confirm.seed() == 0) return Status::Ok();
  const Result<v1::FrozenShard> contents = shard->Contents();
  if (!contents.ok()) return contents.status();
  response->set_contents(shard::HashOf(*contents, confirm.seed()));
  return Status::Ok();
}

Task<Status> Merges::Free(v1::FreeSpan span) {
  const ShardId right(span.shard_id()), left(span.into_shard_id());
  const Span wanted{span.span().from(), span.span().to()};
  if (deps_.replicas.Find(left) == nullptr) {
    co_return Refused(fmt::format("shard {} has no replica here", left));
  }
  if (std::string why = deps_.replicas.WhyNotFree(right, left, wanted); !why.empty()) {
    co_return Refused(std::move(why));
  }
  // A restart must not bring back what another one had there.
  CO_RETURN_IF_ERROR(co_await flush_.Flushed());
  if (std::string why = deps_.replicas.WhyNotFree(right, left, wanted); !why.empty()) {
    co_return Refused(std::move(why));
  }
  co_return Status::Ok();
}

}  // namespace quorate::server
