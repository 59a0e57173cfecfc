#include "schema/row_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/coding.h"
#include "schema/keys.h"
#include "schema/wire.h"
#include "tests/schema/protos.h"

namespace quorate::schema {
namespace {

using testing::HasSubstr;

std::string Accounts(std::string_view more = "") {
  return Proto3(fmt::format(R"(
    import "google/protobuf/timestamp.proto";
    message Account {{
      option (quorate.table) = {{
        name: "accounts" primary_key: "region desc" primary_key: "id"
        index {{ name: "by_owner" fields: "owner" fields: "opened_at desc" storing: "cents"
            storing: "tags" }}
        index {{ name: "by_email" fields: "email" unique: true storing: "owner" }}
        index {{ name: "by_tag" fields: "tags" }}
      }};
      int64 id = 1;
      string region = 2;
      string owner = 3 [(quorate.field).check = {{ name: "owner_short" size_at_most: 20 }}];
      optional string email = 4;
      int64 cents = 5 [(quorate.field).check = {{ name: "not_negative" at_least: "0" at_most:
          "1000" }}];
      repeated string tags = 6 [(quorate.field).check = {{ name: "few_tags" size_at_most: 3
          one_of: ["x", "y", "z"] }}];
      google.protobuf.Timestamp opened_at = 7 [(quorate.field).not_null = true];
      {}
    }})",
                            more));
}

class RowCodecTest : public testing::Test {
 protected:
  explicit RowCodecTest() : table_(TableOf(Accounts())), rows_(table_), codec_(CodecOf(table_)) {}

  uint32_t IdOf(std::string_view name) const {
    for (const auto& index : table_.indexes()) {
      if (index.name() == name) return index.index_id();
    }
    return 99;
  }
  void SetStates(v1::IndexState state) {
    for (auto& index : *table_.mutable_indexes()) index.set_state(state);
    codec_ = CodecOf(table_);
  }
  static std::string Text(const Change& change) {
    std::string text;
    for (const EntryChange& entry : change.entries) {
      text += fmt::format("{} {} {}{}\n", entry.index_id,
                          entry.kind == EntryChange::Kind::kPut ? "put" : "delete",
                          ToHex(entry.key), entry.row.empty() ? "" : " row " + ToHex(entry.row));
    }
    return text;
  }

