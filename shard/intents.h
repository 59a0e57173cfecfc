// Intents: provisional writes of PREPARED participants, one per key at most.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "shard/keys.h"
#include "storage/kv_store.h"

namespace quorate::shard {

struct Intent {
  TxnId txn_id;
  Digest digest;
  Timestamp prepare_ts;
  bool deletion = false;
  std::string value;

  // The marker key is not stored with it: one intent per key, so its record is told by these.
  bool Of(const Owner& owner) const { return txn_id == owner.txn_id && digest == owner.digest; }
};

void PutIntent(std::string_view key, const Owner& owner, Timestamp prepare_ts, bool deletion,
               std::string_view value, storage::WriteBatch* batch);
std::optional<Intent> GetIntent(const storage::KvReader& store, std::string_view key);
bool DecodeIntent(std::string_view stored, Intent* intent);

}  // namespace quorate::shard
