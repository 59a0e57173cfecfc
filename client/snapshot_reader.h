// SnapshotReader: reads of stored rows at an attempt's start timestamp, from whichever shards own
// them. Knows nothing of the attempt's own writes.
//
// Errors: those of Core::Call.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/core.h"
#include "client/start_timestamp.h"
#include "client/transaction.h"
#include "txn/key_span.h"

namespace quorate::v1 {
class ReadRequest;
class ReadResponse;
}  // namespace quorate::v1

namespace quorate::client {

class SnapshotReader {
 public:
  using Value = std::optional<std::string>;  // nullopt: absent
  using Keys = std::shared_ptr<const std::vector<std::string>>;

  // Before the first read. If it is wanted, any replica is asked.
  void SetStale(StaleRead stale) { stale_ = stale; }

  // Both pointers outlive it.
  SnapshotReader(Core* core, TxnId txn_id, StartTimestamp* start)
      : core_(core), txn_id_(txn_id), start_(start) {}

  Task<Result<Value>> Get(std::string key, Instant deadline);
  // In the order of `keys`; one round per shard, in parallel. INVALID_ARGUMENT: beyond
  // Options::read_bytes_max.
  Task<Result<std::vector<Value>>> GetMany(Keys keys, Instant deadline);

  struct Page {
    std::vector<Row> rows;
    Span covered;  // the rows are all there is in it
  };
  // One page of `rest`, from its beginning (reverse: from its end), within the limits of `options`
  // and of one answer.
  Task<Result<Page>> ScanPage(Span rest, ScanOptions options, Instant deadline);

 private:
  struct Found;  // by a GetMany so far
  // Adds what is wanted of the shard that the request is about to be sent to.
  using Fill = std::function<void(const Route&, v1::ReadRequest*)>;
  Task<Result<v1::ReadResponse>> Read(std::string route_key, Fill fill, Instant deadline);
  Task<Result<v1::ReadResponse>> Send(std::string route_key, Fill fill, Timestamp at,
                                      Instant deadline);
  Task<Status> GetGroup(Keys keys, std::vector<size_t> indices, std::shared_ptr<Found> found,
                        Instant deadline);

  Core* core_;
  const TxnId txn_id_;
  StartTimestamp* start_;
  StaleRead stale_;
};

}  // namespace quorate::client
