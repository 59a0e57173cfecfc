#include "client/route/slots.h"

#include <gtest/gtest.h>

#include "tests/client/fake_cluster.h"

namespace quorate::client {
namespace {

class SlotsTest : public testing::Test {
 protected:
  void SetUp() override {
    routes_.Update(cluster_.Map());
    cluster_.before = [this](uint64_t, const v1::NodeRequest& request) -> std::optional<Answer> {
      if (request.has_slot()) issued_at_.push_back(world_.env.Now());
      return std::nullopt;
    };
  }
  struct Got {
    Instant asked;
    std::optional<Result<Timestamp>> slot;
  };
  Task<void> Ask(Got* got, Duration timeout) {
    got->asked = world_.env.Now();
    got->slot.emplace(co_await slots_.Fetch(timeout));
  }

  TestEnv world_;
  FakeChannel channel_{world_.env, 10ms};
  FakeCluster cluster_{world_.env, channel_, 3, {{10, "", "", 1}}};
  RouteCache routes_{{"n1:1"}};
  Caller caller_{world_.env, channel_, routes_};
  Slots slots_{world_.env, caller_};
  std::vector<Instant> issued_at_;
  TaskScope scope_{world_.executor};
};

TEST_F(SlotsTest, OneFetchServesAllWhoAskedBeforeItWasSent) {
  std::vector<Got> got(50);
  for (Got& g : got) scope_.Spawn(Ask(&g, 1s));
  world_.executor.RunFor(1s);
  EXPECT_EQ(issued_at_.size(), 1u);
  for (const Got& g : got) EXPECT_EQ(**g.slot, **got[0].slot);
}

// T1. The oracle issues at its answering; the fake channel's delay lies between sending and that.
TEST_F(SlotsTest, NobodyGetsASlotWhoseFetchWasSentBeforeTheyAsked) {
  std::vector<Got> got(100);
  Random random(3);
  for (Got& g : got) {
    scope_.Spawn(Ask(&g, 5s));
    world_.executor.RunFor(std::chrono::milliseconds(random.Below(4)));
  }
  world_.executor.RunFor(1s);
  EXPECT_LT(issued_at_.size(), got.size() / 2) << "fetches are shared";
  for (const Got& g : got) {
    ASSERT_TRUE(g.slot->ok());
    // Slot number n of the fake is the n-th issued.
    const size_t n = (*g.slot)->physical_ms() - 1001;
    EXPECT_GE(issued_at_[n] - Duration(10ms), g.asked);
  }
}

TEST_F(SlotsTest, AWaiterEndsByItsOwnDeadline) {
  cluster_.before = [](uint64_t, const v1::NodeRequest&) { return Answer(std::nullopt); };
  Got impatient;
  Got patient;
  scope_.Spawn(Ask(&patient, 3s));
  scope_.Spawn(Ask(&impatient, 100ms));
  world_.executor.RunFor(101ms);
  ASSERT_TRUE(impatient.slot.has_value());
  EXPECT_EQ(impatient.slot->status().code(), Code::kDeadlineExceeded);
  EXPECT_FALSE(patient.slot.has_value());
  cluster_.before = nullptr;
  world_.executor.RunFor(3s);
  EXPECT_TRUE(patient.slot->ok());
}

TEST_F(SlotsTest, TheNewestKnownAges) {
  EXPECT_FALSE(slots_.NewestWithin(10s).has_value());
  slots_.Observe(Timestamp::FromParts(5, 0));
  world_.executor.RunFor(9s);
  EXPECT_EQ(slots_.NewestWithin(10s), Timestamp::FromParts(5, 0));
  slots_.Observe(Timestamp::FromParts(4, 0));
  world_.executor.RunFor(2s);
  EXPECT_FALSE(slots_.NewestWithin(10s).has_value()) << "an older one does not make it younger";
  EXPECT_EQ(slots_.newest(), Timestamp::FromParts(5, 0));
}

TEST_F(SlotsTest, RefusesWhatIsNoSlot) {
  cluster_.before = [](uint64_t, const v1::NodeRequest&) {
    v1::NodeResponse response;
    response.mutable_slot()->set_slot(5);
    return Answer(response);
  };
  Got got;
  scope_.Spawn(Ask(&got, 1s));
  world_.executor.RunFor(1s);
  EXPECT_EQ(got.slot->status().code(), Code::kInternal);
  EXPECT_FALSE(slots_.newest());
}

}  // namespace
}  // namespace quorate::client
