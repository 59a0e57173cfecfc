#include "tests/sim/workloads/set.h"

#include <fmt/format.h>

#include "base/check.h"
#include "base/status_macros.h"
#include "tests/sim/checks/contents.h"
#include "tests/sim/checks/recorder.h"
#include "tests/sim/workloads/histories.h"
#include "tests/sim/workloads/thin_client.h"

namespace quorate::sim {

namespace {

// A client's hands and what they hold, for the length of one phase or step.
struct Held {
  Held(SimClient* client, Record* record, std::string_view workload, int index, Random* random)
      : database(client->database(), *record, fmt::format("c{} {}", index, workload)),
        thin(client->network(), client->process(), client->address()),
        hands{&database, &thin, &client->cluster(), &client->process(), record, index, random} {}

  RecordingDatabase database;
  ThinClient thin;
  Hands hands;
};

Task<Status> ScanAll(client::Transaction* txn) {
  co_return (co_await txn->Scan(std::string(1, '\0'), "", {})).status();
}

}  // namespace

WorkloadSet::WorkloadSet(const WorkloadContext& context, const std::vector<std::string>& names)
    : record_(context.world) {
  for (const WorkloadKind& kind : AllWorkloads()) {
    for (const std::string& name : names) {
      if (kind.name == name) workloads_.push_back(kind.make(context));
    }
  }
  CHECK(workloads_.size() == names.size() && !names.empty(), "unknown workload");
}

Task<Status> WorkloadSet::Setup(SimClient* client) {
  Random random = Random(0).Fork("setup");
  for (; set_up_ < workloads_.size(); ++set_up_) {
    Workload* workload = workloads_[set_up_].get();
    Held held(client, &record_, workload->name(), -1, &random);
    CO_RETURN_IF_ERROR(co_await workload->Setup(&held.hands));
  }
  co_return Status::Ok();
}

Task<void> WorkloadSet::Step(SimClient* client, int index, Random* random) {
  Workload* workload = workloads_[random->Below(workloads_.size())].get();
  Held held(client, &record_, workload->name(), index, random);
  co_await workload->Step(&held.hands);
}

Task<Status> WorkloadSet::Audit(SimClient* client) {
  Random random = Random(0).Fork("audit");
  for (const auto& workload : workloads_) {
    Held held(client, &record_, workload->name(), -1, &random);
    CO_RETURN_IF_ERROR(co_await workload->Audit(&held.hands));
  }
  Held held(client, &record_, "audit", -1, &random);
  CO_RETURN_IF_ERROR(co_await held.database.SnapshotAsync(
      [](client::Transaction& txn) { return ScanAll(&txn); }, {}));
  audited_ = true;
  co_return Status::Ok();
}

std::vector<std::string> WorkloadSet::Violations() const {
  std::vector<std::string> found;
  if (!audited_) found.push_back("nobody read the final state");
  for (const auto& workload : workloads_) {
    for (const std::string& violation : workload->Violations()) {
      found.push_back(fmt::format("{}: {}", workload->name(), violation));
    }
  }
  for (std::string& violation : JudgeContents(record_)) found.push_back(std::move(violation));
  return found;
}

std::map<std::string, std::string> WorkloadSet::Histories() const {
  std::map<std::string, std::string> histories;
  for (const auto& workload : workloads_) {
    if (const History* history = workload->history()) {
      histories.emplace(workload->name(), history->ToEdn());
    }
  }
  return histories;
}

uint64_t WorkloadSet::Acknowledged() const {
  uint64_t sum = 0;
  for (const auto& workload : workloads_) sum += workload->acknowledged();
  return sum;
}
uint64_t WorkloadSet::Unknown() const {
  uint64_t sum = 0;
  for (const auto& workload : workloads_) sum += workload->unknown();
  return sum;
}

}  // namespace quorate::sim
