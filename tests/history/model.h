// Consistency models, by the anomalies that they forbid.
//
// Every model forbids what no order of transactions explains:
//   garbage-read        a value that nobody wrote
//   duplicate-elements  an element twice in one list
//   incompatible-order  two reads of a list of which neither is a prefix of the other, or one in
//                       which the appends of a transaction stand in another order than it made them
//   cyclic-versions     reads and real time give the versions of a key no order
//   ambiguous-write     a value written twice to one key: the history cannot be judged
//   cycle-search-gave-up  too many cycles to tell whether one of them is forbidden
//   wrong-total, negative-balance, missing-account    bank
//   phantom-element                                   set
//   lost-increment, phantom-increment                 counter
//   G0                  write cycle (dirty write)
// Read committed and stronger:
//   G1a                 aborted read
//   G1b                 intermediate read
//   G1c                 circular information flow
//   dirty-update        a failed write lies below an acknowledged one
// Parallel snapshot isolation and stronger, and repeatable read:
//   internal            a transaction contradicts its own reads and writes
//   lost-update         several transactions read one version of a key and wrote it
//   G-single            a cycle with exactly one read-write edge (read skew)
// Snapshot isolation, repeatable read and stronger:
//   G-nonadjacent       a cycle whose read-write edges never follow each other
//   long-fork           the same of sets and of pairs of reads: each saw what the other did not
// Repeatable read and stronger:
//   G2-item             any other cycle (write skew: two transactions, each overlooks the other)
// The cycles also exist with the suffixes -process (they need the order of one client's
// transactions; the strong-session models forbid them) and -realtime (they need the order of
// transactions that did not overlap; the strong and strict models forbid them). So do these, of
// sets and counters:
//   lost-element        an acknowledged element was never seen again
//   stale-read          an acknowledged write is missing from a later read
//   non-monotonic-read  a read is older than what an earlier one saw
//   causal-reverse      a read saw a write, and not what was acknowledged before that was asked for
//   future-read         a write was seen before it was asked for
#pragma once

#include <optional>
#include <string_view>
#include <vector>

namespace quorate::history {

// What orders transactions beside the data.
enum class Order : uint8_t { kNone, kProcess, kRealtime };

struct Model {
  std::string_view name;
  bool g1 = false;             // G1a, G1b, G1c, dirty-update
  bool g_single = false;       // internal, lost-update, G-single
  bool g_nonadjacent = false;  // G-nonadjacent
  bool g2_item = false;
  Order order = Order::kNone;

  bool Forbids(std::string_view anomaly) const;
};

const std::vector<Model>& Models();
std::optional<Model> ModelNamed(std::string_view name);
const Model& StrictSerializable();

}  // namespace quorate::history
