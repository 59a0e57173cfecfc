// schema/: descriptors and options of services, the catalog's descriptors, rows, keys and entries.
#include <google/protobuf/descriptor.pb.h>

#include "base/check.h"
#include "quorate/options.pb.h"
#include "schema/keys.h"
#include "schema/plan.h"
#include "schema/row_codec.h"
#include "tests/fuzz/fuzz.h"

namespace quorate::fuzz {
namespace {

namespace pb = google::protobuf;
using schema::Compiled;
using schema::RowCodec;

// What is planned against nothing and then against what that made.
v1::Catalog Plan(const v1::Catalog& catalog, const Compiled& compiled) {
  if (!compiled.problems.empty()) return catalog;
  const v1::Plan plan = schema::MakePlan(catalog, compiled);
  CHECK(plan.refusals().empty() || plan.steps().empty());
  schema::Format(plan);
  if (!plan.refusals().empty()) return catalog;
  const auto after = schema::Finished(catalog, plan);
  CHECK(after.ok(), "{}", after.status().message());
  const v1::Plan again = schema::MakePlan(*after, compiled);
  CHECK(again.steps().empty() && again.refusals().empty(), "{}", schema::Format(again));
  for (const v1::TableDescriptor& table : after->tables()) {
    const auto codec = RowCodec::Make(table);
    CHECK(codec.ok(), "{}", codec.status().message());
  }
  return *after;
}

void Files(std::string_view input) {
  v1::Catalog catalog;
  while (!input.empty()) catalog = Plan(catalog, schema::Compile(TakeFrame(&input)));
}

pb::FileDescriptorSet Example() {
  pb::FileDescriptorSet set;
  pb::FileDescriptorProto* file = set.add_file();
  file->set_name("a.proto");
  file->set_syntax("proto3");
  file->add_dependency("quorate/options.proto");
  file->add_dependency("google/protobuf/timestamp.proto");
  pb::DescriptorProto* row = file->add_message_type();
  row->set_name("Row");
  int number = 0;
  const auto field = [&](const char* name, pb::FieldDescriptorProto::Type type) {
    pb::FieldDescriptorProto* added = row->add_field();
    added->set_name(name);
    added->set_number(++number);
    added->set_type(type);
    added->set_label(pb::FieldDescriptorProto::LABEL_OPTIONAL);
    return added;
  };
  field("id", pb::FieldDescriptorProto::TYPE_INT64);
  field("s", pb::FieldDescriptorProto::TYPE_STRING)->set_proto3_optional(true);
  row->add_oneof_decl()->set_name("_s");
  row->mutable_field(1)->set_oneof_index(0);
  field("r", pb::FieldDescriptorProto::TYPE_DOUBLE)
      ->set_label(pb::FieldDescriptorProto::LABEL_REPEATED);
  field("at", pb::FieldDescriptorProto::TYPE_MESSAGE)->set_type_name(".google.protobuf.Timestamp");
  field("row", pb::FieldDescriptorProto::TYPE_MESSAGE)->set_type_name(".Row");
  return set;
}

// Options as bytes, of the message and of its fields, over a message that can be built.
void Options(std::string_view input) {
  v1::Catalog catalog;
  for (int round = 0; round < 3 && !input.empty(); ++round) {
    pb::FileDescriptorSet set = Example();
    pb::DescriptorProto* row = set.mutable_file(0)->mutable_message_type(0);
    const auto parse = [&](pb::Message* options) {
      options->ParseFromString(std::string(TakeFrame(&input)));
    };
    parse(row->mutable_options()->MutableExtension(quorate::table));
    for (auto& field : *row->mutable_field()) {
      if (TakeByte(&input) % 2 == 0) continue;
      parse(field.mutable_options()->MutableExtension(quorate::field));
    }
    catalog = Plan(catalog, schema::Compile(set.SerializeAsString()));
  }
}

void CheckEntries(const RowCodec& codec, const v1::TableDescriptor& table, std::string_view row) {
  const auto key = codec.RowKey(row);
  if (!key.ok()) return;
  CHECK(key->size() <= limits::kKeyBytesMax && codec.DecodeRowKey(*key).ok());
  for (const v1::IndexDescriptor& index : table.indexes()) {
    const auto entries = codec.EntriesOf(index.index_id(), row);
    if (!entries.ok()) continue;
    for (const schema::Entry& entry : *entries) {
      CHECK(entry.key.size() <= limits::kKeyBytesMax);
      const auto decoded = codec.DecodeEntry(index.index_id(), entry.key, entry.value);
      CHECK(decoded.ok() && decoded->row_key == *key, "{}", decoded.status().message());
    }
  }
}

// A catalog from anywhere, and rows from anywhere.
void Codec(std::string_view input) {
  v1::TableDescriptor table;
  if (!table.ParseFromString(std::string(TakeFrame(&input)))) return;
  const auto codec = RowCodec::Make(table);
  if (!codec.ok()) return;
  const std::string_view before = TakeFrame(&input), after = TakeFrame(&input);
  CheckEntries(*codec, table, before);
  codec->Check(before);
  for (const auto& change : {codec->MakeChange({}, after), codec->MakeChange(before, after),
                             codec->MakeChange(before, {})}) {
    if (!change.ok()) {
      CHECK(!change.violation.ToStatus().ok());
      continue;
    }
    CHECK(IsTableKey(change->key));
    for (const schema::EntryChange& entry : change->entries) codec->UniqueViolation(entry, input);
    // What was written is in step, so nothing more is written for it.
    if (!change->value.has_value()) continue;
    const auto again = codec->MakeChange(*change->value, *change->value);
    CHECK(again.ok() && again->entries.empty() && *again->value == *change->value);
  }
  codec->DecodeRowKey(input).ok();
  codec->DecodeEntry(1, input.substr(0, input.size() / 2), input.substr(input.size() / 2)).ok();
}

void Tuples(std::string_view input) {
  while (!input.empty()) {
    const uint8_t kind = TakeByte(&input);
    const schema::Expected expected{
        static_cast<schema::Kind>(kind % 10), (kind & 0x20) != 0,
        (kind & 0x40) != 0 ? schema::Order::kDescending : schema::Order::kAscending};
    const std::string_view before = input;
    schema::Value value;
    if (!schema::GetValue(&input, expected, &value)) return;
    std::string again;
    schema::PutValue(&again, value, expected.order);
    CHECK(again == before.substr(0, before.size() - input.size()));
    CHECK(again.size() == schema::EncodedSize(value));
    CHECK(schema::Format(value).size() < 400);
  }
}

std::string FileOf(std::string_view table_options) {
  pb::FileDescriptorSet set = Example();
  set.mutable_file(0)
      ->mutable_message_type(0)
      ->mutable_options()
      ->MutableExtension(quorate::table)
      ->ParseFromString(std::string(table_options));
  return set.SerializeAsString();
}

}  // namespace

void Run(std::string_view input) {
  switch (TakeByte(&input) % 4) {
    case 0:
      return Files(input);
    case 1:
      return Options(input);
    case 2:
      return Codec(input);
    default:
      return Tuples(input);
  }
}

std::vector<std::string> Seeds() {
  quorate::TableOptions options;
  options.set_name("rows");
  options.add_primary_key("id desc");
  const std::string plain = options.SerializeAsString();
  quorate::IndexOptions* index = options.add_index();
  index->set_name("a");
  index->add_fields("s");
  index->add_fields("at desc");
  index->set_unique(true);
  index->add_storing("r");
  index = options.add_index();
  index->set_name("b");
  index->add_fields("r");
  index->add_fields("row.row.s");
  const std::string indexed = options.SerializeAsString();
  quorate::FieldOptions field;
  field.set_not_null(true);
  field.add_check()->set_name("c");
  field.mutable_check(0)->set_size_at_most(5);

  std::string files("\0", 1), opts("\1"), codec("\2"), tuples("\3");
  PutFrame(&files, FileOf(plain));
  PutFrame(&files, FileOf(indexed));
  PutFrame(&files, FileOf(plain));
  PutFrame(&opts, plain);
  opts += std::string("\0\1", 2);
  PutFrame(&opts, field.SerializeAsString());
  opts += std::string(3, '\0');
  PutFrame(&opts, indexed);
  const v1::Catalog catalog = Plan(v1::Catalog(), schema::Compile(FileOf(indexed)));
  PutFrame(&codec, catalog.tables(0).SerializeAsString());
  PutFrame(&codec, std::string("\x08\x07\x12\x01x\x22\x02\x08\x05", 9));
  PutFrame(&codec, std::string("\x08\x07\x1a\x08\0\0\0\0\0\0\xf0\x3f", 12));
  for (const auto& [kind, value] :
       {std::pair(2, schema::Value::Int(-300)), std::pair(7, schema::Value::Bytes("a")),
        std::pair(8, schema::Value::Timestamp(5, 6)), std::pair(5, schema::Value::Double(-1))}) {
    tuples.push_back(static_cast<char>(kind));
    schema::PutValue(&tuples, value, schema::Order::kAscending);
  }
  return {files, opts, codec, tuples};
}

}  // namespace quorate::fuzz
