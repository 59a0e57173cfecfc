#include "server/node/session_answers.h"

#include <gtest/gtest.h>

namespace quorate::server {
namespace {

v1::SessionCommitResponse At(uint64_t commit_ts) {
  v1::SessionCommitResponse response;
  response.set_commit_ts(commit_ts);
  return response;
}

TEST(SessionAnswers, OneUnderWayIsKnownAndHasNoAnswer) {
  SessionAnswers answers;
  EXPECT_FALSE(answers.Find(1).known);
  answers.Begin(1, Instant());
  EXPECT_TRUE(answers.Find(1).known);
  EXPECT_FALSE(answers.Find(1).response.has_value());
  answers.Finish(1, At(7));
  ASSERT_TRUE(answers.Find(1).response.has_value());
  EXPECT_EQ(answers.Find(1).response->commit_ts(), 7u);
}

TEST(SessionAnswers, AreKeptAsLongAsNames) {
  SessionAnswers answers;
  answers.Begin(1, Instant() + 60min);
  answers.Finish(1, At(7));
  answers.Expire(Instant() + 60min + limits::kNameRetention);
  EXPECT_TRUE(answers.Find(1).known);
  answers.Expire(Instant() + 60min + limits::kNameRetention + 1ms);
  EXPECT_FALSE(answers.Find(1).known);
}

TEST(SessionAnswers, BeyondTheirBoundTheOldestGo) {
  SessionAnswers answers(3);
  for (uint64_t session = 1; session <= 5; ++session) answers.Begin(session, Instant());
  EXPECT_EQ(answers.size(), 3u);
  EXPECT_FALSE(answers.Find(2).known);
  EXPECT_TRUE(answers.Find(3).known);
  answers.Finish(2, At(7));
  EXPECT_FALSE(answers.Find(2).known) << "what was dropped stays unknown";
}

}  // namespace
}  // namespace quorate::server
