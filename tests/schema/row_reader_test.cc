// The walk against protobuf's own parser, on rows in pieces, with everything that may be in
// between.
#include "schema/row_reader.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/random.h"
#include "quorate/v1/schema.pb.h"
#include "schema/wire.h"
#include "tests/schema/protos.h"

namespace quorate::schema {
namespace {

namespace pb = google::protobuf;

// Every type, singular, optional and repeated, in oneofs, and inside of messages.
constexpr std::string_view kFields = R"(
  bool b = 1; int32 i32 = 2; int64 i64 = 3; uint32 u32 = 4; uint64 u64 = 5; sint32 s32 = 6;
      sint64 s64 = 7;
  fixed32 f32 = 8; fixed64 f64 = 9; sfixed32 sf32 = 10; sfixed64 sf64 = 11; float f = 12;
      double d = 13;
  string s = 14; bytes y = 15; Color color = 16;
  optional int32 oi = 17; optional string os = 18; optional Color oc = 19;
  google.protobuf.Timestamp at = 20; google.protobuf.Duration took = 21;
      google.protobuf.Int64Value wrapped = 22;
  Inner inner = 30; repeated Inner inners = 31; map<string, int32> map = 32;
  oneof one { int32 one_i = 40; string one_s = 41; Inner one_m = 42; }
)";

std::string Text(bool packed) {
  const char* unpacked = packed ? "" : " [packed = false]";
  return Proto3(fmt::format(
      R"(import "google/protobuf/timestamp.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/wrappers.proto";
enum Color {{ RED = 0; GREEN = 1; BLUE = -1; }}
message Inner {{
  int32 n = 1; optional int32 on = 2; string s = 3; Inner deeper = 4;
  oneof one {{ int32 one_i = 5; Deep one_m = 6; }}
}}
message Deep {{ int64 n = 1; optional string s = 2; repeated int32 ns = 3{0}; }}
message Row {{
  option (quorate.table) = {{
    name: "rows" primary_key: "i64"
    index {{ name: "a" fields: "b" fields: "i32" fields: "u32" fields: "u64" fields: "s32"
        fields: "s64" }}
    index {{ name: "b" fields: "f32" fields: "f64" fields: "sf32" fields: "sf64" fields: "f"
        fields: "d" fields: "s"
            fields: "y" fields: "color" fields: "oi" fields: "os" fields: "oc" }}
    index {{ name: "c" fields: "at" fields: "took" fields: "wrapped" fields: "inner.n" fields:
        "inner.on"
            fields: "inner.s" fields: "inner.deeper.n" fields: "inner.deeper.deeper.on" }}
    index {{ name: "d" fields: "one_i" fields: "one_s" fields: "one_m.n" fields: "one_m.on"
        fields: "one_m.deeper.s"
            fields: "inner.one_i" fields: "inner.one_m.n" fields: "inner.one_m.s" }}
    index {{ name: "e" fields: "ints" }} index {{ name: "f" fields: "doubles" }}
    index {{ name: "g" fields: "strings" }} index {{ name: "h" fields: "colors" }}
    index {{ name: "i" fields: "inners.n" }} index {{ name: "j" fields: "inners.on" }}
    index {{ name: "k" fields: "inners.deeper.on" }} index {{ name: "l" fields: "inners.one_m.n" }}
    index {{ name: "m" fields: "inners.one_i" }} index {{ name: "n" fields: "times" }}
    index {{ name: "o" fields: "one_m.one_m.ns" }} index {{ name: "p" fields: "inner.one_m.ns" }}
  }};
  {1}
  repeated sint32 ints = 50{0}; repeated double doubles = 51{0}; repeated string strings = 52;
  repeated Color colors = 53{0}; repeated google.protobuf.Timestamp times = 54;
}})",
      unpacked, kFields));
}

void Fill(Random& random, int depth, pb::Message* message);

