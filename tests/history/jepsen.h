// Jepsen's history format: one EDN map per event, one after another or in one vector.
//
//   {:index 0, :type :invoke, :process 3, :f :txn, :value [[:append 7 1] [:r 8 nil]], :time 12}
//   {:index 1, :type :ok, :process 3, :f :txn, :value [[:append 7 1] [:r 8 [4 5]]], :time 15}
//
// :type is :invoke, :ok, :fail (without effect) or :info (outcome unknown). Events stand in the
// order of real time; :index and :time are not needed, :f neither where the :value is a vector of
// steps. Processes that are not numbers (:nemesis) are skipped. What reads saw counts in :ok only
// and is nil elsewhere. Values may be of any kind, but where they are added up (bank, counter).
// :value by workload:
//   list-append     :f :txn    [[:append key element] [:r key [element ...]]]
//   rw-register     :f :txn    [[:w key value] [:r key value]]
//   long-fork       :f :write or :read (or :txn), as for rw-register
//   bank            :f :transfer {:from account, :to account, :amount n}
//                   :f :read {account balance}
//   set             :f :add element; :f :read #{element ...}
//   counter         :f :add n; :f :read n
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tests/history/check.h"
#include "tests/history/edn.h"

namespace quorate::history {

// The transactions in the order of their invocation, with event numbers for times; or what is wrong
// with the text, and where. Operations without an end are of unknown outcome.
std::variant<std::vector<Transaction>, edn::Error> ParseJepsen(Workload workload,
                                                               std::string_view text);

// The inverse, as far as the order of events goes: ParseJepsen of it gives the same transactions
// with other times that say the same about who came before whom. Whoever continues after an unknown
// outcome continues as a new process, as with Jepsen.
std::string PrintJepsen(Workload workload, const std::vector<Transaction>& transactions);

// As the :value of a :txn that ended so. With `list_max` > 0, only the ends of longer lists.
std::string PrintOps(Workload workload, const Transaction& transaction, size_t list_max = 0);

}  // namespace quorate::history
