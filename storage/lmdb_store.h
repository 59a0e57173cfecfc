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
// before it returns. Only a pinned view (kv_store.h) leaves one open, and with it every page freed
// after it; its reads run on a thread of their own. LMDB cannot replace its map under an open
// transaction: when the map has to grow, all views are given up first.
//
// Damage (lmdb_check.h says what is verified when). What leads to the leaves is checked at Open; if
// that is damaged, the whole file is set aside as data.mdb.damaged and an empty store opened: the
// replicas find theirs behind the log, and have their state sent by others. A damaged leaf, found
// by a read, a write or the scrubber, is noted (lmdb_damage.h), and the store is of no use until it
// is opened again: then all leaves are read, damaged ones replaced by empty ones, and what lay in
// them is Damaged(). Damage that LMDB itself reports is noted likewise; if the start behind that
// finds every page sound, and it is met again, the file is set aside, too. Whatever else keeps the
// file from being read is an error that names its cause, and leaves the file as it is.
//
// The scrubber runs on the commits' thread, between commits, a piece at a time.
//
// A file that is mostly free pages is rewritten at Open, if that takes seconds.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/env.h"
#include "storage/kv_store.h"

namespace quorate::storage {

// The scrubber's rate: at first, when every read has to verify its page, and then.
inline constexpr uint64_t kScrubFirstBytesPerSecond = 64 << 20;
inline constexpr uint64_t kScrubBytesPerSecond = 4 << 20;
// From the end of one pass to the next one: a small store is not read all the time.
inline constexpr std::chrono::seconds kScrubRest{10};
inline constexpr uint64_t kCompactFileBytesMin = 64 << 20;  // a smaller file is never rewritten

class LmdbStore final : public KvStore {
 public:
  struct Options {
    std::string directory;                   // created if missing
    uint64_t map_bytes = uint64_t{4} << 30;  // address space, not disk; doubled when needed
    uint64_t first_scrub_bytes_per_second = kScrubFirstBytesPerSecond;
    uint64_t scrub_bytes_per_second = kScrubBytesPerSecond;
    uint64_t compact_file_bytes_min = kCompactFileBytesMin;
    // A damaged page was found. By the scrubber, and it is noted: the node should stop serving soon
    // and open the store again. By who needs the page: it must, at once; called on that thread.
    enum class FoundBy : uint8_t { kScrubber, kUser };
    std::function<void(FoundBy, const Status&)> on_damage;
    // Makes room for the note on a full disk; whether it could. Called on any thread.
    std::function<bool()> make_room;
  };
  static Result<std::unique_ptr<LmdbStore>> Open(Env& env, Options options);
  // Waits for the commit that is running; queued ones are dropped without callback, as in a crash.
  ~LmdbStore() override;

  Result<std::optional<std::string>> Get(std::string_view key) const override;
  Status Scan(std::string_view from, std::string_view to, ScanVisitor visit) const override;
  Status ScanBack(std::string_view from, std::string_view to, ScanVisitor visit) const override;
  void CommitOverlay(std::shared_ptr<const Overlay> ops, CommitCallback done) override;
  Result<std::unique_ptr<KvView>> Pin() override;
  uint64_t SizeBytes() const override;
  uint64_t ReusableBytes() const override;
  bool waits_for_space() const override;
  std::vector<Range> Damaged() const override;
  void ForgetDamage() override;
  // Passes of the scrubber over the whole file since Open.
  uint64_t scrub_passes() const;

 private:
  struct Rep;
  class PinnedView;
  explicit LmdbStore(std::unique_ptr<Rep> rep);
  std::unique_ptr<Rep> rep_;
};

}  // namespace quorate::storage
