// Stale: snapshots of the past, from any replica, while others write over many shards at once. The
// contents check knows what there was at the timestamp that was read; here it is judged that all
// that a transaction wrote is seen or none, and that nobody is shown what is older than asked for.
#include <fmt/format.h>

#include <map>

#include "tests/sim/workloads/catalogue.h"

namespace quorate::sim {
namespace {

constexpr int kGroups = 5;  // of keys that always have the same value
constexpr int kMembers = 3;
constexpr Duration kTurn = 12s;

class Stale final : public Workload {
 public:
  explicit Stale(const WorkloadContext& context) : Workload(context.world, "stale") {}

  Task<void> Step(Hands* hands) override {
    Random* random = hands->random;
    const double kind = random->Unit();
    if (kind < 0.01) {
      // Long enough for groups to fall silent, if the others are idle, too.
      co_await Sleep(*hands->executor, Duration(random->Between(0, Duration(6s).count())));
    } else if (kind < 0.35) {
      co_await Write(hands);
    } else if (kind < 0.45 && !quiet()) {
      co_await ScanAll(hands);
    } else {
      co_await Read(hands);
    }
  }

 private:
  // For half of the time nobody asks for anything but the first group: other shards fall silent,
  // and what their replicas can tell gets old.
  bool quiet() const { return Now() / Duration(kTurn).count() % 2 == 1; }
  int AnyGroup(Random* random) const {
    return quiet() ? 0 : static_cast<int>(random->Below(kGroups));
  }
  // Members of a group are in different shards, if there are as many.
  static std::string Key(int group, int member) {
    const int index = member * kGroups + group;
    return SpreadKey("stale", index, kGroups * kMembers);
  }

  // With a pause behind its read it commits what began before others were told of timestamps above.
  static Task<Status> WriteGroup(Hands* hands, client::Transaction* txn, int group, int members,
                                 std::string value, Duration pause) {
    if (pause > Duration(0)) {
      const auto before = co_await txn->Get(Key(group, 0));
      if (!before.ok()) co_return before.status();
      co_await Sleep(*hands->executor, pause);
    }
    for (int member = 0; member < members; ++member) {
      if (Status put = txn->Put(Key(group, member), value); !put.ok()) co_return put;
    }
    co_return Status::Ok();
  }

  Task<void> Write(Hands* hands) {
    Random* random = hands->random;
    const int group = AnyGroup(random);
    // The last group is written one key at a time, in one phase.
    const int members = group == kGroups - 1 ? 1 : kMembers;
    const Duration pause(random->Chance(0.5) ? 0 : random->Between(1, Duration(700ms).count()));
    std::string value = fmt::format("{}-{}", hands->client, ++written_);
    const auto closure = [=](client::Transaction& txn) {
      return WriteGroup(hands, &txn, group, members, value, pause);
    };
    const auto result = co_await hands->database->TransactAsync(closure, {});
    Count(result.status);
    if (result.ok()) Saw(hands->client, result.commit_ts);
  }

  client::StaleRead Wanted(Hands* hands) {
    client::StaleRead stale{
        Duration(hands->random->Between(Duration(1ms).count(), Duration(5s).count())), {}};
    if (hands->random->Chance(0.2)) stale.max_age = Duration(60s);
    if (hands->random->Chance(0.3)) stale.max_age = Duration(1ms);
    if (hands->random->Chance(0.5)) stale.not_before = seen_[hands->client];
    return stale;
  }

  static Task<Status> ReadGroup(Stale* self, Hands* hands, client::Transaction* txn, int group,
                                bool at_once, Duration pause, Timestamp not_before) {
    std::vector<std::string> keys;
    for (int member = 0; member < kMembers; ++member) keys.push_back(Key(group, member));
    std::vector<std::optional<std::string>> values;
    if (at_once) {
      auto read = co_await txn->GetMany(keys);
      if (!read.ok()) co_return read.status();
      values = std::move(*read);
    } else {
      for (const std::string& key : keys) {
        auto value = co_await txn->Get(key);
        if (!value.ok()) co_return value.status();
        values.push_back(std::move(*value));
        if (pause > Duration(0)) co_await Sleep(*hands->executor, pause);
      }
    }
    if (txn->start_ts() < not_before) {
      self->Violation(fmt::format("client {} read at {}, and was not to before {}", hands->client,
                                  txn->start_ts(), not_before));
    }
    self->Saw(hands->client, txn->start_ts());
    for (size_t i = 1; group != kGroups - 1 && i < values.size(); ++i) {
      if (values[i] == values[0]) continue;
      self->Violation(fmt::format("at {} a part of a transaction is seen: {} = {}, but {} = {}",
                                  txn->start_ts(), keys[0], values[0].value_or("nothing"), keys[i],
                                  values[i].value_or("nothing")));
    }
    co_return Status::Ok();
  }

  Task<void> Read(Hands* hands) {
    Random* random = hands->random;
    const client::StaleRead stale = Wanted(hands);
    const int group = AnyGroup(random);
    const bool at_once = random->Chance(0.5);
    const Duration pause(random->Chance(0.1) ? random->Between(0, Duration(2s).count()) : 0);
    const auto closure = [=, this](client::Transaction& txn) {
      return ReadGroup(this, hands, &txn, group, at_once, pause, stale.not_before);
    };
    Count(co_await hands->database->SnapshotAsync(closure, {.stale = stale}));
  }

  Task<void> ScanAll(Hands* hands) {
    client::ScanAllOptions options;
    options.stale = Wanted(hands);
    options.reverse = hands->random->Chance(0.3);
    options.page_bytes = hands->random->Chance(0.5) ? 64 : 1 << 20;
    // Beside others' keys, of which there may be many.
    options.limit = 50;
    Timestamp* seen = &seen_[hands->client];
    const auto take = [seen](client::ScanPage page) { return Note(seen, page.read_ts); };
    Count(co_await hands->database->ScanAllAsync("", "", options, take));
  }
  static Task<Status> Note(Timestamp* seen, Timestamp read_ts) {
    *seen = std::max(*seen, read_ts);
    co_return Status::Ok();
  }

  void Saw(int client, Timestamp ts) { seen_[client] = std::max(seen_[client], ts); }

  int64_t written_ = 0;
  std::map<int, Timestamp> seen_;  // by client
};

}  // namespace

std::unique_ptr<Workload> MakeStale(const WorkloadContext& context) {
  return std::make_unique<Stale>(context);
}

}  // namespace quorate::sim
