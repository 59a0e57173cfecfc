#include "schema/path.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <set>

#include "base/bytes.h"
#include "base/status_macros.h"
#include "quorate/options.pb.h"
#include "schema/limits.h"
#include "schema/value.h"

namespace quorate::schema {
namespace {

namespace pb = google::protobuf;

bool IsWrapper(const pb::Descriptor& message) {
  static const std::set<std::string> kWrappers = {
      "google.protobuf.BoolValue",   "google.protobuf.Int32Value",  "google.protobuf.Int64Value",
      "google.protobuf.UInt32Value", "google.protobuf.UInt64Value", "google.protobuf.FloatValue",
      "google.protobuf.DoubleValue", "google.protobuf.StringValue", "google.protobuf.BytesValue"};
  return kWrappers.contains(message.full_name());
}

v1::ColumnType TypeOf(const pb::FieldDescriptor& field) {
  if (field.type() == pb::FieldDescriptor::TYPE_MESSAGE) {
    if (field.message_type()->full_name() == "google.protobuf.Timestamp")
      return v1::COLUMN_TIMESTAMP;
    if (field.message_type()->full_name() == "google.protobuf.Duration") return v1::COLUMN_DURATION;
  }
  return static_cast<v1::ColumnType>(field.type());
}

std::string EscapeBytes(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) text += fmt::format("\\x{:02x}", static_cast<uint8_t>(c));
  return text;
}

// [default = ...] of proto2, as a literal.
std::string DeclaredDefault(const pb::FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case pb::FieldDescriptor::CPPTYPE_INT32:
      return fmt::format("{}", field.default_value_int32());
    case pb::FieldDescriptor::CPPTYPE_INT64:
      return fmt::format("{}", field.default_value_int64());
    case pb::FieldDescriptor::CPPTYPE_UINT32:
      return fmt::format("{}", field.default_value_uint32());
    case pb::FieldDescriptor::CPPTYPE_UINT64:
      return fmt::format("{}", field.default_value_uint64());
    case pb::FieldDescriptor::CPPTYPE_FLOAT:
      return Format(Value::Float(field.default_value_float()));
    case pb::FieldDescriptor::CPPTYPE_DOUBLE:
      return Format(Value::Double(field.default_value_double()));
    case pb::FieldDescriptor::CPPTYPE_BOOL:
      return field.default_value_bool() ? "true" : "false";
    case pb::FieldDescriptor::CPPTYPE_ENUM:
      return fmt::format("{}", field.default_value_enum()->number());
    case pb::FieldDescriptor::CPPTYPE_STRING:
      return field.type() == pb::FieldDescriptor::TYPE_BYTES
                 ? EscapeBytes(field.default_value_string())
                 : field.default_value_string();
    case pb::FieldDescriptor::CPPTYPE_MESSAGE:
      return "";
  }
  return "";
}

// Appends a step, which makes what the column was so far a message on the way.
void AddStep(const pb::FieldDescriptor& field, v1::Column* column) {
  v1::PathStep* step = column->add_steps();
  step->set_number(static_cast<uint32_t>(field.number()));
  step->set_repeated(field.is_repeated());
  for (const uint32_t sibling : OneofSiblings(field)) step->add_oneof_siblings(sibling);
  column->set_type(TypeOf(field));
  column->set_has_presence(field.has_presence());
  column->clear_default_value();
  if (field.is_repeated() || field.real_containing_oneof() != nullptr) return;
  if (field.has_default_value()) {
    column->set_default_value(DeclaredDefault(field));
  } else if (field.options().HasExtension(quorate::field) && field.has_presence()) {
    const FieldOptions& options = field.options().GetExtension(quorate::field);
    if (!options.has_default_value()) return;
    // One that is no literal is the compiler's to tell; here it is as if it were not there.
    auto literal = CanonicalLiteral(field, options.default_value());
    if (literal.ok()) column->set_default_value(*literal);
  }
}

Status CheckWay(const pb::FieldDescriptor& field, bool through_repeated) {
  const std::string name = field.name();
  if (field.message_type() == nullptr) {
    return InvalidArgument(fmt::format("{} is no message, so nothing is inside it", name));
  }
  if (field.is_map())
    return InvalidArgument(fmt::format("{} is a map: no path leads into it", name));
  if (field.type() == pb::FieldDescriptor::TYPE_GROUP) {
    return InvalidArgument(fmt::format("{} is a group: no path leads into it", name));
  }
  if (field.is_repeated() && through_repeated) {
    return InvalidArgument("the path leads through two repeated fields");
  }
  return Status::Ok();
}

Status CheckEnd(const pb::FieldDescriptor& field, const v1::Column& column, ColumnUse use) {
  const bool repeated =
      std::ranges::any_of(column.steps(), [](const auto& step) { return step.repeated(); });
  if (std::ranges::count_if(column.steps(), [](const auto& step) { return step.repeated(); }) > 1) {
    return InvalidArgument("the path leads through two repeated fields");
  }
  if (use == ColumnUse::kField) return Status::Ok();
  if (field.is_map()) {
    return InvalidArgument("a map is in no key: make what is looked for a field of its own");
  }
  if (KindOf(column.type()) == Kind::kPresent) {
    return InvalidArgument(fmt::format("it is a {}: name one of its fields, as in {}.FIELD",
                                       field.message_type()->full_name(), column.path()));
  }
  if (use == ColumnUse::kPrimaryKey && repeated) {
    return InvalidArgument("it is repeated: a row has one primary key");
  }
  return Status::Ok();
}

}  // namespace

