// Plans of whole files: plans/NAME/{before,after}.proto give expected.txt, a plan as people see it,
// or the problems of the later file. Without a before.proto the cluster is empty. REWRITE=1 writes
// expected.txt anew (the diff is then reviewed like code); SCRIPT=NAME runs one.
#include "schema/plan.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/schema/protos.h"

namespace quorate::schema {
namespace {

namespace fs = std::filesystem;

std::string ReadFile(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

Compiled CompileText(const std::string& text) { return Compile(FileSetOf(text, "example.proto")); }

v1::Catalog Applied(const v1::Catalog& catalog, const Compiled& compiled) {
  const v1::Plan plan = MakePlan(catalog, compiled);
  const auto after = Finished(catalog, plan);
  EXPECT_TRUE(after.ok()) << after.status().message() << "\n" << Format(plan);
  return after.ok() ? *after : catalog;
}

v1::Catalog CatalogOf(const std::string& text) {
  const Compiled compiled = CompileText(text);
  EXPECT_TRUE(compiled.problems.empty()) << compiled.problems.list().front().ToString();
  return Applied(v1::Catalog(), compiled);
}

// A catalog whose tables writers can use, and whose ids and states are as they have to be.
void CheckCatalog(const v1::Catalog& catalog) {
  uint32_t last = 0;
  for (const auto& table : catalog.tables()) {
    EXPECT_GT(table.table_id(), last);
    last = table.table_id();
    EXPECT_LT(table.table_id(), catalog.next_table_id());
    EXPECT_GT(table.version(), 0u);
    const auto codec = RowCodec::Make(table);
    EXPECT_TRUE(codec.ok()) << codec.status().message();
    std::set<uint32_t> ids;
    for (const auto& index : table.indexes()) {
      EXPECT_EQ(index.state(), v1::INDEX_PUBLIC);
      EXPECT_TRUE(ids.insert(index.index_id()).second);
    }
    for (const auto& constraint : table.constraints()) {
      EXPECT_EQ(constraint.state(), v1::CONSTRAINT_PUBLIC);
      EXPECT_TRUE(ids.insert(constraint.constraint_id()).second);
    }
    for (const auto& fill : table.fills()) EXPECT_TRUE(ids.insert(fill.fill_id()).second);
    for (const uint32_t id : ids) EXPECT_TRUE(id > 0 && id < table.next_element_id());
  }
}

std::string Planned(const v1::Catalog& catalog, const std::string& text) {
  const Compiled compiled = CompileText(text);
  std::string planned;
  for (const Problem& problem : compiled.problems.list())
    planned += "problem: " + problem.ToString() + "\n";
  if (!planned.empty()) return planned;
  const v1::Plan plan = MakePlan(catalog, compiled);
  EXPECT_EQ(Format(plan), Format(MakePlan(catalog, compiled))) << "the same twice";
  EXPECT_TRUE(plan.steps().empty() || plan.refusals().empty());
  for (const auto& refusal : plan.refusals()) {
    EXPECT_FALSE(refusal.reason().empty());
    EXPECT_FALSE(refusal.fix().empty());
  }
  if (!plan.refusals().empty()) return Format(plan);
  const v1::Catalog after = Applied(catalog, compiled);
  CheckCatalog(after);
  EXPECT_EQ(Format(MakePlan(after, compiled)), "nothing to do\n") << "applied again";
  EXPECT_EQ(after.version(), catalog.version() + static_cast<uint64_t>(plan.steps_size()));
  return Format(plan);
}

TEST(Plan, Examples) {
  const char* only = std::getenv("SCRIPT");
  const bool rewrite = std::getenv("REWRITE") != nullptr;
  std::set<fs::path> folders;
  for (const auto& entry : fs::directory_iterator(SCENARIO_DIR)) folders.insert(entry.path());
  EXPECT_GE(folders.size(), 60u);
  for (const fs::path& folder : folders) {
    if (only != nullptr && folder.filename().string().find(only) == std::string::npos) continue;
    SCOPED_TRACE(folder.filename().string());
    v1::Catalog catalog;
    if (fs::exists(folder / "before.proto")) catalog = CatalogOf(ReadFile(folder / "before.proto"));
    const std::string planned = Planned(catalog, ReadFile(folder / "after.proto"));
    if (rewrite) {
      std::ofstream(folder / "expected.txt", std::ios::binary) << planned;
    } else {
      EXPECT_EQ(planned, ReadFile(folder / "expected.txt"));
    }
  }
}

constexpr std::string_view kOne = R"(
  message Row {{
    option (quorate.table) = {{ name: "rows" primary_key: "id" {} }};
    int32 id = 1; string a = 2; {}
  }})";

std::string One(std::string_view options, std::string_view fields = "") {
  return Proto3(fmt::format(kOne, options, fields));
}

TEST(Plan, IdsAreNeverGivenTwice) {
  v1::Catalog catalog = CatalogOf(One("index { name: \"x\" fields: \"a\" }"));
  const uint32_t first = catalog.tables(0).indexes(0).index_id();
  catalog = Applied(catalog, CompileText(One("")));
  EXPECT_TRUE(catalog.tables(0).indexes().empty());
  catalog = Applied(catalog, CompileText(One("index { name: \"x\" fields: \"a\" }")));
  EXPECT_GT(catalog.tables(0).indexes(0).index_id(), first);
  const uint32_t table = catalog.tables(0).table_id();
  catalog =
      Applied(catalog, CompileText(Proto3("option (quorate.file) = { drop_table: \"rows\" };")));
  EXPECT_TRUE(catalog.tables().empty());
  catalog = Applied(catalog, CompileText(One("")));
  EXPECT_GT(catalog.tables(0).table_id(), table);
}

TEST(Plan, AnIndexThatWasDroppedAndIsStillKeptUpIsPublicAgainAtOnce) {
  const std::string with = One("index { name: \"x\" fields: \"a\" }");
  v1::Catalog catalog = CatalogOf(with);
  catalog.mutable_tables(0)->mutable_indexes(0)->set_state(v1::INDEX_RETIRED);
  EXPECT_EQ(Planned(catalog, with), "rows: restore index x (a) [instant]\n");
  EXPECT_EQ(Format(MakePlan(catalog, CompileText(One("")))), "nothing to do\n");
  EXPECT_EQ(
      Planned(catalog, One("index { name: \"x\" fields: \"a desc\" }")),
      "refused: rows: index x: one of that name was dropped, can still be taken back, and is "
      "another one\n"
      "  fix: give the new one another name, or end the time in which it can be taken back\n");
}

TEST(Plan, NothingIsPlannedWhileATableIsOnItsWay) {
  const std::string with =
      One("index { name: \"x\" fields: \"a\" }",
          "int32 n = 3 [(quorate.field).check = { name: \"c\" at_least: \"0\" }];");
  const auto refused = [&](auto change, const std::string& text) {
    v1::Catalog catalog = CatalogOf(with);
    change(catalog.mutable_tables(0));
    return Planned(catalog, text).substr(0, 60);
  };
  EXPECT_EQ(refused([](auto* t) { t->mutable_indexes(0)->set_state(v1::INDEX_BACKFILL); }, with),
            "refused: rows: a migration is under way: index x is INDEX_BA");
  EXPECT_EQ(
      refused([](auto* t) { t->mutable_constraints(0)->set_state(v1::CONSTRAINT_ENFORCED); }, with),
      "refused: rows: a migration is under way: constraint c is CON");
  EXPECT_EQ(refused([](auto* t) { t->set_state(v1::TABLE_HIDDEN); }, with),
            "refused: rows: it was dropped, and can still be taken back\n ");
  const std::string drop = Proto3("option (quorate.file) = { drop_table: \"rows\" };");
  EXPECT_EQ(refused([](auto* t) { t->mutable_indexes(0)->set_state(v1::INDEX_BACKFILL); }, drop),
            "refused: rows: a migration is under way: index x is INDEX_BA");
  EXPECT_EQ(refused([](auto* t) { t->set_state(v1::TABLE_HIDDEN); }, drop), "nothing to do\n");
}

TEST(Plan, FieldsThatWereDroppedAreKnownForGood) {
  v1::Catalog catalog = CatalogOf(One("", "int32 n = 3;"));
  const v1::Plan plan = MakePlan(catalog, CompileText(One("", "reserved 3;")));
  ASSERT_EQ(plan.steps_size(), 1);
  EXPECT_EQ(plan.steps(0).changed().fields(2).state(), v1::FIELD_HIDDEN);
  catalog = *Finished(catalog, plan);
  ASSERT_EQ(catalog.tables(0).fields_size(), 3);
  EXPECT_EQ(catalog.tables(0).fields(2).name(), "n");
  EXPECT_EQ(catalog.tables(0).fields(2).state(), v1::FIELD_RESERVED);
}

TEST(Plan, AnotherCatalogThanItWasMadeAgainstIsRefused) {
  v1::Catalog catalog;
  const v1::Plan plan = MakePlan(catalog, CompileText(One("")));
  catalog.set_version(7);
  EXPECT_EQ(Finished(catalog, plan).status().code(), Code::kFailedPrecondition);
  v1::Plan refused;
  refused.add_refusals();
  EXPECT_FALSE(Finished(v1::Catalog(), refused).ok());
  v1::Plan wild;
  wild.add_steps()->set_table_id(5);
  EXPECT_FALSE(Finished(v1::Catalog(), wild).ok());
  v1::Catalog one = CatalogOf(One(""));
  wild.set_catalog_version(one.version());
  for (int kind = v1::STEP_RENAME_TABLE; kind <= v1::StepKind_MAX + 1; ++kind) {
    wild.mutable_steps(0)->set_table_id(1);
    wild.mutable_steps(0)->set_kind(static_cast<v1::StepKind>(kind));
    wild.mutable_steps(0)->set_element_id(99);
    Finished(one, wild).ok();  // refused or done: it ends
  }
}

TEST(Plan, ACatalogThatCannotBeReadIsTold) {
  v1::Catalog catalog = CatalogOf(One(""));
  catalog.mutable_tables(0)->set_files("\xff");
  EXPECT_TRUE(Planned(catalog, One("")).starts_with("refused: rows: message shop.Row: "));
  catalog.mutable_tables(0)->set_files("");
  EXPECT_TRUE(Planned(catalog, One("")).starts_with("refused: rows: message shop.Row: "));
}

TEST(Plan, LongListsOfChangesAreCut) {
  std::string before, after;
  for (int i = 10; i < 1'000; ++i) {
    before += fmt::format("int32 f{} = {};\n", i, i);
    after += fmt::format("string f{} = {};\n", i, i);
  }
  const std::string refused = Planned(CatalogOf(One("", before)), One("", after));
  EXPECT_LT(std::ranges::count(refused, '\n'), 1'100);
  EXPECT_NE(refused.find("there are more"), std::string::npos);
  const std::string added = Planned(CatalogOf(One("")), One("", before));
  EXPECT_LT(std::ranges::count(added, '\n'), 600);
  EXPECT_TRUE(added.ends_with("  and more\n"));
}

}  // namespace
}  // namespace quorate::schema
