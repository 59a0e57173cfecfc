// KvStore over LMDB: one environment, one database ordered by CompareKeys.
//
// Commits run on a thread of the store's own, with LMDB's default flags: two syncs each, so that
// the file is always a consistent checkpoint (ST17). A batch that does not fit the map is never
// applied in part: the transaction is aborted, the map grown, the whole batch tried again (ST15).
//
// A commit that finds the disk full is tried again every kSpaceRetry, as a whole, from the last
// good meta page: LMDB writes each page that the commit refers to anew and syncs all of them, so
// that nothing rests on what an earlier try may have left undone. Only the meta page itself cannot
// be tried again, and it needs no space.
//
// Reads run on the executor's thread in a read transaction that is renewed for the call and reset
// before it returns. None is ever left open, since an open one pins every page freed after it.
#pragma once

#include <memory>
#include <string>

#include "base/env.h"
#include "storage/kv_store.h"

namespace quorate::storage {

class LmdbStore final : public KvStore {
 public:
  struct Options {
    std::string directory;                   // created if missing
    uint64_t map_bytes = uint64_t{4} << 30;  // address space, not disk; doubled when needed
  };
  static Result<std::unique_ptr<LmdbStore>> Open(Env& env, Options options);
  // Waits for the commit that is running; queued ones are dropped without callback, as in a crash.
  ~LmdbStore() override;

  Result<std::optional<std::string>> Get(std::string_view key) const override;
  Status Scan(std::string_view from, std::string_view to, ScanVisitor visit) const override;
  void CommitOverlay(std::shared_ptr<const Overlay> ops, CommitCallback done) override;
  uint64_t SizeBytes() const override;
  uint64_t ReusableBytes() const override;
  bool waits_for_space() const override;

 private:
  struct Rep;
  explicit LmdbStore(std::unique_ptr<Rep> rep);
  std::unique_ptr<Rep> rep_;
};

}  // namespace quorate::storage