void FillField(Random& random, int depth, const pb::FieldDescriptor* field, pb::Message* message) {
  const pb::Reflection* of = message->GetReflection();
  const bool repeated = field->is_repeated();
  const uint64_t bits = random.Chance(0.5) ? random.Below(4) : random.Next() >> random.Below(64);
  switch (field->cpp_type()) {
#define SET(TYPE, Name, value)                                                              \
  case pb::FieldDescriptor::CPPTYPE_##TYPE:                                                 \
    repeated ? of->Add##Name(message, field, value) : of->Set##Name(message, field, value); \
    break;
    SET(BOOL, Bool, bits % 2 == 0)
    SET(INT32, Int32, static_cast<int32_t>(bits))
    SET(INT64, Int64, static_cast<int64_t>(bits))
    SET(UINT32, UInt32, static_cast<uint32_t>(bits))
    SET(UINT64, UInt64, bits)
    SET(FLOAT, Float, static_cast<float>(bits) / 3)
    SET(DOUBLE, Double, static_cast<double>(bits) / 3)
    SET(STRING, String, std::string(bits % 4, static_cast<char>('a' + bits % 3)))
    case pb::FieldDescriptor::CPPTYPE_ENUM: {
      const int number = static_cast<int>(bits % 5) - 1;  // some that the file does not name
      repeated ? of->AddEnumValue(message, field, number)
               : of->SetEnumValue(message, field, number);
      break;
    }
    case pb::FieldDescriptor::CPPTYPE_MESSAGE:
      Fill(random, depth + 1,
           repeated ? of->AddMessage(message, field) : of->MutableMessage(message, field));
      break;
#undef SET
  }
}

void Fill(Random& random, int depth, pb::Message* message) {
  const pb::Descriptor* descriptor = message->GetDescriptor();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    if (!random.Chance(depth == 0 ? 0.3 : depth < 4 ? 0.4 : 0.05)) continue;
    const pb::FieldDescriptor* field = descriptor->field(i);
    for (uint64_t left = field->is_repeated() ? random.Below(3) : 1; left > 0; --left) {
      FillField(random, depth, field, message);
    }
  }
}

