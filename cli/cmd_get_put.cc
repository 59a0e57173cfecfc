// get, put, delete: single keys.
#include <fmt/format.h>

#include <iostream>
#include <iterator>

#include "base/bytes.h"
#include "cli/command.h"

namespace quorate::cli {
namespace {

struct KeyFlags {
  std::string key;
  std::string value;
  bool hex = false;
};

// Keys and values as bytes, decoded if --hex was given.
Status Decode(const KeyFlags& flags, std::string* key, std::string* value) {
  *key = flags.key;
  *value = flags.value;
  if (flags.hex && (!FromHex(flags.key, key) || !FromHex(flags.value, value))) {
    return InvalidArgument("--hex: keys and values are pairs of hexadecimal digits");
  }
  return Status::Ok();
}

int Get(Context& context, const KeyFlags& flags) {
  std::string key;
  std::string unused;
  if (auto status = Decode(flags, &key, &unused); !status.ok()) return Fail(context, status);
  auto value = context.database().Get(key);
  if (!value.ok()) return Fail(context, value.status());
  if (context.json) {
    nlohmann::ordered_json json;
    SetBytes(json, "key", key);
    json["found"] = value->has_value();
    if (*value) SetBytes(json, "value", **value);
    PrintJson(json);
  } else if (*value) {
    std::cout << (flags.hex ? ToHex(**value) : **value) << "\n";
  } else {
    std::cerr << "quorate: no such key\n";
  }
  return value->has_value() ? kExitDone : kExitFailed;
}

int Write(Context& context, const KeyFlags& flags, bool deletion) {
  std::string key;
  std::string value;
  if (auto status = Decode(flags, &key, &value); !status.ok()) return Fail(context, status);
  if (!deletion && flags.value == "-" && !flags.hex) {
    value.assign(std::istreambuf_iterator<char>(std::cin), {});
  }
  auto result = deletion ? context.database().Delete(key) : context.database().Put(key, value);
  if (!result.ok()) return FailWrite(context, result);
  if (context.json) {
    PrintJson({{"committed", true}, {"commit_ts", result.commit_ts.ToString()}});
  } else {
    std::cout << "committed\n";
  }
  return kExitDone;
}

}  // namespace

void RegisterGetPut(CLI::App& app, Context& context) {
  auto flags = std::make_shared<KeyFlags>();
  const std::string hex_help = "key and value are given and printed in hexadecimal";
  CLI::App* get = AddCommand(app, context, "get", "Print the value of a key; exit 1 if absent.",
                             "  quorate get greeting", CommonOptions::kCluster,
                             [&context, flags] { return Get(context, *flags); });
  get->add_option("KEY", flags->key)->required();
  get->add_flag("--hex", flags->hex, hex_help);
  CLI::App* put = AddCommand(app, context, "put", "Set the value of a key.",
                             "  quorate put greeting hello\n  quorate put report - < report.json",
                             CommonOptions::kCluster,
                             [&context, flags] { return Write(context, *flags, false); });
  put->add_option("KEY", flags->key)->required();
  put->add_option("VALUE", flags->value, "the value; - reads it from standard input")->required();
  put->add_flag("--hex", flags->hex, hex_help);
  CLI::App* remove = AddCommand(app, context, "delete", "Delete a key; done even if it was absent.",
                                "  quorate delete greeting", CommonOptions::kCluster,
                                [&context, flags] { return Write(context, *flags, true); });
  remove->add_option("KEY", flags->key)->required();
  remove->add_flag("--hex", flags->hex, hex_help);
}

}  // namespace quorate::cli
