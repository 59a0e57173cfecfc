#include "schema/catalog.h"

#include <gtest/gtest.h>

#include "schema/plan.h"
#include "tests/schema/protos.h"

namespace quorate::schema {
namespace {

constexpr char kBefore[] = R"(
message Account {
  option (quorate.table) = {
    name: "accounts" primary_key: "id"
    index { name: "by_owner" fields: "owner" }
  };
  uint64 id = 1;
  string owner = 2;
  int64 cents = 3 [(quorate.field).check = { name: "not_negative" at_least: "0" }];
  oneof more { string note = 4; }
})";

Compiled CompileBody(const std::string& body) {
  Compiled compiled = Compile(FileSetOf(Proto3(body)));
  EXPECT_TRUE(compiled.problems.empty()) << compiled.problems.list().front().ToString();
  return compiled;
}

// The message with `from` replaced.
std::string With(const std::string& from, const std::string& to) {
  std::string body = kBefore;
  const size_t at = body.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return body.replace(at, from.size(), to);
}

struct Fixture {
  Fixture() { EXPECT_EQ(Apply(kBefore).code(), Code::kOk); }
  v1::Catalog Whole() const {
    v1::Catalog whole;
    whole.set_version(catalog.version());
    whole.set_next_table_id(catalog.next_table_id());
    for (const auto& [id, table] : catalog.tables()) *whole.add_tables() = table;
    return whole;
  }
  v1::Plan PlanOf(const std::string& body) const { return MakePlan(Whole(), CompileBody(body)); }
  v1::CatalogChange ChangeTo(const std::string& body) const {
    const v1::Plan plan = PlanOf(body);
    const auto after = Finished(Whole(), plan);
    EXPECT_TRUE(after.ok()) << after.status().ToString() << Format(plan);
    return ChangeBetween(Whole(), *after);
  }
  Status Apply(const std::string& body) {
    const v1::CatalogChange change = ChangeTo(body);
    if (Status checked = catalog.Check(change); !checked.ok()) return checked;
    return catalog.Apply(change);
  }
  // Whether both see it alike: who plans, and who is asked to log it.
  bool Possible(const std::string& body) const {
    const v1::Plan plan = PlanOf(body);
    bool possible = true;
    for (const v1::Step& step : plan.steps()) possible &= WhyNotYet(Whole(), step).empty();
    const Status checked = catalog.Check(ChangeTo(body));
    EXPECT_EQ(possible, checked.ok()) << body << "\n" << checked.ToString();
    return possible;
  }
  Catalog catalog;
};

TEST(Catalog, TablesAreMadeOnce) {
  Fixture f;
  EXPECT_EQ(f.catalog.version(), 1u);
  EXPECT_EQ(f.catalog.next_table_id(), 2u);
  ASSERT_NE(f.catalog.Find("accounts"), nullptr);
  EXPECT_EQ(f.catalog.Find("accounts")->version(), 1u);
  EXPECT_TRUE(f.PlanOf(kBefore).steps().empty());
  EXPECT_EQ(f.catalog.Check(f.ChangeTo(kBefore)).code(), Code::kInvalidArgument) << "of nothing";
}

TEST(Catalog, WhatIsWrittenAlikeIsChangedAtOnce) {
  Fixture f;
  EXPECT_TRUE(f.Possible(With("string owner = 2;", "string owner = 2; string city = 9;")));
  EXPECT_TRUE(f.Possible(With("string owner = 2;", "string holder = 2;")
                             .replace(std::string(kBefore).find("\"owner\""), 7, "\"holder\"")));
  EXPECT_TRUE(
      f.Possible(With("oneof more { string note = 4; }", "reserved 4; reserved \"note\";")));
  EXPECT_TRUE(f.Possible(
      With("name: \"not_negative\"", "name: \"solvent\" renamed_from: \"not_negative\"")));
  EXPECT_TRUE(f.Possible(std::string(kBefore) + R"(
    message Other {
      option (quorate.table) = { name: "others" primary_key: "id" };
      uint64 id = 1;
    })"));
  ASSERT_TRUE(f.Apply(With("string owner = 2;", "string owner = 2; string city = 9;")).ok());
  EXPECT_EQ(f.catalog.Find("accounts")->version(), 2u);
  EXPECT_EQ(f.catalog.version(), 2u);
}

TEST(Catalog, WhatIsNotIsRefused) {
  const Fixture f;
  EXPECT_FALSE(
      f.Possible(With("fields: \"owner\" }",
                      "fields: \"owner\" } index { name: \"by_cents\" fields: \"cents\" }")));
  EXPECT_FALSE(f.Possible(With("index { name: \"by_owner\" fields: \"owner\" }", "")));
  EXPECT_FALSE(
      f.Possible(With("name: \"by_owner\"", "name: \"by_holder\" renamed_from: \"by_owner\"")));
  EXPECT_FALSE(f.Possible(With("fields: \"owner\"", "fields: \"owner\" unique: true")));
  EXPECT_FALSE(
      f.Possible(With("name: \"accounts\"", "name: \"ledgers\" renamed_from: \"accounts\"")));
  EXPECT_FALSE(f.Possible(With("at_least: \"0\"", "at_least: \"1\"")));
  EXPECT_FALSE(f.Possible(
      With(" [(quorate.field).check = { name: \"not_negative\" at_least: \"0\" }]", "")));
  const v1::Plan drop =
      MakePlan(f.Whole(), CompileBody("option (quorate.file) = { drop_table: \"accounts\" };"));
  ASSERT_EQ(drop.steps_size(), 1);
  EXPECT_FALSE(WhyNotYet(f.Whole(), drop.steps(0)).empty());
}

TEST(Catalog, AMemberOfAnIndexedOneofIsNoChangeAtOnce) {
  // Who does not know the new member takes the indexed one for set, and who does not.
  Fixture f;
  const auto body = [](const std::string& members) {
    return "message Visit { option (quorate.table) = { name: \"visits\" primary_key: \"id\""
           " index { name: \"by_note\" fields: \"note\" } }; uint64 id = 1; oneof what { " +
           members + " } }";
  };
  ASSERT_TRUE(f.Apply(body("string note = 2; string place = 3;")).ok());
  EXPECT_FALSE(f.Possible(body("string note = 2; string place = 3; string person = 4;")));
}

TEST(Catalog, AChangeIsOfOneVersion) {
  Fixture f;
  const std::string city = With("string owner = 2;", "string owner = 2; string city = 9;");
  const v1::CatalogChange change = f.ChangeTo(city);
  ASSERT_TRUE(f.catalog.Apply(change).ok());
  EXPECT_EQ(f.catalog.Check(change).code(), Code::kFailedPrecondition);
  EXPECT_EQ(f.catalog.Apply(change).code(), Code::kFailedPrecondition);
  EXPECT_EQ(f.catalog.version(), 2u);
}

TEST(Catalog, WhatOthersSendIsJudged) {
  const Fixture f;
  v1::CatalogChange good = f.ChangeTo(
      R"(message Other { option (quorate.table) = { name: "others" primary_key: "id"
           index { name: "by_name" fields: "name" } }; uint64 id = 1; string name = 2; })");
  ASSERT_TRUE(f.catalog.Check(good).ok());
  using Change = std::function<void(v1::CatalogChange*)>;
  const std::vector<Change> changes = {
      [](v1::CatalogChange* c) { c->mutable_tables(0)->set_table_id(0); },
      [](v1::CatalogChange* c) { c->mutable_tables(0)->set_table_id(7); },
      [](v1::CatalogChange* c) { c->mutable_tables(0)->set_table_id(1); },
      [](v1::CatalogChange* c) { c->mutable_tables(0)->set_version(2); },
      [](v1::CatalogChange* c) { c->mutable_tables(0)->set_name("accounts"); },
      [](v1::CatalogChange* c) { c->mutable_tables(0)->set_name("Others\n"); },
      [](v1::CatalogChange* c) { c->mutable_tables(0)->set_name(""); },
      [](v1::CatalogChange* c) { c->mutable_tables(0)->clear_primary_key(); },
      [](v1::CatalogChange* c) { c->mutable_tables(0)->set_state(v1::TABLE_HIDDEN); },
      [](v1::CatalogChange* c) {
        c->mutable_tables(0)->mutable_indexes(0)->set_state(v1::INDEX_WRITE_ONLY);
      },
      [](v1::CatalogChange* c) {
        *c->mutable_tables(0)->add_indexes() = c->tables(0).indexes(0);
        c->mutable_tables(0)->mutable_indexes(1)->set_index_id(9);
      },
      [](v1::CatalogChange* c) { c->mutable_tables(0)->set_files(std::string(600 << 10, 'f')); },
      [](v1::CatalogChange* c) { *c->add_tables() = c->tables(0); },
      [](v1::CatalogChange* c) { c->clear_tables(); },
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    v1::CatalogChange bad = good;
    changes[i](&bad);
    EXPECT_EQ(f.catalog.Check(bad).code(), Code::kInvalidArgument) << "change " << i;
  }
}

