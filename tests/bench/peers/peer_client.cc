#include "peer_client.h"

#include <cstring>

#include "base/real_clock.h"
#include "base/real_executor.h"
#include "base/status_macros.h"
#include "client/database.h"
#include "client/route/grpc_channel.h"
#include "client/route/grpc_loop.h"

namespace {

using quorate::Code;
using quorate::Duration;
using quorate::Status;
using quorate::Task;
using quorate::client::CommitResult;
using quorate::client::Database;
using quorate::client::Transaction;
using Values = std::vector<std::optional<std::string>>;
using Rows = std::vector<std::pair<std::string, std::string>>;

int64_t DecodeBalance(const std::string& bytes) {
  int64_t balance = 0;
  std::memcpy(&balance, bytes.data(), std::min(bytes.size(), sizeof balance));
  return balance;
}

const char* KindOf(const Status& status) {
  switch (status.code()) {
    case Code::kUnavailable:
      return "unavailable";
    case Code::kDeadlineExceeded:
      return "deadline";
    case Code::kUnknownOutcome:
      return "unknown";
    case Code::kNotFound:
      return "missing";
    default:
      return "other";
  }
}

Task<Status> TransferBody(Transaction* txn, std::string from, std::string to, int64_t amount) {
  std::vector<std::string> keys{from, to};
  auto values = co_await txn->GetMany(std::move(keys));
  if (!values.ok()) co_return values.status();
  const auto& [a, b] = std::tie((*values)[0], (*values)[1]);
  if (!a || !b) co_return quorate::NotFound("account");
  const int64_t left = DecodeBalance(*a) - amount;
  const int64_t right = DecodeBalance(*b) + amount;
  CO_RETURN_IF_ERROR(txn->Put(from, PeerClient::EncodeBalance(left)));
  co_return txn->Put(to, PeerClient::EncodeBalance(right));
}

Task<Status> ReadAll(Transaction* txn, std::vector<std::string> keys, Values* out) {
  auto values = co_await txn->GetMany(std::move(keys));
  if (!values.ok()) co_return values.status();
  *out = std::move(*values);
  co_return Status::Ok();
}

Task<Status> WriteAll(Transaction* txn, const Rows* rows) {
  for (const auto& [key, value] : *rows) CO_RETURN_IF_ERROR(txn->Put(key, value));
  co_return Status::Ok();
}

class PeerClientImpl final : public PeerClient {
 public:
  PeerClientImpl(std::vector<std::string> addresses, Done done)
      : done_(std::move(done)),
        database_(Database::Create(env_, channel_, {.cluster = std::move(addresses)})) {}

  void Get(int slot, std::string key) override { tasks_.Spawn(RunGet(this, slot, std::move(key))); }
  void Put(int slot, std::string key, std::string value) override {
    tasks_.Spawn(RunPut(this, slot, std::move(key), std::move(value)));
  }
  void Transfer(int slot, std::string from, std::string to, int64_t amount) override {
    Database::Closure closure = [from = std::move(from), to = std::move(to),
                                 amount](Transaction& txn) {
      return TransferBody(&txn, from, to, amount);
    };
    tasks_.Spawn(RunTransact(this, slot, std::move(closure)));
  }
  void Snapshot(int slot, std::vector<std::string> keys, bool balances) override {
    tasks_.Spawn(RunSnapshot(this, slot, std::move(keys), balances));
  }
  void PutAll(int slot, Rows rows) override {
    auto shared = std::make_shared<const Rows>(std::move(rows));
    Database::Closure closure = [shared](Transaction& txn) { return WriteAll(&txn, shared.get()); };
    tasks_.Spawn(RunTransact(this, slot, std::move(closure)));
  }

  void Poll(int timeout_ms) override {
    executor_.After(std::chrono::milliseconds(timeout_ms), [this] { executor_.Stop(); });
    executor_.Run();
  }

 private:
  void Finish(int slot, const CommitResult& result) {
    done_(slot, {.ok = result.ok(),
                 .retries = static_cast<uint32_t>(std::max(result.attempts - 1, 0)),
                 .error = result.ok() ? "" : KindOf(result.status)});
  }

  static Task<void> RunGet(PeerClientImpl* self, int slot, std::string key) {
    auto value = co_await self->database_->GetAsync(std::move(key), Duration(0));
    const bool found = value.ok() && value->has_value();
    self->done_(slot, {.ok = found, .error = value.ok() ? "missing" : KindOf(value.status())});
  }
  static Task<void> RunPut(PeerClientImpl* self, int slot, std::string key, std::string value) {
    auto result = co_await self->database_->PutAsync(std::move(key), std::move(value), Duration(0));
    self->Finish(slot, result);
  }
  static Task<void> RunTransact(PeerClientImpl* self, int slot, Database::Closure closure) {
    auto result = co_await self->database_->TransactAsync(std::move(closure),
                                                          quorate::client::TransactOptions{});
    self->Finish(slot, result);
  }
  static Task<void> RunSnapshot(PeerClientImpl* self, int slot, std::vector<std::string> keys,
                                bool balances) {
    auto values = std::make_shared<Values>();
    Database::Closure closure = [keys = std::move(keys), values](Transaction& txn) {
      return ReadAll(&txn, keys, values.get());
    };
    const Status status = co_await self->database_->SnapshotAsync(
        std::move(closure), quorate::client::TransactOptions{});
    Result result{.ok = status.ok(), .error = status.ok() ? "" : KindOf(status)};
    for (const auto& value : *values) {
      if (!value) {
        result.ok = false;
        result.error = "missing";
      } else if (balances) {
        result.sum += DecodeBalance(*value);
      }
    }
    self->done_(slot, result);
  }

  Done done_;
  quorate::RealClock clock_;
  quorate::Random random_{quorate::EntropySeed()};
  quorate::NullLogger log_;
  quorate::Metrics metrics_;
  quorate::client::GrpcLoop loop_;
  quorate::RealExecutor executor_{loop_};
  quorate::Env env_{executor_, clock_, random_, log_, metrics_};
  quorate::client::GrpcChannel channel_{env_, loop_};
  std::unique_ptr<Database> database_;
  quorate::TaskScope tasks_{executor_};
};

}  // namespace

std::string PeerClient::EncodeBalance(int64_t balance) {
  return {reinterpret_cast<const char*>(&balance), sizeof balance};
}

std::unique_ptr<PeerClient> PeerClient::Open(std::vector<std::string> addresses, Done done) {
  return std::make_unique<PeerClientImpl>(std::move(addresses), std::move(done));
}
