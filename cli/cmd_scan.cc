// scan: the rows of a key range.
#include "base/bytes.h"
#include "base/status_macros.h"
#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/output.h"

namespace quorate::cli {
namespace {

struct ScanFlags {
  std::string from;
  std::string to;
  std::string prefix;
  size_t limit = 0;
  bool reverse = false;
  bool hex = false;
  bool raw = false;
};

// One row is one line, whatever bytes it holds; but for --raw.
void PrintRow(const Context& context, const ScanFlags& flags, const client::Row& row) {
  if (context.json) {
    nlohmann::ordered_json json;
    SetBytes(json, "key", row.key);
    SetBytes(json, "value", row.value);
    PrintJson(json);
  } else if (flags.raw) {
    Out().Bytes(row.key + "\t" + row.value + "\n");
  } else if (flags.hex) {
    Say("{}\t{}\n", ToHex(row.key), ToHex(row.value));
  } else {
    Say("{}\t{}\n", EscapeBytes(row.key), EscapeBytes(row.value));
  }
}

// The range in bytes.
Status Resolve(const ScanFlags& flags, bool has_prefix, std::string* from, std::string* to) {
  *from = has_prefix ? flags.prefix : flags.from;
  *to = flags.to;
  RETURN_IF_ERROR(DecodeArgument(flags.hex, has_prefix ? "--prefix" : "FROM", from));
  RETURN_IF_ERROR(DecodeArgument(flags.hex, "TO", to));
  if (!has_prefix) return Status::Ok();
  // An unset variable of a script must not turn into everything.
  if (from->empty()) {
    return InvalidArgument("--prefix: is empty; without --prefix, scan lists everything");
  }
  *to = PrefixEnd(*from);
  return Status::Ok();
}

int Scan(Context& context, const ScanFlags& flags, bool has_prefix) {
  std::string from;
  std::string to;
  if (auto status = Resolve(flags, has_prefix, &from, &to); !status.ok()) {
    return Fail(context, status);
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
  for (const auto& row : rows) {
    PrintRow(context, flags, row);
    if (Out().error() != 0) break;
  }
  return kExitDone;
}

}  // namespace

void RegisterScan(CLI::App& app, Context& context) {
  auto flags = std::make_shared<ScanFlags>();
  auto prefix = std::make_shared<CLI::Option*>();
  CLI::App* command = AddCommand(
      app, context, "scan", "Print the rows of a key range, at one snapshot.",
      "  quorate scan a b           (from a, up to but without b)\n"
      "  quorate scan --prefix user/ --limit 10\n"
      "  quorate scan --hex --prefix ff00\n"
      "  quorate scan --json        (everything, one JSON object per row)\n"
      "  quorate scan -- -a -b      (behind --, keys may begin with -)\n"
      "A row is a line: key, tab, value, with control bytes and backslashes escaped\n"
      "(\\n \\t \\\\ \\xNN). JSON has key_hex or value_hex in place of what is not UTF-8.",
      CommonOptions::kCluster,
      [&context, flags, prefix] { return Scan(context, *flags, (*prefix)->count() > 0); });
  auto* from = command->add_option("FROM", flags->from, "first key; the smallest without it");
  command->add_option("TO", flags->to, "end of the range, not in it; none without it");
  *prefix = command->add_option("--prefix", flags->prefix, "the keys that begin so")
                ->type_name("KEY")
                ->excludes(from);
  AddNumber(command, "--limit", &flags->limit, 0, 1'000'000'000, "rows at most; 0: all");
  command->add_flag("--reverse", flags->reverse, "from the end");
  command->add_flag("--hex", flags->hex, "keys, given and printed, and values in hexadecimal");
  command
      ->add_flag("--raw", flags->raw,
                 "print bytes as they are, escape nothing; with --hex only what is given is in "
                 "hexadecimal")
      ->excludes("--json");
}

}  // namespace quorate::cli
