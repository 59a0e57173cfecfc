// Execute: a whole transaction in one request: conditions, then operations in order. Also the steps
// that sessions share with it.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/byte_turns.h"
#include "base/env.h"
#include "base/limits.h"
#include "base/task.h"
#include "client/database.h"
#include "quorate/v1/client.pb.h"
#include "server/node/public_call.h"
#include "txn/key_span.h"

namespace quorate::server {

// Of large reads, and of transactions that write much, which may take a while to get through the
// logs.
struct PublicTurns {
  explicit PublicTurns(Env& env)
      : reads(env, limits::kFetchBytesMax, &small),
        late_reads(env, 1),
        writes(env, limits::kWriteBytesMax, &small) {}
  SmallAskers small;
  ByteTurns reads;
  // Of clients that have much to take already: one at a time, and not often. Others would have to
  // wait for what is read in vain.
  ByteTurns late_reads;
  // Answers that are being made, or are not taken yet.
  std::shared_ptr<SharedBound> answers = std::make_shared<SharedBound>(SIZE_MAX / 2);
  ByteTurns writes;
};
// Fetching takes so long at most, or waits for a shard that has no leader.
inline constexpr Duration kFetchPatience = 2s;
inline constexpr Duration kLockedFetchPatience = 50ms;
inline constexpr Duration kWritePatience = 5s;

// Conditions and operations, atomically: all conditions hold in the snapshot that the operations
// read, or nothing is written and FAILED_PRECONDITION names those that do not. Conflicts are tried
// again until `timeout`. Results that do not fit one answer are refused before anything is written.
// The request was judged (CheckRequest). `unix_ms`: now, by which names are judged.
Task<v1::ExecuteResponse> Execute(Env& env, client::Database& database, PublicTurns* turns,
                                  v1::ExecuteRequest request, uint64_t unix_ms, PublicCall call,
                                  Duration timeout);

// Something is being fetched for an answer.
class Fetch {
 public:
  // `held`: of `holding`, for what is to come.
  Fetch(std::unique_ptr<ByteTurns::Turn> turn, std::shared_ptr<Holding> holding, size_t held)
      : turn_(std::move(turn)), holding_(std::move(holding)), held_(held) {}
  Fetch(Fetch&&) = default;
  ~Fetch() { Free(); }
  // It is there; what becomes of it is the answer's to hold.
  void Brought(size_t bytes) {
    turn_->Brought(bytes);
    Free();
  }

 private:
  void Free() {
    if (holding_ != nullptr) holding_->Shrink(std::exchange(held_, 0));
  }

  std::unique_ptr<ByteTurns::Turn> turn_;
  std::shared_ptr<Holding> holding_;
  size_t held_;
};

// What an answer may still take: kAnswerBytesMax in all, held for the client as it fills.
class AnswerRoom {
 public:
  // Both outlive it.
  AnswerRoom(Env& env, const PublicCall& call, PublicTurns* turns)
      : env_(env),
        holding_(call.holding),
        answer_(call.answer),
        client_(call.client),
        turns_(turns) {
    answer_->Open(turns->answers, client_);
  }
  // Waits until at most `at_most` bytes may be fetched. OVERLOADED: the client holds too much for
  // anything to be fetched for it.
  Task<Result<Fetch>> Begin(size_t at_most, Duration turn_ends_after = kFetchPatience);
  // INVALID_ARGUMENT: the answer is full; OVERLOADED: the client holds too much.
  Status Take(const v1::KeyValue& row);
  Status Take(size_t bytes);
  bool Fits(const v1::KeyValue& row) const;
  // For another attempt at the same answer.
  void Reset();

 private:
  // Whether the client has so many other answers to take that it can wait for this one,
  bool late() const;
  // or goes without.
  bool in_vain() const;
  // Null: it is late, and answers hold too much as it is.
  Task<std::unique_ptr<ByteTurns::Turn>> TakeTurn(size_t at_most, Duration turn_ends_after);

  Env& env_;
  std::shared_ptr<Holding> holding_;
  std::shared_ptr<Holding> answer_;
  const std::string client_;
  PublicTurns* const turns_;
  size_t used_ = 0;
};

using KeyValues = google::protobuf::RepeatedPtrField<v1::KeyValue>;
// One value per key, in order.
Task<Status> ReadKeys(client::Transaction* transaction, std::vector<std::string> keys,
                      bool for_update, AnswerRoom* room, KeyValues* values);

struct RowScan {
  Span span;
  uint32_t limit = 0;        // rows; 0: the most
  uint32_t limit_bytes = 0;  // 0: the most
  bool reverse = false;
  bool keys_only = false;
};
struct ScanCut {
  bool more = false;
  std::string resume_key;
};
// Rows until the range ends, or a limit or the answer's room cuts it.
Task<Result<ScanCut>> ScanRows(client::Transaction* transaction, RowScan scan, AnswerRoom* room,
                               KeyValues* rows);
inline constexpr size_t kRowBytesMax = limits::kKeyBytesMax + limits::kValueBytesMax;

// OVERLOADED: what a client is told that holds more than is left for it.
Status TooMuchHeld();
// Of a request that was judged; what does not have it reads a fresh snapshot.
client::StaleRead StaleOf(const v1::StaleRead& stale);
Status BufferWrite(client::Transaction* transaction, v1::Write write);

// A name as a caller gives it. INVALID_ARGUMENT: no UUIDv7, or too far ahead of `unix_ms`;
// TOO_OLD: further back than names are kept.
Result<GivenName> ParseName(std::string_view bytes, uint64_t unix_ms);
void FillTxn(const client::TxnHandle& handle, v1::TxnRef* txn);
// INVALID_ARGUMENT: neither a name and a key, nor what FillTxn made.
Result<client::TxnHandle> ParseTxn(const v1::TxnRef& txn, uint64_t unix_ms);
// The error of a commit that is not ok; an unknown outcome is named in it.
void FillCommitError(const client::CommitResult& result, v1::Error* error);

}  // namespace quorate::server
