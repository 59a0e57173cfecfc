// cli/arguments.h: where options may stand, what counts as a word, and numbers.
#include "cli/arguments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quorate::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Words = std::vector<std::string>;

class Arguments : public testing::Test {
 protected:
  Arguments() {
    CLI::App* put = app_.add_subcommand("put");
    put->add_option("KEY")->required();
    put->add_option("VALUE")->required();
    put->add_option("--cluster");
    put->add_option("--timeout");
    put->add_option("-c,--count");
    put->add_flag("--json");
    put->add_option("--split-at", split_at_)->allow_extra_args(false);
    app_.add_subcommand("status")->add_flag("--json");
  }
  Words Arrange(const Words& words) {
    auto arranged = ArrangeArguments(app_, words);
    EXPECT_TRUE(arranged.ok()) << arranged.status().ToString();
    return arranged.ok() ? *arranged : Words{};
  }
  std::string Refusal(const Words& words) {
    auto arranged = ArrangeArguments(app_, words);
    EXPECT_FALSE(arranged.ok());
    return arranged.ok() ? "" : arranged.status().message();
  }

  CLI::App app_;
  Words split_at_;
};

TEST_F(Arguments, AnEmptyValueIsEmpty) {
  EXPECT_THAT(Arrange({"put", "k", "v", "--cluster="}),
              ElementsAre("put", "--cluster", "", "--", "k", "v"));
  EXPECT_THAT(Arrange({"--timeout=", "put", "k", "v", "--split-at=", "--json"}),
              ElementsAre("put", "--timeout", "", "--split-at", "", "--json", "--", "k", "v"));
  Words words = Arrange({"put", "k", "v", "--split-at=", "--json"});
  std::reverse(words.begin(), words.end());  // as CLI11 wants them
  app_.parse(words);
  EXPECT_THAT(split_at_, ElementsAre(""));
  EXPECT_THAT(Refusal({"put", "k", "v", "--json="}), HasSubstr("--json takes no value"));
}

TEST_F(Arguments, AWordTooManyIsNamed) {
  EXPECT_THAT(Refusal({"put", "a", "b", "--", "c", "d"}), HasSubstr("'c' is one word too many"));
  EXPECT_THAT(Refusal({"put", "a", "b", "c"}), HasSubstr("takes KEY VALUE"));
  EXPECT_THAT(Refusal({"status", "a"}), HasSubstr("takes options only"));
}

TEST_F(Arguments, WordsComeLastBehindTwoDashes) {
  EXPECT_THAT(Arrange({"put", "k", "--json", "v"}), ElementsAre("put", "--json", "--", "k", "v"));
  EXPECT_THAT(Arrange({"put", "k", "-5"}), ElementsAre("put", "--", "k", "-5"));
  EXPECT_THAT(Arrange({"put", "-.5", "++"}), ElementsAre("put", "--", "-.5", "++"));
  EXPECT_THAT(Arrange({"put", "k", "-"}), ElementsAre("put", "--", "k", "-"));
  EXPECT_THAT(Arrange({"put", "--", "--json", "--"}), ElementsAre("put", "--", "--json", "--"));
  EXPECT_THAT(Arrange({"status", "--json"}), ElementsAre("status", "--json"));
}

TEST_F(Arguments, AValueThatIsMissingIsNoneOfWhatComesBehind) {
  EXPECT_THAT(Refusal({"put", "k", "v", "--cluster"}),
              HasSubstr("--cluster: its value is missing"));
  EXPECT_THAT(Refusal({"put", "-c", "--", "k", "v"}), HasSubstr("-c: its value is missing"));
  EXPECT_THAT(Arrange({"put", "--cluster=--", "k", "v"}),
              ElementsAre("put", "--cluster=--", "--", "k", "v"));
}

