#include "tests/sim/checks/lineage.h"

#include <algorithm>

namespace quorate::sim {

void Lineage::Add(uint64_t term, uint64_t index, uint64_t before) {
  Tenure& tenure = tenures_.try_emplace(term, Tenure{index, index}).first->second;
  if (index < tenure.first) {
    tenure.first = index;
    tenure.before = 0;
  }
  tenure.last = std::max(tenure.last, index);
  if (index == tenure.first && before != 0 && before != term) tenure.before = before;
}

void Lineage::AddConfiguration(uint64_t term, uint64_t index, raft::Configuration configuration,
                               raft::ReplicaId holder) {
  Add(term, index);
  Known& known = configurations_[{index, term}];
  known.configuration = std::move(configuration);
  known.holders.insert(holder);
}

std::set<uint64_t> Lineage::TermsAt(uint64_t term, uint64_t at) const {
  std::set<uint64_t> found;
  std::set<uint64_t> seen;
  std::vector<uint64_t> open = {term};
  while (!open.empty()) {
    const uint64_t now = open.back();
    open.pop_back();
    const auto tenure = tenures_.find(now);
    if (tenure == tenures_.end() || !seen.insert(now).second) continue;
    const uint64_t first = tenure->second.first;
    if (at >= first) {
      found.insert(now);
    } else if (tenure->second.before != 0) {
      open.push_back(tenure->second.before);
    } else {
      for (auto lower = tenures_.begin(); lower != tenure; ++lower) {
        const Tenure& other = lower->second;
        if (other.first < first && other.last >= first - 1) open.push_back(lower->first);
      }
    }
  }
  return found;
}

std::vector<const Lineage::Known*> Lineage::MayCommit(uint64_t term, uint64_t index) const {
  std::vector<const Known*> found;
  const auto later = configurations_.upper_bound({index, UINT64_MAX});
  for (auto as_of = later; as_of != configurations_.begin();) {
    --as_of;
    const auto& [at, its_term] = as_of->first;
    const std::set<uint64_t> terms = TermsAt(term, at);
    if (!terms.contains(its_term)) continue;
    found.push_back(&as_of->second);
    if (terms.size() == 1) break;  // certainly there, so it replaced those before it
  }
  for (auto next = later; next != configurations_.end(); ++next) {
    if (TermsAt(next->first.second, index).contains(term)) found.push_back(&next->second);
  }
  return found;
}

}  // namespace quorate::sim
