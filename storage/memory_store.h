// KvStore in memory, for tests and simulation, with the crash behaviour of the real one.
//
// MemoryDisk is what survives: it outlives the store of a node that crashed, and the next one is
// built over it. Crash() keeps exactly a prefix of the commits: all whose callback ran, and of
// those in flight as many as the given random source decides.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/env.h"
#include "storage/kv_store.h"
#include "storage/overlay.h"

namespace quorate::storage {

class MemoryDisk {
 public:
  // Call when the store over it is gone and before the next is built.
  void Crash(Random& random);
  // The next commit, and all after it, fail with `status`.
  void FailCommits(Status status) { failure_ = std::move(status); }
  // What lies in [from, to) is gone, and the next store says so until it is forgotten.
  void Lose(const std::string& from, const std::string& to);
  // As a damaged page: neighbours at a random place. False: there is nothing to lose.
  bool LoseSome(Random& random);

  size_t size() const { return pairs_.size(); }
  uint64_t commits() const { return commits_; }

 private:
  friend class MemoryStore;
  void ApplyFirst();

  Overlay pairs_;                        // over nothing: without deletions
  std::weak_ptr<const Overlay> pinned_;  // a copy of pairs_, if nothing was changed since
  std::deque<std::shared_ptr<const Overlay>> in_flight_;
  std::optional<Status> failure_;
  std::vector<KvStore::Range> lost_;
  uint64_t commits_ = 0;
};

class MemoryStore final : public KvStore {
 public:
  struct Options {
    Duration latency_min = 1ms;
    Duration latency_max = 4ms;
  };
  // `disk` outlives the store and has no other.
  MemoryStore(Env& env, MemoryDisk& disk, Options options);
  MemoryStore(Env& env, MemoryDisk& disk) : MemoryStore(env, disk, Options()) {}
  ~MemoryStore() override;

  Result<std::optional<std::string>> Get(std::string_view key) const override;
  Status Scan(std::string_view from, std::string_view to, ScanVisitor visit) const override;
  Status ScanBack(std::string_view from, std::string_view to, ScanVisitor visit) const override;
  void CommitOverlay(std::shared_ptr<const Overlay> ops, CommitCallback done) override;
  // A copy, shared by those who pin the same state.
  Result<std::unique_ptr<KvView>> Pin() override;
  std::vector<Range> Damaged() const override { return disk_.lost_; }
  void ForgetDamage() override { disk_.lost_.clear(); }
  uint64_t SizeBytes() const override { return disk_.pairs_.bytes(); }

 private:
  class View;
  void StartNext();
  void FinishFirst();

  Env& env_;
  MemoryDisk& disk_;
  const Options options_;
  Random random_;
  std::deque<CommitCallback> callbacks_;  // of disk_.in_flight_
  TimerId timer_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace quorate::storage
