#include "storage/kv_store.h"

#include <algorithm>

#include "base/check.h"
#include "base/limits.h"
#include "storage/overlay.h"

namespace quorate::storage {

namespace {

// With room for all of it, so that a key is one allocation.
std::string Reserved(size_t body, size_t suffix) {
  CHECK(suffix <= UINT8_MAX && body + suffix < limits::kLmdbKeyBytesMax,
        "a store key of {} + {} bytes", body, suffix);
  std::string key;
  key.reserve(body + suffix + 1);
  return key;
}

}  // namespace

std::string MakeKey(std::string_view body, std::string_view suffix) {
  std::string key = Reserved(body.size(), suffix.size());
  key.append(body).append(suffix).push_back(static_cast<char>(suffix.size()));
  return key;
}

std::string MakeKey(char tag, std::string_view rest, std::string_view suffix) {
  std::string key = Reserved(1 + rest.size(), suffix.size());
  key.push_back(tag);
  key.append(rest).append(suffix).push_back(static_cast<char>(suffix.size()));
  return key;
}

void KvStore::Commit(WriteBatch batch, CommitCallback done) {
  auto ops = std::make_shared<Overlay>();
  for (WriteBatch::Op& op : batch.ops) ops->Put(std::move(op.key), std::move(op.value));
  CommitOverlay(std::move(ops), std::move(done));
}

}  // namespace quorate::storage
