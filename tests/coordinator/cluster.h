// Cluster: a model of the shards of one transaction txn1, around the real commit and recovery
// machines. Shard 0 (A) keeps the anchor. It stands for shard/, Raft and the network in the
// fewest words: per shard a term, a log of proposed entries, the records applied; and messages that
// are delivered, lost or copied one by one.
//
// Timestamps are slot.sub: txn1 has start_ts 2.0; a new leader's floor is the next slot.
//
// After every step Check() holds the invariants A1, A2 and P1 and the order of steps: Resolve only
// from an applied Decide, Done only after every Resolve. Settle() stops the faults, lets everything
// finish, and demands L1.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/commit_machine.h"
#include "coordinator/recovery_machine.h"

namespace quorate::coordinator::model {

// Rules that can be broken on purpose, to see that Check() notices.
struct Broken {
  bool abort_over_staged = false;   // who knows of no record aborts what is STAGED
  bool restart_staged = false;      // a copy of a Commit starts again over a STAGED record
  bool refusal_not_logged = false;  // QueryPrepare is answered ABORTED without a logged Refuse
  bool refuse_over_prepared = false;
  bool outcome_dropped = false;  // a participant forgets its outcome after Resolve
  bool coord_survives = false;   // a coordinator keeps its rights after its leader's term
  bool ack_at_propose = false;   // PREPARED is answered before the entry is applied
  bool abort_unlogged = false;   // ABORTED is answered before Decide{ABORTED} is applied
  bool early_resolve = false;    // Resolve is sent before the Decide is applied
  bool drop_unresolved = false;  // Done is logged before every participant has resolved
};

class Cluster {
 public:
  Cluster(int shards, Broken broken = {});
  ~Cluster();

  // ---- steps; each appends to the trace what it did
  // ----------------------------------------------
  void Commit(const std::string& name);  // a copy of Commit(txn1) reaches A's leader
  void Push(const std::string& name);    // somebody asks A's leader
  // The leader of `shard` is replaced. Unapplied entries are lost, or inherited and applied.
  void ChangeLeader(int shard, bool inherit);
  void Depose(const std::string& coordinator);        // word of it reaches the coordinator
  void DeposeIfOver(const std::string& coordinator);  // if its term is over
  void Apply(int shard);                              // the next entry
  void Deadline(const std::string& coordinator);
  void Horizon(int shard);              // passes txn1's start_ts; drops what may be dropped
  void Conflict(int shard, Code code);  // evaluations are refused from now on
  void Exhaust(int shard);              // evaluations need a min_ts from now on

  // ---- messages
  // ----------------------------------------------------------------------------------
  std::vector<std::string> Messages() const;
  // The first message whose label begins with `label`. Lost: its sender hears silence in the end.
  bool Deliver(const std::string& label);
  bool Lose(const std::string& label);
  bool Copy(const std::string& label);  // delivered twice, the second time later
  // Delivers and applies, first come first served, until nothing is left.
  void Run();
  // One step of Run; false if nothing is left. `pick` chooses among messages and logs.
  bool Step(const std::function<size_t(size_t)>& pick);

  // No more faults: everybody who holds something pushes, and everything finishes.
  void Settle();

  std::string Describe() const;
  std::string TakeTrace();
  // What is wrong; empty: nothing so far.
  const std::string& violation() const { return violation_; }
  int shards() const;
  std::vector<std::string> Coordinators() const;
  const std::vector<std::string>& answers() const { return answers_; }

 private:
  struct Entry;
  struct Shard;
  struct Coordinator;
  struct Recoverer;
  struct Message {
    std::string label;
    std::function<void()> deliver;
    std::function<void()> lost;  // null: it cannot be lost
  };

  void Trace(std::string line) { trace_.push_back(std::move(line)); }
  void Violate(const std::string& what);
  void Check();
  void Send(std::string label, std::function<void()> deliver, std::function<void()> lost);
  bool Live(const Coordinator& c) const;
  bool SomebodyLive() const;
  Coordinator* Find(const std::string& name);

  void Pump(Coordinator* c);
  void Do(Coordinator* c, const CommitMachine::Action& action);
  void SendPrepare(Coordinator* c, int to, Timestamp ts);
  void LogDecide(Coordinator* c, const CommitMachine::Action& action);
  void EvaluateOwn(Coordinator* c, Timestamp min_ts);
  void Answer(const std::string& who, TxnState state, Timestamp ts, const std::string& text);
  void Pump(Recoverer* r);
  void Do(Recoverer* r, const RecoveryMachine::Action& action);
  void StartRecovery(const std::string& name);

  void Prepare(int shard, Timestamp min_ts, std::function<void(PartAnswer)> reply);
  void Query(int shard, std::function<void(PartAnswer)> reply);
  void Resolve(const std::string& who, bool commit, Timestamp ts, std::function<void()> all_done);
  void Propose(int shard, Entry entry);
  Standing ApplyEntry(int shard, const Entry& entry);
  Timestamp PrepareTs(const Shard& shard, Timestamp min_ts) const;

  Broken broken_;
  std::vector<Shard> shards_;
  Standing txn_;  // the transaction record at A
  bool done_ = false;
  std::vector<std::unique_ptr<Coordinator>> coordinators_;
  std::vector<std::unique_ptr<Recoverer>> recoverers_;
  std::vector<Message> messages_;
  std::vector<std::string> trace_;
  std::vector<std::string> answers_;
  std::optional<Standing> answered_;
  std::optional<Standing> decided_;  // by an applied Decide or one-phase commit, ever
  std::string violation_;
  uint64_t next_slot_ = 3;
};

std::string Show(Timestamp ts);  // "2.1"

}  // namespace quorate::coordinator::model
