// cli/command.h: common options. The commands themselves are tested against a live cluster in
// tests/integration.
#include "cli/command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/demo_bank.h"

namespace quorate::cli {
namespace {

TEST(Command, DurationsHaveUnits) {
  EXPECT_EQ(ParseDuration("10"), 10s);
  EXPECT_EQ(ParseDuration("2.5s"), 2500ms);
  EXPECT_EQ(ParseDuration("500ms"), 500ms);
  EXPECT_EQ(ParseDuration("1m"), 60s);
  EXPECT_EQ(ParseDuration("1ms"), 1ms);
  EXPECT_EQ(ParseDuration(".5"), 500ms);
  for (const char* bad : {"", "s", "-1", "0", "1h", "1 s", "1s ", "1e99", "nan", "-nan", "nans",
                          "inf", "-inf", "1e-12", "0.9ms", "1e300m", "+1", "0x10"}) {
    EXPECT_EQ(ParseDuration(bad), std::nullopt) << bad;
  }
}

TEST(Command, ContextSplitsTheClusterAndChecksIt) {
  Context context;
  context.cluster_text = "127.0.0.1:1,[::1]:2,host:65535";
  ASSERT_TRUE(context.Check().ok());
  EXPECT_THAT(context.addresses(), testing::ElementsAre("127.0.0.1:1", "[::1]:2", "host:65535"));
  context.cluster_text = " 127.0.0.1:1 ,\tlocalhost:2\n";
  ASSERT_TRUE(context.Check().ok());
  EXPECT_THAT(context.addresses(), testing::ElementsAre("127.0.0.1:1", "localhost:2"));
  for (const char* bad : {"", "a", "a:0", "a:65536", "a:1,", ",a:1", "a:1,,b:1", " ", "::1:5",
                          "a:1x", "http://a:1", "a:1/", "a b:1", "[a:1,b:1]", "u@a:1"}) {
    context.cluster_text = bad;
    EXPECT_EQ(context.Check().code(), Code::kInvalidArgument) << bad;
  }
  context.cluster_text = "a:1";
  context.timeout_text = "61s";
  EXPECT_THAT(context.Check().message(), testing::HasSubstr("60 s"));
}

TEST(Command, TheEnvironmentIsOnlyADefault) {
  ASSERT_EQ(setenv("QUORATE_CLUSTER", "env:1", 1), 0);
  for (const bool given : {false, true}) {
    Context context;
    CLI::App app;
    for (const char* name : {"one", "two", "three"}) {
      AddCommand(app, context, name, "", "", CommonOptions::kCluster, [] { return 0; });
    }
    app.parse(given ? "two --cluster option:2" : "two", false);
    EXPECT_THAT(context.addresses(), testing::ElementsAre(given ? "option:2" : "env:1"));
  }
  ASSERT_EQ(setenv("QUORATE_CLUSTER", "", 1), 0);
  EXPECT_EQ(Context().cluster_text, "127.0.0.1:7400");
  ASSERT_EQ(unsetenv("QUORATE_CLUSTER"), 0);
  EXPECT_EQ(Context().cluster_text, "127.0.0.1:7400");
}

TEST(Command, BytesThatAreNotTextAreHexadecimalInJson) {
  nlohmann::ordered_json json;
  SetBytes(json, "text", "grün");
  SetBytes(json, "bytes", std::string_view("\xff\x00", 2));
  EXPECT_EQ(json.dump(), "{\"text\":\"grün\",\"bytes_hex\":\"ff00\"}");
}

TEST(Command, HexadecimalArgumentsAreNamedIfTheyAreNone) {
  std::string text = "00fF";
  ASSERT_TRUE(DecodeArgument(true, "KEY", &text).ok());
  EXPECT_EQ(text, std::string("\0\xff", 2));
  for (const char* bad : {"0", "0g", " 00", "0x00"}) {
    text = bad;
    const Status status = DecodeArgument(true, "--prefix", &text);
    EXPECT_EQ(status.code(), Code::kInvalidArgument);
    EXPECT_THAT(status.message(), testing::HasSubstr(std::string("--prefix: '") + bad + "'"));
    EXPECT_TRUE(DecodeArgument(false, "KEY", &text).ok());
    EXPECT_EQ(text, bad);
  }
}

TEST(DemoBank, SplitKeysAscendAndDivideAccountsAndLedger) {
  const auto keys = BankSplitKeys({.accounts = 1000, .clients = 16, .shards = 10});
  EXPECT_EQ(keys.size(), 9u);
  EXPECT_TRUE(std::is_sorted(keys.begin(), keys.end()));
  EXPECT_EQ(keys.front(), "account/00125");
  EXPECT_EQ(keys[7], "ledger/");
  EXPECT_EQ(keys.back(), "ledger/08");
}

}  // namespace
}  // namespace quorate::cli
