#include "base/status.h"

#include <gtest/gtest.h>

#include "base/status_macros.h"

namespace quorate {
namespace {

TEST(Status, EveryCodeHasANameAndAnEffect) {
  for (int i = 0; i <= static_cast<int>(Code::kUninitialized); ++i) {
    EXPECT_FALSE(CodeName(static_cast<Code>(i)).empty());
    EffectOf(static_cast<Code>(i));
  }
}

TEST(Status, TooOldSaysNothingAboutTheOutcome) {
  EXPECT_EQ(EffectOf(Code::kTooOld), Effect::kUnknown);
}

Result<int> Half(int n) {
  if (n % 2 != 0) return InvalidArgument("odd");
  return n / 2;
}
Result<int> Quarter(int n) {
  ASSIGN_OR_RETURN(const int half, Half(n));
  return Half(half);
}

TEST(Result, PropagatesErrors) {
  EXPECT_EQ(*Quarter(8), 2);
  EXPECT_EQ(Quarter(6).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(Quarter(6).status().ToString(), "INVALID_ARGUMENT: odd");
}

}  // namespace
}  // namespace quorate
