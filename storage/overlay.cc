#include "storage/overlay.h"

#include <algorithm>
#include <utility>

namespace quorate::storage {
namespace {

// What a pair costs besides its bytes.
constexpr size_t kPairOverhead = 96;

size_t Cost(const Overlay::Op& op) {
  return kPairOverhead + op.key.size() + (op.value ? op.value->size() : 0);
}

// Whether nothing but keys of `body` can lie in [.., to).
bool EndsBody(std::string_view body, std::string_view to) {
  const std::string_view end = KeyBody(to);
  if (end == body) return true;
  return end.size() == body.size() + 1 && end.back() == '\0' && end.starts_with(body) &&
         KeySuffix(to).empty();
}

}  // namespace

Overlay::Overlay() = default;
Overlay::~Overlay() = default;
Overlay::Overlay(Overlay&&) noexcept = default;

Overlay::Overlay(const Overlay& other) : size_(other.size_), bytes_(other.bytes_) {
  groups_.reserve(other.groups_.size());
  for (const GroupPtr& theirs : other.groups_) {
    auto group = std::make_unique<Group>();
    group->ops.reserve(theirs->ops.size());
    for (const auto& op : theirs->ops) group->ops.push_back(std::make_unique<Op>(*op));
    group->body = KeyBody(group->ops.front()->key);
    unindexed_.push_back(group.get());
    groups_.insert(std::move(group));
  }
}

Overlay& Overlay::operator=(Overlay other) noexcept {
  std::swap(groups_, other.groups_);
  std::swap(size_, other.size_);
  std::swap(bytes_, other.bytes_);
  std::swap(index_, other.index_);
  std::swap(unindexed_, other.unindexed_);
  return *this;
}

size_t Overlay::LowerBound(const Group& group, std::string_view suffix) {
  const auto it = std::lower_bound(
      group.ops.begin(), group.ops.end(), suffix,
      [](const auto& op, std::string_view wanted) { return KeySuffix(op->key) < wanted; });
  return static_cast<size_t>(it - group.ops.begin());
}

void Overlay::Put(std::string key, std::optional<std::string> value) {
  auto found = groups_.find(KeyBody(key));
  const size_t at = found == groups_.end() ? 0 : LowerBound(**found, KeySuffix(key));
  if (found != groups_.end() && at < (*found)->ops.size() && (*found)->ops[at]->key == key) {
    Op& op = *(*found)->ops[at];
    bytes_ -= Cost(op);
    op.value = std::move(value);
    bytes_ += Cost(op);
    return;
  }
  auto op = std::make_unique<Op>(Op{std::move(key), std::move(value)});
  if (found == groups_.end()) {
    auto group = std::make_unique<Group>();
    group->body = KeyBody(op->key);
    unindexed_.push_back(group.get());
    found = groups_.insert(std::move(group)).first;
  }
  bytes_ += Cost(*op);
  ++size_;
  std::vector<std::unique_ptr<Op>>& ops = (*found)->ops;
  ops.insert(ops.begin() + static_cast<ptrdiff_t>(at), std::move(op));
}

void Overlay::Erase(std::string_view key) {
  const auto found = groups_.find(KeyBody(key));
  if (found == groups_.end()) return;
  Group& group = **found;
  const size_t at = LowerBound(group, KeySuffix(key));
  if (at == group.ops.size() || group.ops[at]->key != key) return;
  bytes_ -= Cost(*group.ops[at]);
  --size_;
  if (group.ops.size() > 1) {
    group.body = KeyBody(group.ops[at == 0 ? 1 : 0]->key);
    group.ops.erase(group.ops.begin() + static_cast<ptrdiff_t>(at));
    return;
  }
  Bodies();  // so that the index alone names it
  index_.erase(&group);
  groups_.erase(found);
}

const std::optional<std::string>* Overlay::Find(std::string_view key) const {
  const auto found = groups_.find(KeyBody(key));
  if (found == groups_.end()) return nullptr;
  const size_t at = LowerBound(**found, KeySuffix(key));
  if (at == (*found)->ops.size() || (*found)->ops[at]->key != key) return nullptr;
  return &(*found)->ops[at]->value;
}

const Overlay::Op* Overlay::Before(std::string_view to) const {
  const Order& bodies = Bodies();
  auto it = to.empty() ? bodies.end() : bodies.upper_bound(KeyBody(to));
  while (it != bodies.begin()) {
    const Group& group = **--it;
    const bool same = !to.empty() && group.body == KeyBody(to);
    const size_t end = same ? LowerBound(group, KeySuffix(to)) : group.ops.size();
    if (end > 0) return group.ops[end - 1].get();
  }
  return nullptr;
}

std::vector<const Overlay::Op*> Overlay::Ordered() const {
  // The index is the executor's: this one is made anew.
  std::vector<const Group*> bodies;
  bodies.reserve(groups_.size());
  for (const GroupPtr& group : groups_) bodies.push_back(group.get());
  std::sort(bodies.begin(), bodies.end(), Less());
  std::vector<const Op*> ops;
  ops.reserve(size_);
  for (const Group* group : bodies) {
    for (const auto& op : group->ops) ops.push_back(op.get());
  }
  return ops;
}

void Overlay::ForEach(absl::FunctionRef<void(const Op&)> visit) const {
  for (const GroupPtr& group : groups_) {
    for (const auto& op : group->ops) visit(*op);
  }
}

bool Overlay::Index(size_t max) const {
  for (; max > 0 && !unindexed_.empty(); --max) {
    index_.insert(unindexed_.back());
    unindexed_.pop_back();
  }
  return unindexed_.empty();
}

const Overlay::Order& Overlay::Bodies() const {
  Index(unindexed_.size());
  return index_;
}

Overlay::Cursor::Cursor(const Overlay& overlay, std::string_view from, std::string_view to)
    : overlay_(&overlay),
      to_(to),
      one_body_(!from.empty() && !to.empty() && EndsBody(KeyBody(from), to)) {
  if (overlay.empty() || (!from.empty() && !to.empty() && CompareKeys(from, to) >= 0)) return;
  if (one_body_) {
    const auto found = overlay.groups_.find(KeyBody(from));
    if (found == overlay.groups_.end()) return;
    group_ = found->get();
  } else {
    const Order& bodies = overlay.Bodies();
    it_ = from.empty() ? bodies.begin() : bodies.lower_bound(KeyBody(from));
    if (it_ == bodies.end()) return;
    group_ = *it_;
  }
  if (!from.empty() && group_->body == KeyBody(from)) at_ = LowerBound(*group_, KeySuffix(from));
  Settle();
}

void Overlay::Cursor::Next() {
  ++at_;
  Settle();
}

void Overlay::Cursor::Settle() {
  if (at_ == group_->ops.size()) {
    at_ = 0;
    group_ = one_body_ || ++it_ == overlay_->index_.end() ? nullptr : *it_;
    if (group_ == nullptr) return;
  }
  if (!to_.empty() && CompareKeys(op().key, to_) >= 0) group_ = nullptr;
}

}  // namespace quorate::storage
