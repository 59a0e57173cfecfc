// Tables over a fake cluster: rows, entries and constraints of one transaction, and the door.
#include "client/table.h"

#include <google/protobuf/descriptor.pb.h>

#include "base/limits.h"
#include "base/status_macros.h"
#include "client/turns.h"
#include "schema/keys.h"
#include "tests/client/library_test.h"
#include "tests/client/shop_catalog.h"

namespace quorate::client {
namespace {

using shop::Account;
using testing::ElementsAre;
using testing::HasSubstr;

class TableTest : public LibraryTest {
 protected:
  TableTest() {
    cluster_.before = [this](uint64_t, const v1::NodeRequest& request) -> std::optional<Answer> {
      if (fenced_ > 0 && request.has_commit()) {
        --fenced_;
        return ErrorResponse(v1::SCHEMA_FENCED, "a version of the past");
      }
      if (committed_before_ && request.has_push()) {
        v1::NodeResponse response;
        response.mutable_push()->set_state(v1::COMMITTED);
        response.mutable_push()->set_commit_ts(Timestamp::FromParts(5, 0).bits());
        return response;
      }
      if (!request.has_placement()) return std::nullopt;
      ++asked_;
      return CatalogAnswer(catalog_, request);
    };
  }
  static Account Row(uint64_t id, const std::string& owner, int64_t cents,
                     const std::string& email = "") {
    Account row;
    row.set_id(id);
    row.set_owner(owner);
    row.set_cents(cents);
    if (!email.empty()) row.set_email(email);
    return row;
  }
  Status Put(Account row) {
    return Transact([=, this](Transaction& txn) { return accounts_.Put(txn, row); }).status;
  }
  Status Insert(Account row) {
    return Transact([=, this](Transaction& txn) { return accounts_.Insert(txn, row); }).status;
  }
  // Keys of the table that are there.
  size_t Keys() {
    size_t keys = 0;
    Status read = Run(database_->ScanAllAsync(
        std::string(kTablePrefix), "", {}, [&keys](ScanPage page) { return Count(page, &keys); }));
    EXPECT_TRUE(read.ok()) << read.ToString();
    return keys;
  }
  static Task<Status> Count(ScanPage page, size_t* keys) {
    *keys += page.rows.size();
    co_return Status::Ok();
  }
  std::vector<uint64_t> Ids(const std::string& index, RowRange range) {
    std::vector<uint64_t> ids;
    const Status read = Run(database_->SnapshotAsync(
        [&](Transaction& txn) { return CollectIds(&txn, &accounts_, index, range, &ids); }, {}));
    EXPECT_TRUE(read.ok()) << read.ToString();
    return ids;
  }
  // Page by page.
  static Task<Status> CollectIds(Transaction* txn, const Table<Account>* table, std::string index,
                                 RowRange range, std::vector<uint64_t>* ids) {
    do {
      auto page = index.empty() ? co_await table->Scan(*txn, range)
                                : co_await table->ScanIndex(*txn, index, range);
      if (!page.ok()) co_return page.status();
      for (const Account& row : page->rows) ids->push_back(row.id());
      range.cursor = page->cursor;
    } while (!range.cursor.empty());
    co_return Status::Ok();
  }
  static Task<Status> GetOne(Transaction* txn, const Table<Account>* table, std::string index,
                             Key key, std::optional<Account>* row) {
    auto got = index.empty() ? co_await table->Get(*txn, std::move(key))
                             : co_await table->GetByIndex(*txn, index, std::move(key));
    if (!got.ok()) co_return got.status();
    *row = std::move(*got);
    co_return Status::Ok();
  }
  std::optional<Account> Get(const std::string& index, Key key) {
    std::optional<Account> row;
    status_ = Run(database_->SnapshotAsync(
        [&](Transaction& txn) { return GetOne(&txn, &accounts_, index, key, &row); }, {}));
    return row;
  }

