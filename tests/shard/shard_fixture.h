// ShardTest: a shard's two replicas over a log that the test commits, an oracle and a pusher.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "quorate/v1/shard.pb.h"
#include "shard/shard.h"
#include "tests/support/fake_group.h"
#include "tests/support/test_env.h"
#include "txn/footprint.h"

namespace quorate::shard {

class ShardTest : public ::testing::Test, public SlotSource, public Pusher, public ShardObserver {
 protected:
  static constexpr uint64_t kBase = 10'000'000;

  ShardTest() { Build(Settings()); }
  ~ShardTest() override { scope_.Clear(); }

  void Build(Settings settings) {
    shards_.clear();
    group_ = std::make_unique<testing::FakeGroup>(env_.env, GroupId(7), 2);
    v1::ShardDescriptor descriptor;
    descriptor.set_shard_id(7);
    descriptor.set_to("y");
    descriptor.set_version(4);
    for (int i = 1; i <= 2; ++i) {
      v1::Replica* replica = descriptor.add_replicas();
      replica->set_node_id(i);
      replica->set_address(fmt::format("host:{}", i));
    }
    for (size_t i = 0; i < 2; ++i) {
      Shard::Deps deps{env_.env,
                       group_->store(i),
                       *this,
                       *this,
                       *this,
                       [this](raft::Growth growth) {
                         return low_space_ && growth == raft::Growth::kGrows
                                    ? Status(Code::kNoSpace, "node 1")
                                    : Status::Ok();
                       },
                       nullptr,
                       &parts_logged_};
      shards_.push_back(std::make_unique<Shard>(deps, settings, descriptor));
      shards_[i]->Attach(group_->handle(i));
      group_->Start(i, shards_[i].get());
    }
    group_->Elect(0);
    Run();
    Commit();
  }
  void Run() { env_.executor.RunFor(Duration(0)); }
  void Commit() {
    while (!group_->pending().empty()) group_->CommitOne();
    Run();
  }
  Shard& leader() { return *shards_[group_->leader()]; }

  // Runs a task of the shard until nothing is left to do now; nullopt: it still waits.
  template <class T>
  std::shared_ptr<std::optional<T>> Start(Task<T> task) {
    auto result = std::make_shared<std::optional<T>>();
    scope_.Spawn(Into(std::move(task), result));
    Run();
    return result;
  }
  template <class T>
  static Task<void> Into(Task<T> task, std::shared_ptr<std::optional<T>> result) {
    result->emplace(co_await std::move(task));
  }

  v1::PrepareRequest Part(const std::string& key, uint64_t start) {
    v1::PrepareRequest request;
    const TxnId id = TxnId::Make(env_.random);
    request.set_txn_id(std::string(id.bytes()));
    request.set_digest(quorate::DigestOf(key, {key}, {}).value());
    request.set_marker_key(key);
    request.set_anchor_key(key);
    request.set_start_ts(start);
    request.mutable_priority()->set_txn_id(std::string(id.bytes()));
    request.mutable_priority()->set_start_ts(start);
    v1::Write* write = request.add_writes();
    write->set_key(key);
    write->set_value("v");
    return request;
  }
  Instant Deadline() const { return env_.executor.Now() + 10s; }
  Timestamp NextSlot() { return newest_ = newest_.NextSlot(); }

  Task<Result<Timestamp>> Fetch(Duration) override {
    ++fetches_;
    if (auto meanwhile = std::exchange(while_fetching_, nullptr)) meanwhile();
    if (!slots_.ok()) co_return slots_;
    co_return NextSlot();
  }
  Timestamp newest() const override { return newest_; }
  std::optional<uint64_t> UnixMillisAtMost() const override { return oracle_ms_; }
  Task<Result<PushOutcome>> Push(TxnName txn, Instant) override {
    pushed_.push_back(txn.anchor_key);
    if (!push_outcome_) co_return Unavailable("no anchor");
    co_return *push_outcome_;
  }
  void OnServing(ShardId, raft::Term term) override { events_.push_back(fmt::format("+{}", term)); }
  void OnDeposed(ShardId) override { events_.push_back("-"); }
  void OnSplit(ShardId, const Span& left) override { events_.push_back("<" + left.to); }

  TestEnv env_;
  ByteTurns parts_logged_{env_.env, limits::kPartsLoggedBytesMax};
  Timestamp newest_ = Timestamp::FromParts(kBase, 0);
  std::optional<uint64_t> oracle_ms_ = kBase;
  Status slots_;
  int fetches_ = 0;
  std::function<void()> while_fetching_;
  bool low_space_ = false;
  std::optional<PushOutcome> push_outcome_;
  std::vector<std::string> pushed_;
  std::vector<std::string> events_;
  std::unique_ptr<testing::FakeGroup> group_;
  std::vector<std::unique_ptr<Shard>> shards_;
  TaskScope scope_{env_.executor};
};

}  // namespace quorate::shard
