// Report: what a batch of seeds reached. Rare branches by their probes; and, for every step of a
// transaction and every kind of fault, how often a fault of that kind hit a machine that a
// transaction at that step involved. What nothing reached is listed: it is what the batch has not
// tested.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/steps.h"
#include "tests/sim/world.h"

namespace quorate::sim {

// Watches all processes of a run. A transaction is at the step that was taken last, anywhere; it
// involves the client and the nodes that have taken a step of it, and while its Commit is on the
// way any node. A fault hits for as long as it lasts, down time included; a moment's counts for a
// second.
class StepMatrix final : public StepObserver {
 public:
  // Columns of a row, as kCommitStepNames.
  using Row = std::array<uint64_t, kCommitStepNames.size()>;

  StepMatrix() { step_observer = this; }
  ~StepMatrix() override { step_observer = nullptr; }
  StepMatrix(const StepMatrix&) = delete;

  // A run begins: no transaction is anywhere. Between runs nothing is watched.
  void Begin(const World& world);
  void End() { world_ = nullptr; }
  // A fault of this kind hits the machine of this address (empty: all) for so long (0: a moment).
  void OnFault(std::string_view kind, std::string_view address, Duration length);
  void OnStep(const Executor& where, CommitStep step, std::string_view txn_id) override;

  const std::map<std::string, Row, std::less<>>& rows() const { return rows_; }

 private:
  struct Txn {
    CommitStep step;
    Instant since;
    std::set<std::string, std::less<>> machines;
  };
  struct Window {
    std::string kind;
    std::string machine;
    Instant until;
  };
  static bool Involves(const Txn& txn, std::string_view machine);
  void Forget(Instant now);
  void Hit(std::string_view kind, CommitStep step);

  const World* world_ = nullptr;
  std::map<std::string, Txn, std::less<>> txns_;
  std::vector<Window> windows_;
  std::map<std::string, Row, std::less<>> rows_;
};

// Adds this batch to what `file` holds from earlier ones (empty: no file), and prints the sum.
// Returns how many probes and cells were never reached.
size_t ReportBatch(const StepMatrix& matrix, const std::vector<std::string_view>& kinds,
                   uint64_t seeds, const std::string& file);

}  // namespace quorate::sim
