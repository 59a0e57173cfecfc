// What a file may not be. What it may be, and how it then changes, is in plans/.
#include "schema/compile.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.pb.h>
#include <gtest/gtest.h>

#include "base/random.h"
#include "quorate/options.pb.h"
#include "schema/descriptors.h"
#include "tests/schema/protos.h"

namespace quorate::schema {
namespace {

namespace pb = google::protobuf;
using testing::HasSubstr;

std::string First(const Compiled& compiled) {
  return compiled.problems.empty() ? "compiled" : compiled.problems.list().front().ToString();
}
std::string FirstOf(const pb::FileDescriptorSet& set) {
  return First(Compile(set.SerializeAsString()));
}
std::string FirstOf(std::string_view text) { return First(Compile(FileSetOf(text))); }

std::string Row(std::string_view options, std::string_view fields) {
  return Proto3(fmt::format(R"(
    import "google/protobuf/wrappers.proto";
    message Inner {{ int32 n = 1; repeated int32 ns = 2; map<string, int32> map = 3;
        Inner deeper = 4; }}
    enum Color {{ RED = 0; GREEN = 1; }}
    message Row {{ option (quorate.table) = {{ {} }}; int32 id = 1; string a = 2; {} }})",
                            options, fields));
}
constexpr std::string_view kKey = "name: \"rows\" primary_key: \"id\" ";

pb::FileDescriptorSet SetOf(std::string_view text) {
  pb::FileDescriptorSet set;
  EXPECT_TRUE(set.ParseFromString(FileSetOf(text)));
  return set;
}

TEST(Compile, EachBreachOfOptionsIsToldWithItsPlaceAndItsFix) {
  const struct {
    std::string options;
    std::string fields;
    const char* said;
  } kCases[] = {
      {"primary_key: \"id\"", "",
       "test.proto: shop.Row: name: \"\" is no name; use 1 to 63 of a-z, 0-9 and _"},
      {"name: \"Rows\" primary_key: \"id\"", "", "\"Rows\" is no name"},
      {"name: \"rows\"", "", "shop.Row: primary_key: names no field; name one at least"},
      {"name: \"rows\" primary_key: \"idd\"", "", "\"idd\": shop.Row has no field \"idd\""},
      {"name: \"rows\" primary_key: \"id up\"", "",
       "behind a path is nothing, \" asc\" or \" desc\""},
      {"name: \"rows\" primary_key: \"id\" primary_key: \"id desc\"", "",
       "\"id desc\" is named twice"},
      {"name: \"rows\" primary_key: \"r\"", "repeated int32 r = 3;", "a row has one primary key"},
      {"name: \"rows\" primary_key: \"i\"", "Inner i = 3;",
       "it is a shop.Inner: name one of its fields, as in i.FIELD"},
      {"name: \"rows\" primary_key: \"a.b\"", "", "a is no message, so nothing is inside it"},
      {"name: \"rows\" primary_key: \"\"", "", "has no field \"\""},
      {"name: \"rows\" primary_key: \".\"", "", "has no field \"\""},
      {"name: \"rows\" renamed_from: \"x y\" primary_key: \"id\"", "",
       "renamed_from: \"x y\" is no name"},
      {std::string(kKey) + "index { fields: \"a\" }", "", "\"\" is no name"},
      {std::string(kKey) + "index { name: \"x\" }", "", "index x: names no field"},
      {std::string(kKey) +
           "index { name: \"x\" fields: \"a\" } index { name: \"x\" fields: \"id\" }",
       "", "index x: is described twice"},
      {std::string(kKey) + "index { name: \"x\" fields: \"i.ns\" fields: \"r\" }",
       "Inner i = 3; repeated int32 r = 4;", "has two repeated fields"},
      {std::string(kKey) + "index { name: \"x\" fields: \"i.ns\" }", "repeated Inner i = 3;",
       "through two repeated fields"},
      {std::string(kKey) + "index { name: \"x\" fields: \"i.map.key\" }", "Inner i = 3;",
       "map is a map: no path leads into it"},
      {std::string(kKey) + "index { name: \"x\" fields: \"i.map\" }", "Inner i = 3;",
       "a map is in no key"},
      {std::string(kKey) +
           "index { name: \"x\" fields: \"i.deeper.deeper.deeper.deeper.deeper.deeper.deeper.n\" }",
       "Inner i = 3;", "a path has 8 steps at most"},
      {std::string(kKey) + "index { name: \"x\" fields: \"a\" storing: \"i.n\" }", "Inner i = 3;",
       "has no field \"i.n\""},
      {std::string(kKey) + "index { name: \"x\" fields: \"a\" storing: \"id\" storing: \"id\" }",
       "", "stores id twice"},
      {std::string(kKey), "int32 n = 3 [(quorate.field).not_null = true];",
       "n: is not_null, and cannot be null"},
      {std::string(kKey), "repeated int32 n = 3 [(quorate.field).not_null = true];",
       "size_at_least: 1"},
      {std::string(kKey),
       "optional int32 n = 3 [(quorate.field) = { not_null: true default_value: \"1\" }];",
       "it has a default"},
      {std::string(kKey), "int32 n = 3 [(quorate.field).default_value = \"1\"];",
       "a field without presence is never absent"},
      {std::string(kKey), "optional int32 n = 3 [(quorate.field).default_value = \"x\"];",
       "'x' is not an int32"},
      {std::string(kKey), "optional Color c = 3 [(quorate.field).default_value = \"BLUE\"];",
       "shop.Color has no value \"BLUE\""},
      {std::string(kKey), "oneof o { int32 n = 3 [(quorate.field).default_value = \"1\"]; }",
       "a member of a oneof has no default"},
      {std::string(kKey), "repeated int32 n = 3 [(quorate.field).default_value = \"1\"];",
       "only singular scalars"},
      {std::string(kKey), "int32 n = 3 [(quorate.field).check = { at_least: \"1\" }];",
       "\"\" is no name"},
      {std::string(kKey), "int32 n = 3 [(quorate.field).check = { name: \"c\" }];",
       "check c: asks for nothing"},
      {std::string(kKey),
       "bool n = 3 [(quorate.field).check = { name: \"c\" at_least: \"true\" }];", "only numbers"},
      {std::string(kKey), "Inner n = 3 [(quorate.field).check = { name: \"c\" at_least: \"1\" }];",
       "only numbers"},
      {std::string(kKey), "int32 n = 3 [(quorate.field).check = { name: \"c\" size_at_most: 1 }];",
       "have a size"},
      {std::string(kKey),
       "int32 n = 3 [(quorate.field).check = { name: \"c\" at_least: \"2\" at_most: \"1\" }];",
       "exchange both"},
      {std::string(kKey),
       "string n = 3 [(quorate.field).check = { name: \"c\" size_at_least: 2 size_at_most: 1 }];",
       "exchange both"},
      {std::string(kKey), "uint32 n = 3 [(quorate.field).check = { name: \"c\" one_of: \"-1\" }];",
       "is not a uint32"},
      {std::string(kKey),
       "int32 n = 3 [(quorate.field).check = { name: \"c\" at_least: \"1\" }]; "
       "int32 m = 4 [(quorate.field).check = { name: \"c\" at_least: \"1\" }];",
       "there are two constraints c"},
      {std::string(kKey), "optional int64 n = 3 [(quorate.field).fill_from = \"m\"];",
       "there is no other field \"m\""},
      {std::string(kKey), "optional int64 n = 3 [(quorate.field).fill_from = \"n\"];",
       "there is no other field \"n\""},
      {std::string(kKey), "optional int64 n = 3 [(quorate.field).fill_from = \"id\"];",
       "id is in the primary key"},
      {std::string(kKey), "int64 n = 3 [(quorate.field).fill_from = \"a\"];",
       "the new field has no presence"},
      {std::string(kKey), "optional double n = 3 [(quorate.field).fill_from = \"a\"];",
       "a string cannot be made a double and back"},
      {std::string(kKey), "Inner i = 4; optional int32 n = 3 [(quorate.field).fill_from = \"i\"];",
       "no singular scalar"},
      {std::string(kKey),
       "optional bytes n = 3 [(quorate.field).fill_from = \"a\"]; optional bytes m = 4 "
       "[(quorate.field).fill_from = \"a\"];",
       "a takes part in another fill"},
      {std::string(kKey),
       "optional int32 m = 4 [(quorate.field).default_value = \"1\"]; "
       "optional int64 n = 3 [(quorate.field).fill_from = \"m\"];",
       "m has a default"},
  };
  for (const auto& c : kCases) {
    EXPECT_THAT(FirstOf(Row(c.options, c.fields)), HasSubstr(c.said))
        << c.options << " / " << c.fields;
  }
  EXPECT_EQ(FirstOf(Row(kKey, "")), "compiled");
}

TEST(Compile, ConstraintsInsideOfRowsWouldBeNobodys) {
  const auto text = [](std::string_view inner) {
    return Proto3(fmt::format(R"(
      message Inner {{ {} optional int32 n = 1 [(quorate.field).not_null = true]; }}
      message Row {{ option (quorate.table) = {{ name: "rows" primary_key: "id" }};
          int32 id = 1; Inner i = 2; }})",
                              inner));
  };
  EXPECT_THAT(FirstOf(text("")),
              HasSubstr("shop.Inner: n: has (quorate.field), and is inside of a row"));
  EXPECT_EQ(FirstOf(text("option (quorate.table) = { name: \"inner\" primary_key: \"n\" };")),
            "compiled");
}

