// Registers: a read shows one version only, so the order of versions is inferred: the initial one
// comes first; a transaction's write follows what it read; and, as far as the model has it, the
// order of processes or real time orders what did not overlap.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "tests/history/dependencies.h"
#include "tests/history/realtime.h"
#include "tests/history/workloads.h"

namespace quorate::history {
namespace {

constexpr uint32_t kNobody = UINT32_MAX;

struct Version {
  int64_t value = Reason::kInitial;
  uint32_t writer = kNobody;
  bool last_of_writer = true;  // not overwritten by the same transaction
  std::vector<uint32_t> readers;
};

struct VersionEdge {
  uint32_t from;
  uint32_t to;
  Order basis;
  auto operator<=>(const VersionEdge&) const = default;
};

// What a transaction did to a key: the first version it saw or made, and the last.
struct Touch {
  uint32_t transaction;
  uint32_t first;
  uint32_t last;
  bool read;  // the first was seen, not made
  bool wrote;
};

struct Key {
  std::vector<Version> versions{Version{}};  // the initial one first
  std::unordered_map<int64_t, uint32_t> by_value;
  std::vector<Touch> touches;
  std::vector<VersionEdge> edges;
};

EdgeKind WwKind(Order basis) {
  return basis == Order::kNone      ? EdgeKind::kWw
         : basis == Order::kProcess ? EdgeKind::kWwProcess
                                    : EdgeKind::kWwRealtime;
}
EdgeKind RwKind(Order basis) {
  return basis == Order::kNone      ? EdgeKind::kRw
         : basis == Order::kProcess ? EdgeKind::kRwProcess
                                    : EdgeKind::kRwRealtime;
}

class Judge {
 public:
  Judge(const std::vector<Transaction>& transactions, Findings* findings)
      : transactions_(transactions), findings_(findings), dependencies_(transactions) {}

  void Run() {
    for (uint32_t t = 0; t < transactions_.size(); ++t) CollectWrites(t);
    for (uint32_t t = 0; t < transactions_.size(); ++t) {
      if (transactions_[t].outcome == Outcome::kOk) CollectReads(t);
    }
    for (uint32_t t = 0; t < transactions_.size(); ++t) {
      if (transactions_[t].outcome == Outcome::kUnknown) CollectVisibleWrites(t);
    }
    for (uint32_t k = 0; k < keys_.size(); ++k) {
      OrderByData(&keys_[k]);
      OrderByTime(k);
      JudgeUpdates(k);
      AddDependencies(k);
    }
    AddOrders(findings_->model(), &dependencies_);
    const size_t cycles = ReportCycles(Workload::kRwRegister, &dependencies_, findings_);
    if (cycles > 0) return;
    // A cycle of transactions says more, where there is one.
    for (const uint32_t k : without_order_) {
      findings_->Add("cyclic-versions",
                     fmt::format("reads and real time give the versions of {} no order",
                                 dependencies_.keys[k]));
    }
  }

 private:
  uint32_t KeyOf(const std::string& name) {
    const uint32_t number = dependencies_.keys.Number(name);
    if (number == keys_.size()) keys_.emplace_back();
    return number;
  }
  Outcome OutcomeOf(uint32_t t) const { return transactions_[t].outcome; }
  std::string Say(uint32_t t) const { return Describe(Workload::kRwRegister, transactions_, t); }

  void CollectWrites(uint32_t t) {
    std::map<uint32_t, uint32_t> last;
    for (const MicroOp& op : transactions_[t].ops) {
      const uint32_t k = KeyOf(op.key);
      if (op.kind != MicroOp::Kind::kWrite) continue;
      Key& key = keys_[k];
      const auto number = static_cast<uint32_t>(key.versions.size());
      if (!key.by_value.try_emplace(op.element, number).second) {
        findings_->Add("ambiguous-write", fmt::format("{} was written to {} twice; once by\n  {}",
                                                      Text(op.element), op.key, Say(t)));
        continue;
      }
      key.versions.push_back({op.element, t, true, {}});
      const auto [it, first] = last.try_emplace(k, number);
      if (first) continue;
      key.versions[it->second].last_of_writer = false;
      key.edges.push_back({it->second, number, Order::kNone});
      it->second = number;
    }
  }

