// Overlay: puts and deletions in memory, over a KvStore that does not have them yet.
//
// Nearly all that a node asks of it concerns one body (kv_store.h: a key is body | suffix): the
// versions of a key, one record. So pairs are found by a hash of their body, in a list ordered by
// suffix. The order of the bodies is made when a scan over several of them asks for it, all at once
// unless Index() went before; a tree over whole keys costs each write and each look a dozen cache
// misses instead.
//
// Threads: the executor's. Once nothing is put any more, Ordered() may run on one other thread
// while the executor reads.
#pragma once

#include <absl/container/btree_set.h>
#include <absl/container/flat_hash_set.h>
#include <absl/functional/function_ref.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "storage/kv_store.h"

namespace quorate::storage {

class Overlay {
 public:
  using Op = WriteBatch::Op;

  Overlay();
  ~Overlay();
  Overlay(const Overlay& other);
  Overlay(Overlay&&) noexcept;
  Overlay& operator=(Overlay) noexcept;

  // Replaces what the key had.
  void Put(std::string key, std::optional<std::string> value);
  // From now on it says nothing about the key.
  void Erase(std::string_view key);
  // nullptr: the overlay says nothing about the key.
  const std::optional<std::string>* Find(std::string_view key) const;
  // The last op below `to` (empty: of all); nullptr: none.
  const Op* Before(std::string_view to) const;
  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }
  // What it holds, with what a pair costs besides its bytes.
  size_t bytes() const { return bytes_; }
  // Puts at most `max` bodies into their order that are not in it yet. True: all are.
  bool Index(size_t max) const;
  // All of it in the order of the store. The pointers live as long as the overlay is not changed.
  std::vector<const Op*> Ordered() const;
  // Visits all of it, in no order that is the same twice.
  void ForEach(absl::FunctionRef<void(const Op&)> visit) const;

 private:
  // What lies under one body, ordered by suffix; never empty.
  struct Group {
    std::string_view body;  // of one of its keys
    std::vector<std::unique_ptr<Op>> ops;
  };
  using GroupPtr = std::unique_ptr<Group>;
  struct ByBody {
    using is_transparent = void;
    static std::string_view Of(std::string_view body) { return body; }
    static std::string_view Of(const GroupPtr& group) { return group->body; }
    static std::string_view Of(const Group* group) { return group->body; }
  };
  struct Hash : ByBody {
    template <class T>
    size_t operator()(const T& key) const {
      return absl::HashOf(Of(key));
    }
  };
  struct Equal : ByBody {
    template <class A, class B>
    bool operator()(const A& a, const B& b) const {
      return Of(a) == Of(b);
    }
  };
  struct Less : ByBody {
    template <class A, class B>
    bool operator()(const A& a, const B& b) const {
      return Of(a) < Of(b);
    }
  };
  using Order = absl::btree_set<const Group*, Less>;

 public:
  // The ops in [from, to), in order; an empty `from` or `to` is the beginning or the end. Valid
  // until the overlay is changed, or `to` is gone.
  class Cursor {
   public:
    Cursor(const Overlay& overlay, std::string_view from, std::string_view to);
    bool valid() const { return group_ != nullptr; }
    const Op& op() const { return *group_->ops[at_]; }
    void Next();

   private:
    // To the first op at or behind the current place; invalid from `to` on.
    void Settle();

    const Overlay* overlay_;
    std::string_view to_;
    bool one_body_;             // the range lies within one body
    Order::const_iterator it_;  // of group_, unless one_body_
    const Group* group_ = nullptr;
    size_t at_ = 0;
  };

 private:
  static size_t LowerBound(const Group& group, std::string_view suffix);
  // The bodies in order; brings the index up to date.
  const Order& Bodies() const;

  absl::flat_hash_set<GroupPtr, Hash, Equal> groups_;
  size_t size_ = 0;
  size_t bytes_ = 0;
  mutable Order index_;
  mutable std::vector<const Group*> unindexed_;
};

}  // namespace quorate::storage
