#include <fmt/format.h>

#include <iostream>

#include "base/bytes.h"
#include "base/limits.h"
#include "cli/command.h"

namespace quorate::cli {
namespace {

struct ScanFlags {
  std::string from;
  std::string to;
  std::string prefix;
  size_t limit = 0;
  bool reverse = false;
  bool hex = false;
};

void PrintRow(const Context& context, const ScanFlags& flags, const client::Row& row) {
  if (context.json) {
    nlohmann::ordered_json json;
    SetBytes(json, "key", row.key);
    SetBytes(json, "value", row.value);
    PrintJson(json);
  } else if (flags.hex) {
    std::cout << ToHex(row.key) << "\t" << ToHex(row.value) << "\n";
  } else {
    std::cout << row.key << "\t" << row.value << "\n";
  }
}

int Scan(Context& context, const ScanFlags& flags) {
  std::string from = flags.from;
  std::string to = flags.to;
  if (flags.hex && (!FromHex(flags.from, &from) || !FromHex(flags.to, &to))) {
    return Fail(context, InvalidArgument("--hex: keys are pairs of hexadecimal digits"));
  }
  if (!flags.prefix.empty()) {
    from = flags.prefix;
    to = PrefixEnd(flags.prefix);
  }
  // All of it at one snapshot; rows are printed once it is complete, so that nothing is printed
  // twice if the transaction is tried again.
  std::vector<client::Row> rows;
  auto status = context.database().Snapshot([&](client::SyncTransaction& txn) {
    auto read = txn.Scan(from, to, {.limit = flags.limit, .reverse = flags.reverse});
    if (!read.ok()) return read.status();
    rows = std::move(*read);
    return Status::Ok();
  });
  if (!status.ok()) return Fail(context, status);
  for (const auto& row : rows) PrintRow(context, flags, row);
  return kExitDone;
}

}  // namespace

void RegisterScan(CLI::App& app, Context& context) {
  auto flags = std::make_shared<ScanFlags>();
  CLI::App* command =
      AddCommand(app, context, "scan", "Print the rows of a key range, at one snapshot.",
                 "  quorate scan a b           (from a, up to but without b)\n"
                 "  quorate scan --prefix user/ --limit 10\n"
                 "  quorate scan --json        (everything, one JSON object per row)",
                 CommonOptions::kCluster, [&context, flags] { return Scan(context, *flags); });
  auto* from = command->add_option("FROM", flags->from, "first key; the smallest without it");
  command->add_option("TO", flags->to, "end of the range, not in it; none without it");
  command->add_option("--prefix", flags->prefix, "the keys that begin so")->excludes(from);
  command->add_option("--limit", flags->limit, "rows at most; 0: all")->capture_default_str();
  command->add_flag("--reverse", flags->reverse, "from the end");
  command->add_flag("--hex", flags->hex, "keys and values in hexadecimal");
}

}  // namespace quorate::cli
