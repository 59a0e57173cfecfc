#include "txn/errors.h"

#include <gtest/gtest.h>

#include "base/limits.h"
#include "quorate/v1/txn.pb.h"

namespace quorate {
namespace {

TEST(Errors, EveryStatusComesBackFromTheWire) {
  for (int i = 0; i <= static_cast<int>(Code::kUninitialized); ++i) {
    const Status status(static_cast<Code>(i), i == 0 ? "" : "why");
    v1::Error error;
    StatusToError(status, &error);
    const Status back = StatusFromError(error);
    EXPECT_EQ(back.code(), status.code());
    EXPECT_EQ(back.message(), status.message());
    // What may have happened is never repeated blindly.
    if (EffectOf(status.code()) == Effect::kUnknown) {
      EXPECT_EQ(RetryClassOf(status.code()), RetryClass::kAskOutcome) << status.ToString();
    }
  }
}

TEST(Errors, ACodeFromTheFutureIsInternal) {
  v1::Error error;
  error.set_code(static_cast<v1::ErrorCode>(200));
  EXPECT_EQ(StatusFromError(error).code(), Code::kInternal);
}

TEST(Errors, LimitsAreNamed) {
  EXPECT_TRUE(CheckKey(std::string(limits::kKeyBytesMax, 'k')).ok());
  const Status key = CheckKey(std::string(limits::kKeyBytesMax + 1, 'k'));
  EXPECT_NE(key.message().find("480"), std::string::npos);
  EXPECT_FALSE(CheckKey("").ok());
  EXPECT_TRUE(CheckValue(std::string(limits::kValueBytesMax, 'v')).ok());
  EXPECT_FALSE(CheckValue(std::string(limits::kValueBytesMax + 1, 'v')).ok());
  EXPECT_TRUE(CheckSpan(Span::OfKey(std::string(limits::kKeyBytesMax, 'k'))).ok());
  EXPECT_FALSE(CheckSpan(Span{"b", "b"}).ok());
  EXPECT_TRUE(CheckSpan(Span::All()).ok());
  EXPECT_TRUE(CheckTxnSize(limits::kTxnBytesMax, limits::kTxnKeysMax, limits::kTxnRangesMax).ok());
  EXPECT_FALSE(CheckTxnSize(limits::kTxnBytesMax + 1, 1, 0).ok());
  EXPECT_FALSE(CheckTxnSize(1, limits::kTxnKeysMax + 1, 0).ok());
  const Status ranges = CheckTxnSize(1, limits::kTxnRangesMax + 1, limits::kTxnRangesMax + 1);
  EXPECT_EQ(ranges.code(), Code::kInvalidArgument);
  EXPECT_NE(ranges.message().find("reads 1025 ranges"), std::string::npos) << ranges.message();
}

TEST(Errors, ATimestampFarAboveTheNewestKnownSlotIsChecked) {
  const Timestamp newest = Timestamp::FromParts(10'000, 5);
  EXPECT_FALSE(NeedsFreshSlot(Timestamp::FromParts(10'000, 5), newest));
  EXPECT_FALSE(NeedsFreshSlot(Timestamp::FromParts(1, 0), newest));
  EXPECT_FALSE(NeedsFreshSlot(Timestamp::FromParts(10'000 + kUnseenSlotMillisMax, 0), newest));
  EXPECT_TRUE(NeedsFreshSlot(Timestamp::FromParts(10'001 + kUnseenSlotMillisMax, 0), newest));
  EXPECT_TRUE(NeedsFreshSlot(Timestamp(~0ull), newest));
  EXPECT_TRUE(NeedsFreshSlot(Timestamp::FromParts(10'000, 0), Timestamp()));
}

}  // namespace
}  // namespace quorate
