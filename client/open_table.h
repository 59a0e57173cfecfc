// OpenTable: a table as one transaction goes by it. TableDoor: what tables may do in a transaction
// and nobody else: write keys of tables (txn/table_key.h).
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "client/transaction.h"
#include "client/turns.h"
#include "quorate/v1/schema.pb.h"
#include "schema/row_codec.h"

namespace quorate::client {

struct OpenTable {
  v1::TableDescriptor descriptor;
  schema::RowCodec codec;
  // Messages of this program that were held against it, and fit. Executor's thread.
  mutable std::set<const google::protobuf::Descriptor*> fitting;
};
using OpenTablePtr = std::shared_ptr<const OpenTable>;

class TableDoor {
 public:
  virtual ~TableDoor() = default;
  // One and the same in all calls of the transaction, whose commit names its version from now on.
  // NOT_FOUND: there is none of this name.
  virtual Task<Result<OpenTablePtr>> Open(std::string name) = 0;
  // Taken before the first read of a change of rows, of whatever table, and kept until WriteRows.
  virtual Turns& turns() = 0;
  // What the transaction has buffered for a key; null: nothing.
  virtual const std::optional<std::string>* Buffered(const std::string& key) const = 0;
  // Of keys of that table. All or none.
  virtual Status WriteRows(const OpenTable& table, std::vector<BufferedWrite> writes) = 0;
};

}  // namespace quorate::client
