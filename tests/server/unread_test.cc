#include "server/wire/unread.h"

#include <gtest/gtest.h>

#include <list>
#include <vector>

#include "tests/support/test_env.h"

namespace quorate::server {
namespace {

class UnreadAnswersTest : public testing::Test {
 protected:
  void Begin(int number) {
    sent.emplace_back().Begin(&answers, [this, number] { given_up.push_back(number); });
  }

  TestEnv env;
  bool short_of_room = false;
  UnreadAnswers answers{env.env, [this] { return short_of_room; }};
  std::list<UnreadAnswers::Answer> sent;
  std::vector<int> given_up;
};

TEST_F(UnreadAnswersTest, NothingIsGivenUpWhileThereIsRoom) {
  Begin(1);
  env.executor.RunFor(60min);
  EXPECT_TRUE(given_up.empty());
}

TEST_F(UnreadAnswersTest, WithoutRoomTheOldestGoOnce) {
  Begin(1);
  Begin(2);
  env.executor.RunFor(4s);
  Begin(3);
  short_of_room = true;
  env.executor.RunFor(500ms);
  EXPECT_TRUE(given_up.empty()) << "not old enough";
  env.executor.RunFor(2s);
  EXPECT_EQ(given_up, (std::vector<int>{1, 2}));
  env.executor.RunFor(1min);
  EXPECT_EQ(given_up, (std::vector<int>{1, 2, 3}));
}

TEST_F(UnreadAnswersTest, WhatHasLeftIsNotGivenUp) {
  Begin(1);
  Begin(2);
  sent.front().Left();
  short_of_room = true;
  env.executor.RunFor(1min);
  EXPECT_EQ(given_up, (std::vector<int>{2}));
  sent.clear();
  EXPECT_FALSE(env.executor.Step()) << "nobody looks when there is nothing to see";
}

}  // namespace
}  // namespace quorate::server
