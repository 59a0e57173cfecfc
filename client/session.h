// SessionImpl: an attempt whose steps come from outside.
//
// The attempt belongs to the executor's thread, the session to whoever began it: the session only
// sends there what is to be done, and the Database ends the attempts of sessions that outlive it.
#pragma once

#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include "client/attempt.h"
#include "client/database.h"
#include "client/gate.h"

namespace quorate::client {

class SessionImpl final : public Database::Session {
 public:
  // Where the session's attempt is, until the Database is gone.
  using Slot = std::shared_ptr<std::unique_ptr<Attempt>>;

  SessionImpl(Core* core, std::shared_ptr<Gate> gate, Slot slot)
      : core_(core), gate_(std::move(gate)), slot_(std::move(slot)) {}
  ~SessionImpl() override;

  Transaction& transaction() override { return **slot_; }
  Status WriteAll(std::vector<BufferedWrite> writes) override {
    return (*slot_)->WriteAll(std::move(writes));
  }
  Task<CommitResult> Commit(Duration timeout) override;
  void Rollback() override;
  TxnHandle handle() const override { return (*slot_)->handle(); }
  void SetIdle(bool idle) override {
    if (*slot_ != nullptr) (*slot_)->SetIdle(idle);
  }
  void SetStale(StaleRead stale) override {
    if (*slot_ != nullptr) (*slot_)->SetStale(stale);
  }
  void Extend(Duration timeout) override {
    if (*slot_ != nullptr) (*slot_)->set_deadline(core_->env().Now() + timeout);
  }
  Size size() const override { return *slot_ != nullptr ? (*slot_)->size() : Size(); }

 private:
  Core* core_;
  const std::shared_ptr<Gate> gate_;
  const Slot slot_;
  std::atomic<bool> ended_{false};
};

}  // namespace quorate::client
