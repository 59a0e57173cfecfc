// SpanIndex: which of many spans meet given keys, without looking at the others. A treap by the
// spans' starts in which every node knows whose end below it is the furthest. Pure; ties are broken
// by `id`, so the order of what is found does not depend on addresses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "base/random.h"
#include "txn/key_span.h"

namespace quorate::shard {

template <class T>
class SpanIndex {
 public:
  // `random`: of the tree's shape only. Who can tell its draws in advance can insert spans in such
  // an order that the tree is a list.
  explicit SpanIndex(Random random) : random_(random) {}

  size_t size() const { return size_; }

  // `id`: of whose span it is; it may have several. `value` outlives its entry.
  void Insert(const Span& span, uint64_t id, T* value) {
    auto node = std::make_unique<Node>(Node{span, id, value, random_.Next()});
    auto [below, above] = Split(std::move(root_), span.from, id);
    node->furthest = node.get();
    root_ = Join(Join(std::move(below), std::move(node)), std::move(above));
    ++size_;
  }
  // Precondition: Insert(span, id, ...) was called, and its entry is there.
  void Erase(const Span& span, uint64_t id) {
    CHECK(Erase(&root_, span, id), "a span is taken out once");
    --size_;
  }

  // Every span that contains one of `keys`, once if they are sorted. Returns how many entries it
  // looked at: about log2(size()) for each key and each span that it found.
  template <class Keys, class Found>
  size_t Visit(const Keys& keys, const Found& found) const {
    size_t looked_at = 0;
    const std::string_view* behind = nullptr;
    std::string_view last;
    if (root_ == nullptr) return 0;
    for (const auto& key : keys) {
      const std::string_view view(key);
      // What began at or before the last key and contains this one contained that one, too.
      if (behind != nullptr && view <= last) behind = nullptr;
      Visit(*root_, behind, view, found, &looked_at);
      last = view;
      behind = &last;
    }
    return looked_at;
  }

 private:
  struct Node {
    Span span;
    uint64_t id;
    T* value;
    uint64_t priority;
    const Node* furthest = nullptr;  // whose span ends last, here and below
    std::unique_ptr<Node> left, right;
  };
  using Tree = std::unique_ptr<Node>;

  static bool EndsBehind(const Span& span, std::string_view key) {
    return span.to.empty() || key < span.to;
  }
  static bool Before(const Node& node, std::string_view from, uint64_t id) {
    return std::pair(std::string_view(node.span.from), node.id) < std::pair(from, id);
  }
  static void Update(Node* node) {
    node->furthest = node;
    for (const Node* child : {node->left.get(), node->right.get()}) {
      if (child == nullptr || node->furthest->span.to.empty()) continue;
      const std::string& to = child->furthest->span.to;
      if (to.empty() || to > node->furthest->span.to) node->furthest = child->furthest;
    }
  }
  // Those before (from, id), and the others.
  static std::pair<Tree, Tree> Split(Tree tree, std::string_view from, uint64_t id) {
    if (tree == nullptr) return {};
    if (Before(*tree, from, id)) {
      auto [middle, above] = Split(std::move(tree->right), from, id);
      tree->right = std::move(middle);
      Update(tree.get());
      return {std::move(tree), std::move(above)};
    }
    auto [below, middle] = Split(std::move(tree->left), from, id);
    tree->left = std::move(middle);
    Update(tree.get());
    return {std::move(below), std::move(tree)};
  }
  // Precondition: all of `below` is before all of `above`.
  static Tree Join(Tree below, Tree above) {
    if (below == nullptr) return above;
    if (above == nullptr) return below;
    if (below->priority > above->priority) {
      below->right = Join(std::move(below->right), std::move(above));
      Update(below.get());
      return below;
    }
    above->left = Join(std::move(below), std::move(above->left));
    Update(above.get());
    return above;
  }
  static bool Erase(Tree* tree, const Span& span, uint64_t id) {
    Node* const node = tree->get();
    if (node == nullptr) return false;
    bool erased = false;
    if (node->span == span && node->id == id) {
      *tree = Join(std::move(node->left), std::move(node->right));
      return true;
    }
    // Spans of one id and start may be on both sides.
    if (!Before(*node, span.from, id)) erased = Erase(&node->left, span, id);
    if (!erased && node->span.from <= span.from) erased = Erase(&node->right, span, id);
    if (erased) Update(node);
    return erased;
  }
  // `behind`: only what begins behind it.
  template <class Found>
  static void Visit(const Node& node, const std::string_view* behind, std::string_view key,
                    const Found& found, size_t* looked_at) {
    ++*looked_at;
    if (!EndsBehind(node.furthest->span, key)) return;
    const bool begins_behind = behind == nullptr || node.span.from > *behind;
    if (begins_behind && node.left != nullptr) Visit(*node.left, behind, key, found, looked_at);
    if (node.span.from > key) return;
    if (begins_behind && EndsBehind(node.span, key)) found(*node.value);
    if (node.right != nullptr) Visit(*node.right, behind, key, found, looked_at);
  }

  Tree root_;
  size_t size_ = 0;
  Random random_;
};

}  // namespace quorate::shard
