// base/real_descriptors.h: which connections make room.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "base/address.h"
#include "base/real_descriptors.h"

namespace quorate {
namespace {

class Connections : public testing::Test {
 protected:
  Connections() {
    listening_ = Descriptor(::socket(AF_INET, SOCK_STREAM, 0));
    address_.sin_family = AF_INET;
    address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(listening_.get(), Address(), sizeof address_), 0);
    socklen_t size = sizeof address_;
    EXPECT_EQ(::getsockname(listening_.get(), Address(), &size), 0);
    EXPECT_EQ(::listen(listening_.get(), 64), 0);
  }
  sockaddr* Address() { return reinterpret_cast<sockaddr*>(&address_); }
  int port() const { return ntohs(address_.sin_port); }
  void Connect() {
    clients_.emplace_back(::socket(AF_INET, SOCK_STREAM, 0));
    EXPECT_EQ(::connect(clients_.back().get(), Address(), sizeof address_), 0);
    served_.emplace_back(::accept(listening_.get(), nullptr, nullptr));
  }
  void Say(size_t client) { EXPECT_EQ(::write(clients_[client].get(), "x", 1), 1); }
  bool Ended(size_t client) {
    pollfd poll{clients_[client].get(), POLLIN, 0};
    char byte = 0;
    return ::poll(&poll, 1, 0) == 1 && ::read(clients_[client].get(), &byte, 1) == 0;
  }

  sockaddr_in address_{};
  Descriptor listening_;
  std::vector<Descriptor> clients_;
  std::vector<Descriptor> served_;
};

TEST_F(Connections, TheIdlestIsEndedAndNobodyWhoWasJustHeardOf) {
  for (int i = 0; i < 5; ++i) Connect();
  (void)::poll(nullptr, 0, 300);
  for (size_t i : {0, 1, 3, 4}) Say(i);
  EXPECT_EQ(EndIdlestConnections(port(), 150ms), 1u);
  EXPECT_TRUE(Ended(2));
  for (size_t i : {0, 1, 3, 4}) EXPECT_FALSE(Ended(i)) << i;
  EXPECT_EQ(EndIdlestConnections(port(), std::chrono::hours(1)), 0u) << "all are busy";
  EXPECT_EQ(EndIdlestConnections(port() + 1, Duration(0)), 0u) << "of another port";
}

TEST(Descriptors, ANumberTellsHowManyAreOpenAtLeast) {
  SpareDescriptor spare;
  const size_t before = OpenDescriptors();
  EXPECT_GT(before, 3u);
  EXPECT_TRUE(spare.Spend());
  EXPECT_FALSE(spare.Spend()) << "there is one";
  EXPECT_EQ(OpenDescriptors(), before - 1);
  spare.Refill();
  EXPECT_EQ(OpenDescriptors(), before);
  EXPECT_TRUE(RaiseDescriptorLimit(8).ok());
  EXPECT_EQ(RaiseDescriptorLimit(size_t{1} << 40).status().code(), Code::kFailedPrecondition);
}

TEST(Address, AllWaysToWriteEveryAddress) {
  for (const char* host :
       {"0.0.0.0", "0", "00.0.0.0", "0x0", "::", "::0", "0:0:0:0:0:0:0:0", "::ffff:0.0.0.0", "*"}) {
    EXPECT_TRUE(IsWildcardHost(host)) << host;
  }
  for (const char* host : {"127.0.0.1", "::1", "localhost", "0.0.0.1", "example.org"}) {
    EXPECT_FALSE(IsWildcardHost(host)) << host;
  }
}

}  // namespace
}  // namespace quorate
