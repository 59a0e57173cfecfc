// server/program/config.h: the file's grammar, flags over file, and each refusal's words.
#include "server/program/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

namespace quorate::server {
namespace {

using testing::HasSubstr;

class ConfigFile : public testing::Test {
 protected:
  Result<Settings> Read(const std::string& text) {
    const std::string path = testing::TempDir() + "/quorate_config_test";
    std::ofstream(path) << text;
    return ReadConfigFile(path);
  }
};

TEST_F(ConfigFile, LinesAreKeysAndValuesWithComments) {
  auto settings = Read("# all of it\n\n data = /d # here\nlisten=h:1\n\tjoin =a:1, b:2\r\n");
  ASSERT_TRUE(settings.ok()) << settings.status().ToString();
  EXPECT_EQ(*settings, (Settings{{"data", "/d"}, {"listen", "h:1"}, {"join", "a:1, b:2"}}));
}

TEST_F(ConfigFile, RefusalsNameTheLine) {
  EXPECT_THAT(Read("data = x\nlisten\n").status().message(),
              HasSubstr("_test:2: not `key = value`"));
  EXPECT_THAT(Read("hue = red\n").status().message(), HasSubstr(":1: unknown key 'hue'"));
  EXPECT_THAT(Read("data = x\n\ndata = y\n").status().message(),
              HasSubstr(":3: 'data' stands twice"));
  EXPECT_THAT(ReadConfigFile("/no/such/file").status().message(), HasSubstr("cannot read"));
}

TEST(Config, FlagsWinOverTheFile) {
  auto config =
      MakeConfig({{"listen", "h:1"}, {"locality", "zone=a, rack=3"}}, {{"listen", "h:2"},
                                                                       {"data", "/d"},
                                                                       {"join", "a:1,b:2"},
                                                                       {"http", "h:3"},
                                                                       {"min-free", "2M"},
                                                                       {"read-mode", "quorum"},
                                                                       {"log-level", "warn"}});
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  EXPECT_EQ(config->listen, "h:1");
  EXPECT_EQ(config->node.address, "h:1");
  EXPECT_EQ(config->node.data_dir, "/d");
  EXPECT_EQ(config->node.http_address, "h:3");
  EXPECT_THAT(config->node.join, testing::ElementsAre("a:1", "b:2"));
  EXPECT_EQ(config->node.locality,
            (std::map<std::string, std::string>{{"zone", "a"}, {"rack", "3"}}));
  EXPECT_EQ(config->node.min_free_bytes, 2u << 20);
  EXPECT_EQ(config->node.raft.read_mode, raft::ReadMode::kQuorum);
  EXPECT_EQ(config->log_level, LogLevel::kWarn);
}

TEST(Config, TheHostIsTheMachineUnlessItIsNamed) {
  using Labels = std::map<std::string, std::string>;
  Labels labels = {{"zone", "a"}};
  AddHost("0f8fad5b-d9cb-469f-a165-70867728950e\n", &labels);
  EXPECT_EQ(labels, (Labels{{"zone", "a"}, {"host", "boot-0f8fad5b-d9cb-469f-a165-70867728950e"}}));
  Labels named = {{"host", "h1"}};
  AddHost("0f8fad5b-d9cb-469f-a165-70867728950e\n", &named);
  EXPECT_EQ(named, (Labels{{"host", "h1"}}));
  Labels nowhere;
  AddHost("", &nowhere);
  AddHost("\x1b\n", &nowhere);
  EXPECT_TRUE(nowhere.empty());
  Labels many;
  for (int i = 0; i < 16; ++i) many["k" + std::to_string(i)] = "v";
  AddHost("0f8fad5b-d9cb-469f-a165-70867728950e", &many);
  EXPECT_EQ(many.size(), 16u) << "there is no room for one more";
}

TEST(Config, OthersReachTheAdvertisedAddress) {
  auto config =
      MakeConfig({{"data", "/d"}, {"listen", "0.0.0.0:1"}, {"advertise", "10.0.0.1:2"}}, {});
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  EXPECT_EQ(config->listen, "0.0.0.0:1");
  EXPECT_EQ(config->node.address, "10.0.0.1:2");
}

TEST(Config, AllAddressesAreListenedOnButNeverGivenToOthers) {
  for (const char* host : {"0.0.0.0", "[::]", "0", "00.0.0.0", "0x0", "[::0]", "[0:0:0:0:0:0:0:0]",
                           "[::ffff:0.0.0.0]"}) {
    const std::string listen = std::string(host) + ":7400";
    const Settings alone = {{"data", "/d"}, {"listen", listen}};
    EXPECT_THAT(MakeConfig(alone, {}).status().message(), HasSubstr("--advertise")) << host;
    Settings told = alone;
    told["advertise"] = "10.0.0.1:7400";
    EXPECT_TRUE(MakeConfig(told, {}).ok()) << host;
    for (const char* key : {"advertise", "join"}) {
      Settings wrong = told;
      wrong[key] = listen;
      EXPECT_THAT(MakeConfig(wrong, {}).status().message(), HasSubstr(key)) << host;
    }
    told["http"] = std::string(host) + ":7480";
    const auto config = MakeConfig(told, {});
    ASSERT_TRUE(config.ok()) << config.status().ToString();
    EXPECT_EQ(config->http_listen, told["http"]);
    EXPECT_EQ(config->node.http_address, "10.0.0.1:7480");
  }
  const Settings star = {{"data", "/d"}, {"listen", "*:7400"}, {"advertise", "10.0.0.1:7400"}};
  EXPECT_THAT(MakeConfig(star, {}).status().message(), HasSubstr("0.0.0.0"));
}

TEST(Config, EachRefusalNamesTheSettingAndIsAnInvalidArgument) {
  const Settings good = {{"data", "/d"}, {"listen", "h:1"}};
  ASSERT_TRUE(MakeConfig(good, {}).ok());
  const std::pair<const char*, const char*> bad[] = {
      {"data", ""},           {"listen", ""},          {"listen", "h"},        {"listen", "h:0"},
      {"listen", "[::]:1"},   {"advertise", "h:x"},    {"http", "nowhere"},    {"http", "h:1"},
      {"join", "a:1,b"},      {"join", ","},           {"join", "a:1,,b:2"},   {"join", "a:1,"},
      {"locality", "zone"},   {"locality", "a=1,a=2"}, {"min-free", "1T"},     {"min-free", "-1"},
      {"read-mode", "cheap"}, {"log-level", "loud"},   {"locality", "a=\x1b"},
  };
  for (const auto& [key, value] : bad) {
    Settings flags = good;
    flags[key] = value;
    auto config = MakeConfig(flags, {});
    ASSERT_FALSE(config.ok()) << key << "=" << value;
    EXPECT_EQ(config.status().code(), Code::kInvalidArgument);
    EXPECT_THAT(config.status().message(), HasSubstr(key)) << value;
  }
}

}  // namespace
}  // namespace quorate::server
