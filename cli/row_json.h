// Rows of tables as JSON, by the message that the catalog has: what is not known at build time.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "quorate/v1/schema.pb.h"

namespace google::protobuf {
class Message;
}  // namespace google::protobuf

namespace quorate::cli {

class RowJson {
 public:
  // FAILED_PRECONDITION: this version cannot build the table's message.
  static Result<RowJson> Make(const v1::TableDescriptor& table);
  RowJson(RowJson&&) noexcept;
  ~RowJson();

  // One line, as protobuf maps messages to JSON; fields by their names in the file. Fields that the
  // catalog does not know are left out. INTERNAL: the bytes are no such message.
  Result<std::string> ToJson(std::string_view row) const;
  // A row to be written. INVALID_ARGUMENT says where and why. A field that the message does not
  // have is a mistake.
  Result<std::string> FromJson(std::string_view json) const;
  // Some fields of a row, whatever else it must have: INVALID_ARGUMENT if `columns` are not all
  // there, since a field that was forgotten would count as zero.
  Result<std::string> PartFromJson(std::string_view json,
                                   const std::vector<std::string>& columns) const;

 private:
  struct Rep;
  Result<std::unique_ptr<google::protobuf::Message>> Parse(std::string_view json) const;
  explicit RowJson(std::unique_ptr<Rep> rep);
  std::unique_ptr<Rep> rep_;
};

}  // namespace quorate::cli