std::vector<uint32_t> OneofSiblings(const pb::FieldDescriptor& field) {
  std::vector<uint32_t> siblings;
  const pb::OneofDescriptor* oneof = field.real_containing_oneof();
  if (oneof == nullptr) return siblings;
  for (int i = 0; i < oneof->field_count(); ++i) {
    if (oneof->field(i) == &field) continue;
    siblings.push_back(static_cast<uint32_t>(oneof->field(i)->number()));
  }
  std::ranges::sort(siblings);
  return siblings;
}

v1::Column ColumnOf(const pb::FieldDescriptor& field) {
  v1::Column column;
  column.set_path(field.name());
  AddStep(field, &column);
  return column;
}

Result<v1::Column> ResolvePath(const pb::Descriptor& message, std::string_view path,
                               ColumnUse use) {
  v1::Column column;
  const pb::Descriptor* in = &message;
  const pb::FieldDescriptor* field = nullptr;
  bool through_repeated = false;
  for (std::string_view rest = path; in != nullptr;) {
    const std::string name(rest.substr(0, rest.find('.')));
    if (field != nullptr) {
      RETURN_IF_ERROR(CheckWay(*field, through_repeated));
      through_repeated |= field->is_repeated();
    }
    field = in->FindFieldByName(name);
    if (field == nullptr) {
      return InvalidArgument(
          fmt::format("{} has no field \"{}\"", in->full_name(), Printable(name)));
    }
    if (column.steps_size() == static_cast<int>(kStepsMax)) {
      return InvalidArgument(fmt::format("a path has {} steps at most", kStepsMax));
    }
    AddStep(*field, &column);
    if (name.size() == rest.size()) break;
    rest.remove_prefix(name.size() + 1);
    in = field->message_type();
    if (in == nullptr) RETURN_IF_ERROR(CheckWay(*field, through_repeated));
  }
  column.set_path(std::string(path));
  const bool message_wanted = use == ColumnUse::kField;
  if (!message_wanted && field->type() == pb::FieldDescriptor::TYPE_MESSAGE && !field->is_map() &&
      IsWrapper(*field->message_type()) && column.steps_size() < static_cast<int>(kStepsMax)) {
    if (const pb::FieldDescriptor* value = field->message_type()->FindFieldByNumber(1)) {
      field = value;
      AddStep(*field, &column);
    }
  }
  RETURN_IF_ERROR(CheckEnd(*field, column, use));
  return column;
}

Result<v1::KeyColumn> ResolveKeyColumn(const pb::Descriptor& message, std::string_view text,
                                       ColumnUse use) {
  v1::KeyColumn key;
  const size_t blank = text.find(' ');
  if (blank != std::string_view::npos) {
    const std::string_view direction = text.substr(blank);
    if (direction != " asc" && direction != " desc") {
      return InvalidArgument("behind a path is nothing, \" asc\" or \" desc\"");
    }
    key.set_descending(direction == " desc");
    text = text.substr(0, blank);
  }
  ASSIGN_OR_RETURN(*key.mutable_column(), ResolvePath(message, text, use));
  return key;
}

Result<std::string> CanonicalLiteral(const pb::FieldDescriptor& field, std::string_view literal) {
  std::string text(literal);
  if (field.enum_type() != nullptr) {
    if (const auto* value = field.enum_type()->FindValueByName(text)) {
      text = fmt::format("{}", value->number());
    } else if (text.empty() || text.find_first_not_of("-0123456789") != std::string::npos) {
      return InvalidArgument(
          fmt::format("{} has no value \"{}\"", field.enum_type()->full_name(), Printable(text)));
    }
  }
  auto value = ParseLiteral(TypeOf(field), text);
  if (!value.ok()) return value.status();
  if (value->kind() != Kind::kString) {
    text = value->kind() == Kind::kBytes ? EscapeBytes(value->text()) : Format(*value);
  }
  if (text.size() <= kLiteralBytesMax) return text;
  return InvalidArgument(
      fmt::format("a literal of bytes has {} bytes at most", kLiteralBytesMax / 4));
}

std::string RepeatedPart(const v1::Column& column) {
  std::string numbers;
  for (int i = 0; i < column.steps_size(); ++i) {
    numbers += fmt::format("{}{}", i == 0 ? "" : ".", column.steps(i).number());
    if (column.steps(i).repeated()) return numbers + (i + 1 == column.steps_size() ? "!" : "");
  }
  return "";
}

std::string NumbersOf(const v1::Column& column) {
  std::string numbers;
  for (const v1::PathStep& step : column.steps()) {
    numbers += fmt::format("{}{}", numbers.empty() ? "" : ".", step.number());
  }
  return numbers;
}

}  // namespace quorate::schema
