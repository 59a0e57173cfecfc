// tests/history: Jepsen's format, and every judge on whatever parses.
#include <fmt/format.h>

#include "base/check.h"
#include "tests/fuzz/fuzz.h"
#include "tests/history/check.h"
#include "tests/history/jepsen.h"

namespace quorate::fuzz {

using namespace quorate::history;

void Run(std::string_view input) {
  edn::Reader reader(input);
  while (const auto value = reader.Next()) {
    const std::string printed = edn::Print(*value);
    edn::Reader printed_reader(printed);
    const auto same = printed_reader.Next();
    CHECK(same && *same == *value, "{} does not read back", printed);
  }
  const auto workload = static_cast<Workload>(TakeByte(&input) % 6);
  const auto parsed = ParseJepsen(workload, input);
  const auto* transactions = std::get_if<std::vector<Transaction>>(&parsed);
  if (transactions == nullptr) {
    CHECK(!std::get<edn::Error>(parsed).message.empty());
    return;
  }
  for (const Model& model : Models()) Check(workload, *transactions, {model, std::nullopt});
  const std::string printed = PrintJepsen(workload, *transactions);
  const auto again = ParseJepsen(workload, printed);
  const auto* same = std::get_if<std::vector<Transaction>>(&again);
  CHECK(same != nullptr && same->size() == transactions->size(), "{} does not read back", printed);
  CHECK(PrintJepsen(workload, *same) == printed);
  CHECK(Check(workload, *same).anomalies.size() == Check(workload, *transactions).anomalies.size());
}

std::vector<std::string> Seeds() {
  const auto event = [](std::string_view type, int process, std::string_view rest) {
    return fmt::format("{{:type :{}, :process {}, {}}}\n", type, process, rest);
  };
  const std::string_view lists = ":f :txn, :value [[:r x [1]] [:append x 2]]";
  const std::string_view registers = ":f :txn, :value [[:r x nil] [:w \"y\" 2]]";
  const std::string_view transfer = ":f :transfer, :value {:from 0, :to 1, :amount 5}";
  const std::string_view balances = ":f :read, :value {0 10, 1 -5}";
  std::vector<std::string> seeds = {
      event("invoke", 0, lists) + event("invoke", 1, ":f :txn, :value [[:append x 1]]") +
          event("ok", 1, ":f :txn, :value [[:append x 1]]") + event("info", 0, lists),
      "\1[" + event("invoke", 0, registers) + event("ok", 0, registers) + "]",
      "\2" + event("invoke", 0, transfer) + event("fail", 0, transfer) +
          event("invoke", 1, ":f :read") + event("ok", 1, balances),
      "\3" + event("invoke", 0, ":f :add, :value 1") + event("ok", 0, ":f :add, :value 1") +
          event("invoke", 1, ":f :read") + event("ok", 1, ":f :read, :value #{1}"),
      "\4" + event("invoke", 0, ":f :add, :value 1") + event("info", 0, ":f :add, :value 1") +
          event("invoke", 1, ":f :read") + event("ok", 1, ":f :read, :value 1"),
      "\5" + event("invoke", 0, ":f :write, :value [[:w x 1]]") +
          event("invoke", 1, ":f :read, :value [[:r x nil]]") +
          event("ok", 1, ":f :read, :value [[:r x 1]]")};
  seeds[0].insert(0, 1, '\0');
  seeds.push_back("#jepsen.history.Op{:a #_b \\c, ; comment\n :d (1.5 2N #{\"\\\"\"})}");
  return seeds;
}

}  // namespace quorate::fuzz
