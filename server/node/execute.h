// Execute: a whole transaction in one request: conditions, then operations in order. Also the steps
// that sessions share with it.
#pragma once

#include <string>
#include <vector>

#include "base/env.h"
#include "base/task.h"
#include "client/database.h"
#include "quorate/v1/client.pb.h"

namespace quorate::server {

// Conditions and operations, atomically: all conditions hold in the snapshot that the operations
// read, or nothing is written and FAILED_PRECONDITION names those that do not. Conflicts are tried
// again until the timeout. `unix_ms`: now, by which names are judged.
Task<v1::ExecuteResponse> Execute(Env& env, client::Database& database, v1::ExecuteRequest request,
                                  uint64_t unix_ms, Duration timeout);

using KeyValues = google::protobuf::RepeatedPtrField<v1::KeyValue>;
// One value per key, in order.
Task<Status> ReadKeys(client::Transaction* transaction, std::vector<std::string> keys,
                      bool for_update, KeyValues* values);
// Rows of [from, to); true if there are more: `limit` (0: the most) or kScanBytesMax was reached.
Task<Result<bool>> ScanRows(client::Transaction* transaction, std::string from, std::string to,
                            uint32_t limit, KeyValues* rows);
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
