// cli/txn_script: the language of `quorate txn`.
#include "cli/txn_script.h"

#include "base/check.h"
#include "tests/fuzz/fuzz.h"

namespace quorate::fuzz {

void Run(std::string_view input) {
  const auto steps = cli::ParseTxnScript(input);
  if (!steps.ok()) {
    CHECK(steps.status().code() == Code::kInvalidArgument && !steps.status().message().empty());
    return;
  }
  int line = 0;
  for (const cli::TxnStep& step : *steps) {
    CHECK(step.line > line, "one step per line");
    line = step.line;
    const bool has_value =
        step.kind == cli::TxnStep::Kind::kPut || step.kind == cli::TxnStep::Kind::kScan;
    if (has_value) CHECK(step.value.has_value());
  }
}

std::vector<std::string> Seeds() {
  return {
      "# a transfer\ncheck alice == \"1\\x30\"\ncheck bob == absent\nput alice 5\n"
      "put \"b\\\"ob\\n\" \"absent\"\n",
      "get a\nscan a \"\\xff\\xff\"\ndelete a\n"};
}

}  // namespace quorate::fuzz
