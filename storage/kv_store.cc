#include "storage/kv_store.h"

#include <algorithm>

#include "base/check.h"
#include "base/limits.h"
#include "storage/overlay.h"

namespace quorate::storage {

std::string MakeKey(std::string_view body, std::string_view suffix) {
  CHECK(suffix.size() <= UINT8_MAX && body.size() + suffix.size() < limits::kLmdbKeyBytesMax,
        "a store key of {} + {} bytes", body.size(), suffix.size());
  std::string key;
  key.reserve(body.size() + suffix.size() + 1);
  key.append(body).append(suffix).push_back(static_cast<char>(suffix.size()));
  return key;
}

void KvStore::Commit(WriteBatch batch, CommitCallback done) {
  auto ops = std::make_shared<Overlay>();
  for (WriteBatch::Op& op : batch.ops) ops->Put(std::move(op.key), std::move(op.value));
  CommitOverlay(std::move(ops), std::move(done));
}

}  // namespace quorate::storage
