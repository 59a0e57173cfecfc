// cli/txn_script.h: every line form, quoting, and what is refused with which line.
#include "cli/txn_script.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quorate::cli {
namespace {

using Kind = TxnStep::Kind;

TEST(TxnScript, ParsesEveryKindOfLine) {
  auto steps = ParseTxnScript(
      "# comment\n\ncheck a == 1\ncheck b == absent  # trailing\n  get c\nput d 2\ndelete e\r\n"
      "scan f g");
  ASSERT_TRUE(steps.ok()) << steps.status().ToString();
  ASSERT_EQ(steps->size(), 6u);
  const auto& s = *steps;
  EXPECT_EQ(s[0].kind, Kind::kCheck);
  EXPECT_EQ(s[0].line, 3);
  EXPECT_EQ(s[0].value, "1");
  EXPECT_EQ(s[1].value, std::nullopt);
  EXPECT_EQ(s[2].kind, Kind::kGet);
  EXPECT_EQ(s[2].key, "c");
  EXPECT_EQ(s[3].kind, Kind::kPut);
  EXPECT_EQ(s[3].value, "2");
  EXPECT_EQ(s[4].kind, Kind::kDelete);
  EXPECT_EQ(s[4].key, "e");
  EXPECT_EQ(s[5].kind, Kind::kScan);
  EXPECT_EQ(s[5].key, "f");
  EXPECT_EQ(s[5].value, "g");
}

TEST(TxnScript, QuotedWordsHoldBlanksAndBytes) {
  auto steps = ParseTxnScript(
      "put \"a key\" \"say \\\"hi\\\"\\n\\x00\\\\\"\nput b \"\"\ncheck c == \"absent\"\nscan \"\" "
      "\"\"\n");
  ASSERT_TRUE(steps.ok()) << steps.status().ToString();
  EXPECT_EQ((*steps)[0].key, "a key");
  EXPECT_EQ((*steps)[0].value, std::string("say \"hi\"\n\0\\", 11));
  EXPECT_EQ((*steps)[1].value, "");
  EXPECT_EQ((*steps)[2].value, "absent");
  EXPECT_EQ((*steps)[3].value, "");
}

TEST(TxnScript, RefusesWithTheLineNumber) {
  for (const char* bad : {"put a", "put a b c", "get", "check a = 1", "check a \"==\" 1", "frob a",
                          "put a \"open", "put a \"\\q\"", "put a \"\\x4\"", "scan a"}) {
    auto steps = ParseTxnScript(std::string("get ok\n") + bad + "\n");
    ASSERT_FALSE(steps.ok()) << bad;
    EXPECT_EQ(steps.status().code(), Code::kInvalidArgument);
    EXPECT_THAT(steps.status().message(), testing::ContainsRegex("^line 2[:,]")) << bad;
  }
}

TEST(TxnScript, NamesTheColumnOfAWrongWord) {
  const std::pair<const char*, const char*> cases[] = {
      {"put \"k\"x", "line 1, column 8: a blank must follow"},
      {"put \"a\"b c", "line 1, column 8: a blank must follow"},
      {"put \"a\"\"b\"", "line 1, column 8: a blank must follow"},
      {"get ok\nput \"open", "line 2, column 5: a quoted word is not ended"},
      {"put a \"b\\q\"", "line 1, column 9: an unknown escape"},
      {"put a \"\\x4\"", "line 1, column 8: an unknown escape"},
      {"put a \"\\", "line 1, column 8: an unknown escape"}};
  for (const auto& [script, words] : cases) {
    EXPECT_THAT(ParseTxnScript(script).status().message(), testing::StartsWith(words)) << script;
  }
  EXPECT_TRUE(ParseTxnScript("put \"k\"\tit\"s\r\n").ok());
}

TEST(TxnScript, RefusesAScriptWithoutAStep) {
  for (const char* empty : {"", "\n\n", "# only\n  # comments", " \t\r\n", "\xef\xbb\xbf"}) {
    EXPECT_THAT(ParseTxnScript(empty).status().message(), testing::HasSubstr("no step")) << empty;
  }
}

TEST(TxnScript, SkipsAByteOrderMark) {
  auto steps = ParseTxnScript("\xef\xbb\xbfget a");
  ASSERT_TRUE(steps.ok()) << steps.status().ToString();
  EXPECT_EQ(steps->at(0).key, "a");
  EXPECT_THAT(ParseTxnScript("\xff\xfeg").status().message(), testing::HasSubstr("UTF-8"));
  EXPECT_THAT(ParseTxnScript("\xfe\xffg").status().message(), testing::HasSubstr("UTF-8"));
}

}  // namespace
}  // namespace quorate::cli