  // What of `rows` at once in one transaction says, in their order; it is committed whatever they
  // say.
  using Write = std::function<Task<Status>(Transaction&)>;
  std::vector<Code> AtOnce(std::vector<Write> writes) {
    std::vector<Status> said;
    const CommitResult done = Transact(
        [&](Transaction& txn) { return MakeAtOnce(&world_.executor, &txn, &writes, &said); });
    EXPECT_TRUE(done.ok()) << done.status.ToString();
    std::vector<Code> codes;
    for (const Status& status : said) codes.push_back(status.code());
    return codes;
  }
  static Task<Status> MakeAtOnce(Executor* executor, Transaction* txn,
                                 const std::vector<Write>* writes, std::vector<Status>* said) {
    // With its timestamp known, none of them waits for the first to learn it.
    const auto begun = co_await txn->Get("begun");
    if (!begun.ok()) co_return begun.status();
    std::vector<Task<Status>> tasks;
    for (const Write& write : *writes) tasks.push_back(write(*txn));
    *said = co_await WhenAll(*executor, std::move(tasks));
    co_return Status::Ok();
  }
  Write Putting(Account row) const {
    return [=, this](Transaction& txn) { return accounts_.Put(txn, row); };
  }
  Write Inserting(Account row) const {
    return [=, this](Transaction& txn) { return accounts_.Insert(txn, row); };
  }
  Write Adding(uint64_t id, int64_t cents) const {
    return [=, this](Transaction& txn) {
      return accounts_.Update(txn, {id}, [cents](Account& row) {
        row.set_cents(row.cents() + cents);
        return Status::Ok();
      });
    };
  }
  // How many rows the pages of a scan have.
  static Task<Status> SizesOfPages(Transaction* txn, const Table<Account>* table, std::string index,
                                   RowRange range, std::vector<size_t>* sizes) {
    do {
      auto page = index.empty() ? co_await table->Scan(*txn, range)
                                : co_await table->ScanIndex(*txn, index, range);
      if (!page.ok()) co_return page.status();
      sizes->push_back(page->rows.size());
      range.cursor = page->cursor;
    } while (!range.cursor.empty());
    co_return Status::Ok();
  }