  // The version that a read saw; none if nobody wrote it.
  std::optional<uint32_t> VersionRead(const MicroOp& op, const Key& key) const {
    if (!op.value) return 0;
    const auto it = key.by_value.find(*op.value);
    if (it == key.by_value.end()) return std::nullopt;
    return it->second;
  }

  void CollectReads(uint32_t t) {
    std::map<uint32_t, Touch> touched;
    for (const MicroOp& op : transactions_[t].ops) {
      const uint32_t k = KeyOf(op.key);
      Key& key = keys_[k];
      const bool write = op.kind == MicroOp::Kind::kWrite;
      const auto version = write ? key.by_value[op.element] : VersionRead(op, key);
      if (!version) {
        findings_->Add("garbage-read",
                       fmt::format("nobody wrote {} to {}, but it was read by\n  {}",
                                   Text(*op.value), op.key, Say(t)));
        continue;
      }
      const auto [it, first] = touched.try_emplace(k, Touch{t, *version, *version, !write, write});
      if (write) {
        it->second.last = *version;
        it->second.wrote = true;
        continue;
      }
      Version& seen = key.versions[*version];
      if (first ? seen.writer == t : it->second.last != *version) {
        findings_->Add("internal", fmt::format("what it read of {} does not follow from its own "
                                               "steps before\n  {}",
                                               op.key, Say(t)));
      }
      // Every read depends on who wrote what it saw, also one that the transaction's own steps
      // contradict.
      if (seen.writer == t) continue;
      if (seen.readers.empty() || seen.readers.back() != t) seen.readers.push_back(t);
      JudgeRead(t, op.key, seen);
    }
    for (const auto& [k, touch] : touched) keys_[k].touches.push_back(touch);
  }

  void JudgeRead(uint32_t t, const std::string& name, const Version& version) {
    if (version.writer == kNobody) return;
    if (OutcomeOf(version.writer) == Outcome::kFail) {
      findings_->Add("G1a", fmt::format("(aborted read) {} was written to {} by\n  {}\n  and read "
                                        "by\n  {}",
                                        Text(version.value), name, Say(version.writer), Say(t)));
    }
    if (!version.last_of_writer) {
      findings_->Add("G1b", fmt::format("(intermediate read) {} is not the last value written to "
                                        "{} by\n  {}\n  but was read by\n  {}",
                                        Text(version.value), name, Say(version.writer), Say(t)));
    }
  }

  // A transaction of unknown outcome happened if one of its writes was read; then all of them did.
  void CollectVisibleWrites(uint32_t t) {
    std::map<uint32_t, uint32_t> last;
    bool visible = false;
    for (const MicroOp& op : transactions_[t].ops) {
      if (op.kind != MicroOp::Kind::kWrite) continue;
      const uint32_t k = KeyOf(op.key);
      const uint32_t version = keys_[k].by_value[op.element];
      visible = visible || !keys_[k].versions[version].readers.empty();
      last[k] = version;
    }
    if (!visible) return;
    for (const auto& [k, version] : last) {
      keys_[k].touches.push_back({t, version, version, false, true});
    }
  }

  static void OrderByData(Key* key) {
    for (const Touch& touch : key->touches) {
      if (!touch.wrote) continue;
      if (touch.first != touch.last) key->edges.push_back({touch.first, touch.last, Order::kNone});
      key->edges.push_back({0, touch.last, Order::kNone});
    }
    std::erase_if(key->edges, [](const VersionEdge& edge) { return edge.from == edge.to; });
  }

  void OrderByTime(uint32_t k) {
    Key& key = keys_[k];
    const Order order = findings_->model().order;
    if (order == Order::kNone) return;
    const std::vector<VersionEdge> by_data = key.edges;
    AddTimeEdges(&key, order, false);
    if (!HasCycle(key)) return;
    // Some read was stale. The order of the writes alone is enough to show it as a cycle of
    // transactions; what reads say about it would contradict itself.
    without_order_.push_back(k);
    key.edges = by_data;
    AddTimeEdges(&key, order, true);
  }

