// Lineage: which configurations may have decided that an entry of one Raft group is committed.
//
// A leader commits by the newest configuration in its log. So an entry is committed by the members
// as of it, or by later ones that were added while it was under way, and in either case that
// configuration and the entry lie in one log. A configuration that a deposed leader added, and
// nobody else had, decides nothing about what was written in its place, nor about what follows.
//
// What lies in one log follows from terms: a leader only appends, so all logs with an entry of a
// term are alike from the term's first entry on, and below that they are as the log that the
// leader began its term with. The last entry of that is known from any replica that has it and the
// term's first entry in its log. Where nobody is known to (who wrote it had just come up), each
// entry there of a lower term may be the one; so rather one configuration too many is said than
// one too few.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "raft/core/types.h"

namespace quorate::sim {

class Lineage {
 public:
  struct Known {
    raft::Configuration configuration;
    std::set<raft::ReplicaId> holders;  // that have it in their logs
  };
  // Some replica has an entry. `before`: the term of the entry before it in the same log, 0: not
  // known.
  void Add(uint64_t term, uint64_t index, uint64_t before = 0);
  // This entry, which the replica has, is a configuration.
  void AddConfiguration(uint64_t term, uint64_t index, raft::Configuration configuration,
                        raft::ReplicaId holder);

  // By which an entry that was added may have been committed, the newest before it first, then the
  // later ones; they stay valid until the next Add.
  std::vector<const Known*> MayCommit(uint64_t term, uint64_t index) const;

 private:
  // What a leader is known to have appended, without a gap.
  struct Tenure {
    uint64_t first = 0;
    uint64_t last = 0;
    uint64_t before = 0;  // the term of the entry before `first`; 0: not known
  };

  // The terms that the entry at `at` may have in a log with an entry of `term` at or above `at`.
  std::set<uint64_t> TermsAt(uint64_t term, uint64_t at) const;

  std::map<uint64_t, Tenure> tenures_;                             // by term
  std::map<std::pair<uint64_t, uint64_t>, Known> configurations_;  // index, term
};

}  // namespace quorate::sim
