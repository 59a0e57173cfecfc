#include "bank.h"

#include <charconv>
#include <cstdio>

using quorate::Code;
using quorate::Result;
using quorate::Status;
using quorate::client::CommitResult;
using quorate::client::Outcome;
using quorate::client::SyncTransaction;

namespace {

std::string KeyOf(int64_t account) {
  char key[32];
  std::snprintf(key, sizeof key, "account/%09lld", static_cast<long long>(account));
  return key;
}

Result<int64_t> Parse(const std::string& text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return quorate::Corruption("'" + text + "' is no balance");
  }
  return value;
}

Result<int64_t> ReadBalance(SyncTransaction& txn, int64_t account) {
  auto value = txn.Get(KeyOf(account));
  if (!value.ok()) return value.status();
  if (!value->has_value()) {
    return quorate::NotFound("there is no account " + std::to_string(account));
  }
  return Parse(**value);
}

}  // namespace

Status Bank::Open(int64_t n, int64_t balance) {
  constexpr int64_t kPerTransaction = 100;
  for (int64_t first = 0; first < n; first += kPerTransaction) {
    const CommitResult result = database_->Transact([&](SyncTransaction& txn) -> Status {
      for (int64_t i = first; i < n && i < first + kPerTransaction; ++i) {
        auto there = txn.Get(KeyOf(i));
        if (!there.ok()) return there.status();
        if (!there->has_value()) RETURN_IF_ERROR(txn.Put(KeyOf(i), std::to_string(balance)));
      }
      return Status::Ok();
    });
    if (!result.ok()) return result.status;
  }
  return Status::Ok();
}

Status Bank::Transfer(int64_t from, int64_t to, int64_t amount) {
  if (from == to || amount <= 0) return quorate::InvalidArgument("nothing to transfer");
  const CommitResult result = database_->Transact([&](SyncTransaction& txn) -> Status {
    const Result<int64_t> source = ReadBalance(txn, from);
    if (!source.ok()) return source.status();
    const Result<int64_t> target = ReadBalance(txn, to);
    if (!target.ok()) return target.status();
    if (*source < amount) {
      return Status(Code::kFailedPrecondition,
                    "account " + std::to_string(from) + " holds only " + std::to_string(*source));
    }
    RETURN_IF_ERROR(txn.Put(KeyOf(from), std::to_string(*source - amount)));
    return txn.Put(KeyOf(to), std::to_string(*target + amount));
  });
  if (!result.unknown.has_value()) return result.status;
  const auto outcome = database_->GetOutcome(*result.unknown);
  if (!outcome.ok()) return result.status;
  return *outcome == Outcome::kCommitted ? Status::Ok()
                                         : Status(Code::kAborted, "the transfer was not made");
}

Result<int64_t> Bank::Balance(int64_t account) {
  auto value = database_->Get(KeyOf(account));
  if (!value.ok()) return value.status();
  if (!value->has_value()) {
    return quorate::NotFound("there is no account " + std::to_string(account));
  }
  return Parse(**value);
}

Result<int64_t> Bank::Total(int64_t* accounts) {
  int64_t total = 0;
  const Status status = database_->Snapshot([&](SyncTransaction& txn) -> Status {
    auto rows = txn.Scan("account/", "account0");  // '0' is the byte after '/'
    if (!rows.ok()) return rows.status();
    total = 0;
    for (const auto& row : *rows) {
      const Result<int64_t> balance = Parse(row.value);
      if (!balance.ok()) return balance.status();
      total += *balance;
    }
    if (accounts != nullptr) *accounts = static_cast<int64_t>(rows->size());
    return Status::Ok();
  });
  if (!status.ok()) return status;
  return total;
}
