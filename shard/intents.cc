#include "shard/intents.h"

#include "base/check.h"
#include "base/coding.h"

namespace quorate::shard {

void PutIntent(std::string_view key, const Owner& owner, Timestamp prepare_ts, bool deletion,
               std::string_view value, storage::WriteBatch* batch) {
  std::string stored;
  stored.reserve(33 + value.size());
  stored.append(owner.txn_id.bytes());
  PutFixed64(&stored, owner.digest.value());
  PutFixed64(&stored, prepare_ts.bits());
  stored.push_back(deletion ? 1 : 0);
  if (!deletion) stored.append(value);
  batch->Put(IntentKey(key), std::move(stored));
}

bool DecodeIntent(std::string_view stored, Intent* intent) {
  if (stored.size() < TxnId::kBytes) return false;
  intent->txn_id = *TxnId::FromBytes(stored.substr(0, TxnId::kBytes));
  stored.remove_prefix(TxnId::kBytes);
  uint64_t digest = 0;
  uint64_t prepare_ts = 0;
  if (!GetFixed64(&stored, &digest) || !GetFixed64(&stored, &prepare_ts)) return false;
  if (stored.empty() || (stored[0] != 0 && stored[0] != 1)) return false;
  intent->digest = Digest(digest);
  intent->prepare_ts = Timestamp(prepare_ts);
  intent->deletion = stored[0] == 1;
  intent->value = stored.substr(1);
  return true;
}

std::optional<Intent> GetIntent(const storage::KvReader& store, std::string_view key) {
  const auto stored = store.Get(IntentKey(key));
  CHECK(stored.ok(), "reading the store: {}", stored.status().ToString());
  if (!stored->has_value()) return std::nullopt;
  Intent intent;
  CHECK(DecodeIntent(**stored, &intent), "an intent does not decode");
  return intent;
}

}  // namespace quorate::shard
