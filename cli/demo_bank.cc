#include "cli/demo_bank.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/bytes.h"
#include "base/check.h"
#include "base/real_clock.h"
#include "base/status_macros.h"

namespace quorate::cli {
namespace {

constexpr int64_t kInitialBalance = 1000;
constexpr std::string_view kAccounts = "account/";
constexpr std::string_view kLedger = "ledger/";
constexpr Duration kResolveFor = 30s;
constexpr size_t kFailuresShown = 10;
constexpr auto kReaderPause = std::chrono::milliseconds(50);

std::string AccountKey(int account) { return fmt::format("{}{:05}", kAccounts, account); }

std::optional<int64_t> ParseInt(std::string_view text) {
  int64_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

Task<Status> TransferBody(client::Transaction* txn, std::string from, std::string to,
                          std::string ledger_key, int64_t amount) {
  std::vector<std::string> keys{from, to};
  auto values = co_await txn->GetMany(std::move(keys));
  if (!values.ok()) co_return values.status();
  const auto a = ParseInt((*values)[0].value_or(""));
  const auto b = ParseInt((*values)[1].value_or(""));
  if (!a || !b) co_return Status(Code::kFailedPrecondition, "an account is missing");
  CO_RETURN_IF_ERROR(txn->Put(from, std::to_string(*a - amount)));
  CO_RETURN_IF_ERROR(txn->Put(to, std::to_string(*b + amount)));
  co_return txn->Put(ledger_key, fmt::format("{} {} {}", from, to, amount));
}

}  // namespace

Duration LongestGap(const BankReport& report, Instant from, Instant to) {
  const auto& commits = report.timeline;
  Duration longest{0};
  for (size_t i = 1; i < commits.size(); ++i) {
    if (commits[i].at < from || commits[i - 1].at >= to) continue;
    longest = std::max(longest, commits[i].at - std::max(commits[i - 1].at, from));
  }
  return longest;
}

std::vector<std::string> BankSplitKeys(const BankOptions& options) {
  std::vector<std::string> keys;
  const int account_shards = options.shards - 2;
  for (int i = 1; i < account_shards; ++i) {
    keys.push_back(AccountKey(options.accounts * i / account_shards));
  }
  keys.emplace_back(kLedger);
  keys.push_back(fmt::format("{}{:02}", kLedger, options.clients / 2));
  return keys;
}

Bank::Bank(client::Database& database, BankOptions options)
    : database_(database), options_(options) {}

Bank::~Bank() { CHECK(!reader_.joinable(), "Stop comes first"); }

Status Bank::Load() {
  constexpr int kBatch = 100;
  for (int next = 0; next < options_.accounts; next += kBatch) {
    auto result = database_.Transact([&](client::SyncTransaction& txn) -> Status {
      for (int i = next; i < std::min(next + kBatch, options_.accounts); ++i) {
        RETURN_IF_ERROR(txn.Put(AccountKey(i), std::to_string(kInitialBalance)));
      }
      return Status::Ok();
    });
    RETURN_IF_ERROR(result.status);
  }
  return Status::Ok();
}

void Bank::Start() {
  running_ = options_.clients;
  const uint64_t seed = EntropySeed();
  for (int client = 0; client < options_.clients; ++client) {
    database_.Spawn(
        [this, client, seed] { return Client(client, seed + static_cast<uint64_t>(client)); });
  }
  reader_ = std::thread([this] { ReadTotals(); });
}

void Bank::Stop() {
  stop_ = true;
  finished_.get_future().wait();
  reader_.join();
}

Task<void> Bank::Client(int client, uint64_t seed) {
  Random random(seed);
  for (uint64_t sequence = 0; !stop_; ++sequence) {
    Transfer transfer;
    transfer.ledger_key = fmt::format("{}{:02}/{:08}", kLedger, client, sequence);
    transfer.from = static_cast<int>(random.Below(static_cast<uint64_t>(options_.accounts)));
    transfer.to = static_cast<int>(random.Below(static_cast<uint64_t>(options_.accounts) - 1));
    transfer.to += transfer.to >= transfer.from ? 1 : 0;
    transfer.amount = random.Between(1, 100);
    client::Database::Closure closure =
        [from = AccountKey(transfer.from), to = AccountKey(transfer.to),
         ledger_key = transfer.ledger_key, amount = transfer.amount](client::Transaction& txn) {
          return TransferBody(&txn, from, to, ledger_key, amount);
        };
    const Instant start = RealClock::BootNow();
    auto result = co_await database_.TransactAsync(std::move(closure), client::TransactOptions{});
    Record(std::move(transfer), result, start);
  }
  if (--running_ == 0) finished_.set_value();
}

void Bank::Record(Transfer transfer, const client::CommitResult& result, Instant start) {
  const Instant now = RealClock::BootNow();
  if (result.ok()) {
    transfer.end = Transfer::End::kCommitted;
    ++report_.commits;
    report_.cross_shard += result.shards > 1 ? 1 : 0;
    report_.latencies.Add(now - start);
    report_.timeline.push_back({now, now - start});
    commits_.fetch_add(1, std::memory_order_relaxed);
  } else if (result.unknown) {
    transfer.end = Transfer::End::kUnknown;
    transfer.handle = result.unknown;
    ++report_.unknown;
  } else {
    ++report_.refused;
  }
  report_.retries += static_cast<uint64_t>(std::max(result.attempts - 1, 0));
  transfers_.push_back(std::move(transfer));
}

// One snapshot of all accounts; an error means that there was none to be had just now.
Status Bank::CheckTotal() {
  int64_t total = 0;
  size_t rows = 0;
  RETURN_IF_ERROR(database_.Snapshot([&](client::SyncTransaction& txn) {
    total = 0;
    auto read = txn.Scan(std::string(kAccounts), PrefixEnd(kAccounts));
    if (!read.ok()) return read.status();
    rows = read->size();
    for (const auto& row : *read) total += ParseInt(row.value).value_or(INT32_MIN);
    return Status::Ok();
  }));
  ++totals_checked_;
  if (total != options_.accounts * kInitialBalance ||
      rows != static_cast<size_t>(options_.accounts)) {
    ++totals_wrong_;
  }
  return Status::Ok();
}

void Bank::ReadTotals() {
  while (!stop_) {
    if (!CheckTotal().ok()) ++snapshots_failed_;
    std::this_thread::sleep_for(kReaderPause);
  }
}

void Bank::Resolve(Transfer* transfer, BankReport* report) {
  const Instant end = RealClock::BootNow() + kResolveFor;
  while (true) {
    auto outcome = database_.GetOutcome(*transfer->handle);
    if (outcome.ok()) {
      const bool committed = *outcome == client::Outcome::kCommitted;
      ++(committed ? report->unknown_committed : report->unknown_aborted);
      transfer->end = committed ? Transfer::End::kCommitted : Transfer::End::kRefused;
      return;
    }
    if (RealClock::BootNow() > end) {
      ++report->unresolved;
      report->failures.push_back(fmt::format("{}: outcome not to be had: {}", transfer->ledger_key,
                                             outcome.status().ToString()));
      return;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
}

Status Bank::ReadLedger(std::map<std::string, std::string>* ledger,
                        std::vector<int64_t>* balances) {
  return database_.Snapshot([&](client::SyncTransaction& txn) {
    ledger->clear();
    balances->clear();
    auto entries = txn.Scan(std::string(kLedger), PrefixEnd(kLedger));
    if (!entries.ok()) return entries.status();
    for (auto& row : *entries) (*ledger)[row.key] = row.value;
    auto accounts = txn.Scan(std::string(kAccounts), PrefixEnd(kAccounts));
    if (!accounts.ok()) return accounts.status();
    for (const auto& row : *accounts) {
      balances->push_back(ParseInt(row.value).value_or(INT32_MIN));
    }
    return Status::Ok();
  });
}

void Bank::Judge(const std::map<std::string, std::string>& ledger,
                 const std::vector<int64_t>& balances, BankReport* report) {
  auto complain = [&](std::string words) {
    if (report->failures.size() < kFailuresShown) report->failures.push_back(std::move(words));
  };
  std::vector<int64_t> expected(static_cast<size_t>(options_.accounts), kInitialBalance);
  size_t known = 0;
  for (const auto& transfer : transfers_) {
    const auto entry = ledger.find(transfer.ledger_key);
    const bool applied = entry != ledger.end();
    known += applied ? 1 : 0;
    const bool right =
        applied && entry->second == fmt::format("{} {} {}", AccountKey(transfer.from),
                                                AccountKey(transfer.to), transfer.amount);
    if (transfer.end == Transfer::End::kCommitted && !right) {
      ++report->acknowledged_missing;
      complain(fmt::format("{}: committed, but not in the ledger", transfer.ledger_key));
    }
    if (transfer.end == Transfer::End::kRefused && applied) {
      ++report->aborted_applied;
      complain(fmt::format("{}: aborted, but in the ledger", transfer.ledger_key));
    }
    if (applied) {
      expected[static_cast<size_t>(transfer.from)] -= transfer.amount;
      expected[static_cast<size_t>(transfer.to)] += transfer.amount;
    }
  }
  if (known != ledger.size()) {
    ++report->aborted_applied;
    complain(fmt::format("{} ledger entries belong to no transfer", ledger.size() - known));
  }
  if (balances.size() != expected.size()) {
    ++report->balances_wrong;
    complain(fmt::format("{} accounts instead of {}", balances.size(), expected.size()));
    return;
  }
  for (size_t i = 0; i < expected.size(); ++i) {
    if (balances[i] == expected[i]) continue;
    ++report->balances_wrong;
    complain(fmt::format("account {} holds {}, its transfers add up to {}", i, balances[i],
                         expected[i]));
  }
}

Status Bank::Audit(BankReport* report) {
  *report = std::move(report_);
  for (auto& transfer : transfers_) {
    if (transfer.end == Transfer::End::kUnknown) Resolve(&transfer, report);
  }
  RETURN_IF_ERROR(CheckTotal());
  std::map<std::string, std::string> ledger;
  std::vector<int64_t> balances;
  RETURN_IF_ERROR(ReadLedger(&ledger, &balances));
  Judge(ledger, balances, report);
  report->totals_checked = totals_checked_;
  report->totals_wrong = totals_wrong_;
  report->snapshots_failed = snapshots_failed_;
  return Status::Ok();
}

}  // namespace quorate::cli
