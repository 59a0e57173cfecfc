// What a receiver paints upon what it had, change by change, is the map.
#include "placement/map_feed.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "base/random.h"

namespace quorate::placement {
namespace {

std::vector<std::string> Since(const MapFeed& feed, const v1::MapPosition& known) {
  std::vector<std::string> changed;
  feed.PiecesSince(known, [&](const std::string& from) { changed.push_back(from); });
  return changed;
}

TEST(MapFeed, TellsEachPieceOnceHoweverOftenItChanged) {
  MapFeed feed;
  feed.BeginTerm(raft::Term(3));
  const v1::MapPosition begin = feed.position();
  EXPECT_TRUE(feed.Continues(begin));
  feed.PieceChanged("a");
  feed.PieceChanged("b");
  const v1::MapPosition both = feed.position();
  feed.PieceChanged("a");
  EXPECT_EQ(Since(feed, begin), (std::vector<std::string>{"b", "a"}));
  EXPECT_EQ(Since(feed, both), std::vector<std::string>{"a"});
  EXPECT_TRUE(Since(feed, feed.position()).empty());
}

TEST(MapFeed, KeepsNothingOfPiecesThatAreGone) {
  MapFeed feed;
  feed.BeginTerm(raft::Term(3));
  const v1::MapPosition begin = feed.position();
  feed.PieceChanged("a");
  feed.PieceChanged("b");
  feed.PieceGone("a");
  feed.PieceGone("never there");
  EXPECT_EQ(Since(feed, begin), std::vector<std::string>{"b"});
  feed.PieceChanged("a");
  EXPECT_EQ(Since(feed, begin), (std::vector<std::string>{"b", "a"}));
}

TEST(MapFeed, NodesAreAChangeOnlyIfTheyAreOthers) {
  MapFeed feed;
  feed.BeginTerm(raft::Term(3));
  feed.SetNodes("one");
  const v1::MapPosition known = feed.position();
  feed.SetNodes("one");
  EXPECT_FALSE(feed.NodesChangedSince(known));
  feed.SetNodes("two");
  EXPECT_TRUE(feed.NodesChangedSince(known));
  EXPECT_TRUE(Since(feed, known).empty());
}

TEST(MapFeed, WhatAnotherTermSaidIsNoBeginning) {
  MapFeed feed;
  feed.BeginTerm(raft::Term(3));
  feed.PieceChanged("a");
  const v1::MapPosition known = feed.position();
  feed.BeginTerm(raft::Term(4));
  EXPECT_FALSE(feed.Continues(known));
  EXPECT_FALSE(feed.Continues(v1::MapPosition())) << "of one that knows nothing";
  v1::MapPosition future = feed.position();
  future.set_change(future.change() + 1);
  EXPECT_FALSE(feed.Continues(future));
}

TEST(MapFeed, AnyReceiverAtAnyTimeMissesNothing) {
  Random random(7);
  MapFeed feed;
  feed.BeginTerm(raft::Term(1));
  struct Receiver {
    v1::MapPosition known;
    std::set<std::string> missed;
  };
  std::vector<Receiver> receivers(5, {feed.position(), {}});
  for (int i = 0; i < 5'000; ++i) {
    const std::string piece(1, static_cast<char>('a' + random.Below(20)));
    feed.PieceChanged(piece);
    for (Receiver& each : receivers) each.missed.insert(piece);
    Receiver& one = receivers[random.Below(receivers.size())];
    if (!random.Chance(0.3)) continue;
    const auto told = Since(feed, one.known);
    ASSERT_EQ(std::set<std::string>(told.begin(), told.end()), one.missed);
    ASSERT_EQ(told.size(), one.missed.size());
    one = {feed.position(), {}};
  }
}

}  // namespace
}  // namespace quorate::placement