  v1::TableDescriptor table_;
  Rows rows_;
  RowCodec codec_;
};

const char* const kRow =
    "id: 7 region: \"eu\" owner: \"ann\" email: \"a@x\" cents: 5 tags: \"x\" tags: \"y\" tags: "
    "\"x\" "
    "opened_at { seconds: 9 }";

TEST_F(RowCodecTest, KeysGoThereAndBack) {
  const auto key = codec_.RowKey(rows_.Bytes(kRow));
  ASSERT_TRUE(key.ok()) << key.violation.ToStatus().message();
  EXPECT_EQ(*codec_.KeyOf({Value::String("eu"), Value::Int(7)}), *key);
  const auto values = codec_.DecodeRowKey(*key);
  ASSERT_TRUE(values.ok());
  EXPECT_EQ(*values, (std::vector<Value>{Value::String("eu"), Value::Int(7)}));
  EXPECT_TRUE(codec_.SpanOf(kRowsId, {})->Contains(*key));
  EXPECT_TRUE(codec_.SpanOf(kRowsId, {Value::String("eu")})->Contains(*key));
  EXPECT_FALSE(codec_.SpanOf(kRowsId, {Value::String("e")})->Contains(*key));
  EXPECT_TRUE(codec_.SpanOf(kRowsId, {Value::String("eu"), Value::Int(7)})->Contains(*key));
  for (const std::string& bad : {*key + "x", key->substr(0, key->size() - 1), std::string("k")}) {
    EXPECT_FALSE(codec_.DecodeRowKey(bad).ok());
  }
}

TEST_F(RowCodecTest, ValuesByHandAreJudged) {
  const auto message = [&](std::vector<Value> key) {
    const auto made = codec_.KeyOf(key);
    return made.ok() ? "made" : made.status().message();
  };
  EXPECT_THAT(message({Value::String("eu")}), HasSubstr("has 2 values, 1 were given"));
  EXPECT_THAT(message({Value::Int(1), Value::Int(7)}), HasSubstr("another type"));
  EXPECT_THAT(message({Value(), Value::Int(7)}), HasSubstr("region is null"));
  EXPECT_THAT(message({Value::String("\xff"), Value::Int(7)}), HasSubstr("not UTF-8"));
  EXPECT_THAT(message({Value::String(std::string(480, 'r')), Value::Int(7)}),
              HasSubstr("480 at most"));
  EXPECT_FALSE(codec_.SpanOf(99, {}).ok());
  EXPECT_FALSE(codec_.SpanOf(IdOf("by_tag"), {Value::String("x"), Value::Int(1)}).ok());
}

TEST_F(RowCodecTest, EntriesCarryWhatTheyStoreAndLeadToTheirRow) {
  const std::string row = rows_.Bytes(kRow);
  const auto entries = codec_.EntriesOf(IdOf("by_owner"), row);
  ASSERT_TRUE(entries.ok());
  ASSERT_EQ(entries->size(), 1u);
  const auto& entry = entries->front();
  const auto decoded = codec_.DecodeEntry(IdOf("by_owner"), entry.key, entry.value);
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(decoded->columns, (std::vector<Value>{Value::String("ann"), Value::Timestamp(9, 0)}));
  EXPECT_EQ(decoded->primary_key, (std::vector<Value>{Value::String("eu"), Value::Int(7)}));
  EXPECT_EQ(decoded->row_key, *codec_.RowKey(row));
  EXPECT_EQ(
      rows_.Parse(decoded->stored)->ShortDebugString(),
      rows_.Parse(rows_.Bytes("cents: 5 tags: \"x\" tags: \"y\" tags: \"x\""))->ShortDebugString());
  EXPECT_TRUE(codec_.SpanOf(IdOf("by_owner"), {Value::String("ann")})->Contains(entry.key));
}

TEST_F(RowCodecTest, AUniqueEntryNamesItsRowInItsValueUnlessItHasANull) {
  const auto with = codec_.EntriesOf(IdOf("by_email"), rows_.Bytes(kRow));
  ASSERT_TRUE(with.ok());
  const auto row = codec_.EntryRow(with->front().value);
  ASSERT_TRUE(row.ok());
  EXPECT_FALSE(row->empty());
  EXPECT_EQ(codec_.DecodeEntry(IdOf("by_email"), with->front().key, with->front().value)->row_key,
            *codec_.RowKey(rows_.Bytes(kRow)));
  const auto one = codec_.EntriesOf(IdOf("by_email"), rows_.Bytes("id: 1 region: \"eu\""));
  const auto other = codec_.EntriesOf(IdOf("by_email"), rows_.Bytes("id: 2 region: \"eu\""));
  EXPECT_NE(one->front().key, other->front().key);
  EXPECT_TRUE(codec_.EntryRow(one->front().value)->empty());
  EXPECT_EQ(codec_.DecodeEntry(IdOf("by_email"), one->front().key, one->front().value)->row_key,
            *codec_.KeyOf({Value::String("eu"), Value::Int(1)}));
}

TEST_F(RowCodecTest, ARepeatedFieldHasAnEntryPerDistinctElement) {
  const auto entries = codec_.EntriesOf(IdOf("by_tag"), rows_.Bytes(kRow));
  ASSERT_TRUE(entries.ok());
  EXPECT_EQ(entries->size(), 2u);
  EXPECT_TRUE(codec_.EntriesOf(IdOf("by_tag"), rows_.Bytes("id: 1"))->empty());
  std::string many = "id: 1";
  for (int i = 0; i <= 1'000; ++i) many += fmt::format(" tags: \"t{}\"", i);
  const auto refused = codec_.EntriesOf(IdOf("by_tag"), rows_.Bytes(many));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.violation.kind, Violation::Kind::kTooManyEntries);
  EXPECT_THAT(refused.violation.ToStatus().message(), HasSubstr("by_tag"));
}

TEST_F(RowCodecTest, FieldsOfOneRepeatedMessageAreIndexedTogether) {
  const auto table = TableOf(Proto3(R"(
    message Label { string name = 1; optional string value = 2; }
    message Row {
      option (quorate.table) = {
        name: "rows" primary_key: "id" index { name: "i" fields: ["labels.name", "labels.value",
            "id"] } };
      int32 id = 1; repeated Label labels = 2;
    })"));
  const RowCodec codec = CodecOf(table);
  const uint32_t id = table.indexes(0).index_id();
  const auto entries = codec.EntriesOf(
      id, Rows(table).Bytes("id: 1 labels { name: \"a\" value: \"x\" } labels { value: \"y\" } "
                            "labels { name: \"a\" } labels { name: \"a\" value: \"x\" }"));
  ASSERT_TRUE(entries.ok());
  std::string text;
  for (const Entry& entry : *entries) {
    const auto decoded = codec.DecodeEntry(id, entry.key, entry.value);
    ASSERT_TRUE(decoded.ok());
    text += Format(decoded->columns[0]) + "=" + Format(decoded->columns[1]) + " ";
  }
  EXPECT_EQ(text, "\"\"=\"y\" \"a\"=null \"a\"=\"x\" ");
}

TEST_F(RowCodecTest, EntriesOfOthersAreNotTaken) {
  const auto entry = codec_.EntriesOf(IdOf("by_email"), rows_.Bytes(kRow))->front();
  EXPECT_FALSE(codec_.DecodeEntry(IdOf("by_tag"), entry.key, entry.value).ok());
  EXPECT_FALSE(codec_.DecodeEntry(99, entry.key, entry.value).ok());
  EXPECT_FALSE(codec_.DecodeEntry(IdOf("by_email"), entry.key, "").ok());
  EXPECT_FALSE(codec_.DecodeEntry(IdOf("by_email"), entry.key, std::string(1, '\0')).ok());
  EXPECT_FALSE(codec_.DecodeEntry(IdOf("by_email"), entry.key + "x", entry.value).ok());
  EXPECT_FALSE(codec_.EntryRow("\x05x").ok());
  EXPECT_FALSE(codec_.EntryRow("\x01x").ok());
}

TEST_F(RowCodecTest, ConstraintsNameTableFieldAndRow) {
  const struct {
    const char* row;
    Violation::Kind kind;
    const char* said;
  } kCases[] = {
      {"id: 7 region: \"eu\" opened_at {} cents: -1", Violation::Kind::kCheck,
       "table accounts, row (\"eu\", 7), check not_negative, field cents: -1 is less than 0"},
      {"id: 7 opened_at {} cents: 1001", Violation::Kind::kCheck, "1001 is more than 1000"},
      {"id: 7", Violation::Kind::kNotNull,
       "constraint opened_at_not_null, field opened_at: is null"},
      {"id: 7 opened_at {} tags: \"q\"", Violation::Kind::kCheck, "\"q\" is none of the 3 values"},
      {"id: 7 opened_at {} tags: \"x\" tags: \"x\" tags: \"x\" tags: \"x\"",
       Violation::Kind::kCheck, "has 4 elements, 3 at most"},
      {"id: 7 opened_at {} owner: \"123456789012345678901\"", Violation::Kind::kCheck,
       "check owner_short, field owner: has 21 bytes, 20 at most"},
  };
  for (const auto& c : kCases) {
    const auto violation = codec_.Check(rows_.Bytes(c.row));
    ASSERT_TRUE(violation.has_value()) << c.row;
    EXPECT_EQ(violation->kind, c.kind);
    EXPECT_THAT(violation->ToStatus().message(), HasSubstr(c.said));
    EXPECT_EQ(violation->ToStatus().code(), Code::kFailedPrecondition);
    EXPECT_FALSE(codec_.MakeChange({}, rows_.Bytes(c.row)).ok());
    EXPECT_TRUE(codec_.MakeChange(rows_.Bytes(c.row), {}).ok())
        << "whatever is there can be deleted";
  }
  EXPECT_FALSE(codec_.Check(rows_.Bytes(kRow)).has_value());
}

TEST_F(RowCodecTest, AConstraintHoldsFromTheStateOnInWhichItIsEnforced) {
  const std::string bad = rows_.Bytes("id: 7 opened_at {} cents: -1");
  for (const v1::ConstraintState state : {v1::CONSTRAINT_ABSENT, v1::CONSTRAINT_ENFORCED,
                                          v1::CONSTRAINT_VALIDATED, v1::CONSTRAINT_PUBLIC}) {
    for (auto& constraint : *table_.mutable_constraints()) constraint.set_state(state);
    EXPECT_EQ(CodecOf(table_).MakeChange({}, bad).ok(), state == v1::CONSTRAINT_ABSENT);
  }
  for (auto& constraint : *table_.mutable_constraints())
    constraint.set_state(v1::CONSTRAINT_ABSENT);
  const uint32_t id = table_.constraints(1).constraint_id();
  EXPECT_EQ(table_.constraints(1).name(), "not_negative");
  EXPECT_TRUE(CodecOf(table_).Check(bad, id).has_value()) << "one that is asked for by its id";
  EXPECT_TRUE(CodecOf(table_).Check(bad, 99).has_value());
}

TEST_F(RowCodecTest, RowsThatCannotBeWritten) {
  const auto said = [&](const std::string& bytes) {
    const auto change = codec_.MakeChange({}, bytes);
    return change.ok() ? "written" : change.violation.ToStatus().message();
  };
  EXPECT_THAT(said("\xff"), HasSubstr("no message has such bytes (byte 0)"));
  EXPECT_THAT(said(std::string(kRowBytesMax + 1, '\0')), HasSubstr("1048576 at most"));
  std::string long_region = rows_.Bytes("id: 1 opened_at {}");
  AppendBytesField(&long_region, 2, std::string(480, 'r'));
  EXPECT_THAT(said(long_region), HasSubstr("primary key: its key has"));
  std::string long_email = rows_.Bytes("id: 1 opened_at {}");
  AppendBytesField(&long_email, 4, std::string(480, 'e'));
  EXPECT_THAT(said(long_email), HasSubstr("index by_email: the key of its entry has"));
  std::string not_utf8 = rows_.Bytes("id: 1 opened_at {}");
  AppendBytesField(&not_utf8, 4, "\xff");
  EXPECT_THAT(said(not_utf8), HasSubstr("email is not UTF-8"));
  EXPECT_TRUE(codec_.MakeChange(not_utf8, {}).ok()) << "one that is there can be deleted";
  const auto moved =
      codec_.MakeChange(rows_.Bytes(kRow), rows_.Bytes("id: 8 region: \"eu\" opened_at {}"));
  ASSERT_FALSE(moved.ok());
  EXPECT_THAT(moved.violation.ToStatus().message(),
              HasSubstr("keeps its primary key, which was (\"eu\", 7)"));
}

TEST_F(RowCodecTest, BytesThatNobodyKnowsStay) {
  std::string row = rows_.Bytes(kRow);
  AppendBytesField(&row, 1'000, "of a newer version");
  const auto change = codec_.MakeChange(rows_.Bytes(kRow), row);
  ASSERT_TRUE(change.ok());
  EXPECT_EQ(*change->value, row);
  EXPECT_EQ(change->key, *codec_.RowKey(row));
  EXPECT_TRUE(change->entries.empty());
}

TEST_F(RowCodecTest, AnInsertPutsAndADeleteTakesAwayAllEntries) {
  const auto put = codec_.MakeChange({}, rows_.Bytes(kRow));
  ASSERT_TRUE(put.ok());
  EXPECT_EQ(put->entries.size(), 4u);  // owner, email, two tags
  const auto deleted = codec_.MakeChange(rows_.Bytes(kRow), {});
  ASSERT_TRUE(deleted.ok());
  EXPECT_FALSE(deleted->value.has_value());
  ASSERT_EQ(deleted->entries.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(deleted->entries[i].kind, EntryChange::Kind::kDelete);
    EXPECT_EQ(deleted->entries[i].key, put->entries[i].key);
    EXPECT_EQ(deleted->entries[i].row, put->entries[i].row);
    EXPECT_EQ(put->entries[i].row.empty(), put->entries[i].index_id != IdOf("by_email"));
  }
}

TEST_F(RowCodecTest, AnUpdateWritesOnlyWhatChanges) {
  const std::string before = rows_.Bytes(kRow);
  const std::string cents = rows_.Bytes(
      "id: 7 region: \"eu\" owner: \"ann\" email: \"a@x\" cents: 6 tags: \"x\" tags: \"y\" tags: "
      "\"x\" "
      "opened_at { seconds: 9 }");
  const auto stored = codec_.MakeChange(before, cents);
  ASSERT_TRUE(stored.ok());
  ASSERT_EQ(stored->entries.size(), 1u)
      << Text(*stored);  // by_owner stores it: same key, other value
  EXPECT_EQ(stored->entries[0].index_id, IdOf("by_owner"));
  EXPECT_EQ(stored->entries[0].kind, EntryChange::Kind::kPut);
  const std::string email = rows_.Bytes(
      "id: 7 region: \"eu\" owner: \"ann\" cents: 5 tags: \"x\" tags: \"y\" tags: \"x\" opened_at "
      "{ seconds: 9 }");
  const auto moved = codec_.MakeChange(before, email);
  ASSERT_TRUE(moved.ok());
  ASSERT_EQ(moved->entries.size(), 2u) << Text(*moved);
  EXPECT_EQ(moved->entries[0].kind, EntryChange::Kind::kPut);  // null sorts first
  EXPECT_TRUE(moved->entries[0].row.empty());
  EXPECT_EQ(moved->entries[1].kind, EntryChange::Kind::kDelete);
  EXPECT_FALSE(moved->entries[1].row.empty());
}

TEST_F(RowCodecTest, InDeleteOnlyEntriesAreTakenAwayAndNonePut) {
  SetStates(v1::INDEX_DELETE_ONLY);
  EXPECT_TRUE(codec_.MakeChange({}, rows_.Bytes(kRow))->entries.empty());
  EXPECT_EQ(codec_.MakeChange(rows_.Bytes(kRow), {})->entries.size(), 4u);
  EXPECT_TRUE(codec_.MakeChange(rows_.Bytes(kRow), rows_.Bytes(kRow))->entries.empty());
  const auto changed = codec_.MakeChange(
      rows_.Bytes(kRow), rows_.Bytes("id: 7 region: \"eu\" owner: \"ann\" email: \"a@x\" cents: 6 "
                                     "tags: \"y\" opened_at { seconds: 9 }"));
  ASSERT_TRUE(changed.ok());
  ASSERT_EQ(changed->entries.size(), 2u) << Text(*changed);  // by_owner's value, and tag x
  for (const auto& entry : changed->entries) EXPECT_EQ(entry.kind, EntryChange::Kind::kDelete);
  std::string long_email = rows_.Bytes("id: 1 opened_at {}");
  AppendBytesField(&long_email, 4, std::string(480, 'e'));
  EXPECT_TRUE(codec_.MakeChange({}, long_email).ok()) << "nobody promised an entry yet";
  SetStates(v1::INDEX_ABSENT);
  EXPECT_TRUE(codec_.MakeChange(rows_.Bytes(kRow), {})->entries.empty());
  for (const auto state :
       {v1::INDEX_WRITE_ONLY, v1::INDEX_BACKFILL, v1::INDEX_PUBLIC, v1::INDEX_RETIRED}) {
    SetStates(state);
    EXPECT_EQ(codec_.MakeChange({}, rows_.Bytes(kRow))->entries.size(), 4u);
  }
}

TEST_F(RowCodecTest, AUniqueViolationNamesIndexAndBothRows) {
  const auto change = codec_.MakeChange({}, rows_.Bytes(kRow));
  const EntryChange* put = nullptr;
  for (const auto& entry : change->entries) {
    if (entry.index_id == IdOf("by_email")) put = &entry;
  }
  ASSERT_NE(put, nullptr);
  std::string other;
  PutLengthPrefixed(&other, codec_.KeyOf({Value::String("us"), Value::Int(1)})->substr(7));
  const auto violation = codec_.UniqueViolation(*put, other);
  EXPECT_EQ(violation.ToStatus().code(), Code::kAlreadyExists);
  EXPECT_EQ(violation.ToStatus().message(),
            "table accounts, row (\"eu\", 7), index by_email: it is unique, and the values are "
            "(\"a@x\"); "
            "row (\"us\", 1) has them already");
  EXPECT_EQ(codec_.UniqueViolation(*put, "\x07").other_row, "(unreadable)");
}

TEST_F(RowCodecTest, AStoredMemberOfAOneofEndsWithIt) {
  const auto table = TableOf(Proto3(R"(
    message Row {
      option (quorate.table) = { name: "rows" primary_key: "id" index { name: "i" fields: "id"
          storing: "a" storing: "n" } };
      int32 id = 1; oneof one { string a = 2; string b = 3; } int32 n = 4;
    })"));
  const RowCodec codec = CodecOf(table);
  const Rows rows(table);
  const std::string row = rows.Bytes("id: 1 a: \"first\" n: 5") + rows.Bytes("b: \"last\"");
  const auto entries = codec.EntriesOf(table.indexes(0).index_id(), row);
  const auto decoded =
      codec.DecodeEntry(table.indexes(0).index_id(), entries->front().key, entries->front().value);
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(rows.Parse(decoded->stored)->ShortDebugString(), "n: 5");
}

TEST_F(RowCodecTest, DescriptorsThatMakeNoSenseAreRefused) {
  const auto said = [&](auto change) {
    v1::TableDescriptor table = table_;
    change(&table);
    const auto codec = RowCodec::Make(table);
    return codec.ok() ? "made" : codec.status().message();
  };
  EXPECT_EQ(said([](auto*) {}), "made");
  EXPECT_THAT(said([](auto* t) { t->clear_primary_key(); }), HasSubstr("has no primary key"));
  EXPECT_THAT(said([](auto* t) { t->set_table_id(0); }), HasSubstr("has no id"));
  EXPECT_THAT(said([](auto* t) { t->mutable_indexes(1)->set_index_id(1); }), HasSubstr("one id"));
  EXPECT_THAT(said([](auto* t) { t->mutable_indexes(0)->set_index_id(0); }),
              HasSubstr("has no id"));
  EXPECT_THAT(said([](auto* t) { t->mutable_indexes(0)->clear_columns(); }),
              HasSubstr("no columns"));
  EXPECT_THAT(
      said([](auto* t) { t->mutable_indexes(0)->set_state(static_cast<v1::IndexState>(9)); }),
      HasSubstr("a state that this version lacks"));
  EXPECT_THAT(said([](auto* t) { *t->mutable_primary_key(0) = t->indexes(2).columns(0); }),
              HasSubstr("repeated column"));
  EXPECT_THAT(
      said([](auto* t) {
        *t->mutable_indexes(2)->add_columns() = t->indexes(2).columns(0);
        t->mutable_indexes(2)->mutable_columns(1)->mutable_column()->mutable_steps(0)->set_number(
            9);
      }),
      HasSubstr("two repeated columns"));
  EXPECT_THAT(said([](auto* t) { t->mutable_constraints(1)->set_not_null(true); }),
              HasSubstr("not one of both kinds"));
  EXPECT_THAT(said([](auto* t) { t->mutable_constraints(1)->mutable_check()->set_at_least("x"); }),
              HasSubstr("is not an int64"));
  EXPECT_THAT(said([](auto* t) {
                auto* fill = t->add_fills();
                *fill->mutable_from() = t->primary_key(0).column();
                *fill->mutable_to() = t->primary_key(1).column();
                fill->set_state(v1::FILL_PUBLIC);
              }),
              HasSubstr("cannot be one value"));
  EXPECT_THAT(said([](auto* t) {
                auto* fill = t->add_fills();
                *fill->mutable_from() = t->primary_key(1).column();
                *fill->mutable_to() = t->primary_key(1).column();
                fill->mutable_to()->mutable_steps(0)->set_number(99);
                fill->mutable_to()->set_path("other");
                fill->mutable_to()->set_has_presence(true);
                fill->set_state(v1::FILL_PUBLIC);
              }),
              HasSubstr("id is in the primary key"));
  EXPECT_THAT(said([](auto* t) {
                for (int i = 0; i < 65; ++i) *t->add_indexes() = t->indexes(0);
              }),
              HasSubstr("64 at most"));
}

}  // namespace
}  // namespace quorate::schema
