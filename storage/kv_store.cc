#include "storage/kv_store.h"

#include <algorithm>

#include "base/check.h"
#include "base/limits.h"
#include "storage/overlay.h"

namespace quorate::storage {
namespace {

size_t SuffixSize(std::string_view key) { return static_cast<uint8_t>(key.back()); }

}  // namespace

std::string MakeKey(std::string_view body, std::string_view suffix) {
  CHECK(suffix.size() <= UINT8_MAX && body.size() + suffix.size() < limits::kLmdbKeyBytesMax,
        "a store key of {} + {} bytes", body.size(), suffix.size());
  std::string key;
  key.reserve(body.size() + suffix.size() + 1);
  key.append(body).append(suffix).push_back(static_cast<char>(suffix.size()));
  return key;
}

std::string_view KeyBody(std::string_view key) {
  CHECK(!key.empty() && SuffixSize(key) < key.size(), "not a store key");
  return key.substr(0, key.size() - 1 - SuffixSize(key));
}

std::string_view KeySuffix(std::string_view key) {
  CHECK(!key.empty() && SuffixSize(key) < key.size(), "not a store key");
  return key.substr(key.size() - 1 - SuffixSize(key), SuffixSize(key));
}

int CompareKeys(std::string_view a, std::string_view b) {
  const size_t a_suffix = SuffixSize(a);
  const size_t b_suffix = SuffixSize(b);
  const size_t a_body = a.size() - 1 - a_suffix;
  const size_t b_body = b.size() - 1 - b_suffix;
  const int bodies = a.substr(0, a_body).compare(b.substr(0, b_body));
  if (bodies != 0) return bodies;
  return a.substr(a_body, a_suffix).compare(b.substr(b_body, b_suffix));
}

void KvStore::Commit(WriteBatch batch, CommitCallback done) {
  auto ops = std::make_shared<Overlay>();
  for (WriteBatch::Op& op : batch.ops) ops->Put(std::move(op.key), std::move(op.value));
  CommitOverlay(std::move(ops), std::move(done));
}

}  // namespace quorate::storage
