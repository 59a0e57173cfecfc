#include "schema/wire.h"

#include "base/coding.h"
#include "schema/limits.h"

namespace quorate::schema {
namespace {

bool GetTag(std::string_view* input, WireField* field) {
  uint64_t tag = 0;
  if (!GetVarint(input, &tag) || tag > UINT32_MAX || tag >> 3 == 0 || (tag & 7) > 5) return false;
  field->number = static_cast<uint32_t>(tag >> 3);
  field->type = static_cast<WireType>(tag & 7);
  return true;
}

// What follows a tag, except of groups.
bool GetPayload(std::string_view* input, WireField* field) {
  uint32_t narrow = 0;
  switch (field->type) {
    case WireType::kVarint:
      return GetVarint(input, &field->bits);
    case WireType::kFixed64:
      return GetFixed64(input, &field->bits);
    case WireType::kFixed32:
      if (!GetFixed32(input, &narrow)) return false;
      field->bits = narrow;
      return true;
    case WireType::kLengthDelimited:
      return GetLengthPrefixed(input, &field->payload);
    case WireType::kStartGroup:
    case WireType::kEndGroup:
      return false;
  }
  return false;
}

// Behind the tag that begins group `number`: up to and over the one that ends it.
bool GetGroup(std::string_view* input, uint32_t number, std::string_view* content) {
  const std::string_view begin = *input;
  uint32_t open[kRowNestingMax];
  size_t depth = 0;
  open[depth++] = number;
  while (!input->empty()) {
    const size_t at = begin.size() - input->size();
    WireField field;
    if (!GetTag(input, &field)) return false;
    if (field.type == WireType::kStartGroup) {
      if (depth == kRowNestingMax) return false;
      open[depth++] = field.number;
    } else if (field.type == WireType::kEndGroup) {
      if (open[--depth] != field.number) return false;
      if (depth > 0) continue;
      *content = begin.substr(0, at);
      return true;
    } else if (!GetPayload(input, &field)) {
      return false;
    }
  }
  return false;
}

void PutTag(std::string* out, uint32_t number, WireType type) {
  PutVarint(out, uint64_t{number} << 3 | static_cast<uint64_t>(type));
}

}  // namespace

bool NextField(std::string_view* input, WireField* field) {
  const std::string_view begin = *input;
  field->payload = {};
  field->bits = 0;
  if (!GetTag(input, field)) return false;
  const bool taken = field->type == WireType::kStartGroup
                         ? GetGroup(input, field->number, &field->payload)
                         : GetPayload(input, field);
  field->whole = begin.substr(0, begin.size() - input->size());
  return taken;
}

bool NextPacked(std::string_view* input, WireType type, uint64_t* bits) {
  WireField element;
  element.type = type;
  if (type == WireType::kLengthDelimited || !GetPayload(input, &element)) return false;
  *bits = element.bits;
  return true;
}

void AppendVarintField(std::string* out, uint32_t number, uint64_t bits) {
  PutTag(out, number, WireType::kVarint);
  PutVarint(out, bits);
}
void AppendFixed32Field(std::string* out, uint32_t number, uint32_t bits) {
  PutTag(out, number, WireType::kFixed32);
  PutFixed32(out, bits);
}
void AppendFixed64Field(std::string* out, uint32_t number, uint64_t bits) {
  PutTag(out, number, WireType::kFixed64);
  PutFixed64(out, bits);
}
void AppendBytesField(std::string* out, uint32_t number, std::string_view bytes) {
  PutTag(out, number, WireType::kLengthDelimited);
  PutLengthPrefixed(out, bytes);
}

std::string WithoutField(std::string_view message, uint32_t number) {
  std::string kept;
  for (WireField field; !message.empty();) {
    if (!NextField(&message, &field)) break;
    if (field.number != number) kept.append(field.whole);
  }
  return kept;
}

}  // namespace quorate::schema