TEST(Compile, TablesOfOneSetAreJudgedTogether) {
  const auto two = [](std::string_view a, std::string_view b, std::string_view more = "") {
    return FirstOf(Proto3(fmt::format(R"({}
      message A {{ option (quorate.table) = {{ primary_key: "id" {} }}; int32 id = 1; }}
      message B {{ option (quorate.table) = {{ primary_key: "id" {} }}; int32 id = 1; }})",
                                      more, a, b)));
  };
  EXPECT_EQ(two("name: \"a\"", "name: \"b\""), "compiled");
  EXPECT_THAT(two("name: \"a\"", "name: \"a\""), HasSubstr("there are two tables a"));
  EXPECT_THAT(two("name: \"a\" renamed_from: \"c\"", "name: \"b\" renamed_from: \"c\""),
              HasSubstr("two tables were c"));
  EXPECT_THAT(two("name: \"a\"", "name: \"b\"", "option (quorate.file) = { drop_table: \"b\" };"),
              HasSubstr("table b is described, and in drop_table"));
  EXPECT_THAT(two("name: \"a\"", "name: \"b\"", "option (quorate.file) = { drop_table: \"B\" };"),
              HasSubstr("\"B\" is no name of a table"));
}

TEST(Compile, NestedMessagesAndImportedFilesHaveTablesToo) {
  pb::FileDescriptorSet set = SetOf(Proto3(R"(
    message Outer { message A { option (quorate.table) = { name: "a" primary_key: "id" };
        int32 id = 1; } })"));
  pb::FileDescriptorSet other = SetOf("syntax = \"proto3\"; package other; message Empty {}");
  *set.add_file() = other.file(0);
  set.mutable_file(set.file_size() - 1)->set_name("last.proto");
  set.mutable_file(set.file_size() - 1)->add_dependency("test.proto");
  const Compiled compiled = Compile(set.SerializeAsString());
  ASSERT_EQ(First(compiled), "compiled");
  ASSERT_EQ(compiled.tables.size(), 1u);
  EXPECT_EQ(compiled.tables[0].table.message(), "shop.Outer.A");
}

TEST(Compile, SetsThatCannotBeBuiltAreToldAsProtobufTells) {
  EXPECT_THAT(First(Compile("\xff")), HasSubstr("it is no FileDescriptorSet"));
  EXPECT_EQ(First(Compile("")), "compiled");  // no files, no tables
  pb::FileDescriptorSet set = SetOf(Row(kKey, ""));
  pb::FileDescriptorSet bad = set;
  bad.mutable_file(bad.file_size() - 1)->add_dependency("other.proto");
  EXPECT_THAT(FirstOf(bad), HasSubstr("it imports other.proto, which is not in the set; "
                                      "make the set with protoc --include_imports"));
  bad = set;
  bad.mutable_file(bad.file_size() - 1)->add_dependency("test.proto");
  EXPECT_THAT(FirstOf(bad), HasSubstr("it imports itself"));
  bad = set;
  bad.mutable_file(bad.file_size() - 1)->set_syntax("editions");
  EXPECT_THAT(
      FirstOf(bad),
      HasSubstr("its syntax is \"editions\"; write syntax = \"proto3\" (or proto2): editions"));
  bad = set;
  bad.mutable_file(bad.file_size() - 1)->mutable_message_type(1)->mutable_field(1)->set_number(1);
  EXPECT_THAT(FirstOf(bad), HasSubstr("Field number 1 has already been used"));
  bad = set;
  bad.mutable_file(bad.file_size() - 1)
      ->mutable_message_type(1)
      ->mutable_field(1)
      ->set_type_name(".shop.Nothing");
  EXPECT_NE(FirstOf(bad), "compiled");
}

TEST(Compile, OurOwnFilesNeedNotBeInTheSet) {
  pb::FileDescriptorSet set = SetOf(Row(kKey, ""));
  pb::FileDescriptorSet alone;
  *alone.add_file() = set.file(set.file_size() - 1);
  EXPECT_EQ(FirstOf(alone), "compiled");
  // In any order.
  pb::FileDescriptorSet reversed;
  for (int i = set.file_size(); i-- > 0;) *reversed.add_file() = set.file(i);
  EXPECT_EQ(FirstOf(reversed), "compiled");
}

TEST(Compile, OptionsOfALaterVersionAreNotPassedOver) {
  pb::FileDescriptorSet set = SetOf(Row(kKey, ""));
  pb::DescriptorProto* row = set.mutable_file(set.file_size() - 1)->mutable_message_type(1);
  quorate::TableOptions* options = row->mutable_options()->MutableExtension(quorate::table);
  options->GetReflection()->MutableUnknownFields(options)->AddVarint(99, 1);
  EXPECT_THAT(
      FirstOf(set),
      HasSubstr("(quorate.table): has options that this version does not know; upgrade quorate"));
}

TEST(Compile, WhatIsTooMuchIsRefusedBeforeItIsBuilt) {
  EXPECT_THAT(First(Compile(std::string(kFileSetBytesMax + 1, '\0'))),
              HasSubstr("4194304 at most"));
  pb::FileDescriptorSet set;
  for (size_t i = 0; i <= kFilesMax; ++i) set.add_file()->set_name(fmt::format("{}.proto", i));
  EXPECT_THAT(FirstOf(set), HasSubstr("501 files, 500 at most"));
  set.Clear();
  for (size_t i = 0; i <= kMessagesMax; ++i) {
    if (i == 0) set.add_file()->set_name("a.proto");
    set.mutable_file(0)->add_message_type()->set_name(fmt::format("M{}", i));
  }
  EXPECT_THAT(FirstOf(set), HasSubstr("more than 20000 messages"));
  set.Clear();
  pb::DescriptorProto* message = set.add_file()->add_message_type();
  for (size_t i = 0; i < kNestingMax; ++i) message = message->add_nested_type();
  EXPECT_THAT(FirstOf(set), HasSubstr("deeper than 32"));
  set = SetOf(Row(kKey, ""));
  set.mutable_file(set.file_size() - 1)->mutable_message_type(0)->set_name(std::string(600, 'M'));
  EXPECT_THAT(FirstOf(set), HasSubstr("a full name of 605 bytes, 512 at most"));
  std::string fields;
  for (size_t i = 10; i < kFieldsMax + 11; ++i) fields += fmt::format("int32 f{} = {};", i, i);
  EXPECT_THAT(FirstOf(Row(kKey, fields)), HasSubstr("2000 at most"));
  std::string indexes(kKey);
  for (size_t i = 0; i <= kIndexesMax; ++i)
    indexes += fmt::format("index {{ name: \"i{}\" fields: \"a\" }}", i);
  EXPECT_THAT(FirstOf(Row(indexes, "")), HasSubstr("33 indexes, 32 at most"));
}

TEST(Compile, ManyProblemsAreCountedAndNotAllKept) {
  std::string fields;
  for (int i = 10; i < 500; ++i)
    fields += fmt::format("int32 f{} = {} [(quorate.field).not_null = true];", i, i);
  const Compiled compiled = Compile(FileSetOf(Row(kKey, fields)));
  EXPECT_EQ(compiled.problems.list().size(), kProblemsMax);
  EXPECT_EQ(compiled.problems.found(), 490u);
}

TEST(Compile, ColumnsAreFoundWithoutDescriptors) {
  const auto table = TableOf(Row(
      std::string(kKey) +
          "index { name: \"x\" fields: \"w\" fields: \"o\" fields: \"i.deeper.n desc\" }",
      "oneof one { string o = 3; int32 p = 4; } Inner i = 5; google.protobuf.Int32Value w = 6;"));
  const auto& columns = table.indexes(0).columns();
  EXPECT_EQ(columns[0].column().steps_size(), 2);
  EXPECT_EQ(columns[0].column().type(), v1::COLUMN_INT32);
  EXPECT_EQ(columns[1].column().steps(0).oneof_siblings(0), 4u);
  EXPECT_TRUE(columns[1].column().has_presence());
  EXPECT_TRUE(columns[2].descending());
  EXPECT_EQ(columns[2].column().path(), "i.deeper.n");
  EXPECT_FALSE(columns[2].column().has_presence());
}

TEST(Descriptors, ReducedFilesHaveWhatRowsConsistOfAndNothingElse) {
  Problems problems;
  const auto table = TableOf(Proto3(R"(
    message Unused { string u = 1; }
    message Around { message Inner { Other other = 1; } string never = 2; }
    enum Color { option allow_alias = true; RED = 0; ALSO_RED = 0; }
    message Other { Color color = 1; Other again = 2; reserved 9; map<string, int64> map = 3; }
    message Row {
      option (quorate.table) = { name: "rows" primary_key: "id" };
      int32 id = 1 [json_name = "theId"]; Around.Inner inner = 2;
          repeated int32 n = 3 [packed = false];
    })"));
  const auto built = Descriptors::Build(table.files(), &problems);
  ASSERT_NE(built, nullptr) << problems.list().front().ToString();
  EXPECT_EQ(built->files().size(), 1u);
  EXPECT_EQ(built->FindMessage("shop.Unused"), nullptr);
  pb::FileDescriptorSet set;
  ASSERT_TRUE(set.ParseFromString(table.files()));
  const std::string text = set.DebugString();
  EXPECT_THAT(text, testing::Not(HasSubstr("never")));
  EXPECT_THAT(text, testing::Not(HasSubstr("quorate")));
  for (const char* kept :
       {"theId", "allow_alias", "reserved_range", "map_entry", "packed: false", "proto3"}) {
    EXPECT_THAT(text, HasSubstr(kept));
  }
}

TEST(Compile, AnythingElseEndsToo) {
  Random random(1);
  const std::string good =
      FileSetOf(Row(std::string(kKey) +
                        "index { name: \"x\" fields: \"i.deeper.n\" unique: true storing: \"a\" }",
                    "Inner i = 3; Color c = 4 [(quorate.field).check = { name: \"c\" one_of: "
                    "\"RED\" }]; optional int64 n = 5;"));
  int compiled = 0;
  for (int round = 0; round < 2'000; ++round) {
    std::string bytes = good;
    for (uint64_t left = 1 + random.Below(3); left > 0; --left) {
      bytes[random.Below(bytes.size())] = static_cast<char>(random.Next());
    }
    compiled += Compile(bytes).problems.empty() ? 1 : 0;
  }
  EXPECT_GT(compiled, 0);
}

}  // namespace
}  // namespace quorate::schema
