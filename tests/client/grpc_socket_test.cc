// SocketCork on real sockets, with time of our own.
#include "client/route/grpc_socket.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "tests/support/test_env.h"

namespace quorate::client {
namespace {

class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  Socket(Socket&& other) : fd_(std::exchange(other.fd_, -1)) {}
  ~Socket() {
    if (fd_ >= 0) ::close(fd_);
  }
  int fd() const { return fd_; }
  uint16_t port() const {
    sockaddr_in address{};
    socklen_t size = sizeof address;
    EXPECT_EQ(::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    return ntohs(address.sin_port);
  }

 private:
  int fd_;
};

class SocketCorkTest : public testing::Test {
 protected:
  SocketCorkTest() {
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(listener_.fd(), reinterpret_cast<sockaddr*>(&any), sizeof any), 0);
    EXPECT_EQ(::listen(listener_.fd(), 8), 0);
  }
  Socket Connect() {
    Socket client(::socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(listener_.port());
    EXPECT_EQ(::connect(client.fd(), reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
    return client;
  }
  Socket Accept() { return Socket(::accept(listener_.fd(), nullptr, nullptr)); }
  static std::string Name(uint16_t port) { return "ipv4:127.0.0.1:" + std::to_string(port); }
  static bool Corked(const SocketCork& cork) {
    int value = -1;
    socklen_t size = sizeof value;
    EXPECT_EQ(::getsockopt(cork.socket(), IPPROTO_TCP, TCP_CORK, &value, &size), 0);
    return value == 1;
  }

  Socket listener_{::socket(AF_INET, SOCK_STREAM, 0)};
  TestEnv world_;
};

TEST_F(SocketCorkTest, WhatIsHeldLeavesWithWhatIsWritten) {
  const Socket client = Connect();
  const Socket server = Accept();
  SocketCork cork(world_.executor, Name(client.port()));
  ASSERT_GE(cork.socket(), 0);
  EXPECT_FALSE(Corked(cork));
  cork.Received(300);
  EXPECT_TRUE(Corked(cork));
  ASSERT_EQ(::send(server.fd(), "update", 6, 0), 6);
  ASSERT_EQ(::send(server.fd(), "answer", 6, 0), 6);
  cork.Written();
  EXPECT_FALSE(Corked(cork));
  char bytes[32];
  ASSERT_EQ(::recv(client.fd(), bytes, 12, MSG_WAITALL), 12);
  EXPECT_EQ(std::string(bytes, 12), "updateanswer");
}

TEST_F(SocketCorkTest, NothingIsHeldForLong) {
  const Socket client = Connect();
  const Socket server = Accept();
  SocketCork cork(world_.executor, Name(client.port()));
  cork.Received(300);
  world_.executor.RunFor(9ms);
  EXPECT_TRUE(Corked(cork));
  world_.executor.RunFor(2ms);
  EXPECT_FALSE(Corked(cork));
  // Nor is a sender kept waiting for room.
  cork.Received(300);
  EXPECT_TRUE(Corked(cork));
  cork.Received(kStreamWindowBytes / 8);
  EXPECT_FALSE(Corked(cork));
}

TEST_F(SocketCorkTest, EndsUncorked) {
  const Socket client = Connect();
  const Socket server = Accept();
  {
    SocketCork cork(world_.executor, Name(client.port()));
    cork.Received(300);
    ASSERT_EQ(::send(server.fd(), "update", 6, 0), 6);
  }
  int value = -1;
  socklen_t size = sizeof value;
  ASSERT_EQ(::getsockopt(server.fd(), IPPROTO_TCP, TCP_CORK, &value, &size), 0);
  EXPECT_EQ(value, 0);
  world_.executor.RunFor(1s);  // the timer went with it
}

TEST_F(SocketCorkTest, OneThatIsNotFoundIsLeftAlone) {
  const Socket first = Connect();
  const Socket second = Connect();
  const Socket a = Accept();
  const Socket b = Accept();
  // Both of the client's ends have the listener on the other side.
  SocketCork two(world_.executor, Name(listener_.port()));
  EXPECT_LT(two.socket(), 0);
  SocketCork none(world_.executor, "ipv4:127.0.0.1:1");
  EXPECT_LT(none.socket(), 0);
  SocketCork other(world_.executor, "unix:/somewhere");
  EXPECT_LT(other.socket(), 0);
  for (SocketCork* cork : {&two, &none, &other}) {
    cork->Received(300);
    cork->Written();
  }
  world_.executor.RunFor(1s);
}

}  // namespace
}  // namespace quorate::client