TEST_F(Arguments, AnOptionIsNotTakenForTheValueOfAnother) {
  EXPECT_THAT(Refusal({"put", "--cluster", "--json", "k", "v"}),
              HasSubstr("--cluster: its value is missing: '--json' is an option; as a value it is "
                        "given as --cluster=--json"));
  EXPECT_THAT(Refusal({"put", "--split-at", "--count=7", "k", "v"}),
              HasSubstr("given as --split-at=--count=7"));
  EXPECT_THAT(Refusal({"put", "k", "v", "--timeout", "-c64"}), HasSubstr("'-c64' is an option"));
  EXPECT_THAT(Refusal({"put", "-c", "--json", "k", "v"}), HasSubstr("given as -c--json"));
  EXPECT_THAT(Refusal({"put", "k", "v", "--split-at", "--help"}), HasSubstr("given as"));
  EXPECT_THAT(Refusal({"--timeout", "--json", "put", "k", "v"}),
              HasSubstr("given as --timeout=--json"));
  EXPECT_THAT(Arrange({"put", "--split-at=--json", "k", "v"}),
              ElementsAre("put", "--split-at=--json", "--", "k", "v"));
}

TEST_F(Arguments, CommonOptionsMayStandBeforeTheCommand) {
  EXPECT_THAT(Arrange({"--cluster", "a:1", "--json", "--timeout=2s", "put", "k", "v"}),
              ElementsAre("put", "--cluster", "a:1", "--json", "--timeout=2s", "--", "k", "v"));
  EXPECT_THAT(Refusal({"--json"}), HasSubstr("a command is missing"));
  EXPECT_THAT(Refusal({"--cluster", "get"}), HasSubstr("a command is missing"));
  EXPECT_THAT(Refusal({"--json", "frob"}), HasSubstr("'frob' is not a command"));
  EXPECT_THAT(Arrange({"--help"}), ElementsAre("--help"));
}

TEST_F(Arguments, AnOptionTakesItsValueIfThatIsNoOption) {
  EXPECT_THAT(Arrange({"put", "--cluster", "-x", "k", "v"}),
              ElementsAre("put", "--cluster", "-x", "--", "k", "v"));
  EXPECT_THAT(Arrange({"put", "-c64", "k", "v"}), ElementsAre("put", "-c64", "--", "k", "v"));
  EXPECT_THAT(Arrange({"put", "-c", "64", "k"}), ElementsAre("put", "-c", "64", "--", "k"));
}

TEST_F(Arguments, AListIsRepeatedForEachOfItsWords) {
  EXPECT_THAT(Arrange({"put", "--split-at", "g", "[n]", "--json"}),
              ElementsAre("put", "--split-at", "g", "--split-at", "[n]", "--json"));
}

TEST_F(Arguments, AnUnknownOptionIsNotTakenForAValue) {
  EXPECT_THAT(Refusal({"put", "k", "-x"}), HasSubstr("'-x' is not an option of `quorate put`"));
  EXPECT_THAT(Refusal({"put", "k", "-x"}), HasSubstr("stands after --"));
  EXPECT_THAT(Refusal({"put", "k", "--jsno"}), HasSubstr("'--jsno'"));
  EXPECT_THAT(Refusal({"status", "-x"}), HasSubstr("`quorate status --help`"));
}

TEST(ParseNumber, TakesDecimalNumbersInTheRangeOnly) {
  EXPECT_EQ(ParseNumber<int>("7", 1, 9), 7);
  EXPECT_EQ(ParseNumber<double>(".5", 0, 1), .5);
  EXPECT_EQ(ParseNumber<double>("1e-1", 0, 1), .1);
  for (const char* bad : {"", " ", "-1", "+1", "1 ", " 1", "1x", "0x1", "1e1", "nan", "inf", "10",
                          "0", "99999999999999999999"}) {
    EXPECT_EQ(ParseNumber<int>(bad, 1, 9), std::nullopt) << bad;
    EXPECT_EQ(ParseNumber<size_t>(bad, 1, 9), std::nullopt) << bad;
  }
  for (const char* bad : {"", "nan", "-nan", "inf", "-inf", "1e999", "1.5", "-0.1", ".5s"}) {
    EXPECT_EQ(ParseNumber<double>(bad, 0, 1), std::nullopt) << bad;
  }
}

}  // namespace
}  // namespace quorate::cli
