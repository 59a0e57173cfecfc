#include "tests/history/list_append.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quorate::history {
namespace {

using ::testing::Contains;
using ::testing::Field;
using ::testing::IsEmpty;

MicroOp A(std::string key, int64_t element) {
  return {MicroOp::Kind::kAppend, std::move(key), element, {}, {}};
}
MicroOp R(std::string key, std::vector<int64_t> list) {
  return {MicroOp::Kind::kRead, std::move(key), 0, std::move(list), {}};
}
Transaction T(int64_t invoked, int64_t completed, std::vector<MicroOp> ops,
              Outcome outcome = Outcome::kOk) {
  return {0, invoked, completed, outcome, std::move(ops)};
}

std::vector<std::string> Names(const std::vector<Transaction>& history) {
  std::vector<std::string> names;
  for (const Anomaly& anomaly : CheckListAppend(history)) names.push_back(anomaly.name);
  return names;
}

TEST(ListAppend, AcceptsASerialHistory) {
  EXPECT_THAT(
      Names({T(0, 1, {A("x", 1)}), T(2, 3, {R("x", {1}), A("x", 2)}), T(4, 5, {R("x", {1, 2})})}),
      IsEmpty());
}

TEST(ListAppend, AcceptsUnknownOutcomesEitherWay) {
  EXPECT_THAT(Names({T(0, 1, {A("x", 1)}, Outcome::kUnknown), T(2, 3, {R("x", {1})}),
                     T(2, 3, {A("y", 1)}, Outcome::kUnknown), T(4, 5, {R("y", {})})}),
              IsEmpty());
}

TEST(ListAppend, FindsAbortedRead) {
  EXPECT_THAT(Names({T(0, 1, {A("x", 1)}, Outcome::kFail), T(2, 3, {R("x", {1})})}),
              Contains("G1a"));
}

TEST(ListAppend, FindsIntermediateRead) {
  EXPECT_THAT(
      Names({T(0, 9, {A("x", 1), A("x", 2)}), T(0, 9, {R("x", {1})}), T(10, 11, {R("x", {1, 2})})}),
      Contains("G1b"));
}

TEST(ListAppend, FindsIncompatibleOrders) {
  EXPECT_THAT(Names({T(0, 9, {A("x", 1)}), T(0, 9, {A("x", 2)}), T(0, 9, {R("x", {1})}),
                     T(0, 9, {R("x", {2, 1})})}),
              Contains("incompatible-order"));
}

TEST(ListAppend, FindsLostAppend) {
  EXPECT_THAT(Names({T(0, 1, {A("x", 1)}), T(2, 3, {R("x", {})})}), Contains("G-single-realtime"));
}

TEST(ListAppend, FindsGarbageAndInternal) {
  EXPECT_THAT(Names({T(0, 1, {R("x", {7})})}), Contains("garbage-read"));
  EXPECT_THAT(Names({T(0, 1, {A("x", 1), R("x", {})})}), Contains("internal"));
}

TEST(ListAppend, FindsWriteSkewAsG2) {
  EXPECT_THAT(Names({T(0, 9, {R("x", {}), A("y", 1)}), T(0, 9, {R("y", {}), A("x", 1)}),
                     T(10, 11, {R("x", {1}), R("y", {1})})}),
              Contains("G2-item"));
}

TEST(ListAppend, FindsReadSkewAsGSingle) {
  EXPECT_THAT(Names({T(0, 9, {A("x", 1), A("y", 1)}), T(0, 9, {R("x", {1}), R("y", {})}),
                     T(10, 11, {R("y", {1})})}),
              Contains("G-single"));
}

TEST(ListAppend, FindsCircularInformationFlow) {
  EXPECT_THAT(Names({T(0, 9, {A("x", 1), R("y", {1})}), T(0, 9, {A("y", 1), R("x", {1})})}),
              Contains("G1c"));
}

TEST(ListAppend, FindsWriteCycleAsG0) {
  EXPECT_THAT(Names({T(0, 9, {A("x", 1), A("y", 2)}), T(0, 9, {A("x", 2), A("y", 1)}),
                     T(10, 11, {R("x", {1, 2}), R("y", {1, 2})})}),
              Contains("G0"));
}

TEST(ListAppend, FindsStaleReadOnlyThroughRealTime) {
  // Serializable, but the second append was acknowledged before the read began.
  EXPECT_THAT(Names({T(0, 1, {A("x", 1)}), T(2, 3, {A("x", 2)}), T(4, 5, {R("x", {1})}),
                     T(6, 7, {R("x", {1, 2})})}),
              Contains("G-single-realtime"));
}

TEST(ListAppend, FindsCausalReverse) {
  // A read sees the later of two appends that followed each other in real time, not the earlier.
  EXPECT_THAT(Names({T(0, 1, {A("x", 1)}), T(2, 3, {A("y", 1)}), T(0, 9, {R("x", {}), R("y", {1})}),
                     T(10, 11, {R("x", {1})})}),
              Contains("G-single-realtime"));
}

TEST(ListAppend, ExplainsInWords) {
  const auto anomalies =
      CheckListAppend({T(0, 9, {R("x", {}), A("y", 1)}), T(0, 9, {R("y", {}), A("x", 1)}),
                       T(10, 11, {R("x", {1}), R("y", {1})})});
  ASSERT_THAT(anomalies, Contains(Field(&Anomaly::name, "G2-item")));
  EXPECT_NE(anomalies[0].explanation.find("and so did not see"), std::string::npos);
}

}  // namespace
}  // namespace quorate::history
