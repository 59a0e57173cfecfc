// World of the shard's scenarios: shards of two replicas over FakeGroups, an oracle that issues
// slots 1.0, 2.0, ..., and a script that plays clients, coordinators and recovery one message at a
// time.
//
// Verbs (S is a shard's letter, T a transaction):
//   shards A:-y B:y-              ranges; the default is  A:-y B:y-
//   begin T [at=N]                start_ts is a new slot (or slot N)
//   slot                          issues a slot
//   read NAME S key.. [at=N] [scan=a-c] [reverse=1] [limit=n] [node=old]     without at: a new slot
//   commit T S write.. [guards=a,b-d] [min=N]              one phase
//   stage T S write.. [guards=] [min=N] parts=S:marker/..  Prepare + Stage
//   prepare T S write.. [guards=] [min=N] [elder=T]        elder: keeps that one's priority
//   query T S write.. [guards=]   QueryPrepare of that part
//   decide T S commit=N.s|abort   resolve T S write.. commit=N.s|abort     early T S write..
//   commit= done T S record T S                    the transaction record lock T S key.. [ttl=ms]
//   unlock T S outcome T committed=N.s part=S/write.. | aborted | too_old   answers the pushes for
//   T apply S [n]                   commits n pending entries, all by default leader S [keep=n]
//   [deaf=1]    the other replica is elected; its LeaderStart is applied elect S [keep=n] [deaf=1]
//   the same without applying LeaderStart hear S                        the deaf old leader learns
//   of it stale S                       appends the payload lost last to the log again horizon S N
//   logs and applies AdvanceHorizon lease S off|on                state S     wait MS     fail S
//   CODE
// What a command starts and what ends because of it is printed; what does not end prints "waits".
//
// After every command: replicas agree (digest); no served read changes (S2); no record leaves an
// outcome (P1); every acknowledged commit_ts is below every slot issued after it (T1).
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/task.h"
#include "quorate/v1/shard.pb.h"
#include "shard/shard.h"
#include "tests/support/fake_group.h"
#include "tests/support/script.h"
#include "tests/support/test_env.h"
#include "txn/record.h"

namespace quorate::shard {

class ScenarioWorld final : SlotSource, Pusher, ShardObserver {
 public:
  ScenarioWorld();
  ~ScenarioWorld() override;
  std::string Run(const script::Command& command);

 private:
  struct Txn {
    TxnId id;
    Timestamp start_ts;
    TxnPriority priority;
    std::string anchor_key;
  };
  struct Cluster {  // one shard with its replicas
    std::unique_ptr<testing::FakeGroup> group;
    std::vector<std::unique_ptr<Shard>> shards;
    Span span;
    std::map<std::string, TxnState> outcomes;  // records seen in a final state, by store key
  };
  struct Served {
    std::string key, value;
    Timestamp at;
  };

  Task<Result<Timestamp>> Fetch(Duration timeout) override;
  Timestamp newest() const override { return newest_; }
  std::optional<uint64_t> UnixMillisAtMost() const override { return newest_.physical_ms(); }
  Task<Result<PushOutcome>> Push(TxnName txn, Instant deadline) override;
  void OnServing(ShardId shard, raft::Term term) override;
  void OnDeposed(ShardId shard) override;
  void OnSplit(ShardId, const Span&) override {}

  std::string Dispatch(const script::Command& c);
  std::string Write(const script::Command& c);     // commit, stage, prepare
  std::string Recovery(const script::Command& c);  // query, decide, resolve, early, done, record
  std::string Log(const script::Command& c);       // apply, leader, elect, hear, stale, horizon
  void AddShards(const std::vector<std::string>& ranges);
  Cluster& At(const std::string& letter);
  Shard& Leader(const std::string& letter);
  Txn& Find(const std::string& name);
  std::string NameOf(const TxnId& id) const;
  v1::PrepareRequest PartOf(const script::Command& c, Txn& txn) const;
  std::vector<v1::Resolution> ResolutionOf(const script::Command& c, Txn& txn) const;
  std::string Commit(const std::string& letter, size_t n);
  std::string Describe(const std::string& payload) const;
  std::string State(const std::string& letter);

  // Runs `task` under a label; its result is printed when it ends.
  void Launch(std::string label, Task<std::string> task);
  Task<void> Report(std::string label, Task<std::string> task);
  Task<std::string> ReadTask(Shard* shard, v1::ReadRequest request);
  Task<std::string> AnchorTask(Shard* shard, std::string label, bool stage,
                               v1::PrepareRequest request, std::vector<StagingPart> parts);
  Task<std::string> PrepareTask(Shard* shard, v1::PrepareRequest request);
  Task<std::string> QueryTask(Shard* shard, v1::QueryPrepareRequest request);
  Task<std::string> LockTask(Shard* shard, v1::LockRequest request);
  Task<std::string> DecideTask(Shard* shard, TxnName txn, bool commit, Timestamp ts);
  Task<std::string> StatusTask(Task<Status> task);
  void Acknowledge(Timestamp commit_ts);
  void CheckInvariants();

  TestEnv env_;
  bool started_ = false;
  Timestamp newest_;
  Timestamp acknowledged_;
  std::map<std::string, Txn> txns_;
  std::map<TxnId, std::vector<Promise<Result<PushOutcome>>>> pushes_;
  std::map<std::string, Cluster> clusters_;
  std::vector<Served> served_;
  std::set<std::string> waiting_;  // labels of tasks that have not ended
  std::vector<std::string> out_;
  TaskScope scope_;
};

}  // namespace quorate::shard