// One value of a message by reflection, element `i` of a repeated field.
Value One(const pb::Message& message, const pb::FieldDescriptor* field, int i) {
  const pb::Reflection* of = message.GetReflection();
  const bool repeated = field->is_repeated();
  switch (field->cpp_type()) {
#define GET(TYPE, Name, Make)                                              \
  case pb::FieldDescriptor::CPPTYPE_##TYPE:                                \
    return Value::Make(repeated ? of->GetRepeated##Name(message, field, i) \
                                : of->Get##Name(message, field));
    GET(BOOL, Bool, Bool)
    GET(INT32, Int32, Int)
    GET(INT64, Int64, Int)
    GET(UINT32, UInt32, Uint)
    GET(UINT64, UInt64, Uint)
    GET(FLOAT, Float, Float)
    GET(DOUBLE, Double, Double)
    GET(ENUM, EnumValue, Int)
#undef GET
    case pb::FieldDescriptor::CPPTYPE_STRING: {
      std::string text =
          repeated ? of->GetRepeatedString(message, field, i) : of->GetString(message, field);
      return field->type() == pb::FieldDescriptor::TYPE_BYTES ? Value::Bytes(text)
                                                              : Value::String(text);
    }
    case pb::FieldDescriptor::CPPTYPE_MESSAGE:
      break;
  }
  const pb::Message& inner =
      repeated ? of->GetRepeatedMessage(message, field, i) : of->GetMessage(message, field);
  const auto* seconds = inner.GetDescriptor()->FindFieldByName("seconds");
  const auto* nanos = inner.GetDescriptor()->FindFieldByName("nanos");
  const int64_t s = inner.GetReflection()->GetInt64(inner, seconds);
  const int32_t n = inner.GetReflection()->GetInt32(inner, nanos);
  return inner.GetDescriptor()->name() == "Timestamp" ? Value::Timestamp(s, n)
                                                      : Value::Duration(s, n);
}

// What a column is, written down a second time, over a parsed message.
Values Naive(const pb::Message& message, const v1::Column& column, int step = 0) {
  const auto* field =
      message.GetDescriptor()->FindFieldByNumber(static_cast<int>(column.steps(step).number()));
  const pb::Reflection* of = message.GetReflection();
  const int count = field->is_repeated() ? of->FieldSize(message, field) : 1;
  Values values;
  if (step + 1 == column.steps_size()) {
    if (field->has_presence() && !of->HasField(message, field)) return {Value()};
    for (int i = 0; i < count; ++i) values.push_back(One(message, field, i));
    return values;
  }
  if (!field->is_repeated() && !of->HasField(message, field)) {
    for (int i = step + 1; i < column.steps_size(); ++i) {
      if (column.steps(i).repeated()) return {};
    }
    return {Value()};
  }
  for (int i = 0; i < count; ++i) {
    const pb::Message& inner = field->is_repeated() ? of->GetRepeatedMessage(message, field, i)
                                                    : of->GetMessage(message, field);
    for (Value& value : Naive(inner, column, step + 1)) values.push_back(std::move(value));
  }
  return values;
}

std::vector<v1::Column> ColumnsOf(const v1::TableDescriptor& table) {
  std::vector<v1::Column> columns;
  for (const auto& index : table.indexes()) {
    for (const auto& key : index.columns()) columns.push_back(key.column());
  }
  return columns;
}

TEST(RowReader, SeesWhatProtobufsParserSees) {
  const v1::TableDescriptor table = TableOf(Text(true));
  const Rows packed(table), unpacked(TableOf(Text(false)));
  RowReader reader;
  const std::vector<v1::Column> columns = ColumnsOf(table);
  std::vector<size_t> places;
  for (const v1::Column& column : columns) {
    const auto place = reader.AddColumn(column);
    ASSERT_TRUE(place.ok()) << place.status().message();
    places.push_back(*place);
  }
  Random random(1);
  for (int round = 0; round < 4'000; ++round) {
    std::string bytes;
    for (uint64_t pieces = 1 + random.Below(3); pieces > 0; --pieces) {
      auto message = (random.Chance(0.5) ? packed : unpacked).New();
      Fill(random, 0, message.get());
      bytes += message->SerializeAsString();
      if (random.Chance(0.2)) AppendVarintField(&bytes, 999, random.Next());
      if (random.Chance(0.1)) AppendBytesField(&bytes, 2, "an int32 as bytes: not this field");
      if (random.Chance(0.1)) AppendVarintField(&bytes, 14, 1);  // a string as a number
      if (random.Chance(0.1)) AppendVarintField(&bytes, 30, 1);  // a message as a number
    }
    const auto parsed = packed.Parse(bytes);
    const auto row = reader.Read(bytes, RowReader::Judge::kForm);
    ASSERT_TRUE(row.ok()) << row.status().message();
    for (size_t i = 0; i < columns.size(); ++i) {
      const Values naive = Naive(*parsed, columns[i]);
      ASSERT_EQ(row->columns[places[i]], naive)
          << columns[i].path() << " of " << parsed->ShortDebugString();
    }
  }
}

TEST(RowReader, MalformedBytesAreRefusedAndNothingIsReadBeyondThem) {
  const v1::TableDescriptor table = TableOf(Text(true));
  const Rows rows(table);
  RowReader reader;
  for (const v1::Column& column : ColumnsOf(table)) ASSERT_TRUE(reader.AddColumn(column).ok());
  Random random(2);
  int refused = 0;
  for (int round = 0; round < 20'000; ++round) {
    auto message = rows.New();
    Fill(random, 0, message.get());
    std::string bytes = message->SerializeAsString();
    for (uint64_t left = 1 + random.Below(4); left > 0 && !bytes.empty(); --left) {
      if (random.Chance(0.5)) {
        bytes[random.Below(bytes.size())] = static_cast<char>(random.Next());
      } else {
        bytes.resize(random.Below(bytes.size() + 1));
      }
    }
    // On the heap and of its exact size: a sanitizer sees what lies behind.
    const std::vector<char> exact(bytes.begin(), bytes.end());
    const auto row = reader.Read({exact.data(), exact.size()}, RowReader::Judge::kValues);
    if (row.ok()) continue;
    ++refused;
    ASSERT_EQ(row.status().code(), Code::kInvalidArgument);
  }
  EXPECT_GT(refused, 2'000);
}

TEST(RowReader, GroupsAreSkippedWholeAndNestedOnlySoDeep) {
  RowReader reader;
  v1::Column column;
  column.set_path("n");
  column.set_type(v1::COLUMN_INT32);
  column.add_steps()->set_number(1);
  ASSERT_TRUE(reader.AddColumn(column).ok());
  const auto nested = [](size_t depth) {
    std::string bytes;
    for (size_t i = 0; i < depth; ++i) bytes += "\x13";  // begins group 2
    bytes += std::string("\x08\x07", 2);                 // n = 7, inside: not the row's
    for (size_t i = 0; i < depth; ++i) bytes += "\x14";
    return bytes + std::string("\x08\x05", 2);
  };
  const auto row = reader.Read(nested(kRowNestingMax), RowReader::Judge::kValues);
  ASSERT_TRUE(row.ok());
  EXPECT_EQ(row->columns[0], Values{Value::Int(5)});
  EXPECT_FALSE(reader.Read(nested(kRowNestingMax + 1), RowReader::Judge::kValues).ok());
  EXPECT_FALSE(reader.Read("\x13\x1c", RowReader::Judge::kValues).ok());  // ends another group
  EXPECT_FALSE(reader.Read("\x14", RowReader::Judge::kValues).ok());
}

TEST(RowReader, NumbersThatAnEnumDoesNotNameAreSeen) {
  const v1::TableDescriptor table = TableOf(Proto2(R"(
    enum Color { RED = 1; GREEN = 2; }
    message Row {
      option (quorate.table) = { name: "rows" primary_key: "id" index { name: "i" fields:
          "color" } };
      optional int32 id = 1; optional Color color = 2;
    })"));
  RowReader reader;
  ASSERT_TRUE(reader.AddColumn(table.indexes(0).columns(0).column()).ok());
  std::string bytes;
  AppendVarintField(&bytes, 2, 9);
  const auto row = reader.Read(bytes, RowReader::Judge::kValues);
  ASSERT_TRUE(row.ok());
  EXPECT_EQ(row->columns[0], Values{Value::Int(9)});
}

TEST(RowReader, ValuesThatNoFieldMayHaveAreRefusedOnlyWhereTheyAreJudged) {
  const v1::TableDescriptor table = TableOf(Text(true));
  RowReader reader;
  for (const v1::Column& column : ColumnsOf(table)) ASSERT_TRUE(reader.AddColumn(column).ok());
  std::string text, time;
  AppendBytesField(&text, 14, "\xff");
  std::string nanos;
  AppendVarintField(&nanos, 2, 1'000'000'000);
  AppendBytesField(&time, 20, nanos);
  for (const std::string& bytes : {text, time}) {
    EXPECT_TRUE(reader.Read(bytes, RowReader::Judge::kForm).ok());
    const auto row = reader.Read(bytes, RowReader::Judge::kValues);
    ASSERT_FALSE(row.ok());
    EXPECT_TRUE(row.status().message().starts_with(bytes == text ? "s is not" : "at is outside"))
        << row.status().message();
  }
}

TEST(RowReader, ColumnsThatMakeNoSenseAreRefused) {
  const auto refused = [](auto change) {
    v1::Column column;
    column.set_path("x");
    column.set_type(v1::COLUMN_INT32);
    column.add_steps()->set_number(1);
    change(&column);
    return !RowReader().AddColumn(column).ok();
  };
  EXPECT_FALSE(refused([](v1::Column*) {}));
  EXPECT_TRUE(refused([](v1::Column* c) { c->clear_steps(); }));
  EXPECT_TRUE(refused([](v1::Column* c) { c->mutable_steps(0)->set_number(0); }));
  EXPECT_TRUE(refused([](v1::Column* c) { c->mutable_steps(0)->set_number(1u << 29); }));
  EXPECT_TRUE(refused([](v1::Column* c) { c->set_type(v1::COLUMN_NONE); }));
  EXPECT_TRUE(refused([](v1::Column* c) { c->set_type(static_cast<v1::ColumnType>(77)); }));
  EXPECT_TRUE(refused([](v1::Column* c) { c->set_default_value("7"); }));  // without presence
  EXPECT_TRUE(refused([](v1::Column* c) {
    c->set_has_presence(true);
    c->set_default_value("x");
  }));
  EXPECT_TRUE(refused([](v1::Column* c) {
    for (int i = 0; i < 8; ++i) c->add_steps()->set_number(1);
  }));
  EXPECT_TRUE(refused([](v1::Column* c) {
    c->mutable_steps(0)->set_repeated(true);
    c->add_steps()->set_number(1);
    c->mutable_steps(1)->set_repeated(true);
  }));
}

}  // namespace
}  // namespace quorate::schema
