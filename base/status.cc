#include "base/status.h"

#include <array>

#include "base/check.h"

namespace quorate {
namespace {

struct CodeInfo {
  std::string_view name;
  Effect effect;
};

constexpr std::array<CodeInfo, 26> kCodes = {{
    {"OK", Effect::kDone},
    {"INVALID_ARGUMENT", Effect::kNothingHappened},
    {"NOT_FOUND", Effect::kNothingHappened},
    {"ALREADY_EXISTS", Effect::kNothingHappened},
    {"FAILED_PRECONDITION", Effect::kNothingHappened},
    {"NOT_LEADER", Effect::kNothingHappened},
    {"STALE_EPOCH", Effect::kNothingHappened},
    {"OVERLOADED", Effect::kNothingHappened},
    {"UNAVAILABLE", Effect::kUnknown},
    {"DEADLINE_EXCEEDED", Effect::kUnknown},
    {"WRONG_CLUSTER", Effect::kNothingHappened},
    {"WRONG_NODE", Effect::kNothingHappened},
    {"READ_CONFLICT", Effect::kNothingHappened},
    {"LOCK_CONFLICT", Effect::kNothingHappened},
    {"TOO_OLD", Effect::kUnknown},
    {"TIMESTAMP_EXHAUSTED", Effect::kNothingHappened},
    {"SNAPSHOT_TOO_OLD", Effect::kNothingHappened},
    {"SCHEMA_FENCED", Effect::kNothingHappened},
    {"ABORTED", Effect::kNothingHappened},
    {"UNKNOWN_OUTCOME", Effect::kUnknown},
    {"IO_ERROR", Effect::kUnknown},
    {"CORRUPTION", Effect::kUnknown},
    {"NO_SPACE", Effect::kNothingHappened},
    {"CANCELLED", Effect::kUnknown},
    {"INTERNAL", Effect::kUnknown},
    {"UNINITIALIZED", Effect::kNothingHappened},
}};

const CodeInfo& Info(Code code) {
  const auto index = static_cast<size_t>(code);
  CHECK(index < kCodes.size(), "unknown code {}", index);
  return kCodes[index];
}

}  // namespace

namespace status_internal {

void OkWithoutValue() { CHECK(false, "a Result was built from an OK status without a value"); }
void NoValue(const Status& status) {
  CHECK(false, "value() of a failed Result: {}", status.ToString());
}

}  // namespace status_internal

Effect EffectOf(Code code) { return Info(code).effect; }
std::string_view CodeName(Code code) { return Info(code).name; }

std::string Status::ToString() const {
  std::string text(CodeName(code_));
  if (!message_.empty()) text.append(": ").append(message_);
  return text;
}

}  // namespace quorate