  v1::Catalog catalog_ = ShopCatalog();
  const Table<Account> accounts_;
  int asked_ = 0;
  int fenced_ = 0;
  bool committed_before_ = false;  // all names
  Status status_;
};

TEST_F(TableTest, ARowIsFoundByItsKeyAndByItsIndexes) {
  ASSERT_TRUE(Insert(Row(1, "ann", 5, "a@x")).ok());
  ASSERT_TRUE(Insert(Row(2, "ann", 7)).ok());
  ASSERT_TRUE(Insert(Row(3, "bob", 1, "b@x")).ok());
  EXPECT_EQ(Get("", {2})->cents(), 7);
  EXPECT_FALSE(Get("", {9}).has_value());
  EXPECT_EQ(Get("by_email", {"b@x"})->id(), 3u);
  EXPECT_FALSE(Get("by_email", {"c@x"}).has_value());
  EXPECT_THAT(Ids("", {}), ElementsAre(1, 2, 3));
  EXPECT_THAT(Ids("", {.limit = 1, .reverse = true}), ElementsAre(3, 2, 1));
  EXPECT_THAT(Ids("by_owner", {.first = {"ann"}, .limit = 1}), ElementsAre(2, 1)) << "cents desc";
  EXPECT_THAT(Ids("by_owner", {.limit = 2, .reverse = true}), ElementsAre(3, 1, 2));
  EXPECT_EQ(asked_, 1) << "the catalog is asked once";
}

TEST_F(TableTest, EntriesFollowTheRow) {
  Account row = Row(1, "ann", 5, "a@x");
  row.add_tags("red");
  row.add_tags("blue");
  ASSERT_TRUE(Put(row).ok());
  EXPECT_EQ(Keys(), 1u + 1 + 1 + 2);
  row.set_owner("bob");
  row.clear_email();
  row.mutable_tags()->RemoveLast();
  ASSERT_TRUE(Put(row).ok());
  EXPECT_EQ(Keys(), 1u + 1 + 1 + 1) << "without an e-mail, the entry is of null";
  EXPECT_THAT(Ids("by_owner", {.first = {"ann"}}), ElementsAre());
  EXPECT_THAT(Ids("by_tag", {.first = {"blue"}}), ElementsAre());
  EXPECT_THAT(Ids("by_tag", {.first = {"red"}}), ElementsAre(1));
  EXPECT_TRUE(Transact([&](Transaction& txn) -> Task<Status> {
                return [](Transaction* t, const Table<Account>* table) -> Task<Status> {
                  co_return (co_await table->Delete(*t, {1})).status();
                }(&txn, &accounts_);
              }).ok());
  EXPECT_EQ(Keys(), 0u);
}

TEST_F(TableTest, UniqueMeansUnique) {
  ASSERT_TRUE(Insert(Row(1, "ann", 5, "a@x")).ok());
  const Status second = Insert(Row(2, "bob", 5, "a@x"));
  EXPECT_EQ(second.code(), Code::kAlreadyExists);
  EXPECT_THAT(second.message(), HasSubstr("index by_email"));
  EXPECT_THAT(second.message(), HasSubstr("row (2)"));
  EXPECT_THAT(second.message(), HasSubstr("row (1) has them already"));
  EXPECT_EQ(Keys(), 3u) << "nothing of it";
  const Status again = Insert(Row(1, "ann", 6));
  EXPECT_EQ(again.code(), Code::kAlreadyExists);
  EXPECT_THAT(again.message(), HasSubstr("row (1), primary key: the row is there already"));
  // Once it is free, and within the transaction that frees it.
  const CommitResult taken = Transact([this](Transaction& txn) {
    return [](Transaction* t, const Table<Account>* table) -> Task<Status> {
      CO_RETURN_IF_ERROR(co_await table->Put(*t, Row(1, "ann", 5, "other@x")));
      co_return co_await table->Insert(*t, Row(2, "bob", 5, "a@x"));
    }(&txn, &accounts_);
  });
  EXPECT_TRUE(taken.ok()) << taken.status.ToString();
  EXPECT_EQ(Get("by_email", {"a@x"})->id(), 2u);
  EXPECT_EQ(Get("by_email", {"other@x"})->id(), 1u);
}

TEST_F(TableTest, TwoThatTakeOneValueAtOnceConflict) {
  Transaction* other = nullptr;
  auto session = database_->Begin(false, {}, 5s);
  other = &session->transaction();
  ASSERT_TRUE(Run(accounts_.Insert(*other, Row(1, "ann", 5, "a@x"))).ok());
  ASSERT_TRUE(Insert(Row(2, "bob", 5, "a@x")).ok());
  const CommitResult late = Run(session->Commit(5s));
  EXPECT_EQ(late.status.code(), Code::kReadConflict) << late.status.ToString();
}

TEST_F(TableTest, ChangesAtOnceAreMadeOneAfterAnother) {
  EXPECT_THAT(AtOnce({Putting(Row(1, "ann", 5)), Putting(Row(1, "bob", 6))}),
              ElementsAre(Code::kOk, Code::kOk));
  EXPECT_EQ(Get("", {1})->owner(), "bob") << "the last one";
  EXPECT_THAT(Ids("by_owner", {.first = {"ann"}}), ElementsAre());
  EXPECT_EQ(Keys(), 3u) << "no entry of a row that is not there";
  EXPECT_THAT(AtOnce({Adding(1, 10), Adding(1, 100), Adding(1, 1000)}),
              ElementsAre(Code::kOk, Code::kOk, Code::kOk));
  EXPECT_EQ(Get("", {1})->cents(), 1116);
  EXPECT_EQ(Keys(), 3u);
  const Write remove = [this](Transaction& txn) {
    return [](Transaction* t, const Table<Account>* table) -> Task<Status> {
      co_return (co_await table->Delete(*t, {1})).status();
    }(&txn, &accounts_);
  };
  EXPECT_THAT(AtOnce({Adding(1, 1), remove, Inserting(Row(1, "eve", 0))}),
              ElementsAre(Code::kOk, Code::kOk, Code::kOk));
  EXPECT_THAT(Ids("by_owner", {.first = {"eve"}}), ElementsAre(1));
  EXPECT_EQ(Keys(), 3u);
}

TEST_F(TableTest, UniqueMeansUniqueAlsoAtOnce) {
  EXPECT_THAT(AtOnce({Inserting(Row(1, "ann", 5, "a@x")), Inserting(Row(2, "bob", 6, "a@x"))}),
              ElementsAre(Code::kOk, Code::kAlreadyExists));
  EXPECT_EQ(Keys(), 3u) << "nothing of the second";
  EXPECT_THAT(Ids("", {}), ElementsAre(1));
}

Task<void> Reach(const Turns::Turn* turn, std::string name, std::string* log) {
  co_await turn->Reached();
  *log += name;
}

TEST_F(TableTest, WhoLeavesTheQueueHoldsUpNobody) {
  std::string log;
  Turns turns(world_.executor);
  std::vector<std::unique_ptr<Turns::Turn>> queue;
  for (int i = 0; i < 5; ++i) queue.push_back(std::make_unique<Turns::Turn>(&turns));
  TaskScope scope(world_.executor);
  for (size_t i = 0; i < queue.size(); ++i) {
    scope.Spawn(Reach(queue[i].get(), std::to_string(i), &log));
  }
  Settle();
  EXPECT_EQ(log, "0");
  queue[2].reset();  // its task stays, and is never resumed
  Settle();
  EXPECT_EQ(log, "0");
  queue[0].reset();
  queue[1].reset();  // told, and gone before it hears of it
  Settle();
  EXPECT_EQ(log, "013") << "a task that was told may still run";
  queue[3].reset();
  Settle();
  EXPECT_EQ(log, "0134");
}

TEST_F(TableTest, APageIsBoundedByItsBytes) {
  const std::string note(300'000, 'n');
  for (uint64_t id = 1; id <= 20; ++id) {
    Account row = Row(id, "ann", 5);
    row.set_note(note);
    ASSERT_TRUE(Put(row).ok());
  }
  const size_t fitting = (limits::kScanPageBytesMax - 1) / note.size() + 1;
  for (const std::string index : {"", "by_owner"}) {
    std::vector<size_t> sizes;
    const Status read = Run(database_->SnapshotAsync(
        [&](Transaction& txn) { return SizesOfPages(&txn, &accounts_, index, {}, &sizes); }, {}));
    EXPECT_TRUE(read.ok()) << read.ToString();
    EXPECT_THAT(sizes, ElementsAre(fitting, fitting, 20 - 2 * fitting)) << index;
  }
  EXPECT_EQ(Ids("by_owner", {.reverse = true}).size(), 20u);
}

Task<Status> LookForMany(Transaction* txn, const Table<Account>* table) {
  for (size_t i = 0; i <= limits::kTxnRangesMax; ++i) {
    const auto row = co_await table->GetByIndex(*txn, "by_email", {std::to_string(i)});
    if (!row.ok()) co_return row.status();
    EXPECT_FALSE(row->has_value());
  }
  Account row;
  row.set_id(1);
  co_return co_await table->Put(*txn, row);
}

TEST_F(TableTest, AValueThatNobodyHasIsNoRange) {
  const CommitResult done =
      Transact([this](Transaction& txn) { return LookForMany(&txn, &accounts_); });
  EXPECT_TRUE(done.ok()) << done.status.ToString();
}

TEST_F(TableTest, WhatNobodyCouldReadIsNotWritten) {
  Account row = Row(1, "ann", 5);
  row.set_note("\xff");
  const Status refused = Put(row);
  EXPECT_EQ(refused.code(), Code::kInvalidArgument);
  EXPECT_THAT(refused.message(), HasSubstr("Account.note"));
  ASSERT_TRUE(Put(Row(1, "ann", 5)).ok());
  const Status updated = Transact([this](Transaction& txn) {
                           return accounts_.Update(txn, {1}, [](Account& before) {
                             before.set_note("\xff");
                             return Status::Ok();
                           });
                         }).status;
  EXPECT_EQ(updated.code(), Code::kInvalidArgument);
  EXPECT_TRUE(Get("", {1})->note().empty());
  google::protobuf::UninterpretedOption option;
  EXPECT_TRUE(RowOf(option).ok());
  option.add_name()->set_name_part("\xff");
  EXPECT_THAT(RowOf(option).status().message(), HasSubstr("is_extension"));
  option.mutable_name(0)->set_is_extension(true);
  EXPECT_THAT(RowOf(option).status().message(), HasSubstr("NamePart.name_part"));
}

TEST_F(TableTest, WhatAClosureSaysOfARowIsToldAlsoUnderAName) {
  ASSERT_TRUE(Insert(Row(1, "ann", 5, "a@x")).ok());
  const auto insert = [this](Account row) {
    TransactOptions options;
    options.name = GivenName::Make(1'000, world_.env.random);
    options.name_key = "a";
    return Transact([=, this](Transaction& txn) { return accounts_.Insert(txn, row); }, options);
  };
  const CommitResult there = insert(Row(1, "bob", 6));
  EXPECT_EQ(there.status.code(), Code::kAlreadyExists) << there.status.ToString();
  EXPECT_THAT(there.status.message(), HasSubstr("the row is there already"));
  EXPECT_THAT(insert(Row(2, "bob", 6, "a@x")).status.message(), HasSubstr("index by_email"));
  committed_before_ = true;
  const CommitResult earlier = insert(Row(1, "bob", 6));
  EXPECT_TRUE(earlier.ok()) << earlier.status.ToString();
  EXPECT_TRUE(earlier.earlier);
}

TEST_F(TableTest, ConstraintsHold) {
  const Status broken = Put(Row(1, "ann", -1));
  EXPECT_EQ(broken.code(), Code::kFailedPrecondition);
  EXPECT_THAT(broken.message(), HasSubstr("check not_negative"));
  EXPECT_TRUE(cluster_.commits.empty());
}

Task<Status> Spend(Transaction* txn, const Table<shop::OldAccount>* table, int64_t cents) {
  co_return co_await table->Update(*txn, {1}, [cents](shop::OldAccount& row) -> Status {
    row.set_cents(row.cents() - cents);
    return Status::Ok();
  });
}

TEST_F(TableTest, AProgramOfBeforeKeepsUpWhatItDoesNotKnow) {
  ASSERT_TRUE(Insert(Row(1, "ann", 5, "a@x")).ok());
  const Table<shop::OldAccount> old;
  EXPECT_TRUE(Transact([&](Transaction& txn) { return Spend(&txn, &old, 2); }).ok());
  EXPECT_EQ(Get("by_email", {"a@x"})->cents(), 3);
  EXPECT_EQ(Get("", {1})->owner(), "ann");
  EXPECT_THAT(Ids("by_owner", {}), ElementsAre(1));
  EXPECT_EQ(Keys(), 3u);
  const CommitResult overdrawn = Transact([&](Transaction& txn) { return Spend(&txn, &old, 4); });
  EXPECT_THAT(overdrawn.status.message(), HasSubstr("not_negative"));
}

TEST_F(TableTest, AProgramThatContradictsTheCatalogIsRefused) {
  const Table<shop::WrongAccount> wrong;
  shop::WrongAccount row;
  row.set_id(1);
  const Status refused = Transact([&](Transaction& txn) { return wrong.Put(txn, row); }).status;
  EXPECT_EQ(refused.code(), Code::kFailedPrecondition);
  EXPECT_THAT(refused.message(), HasSubstr("cents is string in this program, and int64"));
}

TEST_F(TableTest, CommitsNameTheVersionsOfTheirTables) {
  ASSERT_TRUE(Put(Row(1, "ann", 5)).ok());
  ASSERT_EQ(cluster_.commits.size(), 1u);
  ASSERT_EQ(cluster_.commits[0].tables_size(), 1);
  EXPECT_EQ(cluster_.commits[0].tables(0).table_id(), 1u);
  EXPECT_EQ(cluster_.commits[0].tables(0).version(), 1u);
}

TEST_F(TableTest, AVersionOfThePastIsAskedForAnewAndTheClosureRunsAgain) {
  ASSERT_TRUE(Put(Row(1, "ann", 5)).ok());
  fenced_ = 1;
  catalog_.mutable_tables(0)->set_version(2);
  const CommitResult result =
      Transact([this](Transaction& txn) { return accounts_.Put(txn, Row(1, "ann", 6)); });
  EXPECT_TRUE(result.ok()) << result.status.ToString();
  EXPECT_EQ(result.attempts, 2);
  EXPECT_EQ(asked_, 2);
  EXPECT_EQ(cluster_.commits.back().tables(0).version(), 2u);
  fenced_ = 1;
  EXPECT_EQ(Transact([](Transaction& txn) -> Task<Status> {
              return [](Transaction* t) -> Task<Status> { co_return t->Put("a", "1"); }(&txn);
            }).status.code(),
            Code::kSchemaFenced)
      << "who uses no table is not run again";
}

TEST_F(TableTest, RawWritesAtKeysOfTablesAreRefused) {
  const std::string key = schema::IndexPrefix(1, schema::kRowsId) + "x";
  EXPECT_EQ(Run(database_->PutAsync(key, "raw", 1s)).status.code(), Code::kInvalidArgument);
  EXPECT_EQ(Run(database_->DeleteAsync(key, 1s)).status.code(), Code::kInvalidArgument);
  auto session = database_->Begin(false, {}, 5s);
  EXPECT_EQ(session->WriteAll({{"a", "1"}, {key, "raw"}}).code(), Code::kInvalidArgument);
  EXPECT_EQ(session->WriteAll({{"a", "1"}}).code(), Code::kOk);
  EXPECT_TRUE(cluster_.commits.empty());
  const std::string before_tables = std::string(kTablePrefix) + "\xff of before";
  EXPECT_TRUE(Run(database_->DeleteAsync(before_tables, 1s)).ok()) << "what no table has may go";
  EXPECT_FALSE(Run(database_->PutAsync(before_tables, "raw", 1s)).ok());
}

TEST_F(TableTest, WhatIsAskedWrongIsTold) {
  EXPECT_FALSE(Get("", {"seven"}).has_value());
  EXPECT_EQ(status_.code(), Code::kInvalidArgument);
  EXPECT_THAT(status_.message(), HasSubstr("value 1 of the key is of another type than id"));
  (void)Get("", {-1});
  EXPECT_EQ(status_.code(), Code::kInvalidArgument);
  (void)Get("", {1, 2});
  EXPECT_THAT(status_.message(), HasSubstr("2 values were given, there are 1 columns"));
  (void)Get("by_owner", {"ann", 1});
  EXPECT_THAT(status_.message(), HasSubstr("not unique"));
  (void)Get("by_email", {nullptr});
  EXPECT_THAT(status_.message(), HasSubstr("null"));
  (void)Get("by_name", {"ann"});
  EXPECT_EQ(status_.code(), Code::kNotFound);
  const Table<shop::NoTable> none;
  const auto read = [&](const Table<shop::NoTable>& table) {
    return Transact([&](Transaction& txn) { return table.Insert(txn, {}); }).status;
  };
  EXPECT_EQ(read(none).code(), Code::kInvalidArgument);
  EXPECT_EQ(read(Table<shop::NoTable>("nobody")).code(), Code::kNotFound);
  std::vector<uint64_t> ids;
  EXPECT_EQ(Run(database_->SnapshotAsync(
                    [&](Transaction& txn) {
                      return CollectIds(&txn, &accounts_, "", {.cursor = "elsewhere"}, &ids);
                    },
                    {}))
                .code(),
            Code::kInvalidArgument);
}

}  // namespace
}  // namespace quorate::client
