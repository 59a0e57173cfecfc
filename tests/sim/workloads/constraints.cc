// Write skew and phantoms: transactions that each keep a rule by what they read, and together would
// break it if what they read could change before they commit.
#include <fmt/format.h>

#include "base/status_macros.h"
#include "tests/sim/workloads/catalogue.h"

namespace quorate::sim {
namespace {

// Pairs of doctors, each on another shard: at least one of a pair stays on call.
class WriteSkew final : public Workload {
 public:
  explicit WriteSkew(const WorkloadContext& context) : Workload(context.world, "write-skew") {}

  Task<Status> Setup(Hands* hands) override {
    const auto result = co_await hands->database->TransactAsync(
        [](client::Transaction& txn) { return AllOn(&txn); }, {});
    co_return result.status;
  }

  Task<void> Step(Hands* hands) override {
    const int pair = static_cast<int>(hands->random->Below(kPairs));
    const int side = static_cast<int>(hands->random->Below(2));
    if (hands->random->Chance(0.3)) {
      Count(co_await hands->database->SnapshotAsync(
          [this, pair](client::Transaction& txn) { return Look(this, &txn, pair); }, {}));
      co_return;
    }
    const auto result = co_await hands->database->TransactAsync(
        [this, pair, side](client::Transaction& txn) { return Turn(this, &txn, pair, side); }, {});
    Count(result.status);
  }

  Task<Status> Audit(Hands* hands) override {
    for (int pair = 0; pair < kPairs; ++pair) {
      CO_RETURN_IF_ERROR(co_await hands->database->SnapshotAsync(
          [this, pair](client::Transaction& txn) { return Look(this, &txn, pair); }, {}));
    }
    co_return Status::Ok();
  }

 private:
  static constexpr int kPairs = 3;
  static std::string Key(int pair, int side) {
    return SpreadKey("oncall", side * kPairs + pair, 2 * kPairs);
  }

  static Task<Status> AllOn(client::Transaction* txn) {
    for (int i = 0; i < 2 * kPairs; ++i) {
      CO_RETURN_IF_ERROR(txn->Put(Key(i % kPairs, i / kPairs), "on"));
    }
    co_return Status::Ok();
  }

  static Task<Status> Look(WriteSkew* self, client::Transaction* txn, int pair) {
    const auto both = co_await txn->GetMany({Key(pair, 0), Key(pair, 1)});
    if (!both.ok()) co_return both.status();
    if ((*both)[0] != "on" && (*both)[1] != "on") {
      self->Violation(
          fmt::format("nobody of pair {} is on call at {}: two transactions read each "
                      "other's doctor on call and sent their own home",
                      pair, txn->start_ts()));
    }
    co_return Status::Ok();
  }

  static Task<Status> Turn(WriteSkew* self, client::Transaction* txn, int pair, int side) {
    const auto mine = co_await txn->Get(Key(pair, side));
    if (!mine.ok()) co_return mine.status();
    const auto other = co_await txn->Get(Key(pair, 1 - side));
    if (!other.ok()) co_return other.status();
    if (*mine != "on") co_return txn->Put(Key(pair, side), "on");
    if (*other != "on") co_return Status::Ok();
    co_return txn->Put(Key(pair, side), "off");
  }
};

// Rooms on two shards that one booking at most may hold together: scan both, then insert into one.
// Often several at once, so that what one of them read is validated while another commits.
class Phantom final : public Workload {
 public:
  explicit Phantom(const WorkloadContext& context) : Workload(context.world, "phantom") {}

  Task<void> Step(Hands* hands) override {
    const int suite = static_cast<int>(hands->random->Below(kSuites));
    int open = hands->random->Chance(0.5) ? 1 : kAtOnce;
    Promise<bool> all(*hands->executor);
    TaskScope together(*hands->executor);
    for (int i = open; i > 0; --i) together.Spawn(BookOne(hands, suite, &open, all));
    co_await all.future();
  }

  Task<Status> Audit(Hands* hands) override {
    for (int suite = 0; suite < kSuites; ++suite) {
      CO_RETURN_IF_ERROR(co_await hands->database->SnapshotAsync(
          [this, suite](client::Transaction& txn) { return Look(this, &txn, suite); }, {}));
    }
    co_return Status::Ok();
  }

 private:
  static constexpr int kSuites = 3;
  static constexpr int kAtOnce = 3;

  Task<void> BookOne(Hands* hands, int suite, int* open, Promise<bool> all) {
    const int room = static_cast<int>(hands->random->Below(2));
    const std::string guest = std::to_string(++last_guest_);
    const auto result = co_await hands->database->TransactAsync(
        [this, suite, room, guest](client::Transaction& txn) {
          return Book(this, &txn, suite, room, guest);
        },
        {});
    Count(result.status);
    if (--*open == 0) all.Set(true);
  }

  static std::string Room(int suite, int room) {
    return SpreadKey("room", room * kSuites + suite, 2 * kSuites);
  }

  static Task<Result<std::vector<client::Row>>> Bookings(Phantom* self, client::Transaction* txn,
                                                         int suite) {
    std::vector<client::Row> all;
    for (int room = 0; room < 2; ++room) {
      auto rows = co_await txn->Scan(Room(suite, room) + "/", Room(suite, room) + "0", {});
      if (!rows.ok()) co_return rows.status();
      all.insert(all.end(), rows->begin(), rows->end());
    }
    if (all.size() > 1) {
      self->Violation(
          fmt::format("{} bookings hold suite {} at {}: each was inserted by a "
                      "transaction that had scanned it and found nobody",
                      all.size(), suite, txn->start_ts()));
    }
    co_return all;
  }
  static Task<Status> Look(Phantom* self, client::Transaction* txn, int suite) {
    co_return (co_await Bookings(self, txn, suite)).status();
  }
  // Books an empty suite, or ends the booking there is.
  static Task<Status> Book(Phantom* self, client::Transaction* txn, int suite, int room,
                           std::string guest) {
    const auto bookings = co_await Bookings(self, txn, suite);
    if (!bookings.ok()) co_return bookings.status();
    for (const client::Row& row : *bookings) CO_RETURN_IF_ERROR(txn->Delete(row.key));
    if (!bookings->empty()) co_return Status::Ok();
    co_return txn->Put(Room(suite, room) + "/" + guest, guest);
  }

  int64_t last_guest_ = 0;
};

}  // namespace

std::unique_ptr<Workload> MakeWriteSkew(const WorkloadContext& context) {
  return std::make_unique<WriteSkew>(context);
}
std::unique_ptr<Workload> MakePhantom(const WorkloadContext& context) {
  return std::make_unique<Phantom>(context);
}

}  // namespace quorate::sim
