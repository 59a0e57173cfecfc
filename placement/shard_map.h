// ShardMap: which shard owns which keys, as reported by the shards themselves. An index: the truth
// about a shard's range, epoch and members is its own log, so a late report can cost a redirect and
// nothing else.
//
// The map is a tiling of the key space into pieces, each owned by the newest descriptor reported
// for it. On one key the version only grows (a split or merge raises the version of every shard
// that it changes), so painting reports in any order gives the same map, and there is never a gap:
// until the other half of a split is reported, its keys still point to the parent.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "quorate/v1/txn.pb.h"
#include "txn/key_span.h"

namespace quorate::placement {

class ShardMap {
 public:
  // What a change did to the pieces, by first key.
  struct Change {
    std::vector<std::string> removed;
    std::vector<std::string> written;
    bool empty() const { return removed.empty() && written.empty(); }
  };
  // Paints the descriptor over everything that is older. The first one must cover all keys, or be
  // followed by others that do.
  Change Put(const v1::ShardDescriptor& descriptor);
  // Whether Put would change anything.
  bool Newer(const v1::ShardDescriptor& descriptor) const;
  // Whether a leader's report may be true: the shard keeps to the keys that it had, or has absorbed
  // what was right of them; one that is not
  // known yet was split off, so that its id was allocated (is below `next_id`), and its keys are
  // one older shard's so far. So nobody can report shards without bound, nor keys that were never
  // its.
  bool Plausible(const v1::ShardDescriptor& descriptor, uint64_t next_id, bool merges) const;
  // Loads a piece as it was stored.
  void Load(v1::ShardDescriptor piece);
  void Clear() { pieces_.clear(); }

  // By first key. A piece's descriptor has the piece's range; it is narrower than the shard's own
  // if newer shards own the rest.
  const std::map<std::string, v1::ShardDescriptor, std::less<>>& pieces() const { return pieces_; }
  const v1::ShardDescriptor* Find(std::string_view key) const;
  // Empty, or the first place where the pieces leave a gap or overlap.
  std::string TilingError() const;

 private:
  bool OlderRightOf(const Span& own, const v1::ShardDescriptor& descriptor) const;

  std::map<std::string, v1::ShardDescriptor, std::less<>> pieces_;
};

}  // namespace quorate::placement
