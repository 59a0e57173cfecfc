#include "cli/row_json.h"

#include <fmt/format.h>
#include <google/protobuf/dynamic_message.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/status_macros.h"
#include "client/table.h"
#include "schema/descriptors.h"

namespace quorate::cli {

namespace pb = google::protobuf;

struct RowJson::Rep {
  std::unique_ptr<schema::Descriptors> descriptors;
  pb::DynamicMessageFactory factory;  // goes before the descriptors
  const pb::Message* prototype = nullptr;
};

RowJson::RowJson(std::unique_ptr<Rep> rep) : rep_(std::move(rep)) {}
RowJson::RowJson(RowJson&&) noexcept = default;
RowJson::~RowJson() = default;

Result<RowJson> RowJson::Make(const v1::TableDescriptor& table) {
  auto rep = std::make_unique<Rep>();
  schema::Problems problems;
  rep->descriptors = schema::Descriptors::Build(table.files(), &problems);
  const pb::Descriptor* message =
      rep->descriptors ? rep->descriptors->FindMessage(table.message()) : nullptr;
  if (message == nullptr) {
    return Status(
        Code::kFailedPrecondition,
        fmt::format("table {}: this version of quorate cannot build its message: {}", table.name(),
                    problems.empty() ? "it is not there" : problems.list()[0].reason));
  }
  rep->prototype = rep->factory.GetPrototype(message);
  return RowJson(std::move(rep));
}

Result<std::string> RowJson::ToJson(std::string_view row) const {
  const std::unique_ptr<pb::Message> message(rep_->prototype->New());
  if (!message->ParseFromArray(row.data(), static_cast<int>(row.size()))) {
    return Internal("a row does not parse as " + message->GetTypeName());
  }
  std::string json;
  pb::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  const auto printed = pb::util::MessageToJsonString(*message, &json, options);
  if (!printed.ok()) return Internal("a row has no JSON: " + printed.ToString());
  return json;
}

Result<std::unique_ptr<pb::Message>> RowJson::Parse(std::string_view json) const {
  std::unique_ptr<pb::Message> message(rep_->prototype->New());
  const auto parsed = pb::util::JsonStringToMessage(std::string(json), message.get());
  if (!parsed.ok()) {
    return InvalidArgument(fmt::format("that is no {} in JSON: {}", message->GetTypeName(),
                                       std::string(parsed.message())));
  }
  return message;
}

Result<std::string> RowJson::FromJson(std::string_view json) const {
  ASSIGN_OR_RETURN(const auto message, Parse(json));
  return client::RowOf(*message);
}

namespace {

// Whether an object has a value for the field that `path` leads to, by either of the names that
// each step may have in JSON.
bool Names(const nlohmann::json& object, const pb::Descriptor* message, std::string_view path) {
  const nlohmann::json* at = &object;
  while (!path.empty()) {
    const std::string step(path.substr(0, path.find('.')));
    path.remove_prefix(std::min(path.size(), step.size() + 1));
    const pb::FieldDescriptor* field =
        message == nullptr ? nullptr : message->FindFieldByName(step);
    if (field == nullptr || !at->is_object()) return false;
    auto found = at->find(field->name());
    if (found == at->end()) found = at->find(field->json_name());
    if (found == at->end() || found->is_null()) return false;
    at = &*found;
    message = field->message_type();
  }
  return true;
}

}  // namespace

Result<std::string> RowJson::PartFromJson(std::string_view json,
                                          const std::vector<std::string>& columns) const {
  ASSIGN_OR_RETURN(const auto message, Parse(json));
  const auto object = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  for (const std::string& column : columns) {
    if (Names(object, rep_->prototype->GetDescriptor(), column)) continue;
    return InvalidArgument(fmt::format(
        "{} is a column of the primary key, and not in that JSON: name all of them", column));
  }
  return message->SerializePartialAsString();
}

}  // namespace quorate::cli
