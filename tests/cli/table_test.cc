// cli/table.h.
#include "cli/table.h"

#include <gtest/gtest.h>

#include <sstream>

namespace quorate::cli {
namespace {

using enum Table::Align;

Table Nodes() {
  Table table({{"node"}, {"address", kLeft}, {"leads"}, {"free GiB"}});
  table.Add({"1", "127.0.0.1:7400", "3", "17.5"});
  table.Add({"12", "10.0.0.1:7400"});
  return table;
}

TEST(Table, ColumnsAreAsWideAsTheirContent) {
  EXPECT_EQ(Nodes().Text(0),
            "node  address         leads  free GiB\n"
            "   1  127.0.0.1:7400      3      17.5\n"
            "  12  10.0.0.1:7400\n");
}

TEST(Table, WhatDoesNotFitIsLeftOutFromTheRight) {
  EXPECT_EQ(Nodes().Text(36),
            "node  address         leads\n"
            "   1  127.0.0.1:7400      3\n"
            "  12  10.0.0.1:7400\n");
  EXPECT_EQ(Nodes().Text(37), Nodes().Text(0));
  EXPECT_EQ(Nodes().Text(1), "node\n   1\n  12\n") << "who it is about is always said";
}

TEST(Table, TheLastColumnMayBeShortened) {
  Table table({{"shard"}, {"range", kLeft, true}});
  table.Add({"7", "['grün/1', 'grün/2')"});
  EXPECT_EQ(table.Text(0), "shard  range\n    7  ['grün/1', 'grün/2')\n");
  EXPECT_EQ(table.Text(17), "shard  range\n    7  ['grün/...\n");
  EXPECT_EQ(table.Text(14), "shard\n    7\n") << "some letters of it tell nothing";
}

TEST(Table, NoLineIsLongerThanItsWidth) {
  for (size_t width = 4; width < 60; ++width) {
    std::istringstream lines(Nodes().Text(width));
    for (std::string line; std::getline(lines, line);) EXPECT_LE(CharactersOf(line), width);
  }
}

TEST(CutTo, CountsCharactersAndSaysThatSomethingIsMissing) {
  EXPECT_EQ(CutTo("abcdef", 0), "abcdef");
  EXPECT_EQ(CutTo("abcdef", 6), "abcdef");
  EXPECT_EQ(CutTo("abcdef", 5), "ab...");
  EXPECT_EQ(CutTo("äöüßéè", 5), "äö...");
  EXPECT_EQ(CutTo("äöüßéè", 6), "äöüßéè");
  EXPECT_EQ(CutTo("abcdef", 2), "..");
}

}  // namespace
}  // namespace quorate::cli
