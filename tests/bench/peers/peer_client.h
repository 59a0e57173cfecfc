// PeerClient: quorate as the load driver of the peers folder needs it: single-threaded,
// event-driven, plain C++ in the interface, so that the driver need not know our tasks or be
// compiled as we are.
//
// Everything happens on the thread that calls Poll; `Done` runs inside Poll.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

class PeerClient {
 public:
  struct Result {
    bool ok = true;
    uint32_t retries = 0;
    int64_t sum = 0;         // Snapshot of balances
    const char* error = "";  // a short kind of error
  };
  using Done = std::function<void(int slot, const Result& result)>;

  static std::unique_ptr<PeerClient> Open(std::vector<std::string> addresses, Done done);
  virtual ~PeerClient() = default;

  // A slot has at most one operation under way.
  virtual void Get(int slot, std::string key) = 0;
  virtual void Put(int slot, std::string key, std::string value) = 0;
  // Reads both balances (signed 64-bit numbers) and writes both.
  virtual void Transfer(int slot, std::string from, std::string to, int64_t amount) = 0;
  // Reads all keys at one snapshot; adds them up if they are balances.
  virtual void Snapshot(int slot, std::vector<std::string> keys, bool balances) = 0;
  // Writes all rows in one transaction.
  virtual void PutAll(int slot, std::vector<std::pair<std::string, std::string>> rows) = 0;
  // Runs what is due, for about `timeout_ms`.
  virtual void Poll(int timeout_ms) = 0;

  static std::string EncodeBalance(int64_t balance);
};
