// Tables over a fake cluster: rows, entries and constraints of one transaction, and the door.
#include "client/table.h"

#include <google/protobuf/descriptor.pb.h>

#include "base/status_macros.h"
#include "schema/compile.h"
#include "schema/keys.h"
#include "schema/plan.h"
#include "tests/client/library_test.h"
#include "tests/client/shop.pb.h"

namespace quorate::client {
namespace {

using shop::Account;
using testing::ElementsAre;
using testing::HasSubstr;

// The catalog with the first message of shop.proto, applied to none.
v1::Catalog ShopCatalog() {
  google::protobuf::FileDescriptorSet set;
  Account::descriptor()->file()->CopyTo(set.add_file());
  auto* messages = set.mutable_file(0)->mutable_message_type();
  while (messages->size() > 1) messages->RemoveLast();
  const schema::Compiled compiled = schema::Compile(set.SerializeAsString());
  EXPECT_TRUE(compiled.problems.empty()) << compiled.problems.list()[0].ToString();
  auto catalog = schema::Finished({}, schema::MakePlan({}, compiled));
  EXPECT_TRUE(catalog.ok()) << catalog.status().ToString();
  return *catalog;
}

class TableTest : public LibraryTest {
 protected:
  TableTest() {
    cluster_.before = [this](uint64_t, const v1::NodeRequest& request) -> std::optional<Answer> {
      if (fenced_ > 0 && request.has_commit()) {
        --fenced_;
        return ErrorResponse(v1::SCHEMA_FENCED, "a version of the past");
      }
      if (!request.has_placement()) return std::nullopt;
      ++asked_;
      v1::NodeResponse response;
      v1::Catalog* answer = response.mutable_placement()->mutable_catalog();
      answer->set_version(catalog_.version());
      for (const v1::TableDescriptor& table : catalog_.tables()) {
        if (table.name() == request.placement().get_catalog().names(0))
          *answer->add_tables() = table;
      }
      return response;
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

  v1::Catalog catalog_ = ShopCatalog();
  const Table<Account> accounts_;
  int asked_ = 0;
  int fenced_ = 0;
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
