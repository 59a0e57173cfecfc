// quorate as a target of the peers' load driver. conn: endpoints=h:p;h:p;h:p
//
// A key is SPACE/ID%PARTS/ID, and quorate.sh begins a shard at every SPACE/PART: every space lies
// on kParts shards, and two ids of different parity are always on different ones.
#include <cstdio>
#include <stdexcept>

#include "peer_client.h"
#include "target.h"

namespace {

constexpr uint32_t kParts = 4;
constexpr int kLoadSlots = 8;
constexpr uint32_t kLoadBatch = 100;

std::string KeyOf(Space s, uint32_t id) {
  char text[48];
  std::snprintf(text, sizeof text, "%s/%u/%08u", info(s).name, id % kParts, id);
  return text;
}

class QuorateTarget : public Target {
 public:
  void open(const Conn& conn, int, Sink* sink) override {
    sink_ = sink;
    client_ = PeerClient::Open(split(get_or(conn, "endpoints", ""), ';'),
                               [this](int slot, const PeerClient::Result& r) {
                                 Outcome o;
                                 o.ok = r.ok;
                                 o.retries = r.retries;
                                 o.sum = r.sum;
                                 o.error = r.error;
                                 sink_->done(slot, o);
                               });
  }
  void submit(int slot, const Op& op) override {
    switch (op.kind) {
      case Op::kGet:
        return client_->Get(slot, KeyOf(op.space, op.key));
      case Op::kPut:
        return client_->Put(slot, KeyOf(op.space, op.key), std::string(op.value));
      case Op::kTransfer:
        return client_->Transfer(slot, KeyOf(op.space, op.from), KeyOf(op.space, op.to), op.amount);
      case Op::kSnapshot: {
        std::vector<std::string> keys;
        for (uint32_t i = 0; i < op.nkeys; ++i) keys.push_back(KeyOf(op.space, op.keys[i]));
        return client_->Snapshot(slot, std::move(keys), info(op.space).value_size == 0);
      }
    }
  }
  void poll(int timeout_ms) override { client_->Poll(timeout_ms); }

  void load(const Conn& conn,
            const std::function<std::string_view(Space, uint32_t)>& value) override {
    for (int i = 0; i < kSpaces; ++i) {
      const Space s = Space(i);
      const uint32_t records = info(s).records;
      uint32_t next = 0;
      RunAll(conn, (records + kLoadBatch - 1) / kLoadBatch, [&](PeerClient& client, int slot) {
        std::vector<std::pair<std::string, std::string>> rows;
        for (uint32_t n = 0; n < kLoadBatch && next < records; ++n, ++next) {
          rows.emplace_back(KeyOf(s, next), info(s).value_size == 0
                                                ? PeerClient::EncodeBalance(kInitialBalance)
                                                : std::string(value(s, next)));
        }
        client.PutAll(slot, std::move(rows));
      });
    }
  }

  // All balances at one snapshot.
  int64_t total(const Conn& conn, Space s) override {
    return RunAll(conn, 1, [s](PeerClient& client, int slot) {
      std::vector<std::string> keys;
      for (uint32_t id = 0; id < info(s).records; ++id) keys.push_back(KeyOf(s, id));
      client.Snapshot(slot, std::move(keys), true);
    });
  }

 private:
  // Runs `count` operations, kLoadSlots at a time, each to its end; the last one's sum.
  static int64_t RunAll(const Conn& conn, uint32_t count,
                        const std::function<void(PeerClient&, int)>& start) {
    uint32_t started = 0, ended = 0;
    int64_t sum = 0;
    std::string failure;
    std::unique_ptr<PeerClient> client;
    client = PeerClient::Open(split(get_or(conn, "endpoints", ""), ';'),
                              [&](int slot, const PeerClient::Result& r) {
                                if (!r.ok) failure = r.error;
                                sum = r.sum;
                                ++ended;
                                if (started < count && failure.empty()) {
                                  ++started;
                                  start(*client, slot);
                                }
                              });
    for (int slot = 0; slot < kLoadSlots && started < count; ++slot) {
      ++started;
      start(*client, slot);
    }
    while (ended < started) client->Poll(10);
    if (!failure.empty()) throw std::runtime_error("quorate: " + failure);
    return sum;
  }

  Sink* sink_ = nullptr;
  std::unique_ptr<PeerClient> client_;
};
REGISTER_TARGET("quorate", QuorateTarget);

}  // namespace
