// Random commits, prepares, outcomes, elections and lagging replicas; whatever a replica served is,
// in the end, what the leader says was there at that timestamp.
#include <gtest/gtest.h>

#include <set>

#include "tests/shard/shard_fixture.h"

namespace quorate::shard {
namespace {

constexpr int kKeys = 5;

class ClosedModelTest : public ShardTest {
 protected:
  struct Prepared {
    v1::PrepareRequest request;
    std::shared_ptr<std::optional<v1::PrepareResponse>> answer;
  };
  struct Served {
    std::string key;
    Timestamp at;
    std::string value;
    size_t replica;
  };

  void Play(uint64_t seed, int steps) {
    random_ = Random(seed);
    served_.clear();
    prepared_.clear();
    deaf_.reset();
    scope_.Clear();  // who still waits at the shards of the seed before
    Build(Settings());
    for (int i = 0; i < steps; ++i) Step();
    Settle();
    ASSERT_GT(served_.size(), 10u);
    for (const Served& served : served_) {
      EXPECT_EQ(ReadAtLeader(served.key, served.at), served.value)
          << served.key << " at " << served.at.ToString() << ", as replica " << served.replica
          << " served it; seed " << seed;
    }
  }
  size_t distinct() const {
    std::set<std::pair<std::string, std::string>> values;
    for (const Served& served : served_) values.insert({served.key, served.value});
    return values.size();
  }

 private:
  std::string Key() { return std::string(1, static_cast<char>('a' + random_.Below(kKeys))); }
  void Pass(Duration time) {
    env_.executor.RunFor(time);
    *oracle_ms_ += static_cast<uint64_t>(ToMillis(time));
    newest_ = std::max(newest_.NextSlot(), Timestamp::FromParts(*oracle_ms_, 0));
  }
  // Of somebody who may have begun a while ago.
  uint64_t Began() {
    return newest_.MinusMillis(random_.Below(2) * random_.Below(600)).NextSlot().bits();
  }
  v1::PrepareRequest NewPart(const std::string& key) {
    v1::PrepareRequest part = Part(key, Began());
    part.mutable_writes(0)->set_value(std::to_string(++written_));
    return part;
  }
  bool Held(const std::string& key) const {
    for (const Prepared& prepared : prepared_) {
      if (prepared.request.marker_key() == key) return true;
    }
    return false;
  }

  void DropRefused() {
    std::erase_if(prepared_, [](const Prepared& prepared) {
      return prepared.answer->has_value() && (*prepared.answer)->state() != v1::PREPARED;
    });
  }

  void Step() {
    DropRefused();
    const std::string key = Key();
    switch (random_.Below(12)) {
      case 0:
      case 1:
        Pass(std::chrono::milliseconds(random_.Below(250)));
        break;
      case 2:
      case 3:
        if (!Held(key)) (void)Start(leader().CommitOnePhase(NewPart(key), Deadline()));
        break;
      case 4:
        if (!Held(key)) {
          v1::PrepareRequest part = NewPart(key);
          auto answer = Start(leader().Prepare(part, Deadline()));
          prepared_.push_back({std::move(part), std::move(answer)});
        }
        break;
      case 5:
        if (!prepared_.empty()) Resolve(random_.Below(prepared_.size()), random_.Chance(0.7));
        break;
      case 6:
        if (random_.Chance(0.15)) Elect();
        break;
      case 7:
        for (uint64_t n = random_.Below(4); n > 0 && !group_->pending().empty(); --n) {
          group_->CommitOne();
          Run();
        }
        break;
      default:
        ReadStale(random_.Below(2), key);
    }
  }
  void Elect() {
    if (deaf_) {
      group_->Hear(*std::exchange(deaf_, std::nullopt));
      Run();
      return;
    }
    const size_t old = group_->leader();
    const bool deaf = random_.Chance(0.5);
    group_->Elect(1 - old, random_.Below(group_->pending().size() + 1), deaf);
    if (deaf) deaf_ = old;
    Run();
    Commit();
    Pass(1ms);
  }
  void Resolve(size_t i, bool commit) {
    const Prepared& prepared = prepared_[i];
    if (!prepared.answer->has_value()) return;
    const Timestamp prepare_ts((*prepared.answer)->prepare_ts());
    v1::Resolution resolution;
    resolution.set_txn_id(prepared.request.txn_id());
    resolution.set_digest(prepared.request.digest());
    resolution.set_marker_key(prepared.request.marker_key());
    resolution.set_start_ts(prepared.request.start_ts());
    resolution.set_outcome(commit ? v1::COMMITTED : v1::ABORTED_STATE);
    if (commit) {
      const Timestamp other = *NextSlot().NextSub();
      resolution.set_commit_ts(
          (random_.Chance(0.5) ? prepare_ts : std::max(prepare_ts, other)).bits());
    }
    if (commit && random_.Chance(0.3)) leader().EarlyOutcome({resolution});
    const auto done = Start(leader().Resolve({resolution}));
    Commit();
    if (done->has_value() && (*done)->ok()) {
      prepared_.erase(prepared_.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }

  static std::string ValueOf(const v1::ReadResponse& response) {
    if (response.error().code() != v1::OK) return v1::ErrorCode_Name(response.error().code());
    return response.gets(0).found() ? response.gets(0).value() : "-";
  }
  void ReadStale(size_t replica, const std::string& key) {
    v1::ReadRequest request;
    request.add_keys(key);
    request.mutable_stale()->set_max_age_ms(60'000);
    if (random_.Chance(0.3)) {
      request.set_read_ts(Timestamp::FromParts(*oracle_ms_ - random_.Below(2'000), 0).bits());
    }
    const uint64_t before = shards_[replica]->served().stale_reads;
    const auto answer = Start(shards_[replica]->Read(request, Deadline()));
    // What the leader served otherwise is not of interest, nor does it end at once.
    if (shards_[replica]->served().stale_reads == before || !answer->has_value()) return;
    ASSERT_EQ((*answer)->error().code(), v1::OK);
    served_.push_back({key, Timestamp((*answer)->read_ts()), ValueOf(**answer), replica});
  }
  std::string ReadAtLeader(const std::string& key, Timestamp at) {
    v1::ReadRequest request;
    request.add_keys(key);
    request.set_read_ts(at.bits());
    const auto answer = Start(leader().Read(request, Deadline()));
    return answer->has_value() ? ValueOf(**answer) : "waits";
  }
  void Settle() {
    if (deaf_) group_->Hear(*std::exchange(deaf_, std::nullopt));
    // Some wait for others.
    for (int round = 0; round < 100 && !prepared_.empty(); ++round) {
      Run();
      Commit();
      Pass(200ms);
      DropRefused();
      for (size_t i = prepared_.size(); i > 0; --i) Resolve(i - 1, random_.Chance(0.5));
    }
    ASSERT_TRUE(prepared_.empty());
    Run();
    Commit();
    Pass(1s);
  }

  Random random_{0};
  int written_ = 0;
  std::vector<Prepared> prepared_;
  std::vector<Served> served_;
  std::optional<size_t> deaf_;  // a deposed leader that has not heard of it
};

TEST_F(ClosedModelTest, WhatAReplicaServedIsWhatWasThere) {
  size_t distinct_values = 0;
  for (uint64_t seed = 1; seed <= 150; ++seed) {
    Play(seed, 300);
    distinct_values += distinct();
    if (HasFailure()) return;
  }
  EXPECT_GT(distinct_values, 1000u) << "the test reads something";
}

}  // namespace
}  // namespace quorate::shard
