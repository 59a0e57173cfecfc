#include "raft/core/invariants.h"

#include "base/check.h"
#include "raft/core/membership.h"

namespace quorate::raft {
namespace {

void CheckLog(const Log& log) {
  CHECK(log.mark() <= log.stable() && log.stable() <= log.written() && log.written() <= log.last(),
        "mark {}, stable {}, written {}, last {}", log.mark(), log.stable(), log.written(),
        log.last());
  Term term = *log.TermAt(log.mark());
  LogIndex configuration_index = log.mark();
  for (LogIndex i = log.first(); i <= log.last(); ++i) {
    const Entry& entry = log.At(i);
    CHECK(entry.index == i && entry.term >= term, "entry {} at {}, term {} after {}", entry.index,
          i, entry.term, term);
    term = entry.term;
    if (entry.type == EntryType::kConfiguration) configuration_index = i;
  }
  if (configuration_index > log.mark()) {
    CHECK(EncodeConfiguration(log.configuration()) == log.At(configuration_index).payload,
          "configuration in force is not that of entry {}", configuration_index);
  }
}

void CheckLeader(const ReplicaState& state) {
  const Log& log = *state.log;
  CHECK(state.soft.leader == state.self && state.vote == state.self);
  CHECK(log.last_term() == state.soft.term, "a leader's log ends in its own term");
  CHECK(log.Matches(state.term_start, state.soft.term) || state.term_start < log.mark());
  size_t others = 0;
  for (ReplicaId id : Members(log.configuration())) others += id != state.self ? 1 : 0;
  CHECK(state.progress->size() == others, "progress of {} for {} members", state.progress->size(),
        others);
  for (const Progress& p : *state.progress) {
    CHECK(IsMember(log.configuration(), p.id));
    CHECK(p.match < p.next && p.next <= log.last() + 1, "{}: match {}, next {}, last {}", p.id,
          p.match, p.next, log.last());
    CHECK(p.commit_sent <= state.commit);
  }
}

}  // namespace

void CheckState(const ReplicaState& state) {
  const Log& log = *state.log;
  CheckLog(log);
  CHECK(log.mark() <= state.applied && state.applied <= state.handed &&
            state.handed <= state.commit && state.commit <= log.last(),
        "mark {}, applied {}, handed {}, commit {}, last {}", log.mark(), state.applied,
        state.handed, state.commit, log.last());
  CHECK(log.last_term() <= state.soft.term);
  if (state.soft.role == Role::kCandidate) CHECK(state.vote == state.self);
  if (state.soft.role == Role::kLeader) CheckLeader(state);
}

void DeltaCheck::Observe(const Node& node) {
  SoftState soft = node.soft_state();
  LogIndex last = node.last_index();
  if (seen_) {
    CHECK(soft.term >= soft_.term, "term {} after {}", soft.term, soft_.term);
    CHECK(node.commit_index() >= commit_, "commit {} after {}", node.commit_index(), commit_);
    CHECK(node.applied_index() >= applied_, "applied {} after {}", node.applied_index(), applied_);
    bool same_term = soft.term == soft_.term;
    if (same_term && soft_.role == Role::kLeader) {
      CHECK(last >= last_, "a leader's log went from {} to {}", last_, last);
      Result<Term> term = node.TermAt(last_);
      CHECK(!term.ok() || *term == last_term_, "a leader's entry {} was replaced", last_);
    }
    if (same_term && soft.role == Role::kLeader) {
      CHECK(soft_.role == Role::kLeader || soft_.role == Role::kCandidate,
            "led term {} without campaigning in it", soft.term);
    }
  }
  seen_ = true;
  soft_ = soft;
  commit_ = node.commit_index();
  applied_ = node.applied_index();
  last_ = last;
  last_term_ = *node.TermAt(last);
}

}  // namespace quorate::raft