TEST(Catalog, AVersionIsNoFarJump) {
  const Fixture f;
  v1::CatalogChange change =
      f.ChangeTo(With("string owner = 2;", "string owner = 2; string city = 9;"));
  change.mutable_tables(0)->set_version(UINT64_MAX);
  EXPECT_EQ(f.catalog.Check(change).code(), Code::kInvalidArgument);
  change.mutable_tables(0)->set_version(3);
  EXPECT_TRUE(f.catalog.Check(change).ok());
}

TEST(Catalog, NamesMayBeExchanged) {
  Fixture f;
  ASSERT_TRUE(f.Apply(std::string(kBefore) + R"(
    message Other {
      option (quorate.table) = { name: "others" primary_key: "id" };
      uint64 id = 1;
    })")
                  .ok());
  v1::CatalogChange change;
  change.set_version(f.catalog.version());
  for (const auto& [id, table] : f.catalog.tables()) *change.add_tables() = table;
  change.mutable_tables(0)->mutable_name()->swap(*change.mutable_tables(1)->mutable_name());
  ASSERT_TRUE(f.catalog.Apply(change).ok());
  ASSERT_NE(f.catalog.Find("accounts"), nullptr);
  ASSERT_NE(f.catalog.Find("others"), nullptr);
  EXPECT_EQ(f.catalog.Find("accounts")->table_id(), 2u);
  EXPECT_EQ(f.catalog.Find("others")->table_id(), 1u);
}

TEST(Catalog, IsBounded) {
  Fixture f;
  v1::TableDescriptor table = *f.catalog.Find("accounts");
  table.set_files(std::string(kTableFilesBytesMax, 'f'));
  Status status;
  uint32_t id = 2;
  for (; status.ok() && id < 100; ++id) {
    v1::CatalogChange change;
    change.set_version(f.catalog.version());
    table.set_table_id(id);
    table.set_name("t" + std::to_string(id));
    *change.add_tables() = table;
    status = f.catalog.Check(change);
    if (status.ok()) ASSERT_TRUE(f.catalog.Apply(change).ok());
  }
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_LE(f.catalog.bytes(), kCatalogBytesMax);
  EXPECT_GT(id, 30u);
}

}  // namespace
}  // namespace quorate::schema