  // The last version of a transaction comes before the first of one that follows in time, or is it.
  void AddTimeEdges(Key* key, Order order, bool writes_only) const {
    std::vector<Interval> intervals;
    for (uint32_t i = 0; i < key->touches.size(); ++i) {
      const Touch& touch = key->touches[i];
      if (writes_only && !touch.wrote) continue;
      intervals.push_back(IntervalOf(i, transactions_[touch.transaction]));
    }
    const auto add = [&](uint32_t a, uint32_t b) {
      const Touch &before = key->touches[a], &after = key->touches[b];
      const uint32_t to = writes_only ? after.last : after.first;
      if (before.last != to) key->edges.push_back({before.last, to, order});
    };
    if (order == Order::kRealtime) {
      ForEachRealtimePair(std::move(intervals), add);
      return;
    }
    std::sort(intervals.begin(), intervals.end(), [](const Interval& a, const Interval& b) {
      return std::pair(a.invoked, a.id) < std::pair(b.invoked, b.id);
    });
    std::map<int, uint32_t> last;  // of each process
    for (const Interval& interval : intervals) {
      const int process = transactions_[key->touches[interval.id].transaction].process;
      const auto [it, first] = last.try_emplace(process, interval.id);
      if (!first) add(std::exchange(it->second, interval.id), interval.id);
    }
  }

  static bool HasCycle(const Key& key) {
    Graph versions(static_cast<uint32_t>(key.versions.size()));
    for (const VersionEdge& edge : key.edges) {
      versions.Add(edge.from, edge.to, EdgeKind::kProcess);
    }
    versions.Freeze();
    return !versions.Components(Bit(EdgeKind::kProcess)).empty();
  }

  void JudgeUpdates(uint32_t k) {
    std::map<uint32_t, uint32_t> updater;  // by the version read
    for (const Touch& touch : keys_[k].touches) {
      if (!touch.read || !touch.wrote) continue;
      const auto [it, first] = updater.try_emplace(touch.first, touch.transaction);
      if (first) continue;
      findings_->Add("lost-update",
                     fmt::format("both read the same {} and wrote it\n  {}\n  {}",
                                 dependencies_.keys[k], Say(it->second), Say(touch.transaction)));
    }
  }

  void AddDependencies(uint32_t k) {
    Key& key = keys_[k];
    for (const Version& version : key.versions) {
      if (version.writer == kNobody) continue;
      for (const uint32_t reader : version.readers) {
        dependencies_.graph.Add(version.writer, reader, EdgeKind::kWr,
                                {k, version.value, version.value});
      }
    }
    // By version and basis, the versions behind it.
    std::sort(key.edges.begin(), key.edges.end(), [](const VersionEdge& a, const VersionEdge& b) {
      return std::tie(a.from, a.basis, a.to) < std::tie(b.from, b.basis, b.to);
    });
    key.edges.erase(std::unique(key.edges.begin(), key.edges.end()), key.edges.end());
    for (size_t i = 0; i < key.edges.size();) {
      const auto [from, _, basis] = key.edges[i];
      const Version& version = key.versions[from];
      std::vector<Graph::Write> behind;
      for (; i < key.edges.size() && key.edges[i].from == from && key.edges[i].basis == basis;
           ++i) {
        const Version& to = key.versions[key.edges[i].to];
        if (to.writer == kNobody) continue;  // the initial version, read late: HasCycle
        behind.push_back({to.writer, to.value});
        if (version.writer == kNobody) continue;
        dependencies_.graph.Add(version.writer, to.writer, WwKind(basis),
                                {k, version.value, to.value});
      }
      dependencies_.graph.AddReadsBefore(version.readers, behind, RwKind(basis), k, version.value);
    }
  }

  const std::vector<Transaction>& transactions_;
  Findings* const findings_;
  Dependencies dependencies_;
  std::vector<Key> keys_;
  std::vector<uint32_t> without_order_;
};

}  // namespace

void CheckRwRegister(const std::vector<Transaction>& transactions, Findings* findings) {
  Judge(transactions, findings).Run();
}

}  // namespace quorate::history
