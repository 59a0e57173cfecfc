// A Database over a FakeCluster of two shards, [, m) led by node 1 and [m, ) led by node 2.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/database.h"
#include "tests/client/fake_cluster.h"

namespace quorate::client {

class LibraryTest : public testing::Test {
 protected:
  template <class T>
  static Task<void> Store(Task<T> task, std::optional<T>* out) {
    out->emplace(co_await std::move(task));
  }
  // Runs virtual time until the task has its answer.
  template <class T>
  T Run(Task<T> task) {
    std::optional<T> out;
    TaskScope scope(world_.executor);
    scope.Spawn(Store(std::move(task), &out));
    EXPECT_TRUE(world_.executor.RunUntil([&] { return out.has_value(); }));
    return std::move(*out);
  }
  CommitResult Transact(Database::Closure closure, TransactOptions options = {}) {
    return Run(database_->TransactAsync(std::move(closure), options));
  }
  // Lets what runs in the background end.
  void Settle() { world_.executor.RunFor(5s); }
  size_t Sent(const std::string& body) const {
    size_t n = 0;
    for (const auto& line : channel_.log) n += line.ends_with(" " + body) ? 1 : 0;
    return n;
  }
  // Refuses the next `times` requests that have `body` with `code`.
  void FailNext(v1::NodeRequest::BodyCase body, v1::ErrorCode code, int times = 1) {
    cluster_.before = [=, left = times](
                          uint64_t,
                          const v1::NodeRequest& request) mutable -> std::optional<Answer> {
      if (request.body_case() != body || left == 0) return std::nullopt;
      --left;
      return Answer(ErrorResponse(code, "as the test wants"));
    };
  }

  TestEnv world_;
  FakeChannel channel_{world_.env};
  FakeCluster cluster_{world_.env, channel_, 3, {{10, "", "m", 1}, {11, "m", "", 2}}};
  Options options_{{"n1:1", "n2:1"}, 10s};
  std::unique_ptr<Database> database_ = Database::Create(world_.env, channel_, options_);
};

}  // namespace quorate::client
