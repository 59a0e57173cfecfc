// RecordingDatabase: a client's Database that writes everything it does into the Record and changes
// nothing. Every workload works through it, so that every transaction of a run can be judged.
#pragma once

#include <memory>
#include <string>

#include "client/database.h"
#include "tests/sim/checks/record.h"

namespace quorate::sim {

class RecordingDatabase final : public client::Database {
 public:
  // `inner` and `record` outlive it and its calls.
  RecordingDatabase(client::Database& inner, Record& record, std::string who)
      : inner_(inner), record_(record), who_(std::move(who)) {}

  Task<client::CommitResult> TransactAsync(Closure closure,
                                           client::TransactOptions options) override;
  Task<Status> SnapshotAsync(Closure closure, client::TransactOptions options) override;
  Task<Result<std::optional<std::string>>> GetAsync(std::string key, Duration timeout) override;
  Task<client::CommitResult> PutAsync(std::string key, std::string value,
                                      Duration timeout) override;
  Task<client::CommitResult> DeleteAsync(std::string key, Duration timeout) override;
  Task<Status> ScanAllAsync(std::string from, std::string to, client::ScanAllOptions options,
                            TakePage take) override;
  Task<Result<client::Outcome>> OutcomeAsync(client::TxnHandle txn, Duration timeout) override;
  std::unique_ptr<Session> Begin(bool read_only, GivenName name, Duration timeout) override;
  void Spawn(std::function<Task<void>()> task) override { inner_.Spawn(std::move(task)); }

  // Callback and sync forms: nothing in a simulation works without coroutines.
  using Done = Callback<client::CommitResult>;
  using Options = client::TransactOptions;
  void TransactAsync(Closure, Options, Done) override;
  void SnapshotAsync(Closure, Options, Done) override;
  void GetAsync(std::string, Options, Callback<Result<std::optional<std::string>>>) override;
  void PutAsync(std::string, std::string, Options, Done) override;
  void DeleteAsync(std::string, Options, Done) override;
  void OutcomeAsync(client::TxnHandle, Options, Callback<Result<client::Outcome>>) override;
  void VisitMetrics(const MetricVisitor& visit) const override { inner_.VisitMetrics(visit); }
  std::string MetricsText() const override { return inner_.MetricsText(); }
  client::CommitResult Transact(SyncClosure, client::TransactOptions) override;
  Status Snapshot(SyncClosure, client::TransactOptions) override;
  Result<std::optional<std::string>> Get(std::string) override;
  Status ScanAll(std::string, std::string, client::ScanAllOptions,
                 std::function<Status(client::ScanPage)>) override;
  client::CommitResult Put(std::string, std::string) override;
  client::CommitResult Delete(std::string) override;
  Result<client::Outcome> GetOutcome(client::TxnHandle) override;

 private:
  Task<client::CommitResult> WriteOne(std::string key, std::optional<std::string> value,
                                      Duration timeout);

  client::Database& inner_;
  Record& record_;
  std::string who_;
};

}  // namespace quorate::sim
