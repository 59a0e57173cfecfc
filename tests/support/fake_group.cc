#include "tests/support/fake_group.h"

#include "base/check.h"

namespace quorate::testing {

struct FakeGroup::Replica final : raft::GroupHandle {
  Replica(FakeGroup& g, Env& env, size_t i)
      : group(g), index(i), kv(env, disk), store(env, kv, {}) {}

  GroupId id() const override { return group.id_; }
  Task<Result<raft::Proposed>> Propose(std::string payload,
                                       std::optional<raft::Term> expected) override {
    Promise<Result<raft::Proposed>> promise(group.env_.executor);
    group.Propose(index, std::move(payload), expected,
                  [promise](Result<raft::Proposed> result) { promise.Set(std::move(result)); });
    co_return co_await promise.future();
  }
  void Propose(std::string payload, std::optional<raft::Term> expected, ProposeDone done) override {
    group.Propose(index, std::move(payload), expected, std::move(done));
  }
  Task<Status> ReadBarrier() override {
    if (group.leader_ != index) co_return Status(Code::kNotLeader, "deposed");
    co_return Status::Ok();
  }
  raft::SoftState soft_state() const override { return soft; }
  bool leader_in_doubt() const override { return !soft.leader; }
  Task<void> WaitForLeader(Instant) override { co_return; }
  bool leader_ready() const override { return soft.role == raft::Role::kLeader; }
  Instant lease_until() const override { return group.lease_until_; }
  raft::LogIndex applied_index() const override { return raft::LogIndex(applied); }
  bool has_state() const override { return whole; }
  raft::Configuration configuration() const override { return {}; }
  bool CaughtUp(const raft::ProgressView&) const override { return false; }
  raft::LogIndex configuration_index() const override { return {}; }
  Status ChangeMembers(const std::vector<raft::ReplicaId>&,
                       const std::vector<raft::ReplicaId>&) override {
    return Internal("not in this fake");
  }
  Status TransferLeadership(raft::ReplicaId) override { return Internal("not in this fake"); }
  void Campaign() override {}
  std::vector<raft::ProgressView> progress() const override { return {}; }
  Status CheckRoom(raft::Growth) const override { return Status::Ok(); }

  FakeGroup& group;
  size_t index;
  storage::MemoryDisk disk;
  storage::MemoryStore kv;
  storage::OrderedStore store;
  raft::StateMachine* machine = nullptr;
  raft::SoftState soft;
  bool deaf = false;
  bool whole = true;
  size_t applied = 0;
  raft::ApplyResult last_result;
  std::vector<ProposeDone> limbo;
};

FakeGroup::FakeGroup(Env& env, GroupId id, size_t replicas) : env_(env), id_(id) {
  for (size_t i = 0; i < replicas; ++i) {
    replicas_.push_back(std::make_unique<Replica>(*this, env, i));
  }
}
FakeGroup::~FakeGroup() = default;

storage::OrderedStore& FakeGroup::store(size_t replica) { return replicas_[replica]->store; }
raft::GroupHandle* FakeGroup::handle(size_t replica) { return replicas_[replica].get(); }
void FakeGroup::Start(size_t replica, raft::StateMachine* machine) {
  replicas_[replica]->machine = machine;
}

void FakeGroup::SetHasState(size_t replica, bool has) { replicas_[replica]->whole = has; }

void FakeGroup::Elect(size_t replica, size_t keep, bool deaf) {
  CHECK(keep <= pending_.size(), "cannot keep what was not proposed");
  while (pending_.size() > keep) {
    Entry& entry = pending_.back();
    lost_.insert(lost_.begin(), std::move(entry.payload));
    if (entry.done) {
      env_.executor.Post([done = std::move(entry.done)]() mutable {
        done(Status(Code::kNotLeader, "another entry took its place"));
      });
    }
    pending_.pop_back();
  }
  if (deaf && leader_ != replica) replicas_[leader_]->deaf = true;
  leader_ = replica;
  ++term_;
  for (auto& r : replicas_) {
    if (r->index != replica) Tell(r.get());
  }
  while (!pending_.empty()) CommitOne();
  // The new leader last: it proposes at once, behind what is inherited.
  Tell(replicas_[replica].get());
}

void FakeGroup::Hear(size_t replica) {
  Replica* r = replicas_[replica].get();
  r->deaf = false;
  Tell(r);
  for (auto& done : r->limbo) {
    env_.executor.Post(
        [done = std::move(done)]() mutable { done(Status(Code::kNotLeader, "deposed")); });
  }
  r->limbo.clear();
  CatchUp(r);
}

void FakeGroup::Tell(Replica* r) {
  if (r->machine == nullptr || r->deaf) return;
  r->soft.term = term_;
  r->soft.leader = raft::ReplicaId(leader_ + 1);
  r->soft.role = r->index == leader_ ? raft::Role::kLeader : raft::Role::kFollower;
  r->machine->OnSoftState(r->soft);
}

void FakeGroup::Propose(size_t replica, std::string payload, std::optional<raft::Term> expected,
                        raft::GroupHandle::ProposeDone done) {
  Replica& r = *replicas_[replica];
  Status refusal = failure_;
  if (r.soft.role != raft::Role::kLeader || (expected && *expected != r.soft.term)) {
    refusal = Status(Code::kNotLeader, "not the leader of that term");
  }
  if (!refusal.ok()) {
    env_.executor.Post([done = std::move(done), refusal]() mutable { done(refusal); });
    return;
  }
  if (r.deaf) {
    r.limbo.push_back(std::move(done));
    return;
  }
  pending_.push_back({r.soft.term, std::move(payload), replica, std::move(done)});
}

void FakeGroup::Append(std::string payload) {
  pending_.push_back({term_, std::move(payload), leader_, nullptr});
}

raft::ApplyResult FakeGroup::CommitOne() {
  CHECK(!pending_.empty(), "nothing was proposed");
  log_.push_back(std::move(pending_.front()));
  pending_.pop_front();
  for (auto& r : replicas_) CatchUp(r.get());
  return replicas_[leader_]->last_result;
}

void FakeGroup::CatchUp(Replica* r) {
  if (r->machine == nullptr || r->deaf) return;
  while (r->applied < log_.size()) {
    Entry& entry = log_[r->applied++];
    const raft::LogIndex index(r->applied);
    storage::WriteBatch batch;
    r->last_result = r->machine->Apply(index, entry.term, entry.payload, &batch);
    r->store.Apply(id_, index.value(), std::move(batch));
    if (entry.proposer != r->index || !entry.done) continue;
    env_.executor.Post([done = std::move(entry.done),
                        proposed = raft::Proposed{index, entry.term, r->last_result}]() mutable {
      done(std::move(proposed));
    });
  }
}

}  // namespace quorate::testing
