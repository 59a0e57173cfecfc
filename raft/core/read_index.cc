#include "raft/core/read_index.h"

#include <utility>

#include "base/check.h"

namespace quorate::raft {

void ReadIndexQueue::Start(uint64_t round, LogIndex commit) {
  CHECK(rounds_.empty() || rounds_.back().round < round, "round {} is used twice", round);
  rounds_.push_back({round, commit, std::exchange(asked_, {})});
}

void ReadIndexQueue::Confirm(uint64_t round, std::vector<ReadState>* reads) {
  auto it = rounds_.begin();
  for (; it != rounds_.end() && it->round <= round; ++it) {
    for (uint64_t context : it->contexts) reads->push_back({context, it->commit});
  }
  rounds_.erase(rounds_.begin(), it);
}

void ReadIndexQueue::Fail(std::vector<uint64_t>* failed) {
  for (const Round& round : rounds_) {
    failed->insert(failed->end(), round.contexts.begin(), round.contexts.end());
  }
  failed->insert(failed->end(), asked_.begin(), asked_.end());
  rounds_.clear();
  asked_.clear();
}

}  // namespace quorate::raft
