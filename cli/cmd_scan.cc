// scan: the rows of a key range.
#include "base/bytes.h"
#include "base/status_macros.h"
#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/output.h"

namespace quorate::cli {
namespace {

// A listing up to this size is read whole before its first row is printed: an error then leaves no
// part of it behind, and a pager may take longer than versions are kept.
constexpr size_t kHeldBytesMax = 64 << 20;

struct ScanFlags {
  std::string from;
  std::string to;
  std::string prefix;
  size_t limit = 0;
  bool reverse = false;
  bool keys_only = false;
  bool hex = false;
  bool raw = false;
  Duration stale{0};
};

// One row is one line, whatever bytes it holds; but for --raw.
void PrintRow(const Context& context, const ScanFlags& flags, const client::Row& row) {
  if (context.json) {
    nlohmann::ordered_json json;
    SetBytes(json, "key", row.key);
    if (!flags.keys_only) SetBytes(json, "value", row.value);
    PrintJson(json);
    return;
  }
  const auto print = [&](const std::string& bytes) {
    Out().Bytes(flags.raw ? bytes : flags.hex ? ToHex(bytes) : EscapeBytes(bytes));
  };
  print(row.key);
  if (!flags.keys_only) {
    Out().Bytes("\t");
    print(row.value);
  }
  Out().Bytes("\n");
}

class Listing {
 public:
  Listing(const Context& context, const ScanFlags& flags) : context_(context), flags_(flags) {}

  // CANCELLED once nobody takes the output any more.
  Status Take(client::ScanPage page) {
    for (auto& row : page.rows) {
      held_bytes_ += row.key.size() + row.value.size();
      held_.push_back(std::move(row));
    }
    if (held_bytes_ > kHeldBytesMax) Print();
    return Out().error() == 0 ? Status::Ok() : Cancelled("the output is lost");
  }

  void Print() {
    for (const auto& row : held_) {
      PrintRow(context_, flags_, row);
      if (Out().error() != 0) break;
    }
    printed_ = printed_ || !held_.empty();
    held_.clear();
  }

  // Of a scan that failed.
  std::string_view WhatIsThere() const { return printed_ ? "; what is listed is incomplete" : ""; }

 private:
  const Context& context_;
  const ScanFlags& flags_;
  std::vector<client::Row> held_;
  size_t held_bytes_ = 0;  // of all rows so far
  bool printed_ = false;
};

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
  Listing listing(context, flags);
  const client::ScanAllOptions options{.reverse = flags.reverse,
                                       .keys_only = flags.keys_only,
                                       .limit = flags.limit,
                                       .stale = {.max_age = flags.stale}};
  bool begun = false;
  Status status;
  const auto take = [&](client::ScanPage page) {
    begun = true;
    return listing.Take(std::move(page));
  };
  const Status reached = context.UntilReached([&] {
    status = context.database().ScanAll(from, to, options, take);
    return begun ? Status::Ok() : status;  // what was printed is not printed again
  });
  if (!begun) status = reached;
  if (Out().error() != 0) return kExitDone;  // FinishOutput tells
  if (!status.ok()) {
    return Fail(context, Status(status.code(),
                                fmt::format("{}{}", status.message(), listing.WhatIsThere())));
  }
  listing.Print();
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
      "  quorate scan --stale 5s a b (up to 5 seconds old, from any replica)\n"
      "  quorate scan -- -a -b      (behind --, keys may begin with -)\n"
      "A row is a line: key, tab, value, with control bytes and backslashes escaped\n"
      "(\\n \\t \\\\ \\xNN). JSON has key_hex or value_hex in place of what is not UTF-8.",
      CommonOptions::kCluster,
      [&context, flags, prefix] { return Scan(context, *flags, (*prefix)->count() > 0); });
  command->get_option("--json")->description("print one JSON object per row");
  auto* from = command->add_option("FROM", flags->from, "first key; the smallest without it");
  command->add_option("TO", flags->to, "end of the range, not in it; none without it");
  *prefix = command->add_option("--prefix", flags->prefix, "the keys that begin so")
                ->type_name("KEY")
                ->excludes(from);
  AddNumber(command, "--limit", &flags->limit, 0, 1'000'000'000, "rows at most; 0: all");
  AddStale(command, &flags->stale);
  command->add_flag("--reverse", flags->reverse, "from the end");
  command->add_flag("--keys-only", flags->keys_only, "without values");
  command->add_flag("--hex", flags->hex, "keys, given and printed, and values in hexadecimal");
  command
      ->add_flag("--raw", flags->raw,
                 "print bytes as they are, escape nothing; with --hex only what is given is in "
                 "hexadecimal")
      ->excludes("--json");
}

}  // namespace quorate::cli
