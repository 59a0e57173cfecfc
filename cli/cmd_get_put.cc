// get, put, delete: single keys.
#include "base/bytes.h"
#include "base/limits.h"
#include "cli/command.h"
#include "cli/input.h"
#include "cli/output.h"

namespace quorate::cli {
namespace {

struct KeyFlags {
  std::string key;
  std::string value;
  bool hex = false;
  bool raw = false;
  Duration stale{0};
};

struct Read {
  std::optional<std::string> value;
  Timestamp read_ts;  // of a read of the past
};

Result<Read> ReadKey(Context& context, const KeyFlags& flags) {
  Read read;
  if (flags.stale == Duration(0)) {
    auto value = context.database().Get(flags.key);
    if (!value.ok()) return value.status();
    read.value = std::move(*value);
    return read;
  }
  const Status status = context.database().Snapshot(
      [&](client::SyncTransaction& txn) -> Status {
        auto value = txn.Get(flags.key);
        if (!value.ok()) return value.status();
        read = {std::move(*value), txn.start_ts()};
        return Status::Ok();
      },
      {.stale = {.max_age = flags.stale}});
  if (!status.ok()) return status;
  return read;
}

// A terminal gets the value escaped; a file or pipe its bytes and a line feed, or, with --raw, its
// bytes alone.
void PrintValue(const KeyFlags& flags, const std::string& value) {
  if (flags.raw) {
    Out().Bytes(value);
  } else if (flags.hex) {
    Say("{}\n", ToHex(value));
  } else {
    Out().Bytes(Out().is_terminal() ? EscapeBytes(value) : value);
    Out().Bytes("\n");
  }
}

int Get(Context& context, KeyFlags flags) {
  if (auto status = DecodeArgument(flags.hex, "KEY", &flags.key); !status.ok()) {
    return Fail(context, status);
  }
  const auto read = context.UntilReached([&] { return ReadKey(context, flags); });
  if (!read.ok()) return Fail(context, read.status());
  const std::optional<std::string>& value = read->value;
  if (context.json) {
    nlohmann::ordered_json json;
    SetBytes(json, "key", flags.key);
    json["found"] = value.has_value();
    if (value) SetBytes(json, "value", *value);
    if (read->read_ts) json["read_ts"] = read->read_ts.ToString();
    PrintJson(json);
  } else if (value) {
    PrintValue(flags, *value);
  } else {
    Complain("no such key");
  }
  return value ? kExitDone : kExitAbsent;
}

int Write(Context& context, KeyFlags flags, bool deletion) {
  Status status = DecodeArgument(flags.hex, "KEY", &flags.key);
  if (status.ok() && !deletion) {
    if (flags.value == "-") {
      auto bytes = ReadInput("-", limits::kValueBytesMax);
      if (!bytes.ok()) return Fail(context, bytes.status());
      flags.value = std::move(*bytes);
    } else {
      status = DecodeArgument(flags.hex, "VALUE", &flags.value);
    }
  }
  if (!status.ok()) return Fail(context, status);
  auto result = context.UntilReached([&] {
    return deletion ? context.database().Delete(flags.key)
                    : context.database().Put(flags.key, flags.value);
  });
  if (!result.ok()) return FailWrite(context, result);
  if (context.json) {
    PrintJson({{"committed", true}, {"commit_ts", result.commit_ts.ToString()}});
  } else {
    Say("committed\n");
  }
  return kExitDone;
}

}  // namespace

void RegisterGetPut(CLI::App& app, Context& context) {
  auto flags = std::make_shared<KeyFlags>();
  CLI::App* get = AddCommand(
      app, context, "get", "Print the value of a key; exit 4 if there is none.",
      "  quorate get greeting\n"
      "  quorate get photo --raw > photo.jpg\n"
      "  quorate get -- -key-that-begins-with-a-dash\n"
      "  quorate get --stale 5s greeting      (up to 5 seconds old, from any replica)\n"
      "On a terminal control bytes and backslashes are escaped (\\n \\t \\\\ \\xNN). A file or\n"
      "pipe gets the value and a line feed; with --raw exactly the value.",
      CommonOptions::kCluster, [&context, flags] { return Get(context, *flags); });
  get->add_option("KEY", flags->key)->required();
  get->add_flag("--hex", flags->hex, "KEY and what is printed are in hexadecimal");
  get->add_flag("--raw", flags->raw,
                "print exactly the value's bytes, no line feed; with --hex "
                "only KEY is in hexadecimal")
      ->excludes("--json");
  AddStale(get, &flags->stale);
  CLI::App* put = AddCommand(app, context, "put", "Set the value of a key.",
                             "  quorate put greeting hello\n"
                             "  quorate put report - < report.json\n"
                             "  quorate put -- -key -value     (behind --, words may begin with -)",
                             CommonOptions::kCluster,
                             [&context, flags] { return Write(context, *flags, false); });
  put->add_option("KEY", flags->key)->required();
  put->add_option("VALUE", flags->value,
                  "the value; - takes the bytes of standard input as they are, also with --hex")
      ->required();
  put->add_flag("--hex", flags->hex, "KEY and VALUE are in hexadecimal");
  CLI::App* remove =
      AddCommand(app, context, "delete", "Delete a key; done even if it was absent.",
                 "  quorate delete greeting\n  quorate delete -- -key", CommonOptions::kCluster,
                 [&context, flags] { return Write(context, *flags, true); });
  remove->add_option("KEY", flags->key)->required();
  remove->add_flag("--hex", flags->hex, "KEY is in hexadecimal");
}

}  // namespace quorate::cli
