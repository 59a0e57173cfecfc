// Judges list-append histories: infers the version order of each key from what was read, builds the
// dependency graph with real-time edges, and looks for what strict serializability forbids.
//
//   incompatible-order  two reads of a key of which neither is a prefix of the other
//   duplicate-element   an element twice in one list
//   garbage-read        an element that nobody appended
//   G1a                 an element of a failed transaction was read
//   G1b                 a read saw some but not all of another transaction's appends to the key
//   internal            a transaction does not see its own appends
//   lost-append         an acknowledged append is missing from a later read
//   G0, G1c, G-single, G2 (+ "-realtime")   cycles, by the edges they need
#pragma once

#include <vector>

#include "tests/history/history.h"

namespace quorate::history {

std::vector<Anomaly> CheckListAppend(const std::vector<Transaction>& transactions);

}  // namespace quorate::history
