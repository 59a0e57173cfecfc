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
  for (const char* bad : {"", "s", "-1", "0", "1h", "1 s", "1s ", "1e99"}) {
    EXPECT_EQ(ParseDuration(bad), std::nullopt) << bad;
  }
}

TEST(Command, ContextSplitsTheClusterAndChecksIt) {
  Context context;
  context.cluster_text = "127.0.0.1:1,[::1]:2,host:65535";
  ASSERT_TRUE(context.Check().ok());
  EXPECT_THAT(context.addresses(), testing::ElementsAre("127.0.0.1:1", "[::1]:2", "host:65535"));
  for (const char* bad : {"", "a", "a:0", "a:65536", "a:1,", "::1:5", "a:1x"}) {
    context.cluster_text = bad;
    EXPECT_EQ(context.Check().code(), Code::kInvalidArgument) << bad;
  }
  context.cluster_text = "a:1";
  context.timeout_text = "61s";
  EXPECT_THAT(context.Check().message(), testing::HasSubstr("60 s"));
}

TEST(Command, BytesThatAreNotTextAreHexadecimalInJson) {
  nlohmann::ordered_json json;
  SetBytes(json, "text", "grün");
  SetBytes(json, "bytes", std::string_view("\xff\x00", 2));
  EXPECT_EQ(json.dump(), "{\"text\":\"grün\",\"bytes_hex\":\"ff00\"}");
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
