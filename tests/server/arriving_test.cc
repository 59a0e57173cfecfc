#include "server/wire/arriving.h"

#include <gtest/gtest.h>

#include <list>
#include <map>
#include <string>
#include <vector>

#include "base/limits.h"
#include "tests/support/test_env.h"

namespace quorate::server {
namespace {

class ArrivingRequestsTest : public testing::Test {
 protected:
  ArrivingRequests::Request& Begin(const std::string& client, int number) {
    ArrivingRequests::Request& request = begun.emplace_back();
    request.Begin(&all, client, [this, number] { given_up.push_back(number); });
    return request;
  }
  void Look() { env.executor.RunFor(100ms); }

  TestEnv env;
  std::map<std::string, uint64_t> received;
  ArrivingRequests all{env.env,
                       [this](const std::string& client) -> std::optional<uint64_t> {
                         const auto found = received.find(client);
                         if (found == received.end()) return std::nullopt;
                         return found->second;
                       },
                       1000};
  std::list<ArrivingRequests::Request> begun;
  std::vector<int> given_up;
};

TEST_F(ArrivingRequestsTest, BeyondTheBoundTheConnectionThatHoldsTheMostLosesItsOwn) {
  received = {{"a", 5000}, {"b", 100}, {"c", 0}};
  Begin("a", 1);
  Begin("b", 2);
  Begin("c", 3);
  Begin("c", 4);
  Look();
  received = {{"a", 5300}, {"b", 300}, {"c", 500}};
  Look();
  EXPECT_TRUE(given_up.empty()) << "1000 are not too many, and what came before does not count";
  received["b"] += 1;
  Look();
  EXPECT_EQ(given_up, (std::vector<int>{3, 4}));
  received["a"] += 1000;
  Look();
  EXPECT_EQ(given_up, (std::vector<int>{3, 4, 1}));
}

TEST_F(ArrivingRequestsTest, WhatIsWholeHoldsNothing) {
  received["a"] = 0;
  ArrivingRequests::Request& first = Begin("a", 1);
  Look();
  received["a"] = 900;
  Begin("a", 2);
  Look();
  first.Whole();
  received["a"] = 1800;
  Look();
  EXPECT_TRUE(given_up.empty()) << "only 900 came since the second began";
  begun.clear();
  received["a"] = 1 << 20;
  Look();
  EXPECT_TRUE(given_up.empty());
  env.executor.RunFor(1min);
  EXPECT_FALSE(env.executor.Step()) << "nobody looks when there is nothing to see";
}

// Its end has not been heard of yet.
TEST_F(ArrivingRequestsTest, AConnectionThatTakesTheNameOfAnotherIsJudgedByItself) {
  received = {{"a", 5000}, {"b", 0}};
  Begin("a", 1);
  Begin("b", 2);
  Look();
  received["a"] = 400;
  received["b"] = 500;
  Begin("a", 3);
  Look();
  EXPECT_TRUE(given_up.empty()) << "900 are not too many";
  received["b"] = 700;
  Look();
  EXPECT_EQ(given_up, std::vector<int>{2});
}

TEST_F(ArrivingRequestsTest, WhatNeverComesWholeEnds) {
  Begin("unknown", 1);
  env.executor.RunFor(limits::kRequestTimeoutMax - 1s);
  Begin("unknown", 2);
  EXPECT_TRUE(given_up.empty());
  env.executor.RunFor(2s);
  EXPECT_EQ(given_up, (std::vector<int>{1}));
}

}  // namespace
}  // namespace quorate::server
