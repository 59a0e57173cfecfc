// quorate: node, tools and demo in one program.
#include <algorithm>
#include <sstream>

#include "base/version.h"
#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/output.h"

// jemalloc's settings. What is large passes through new memory many times, and where pages have 4
// KiB, being given them by the kernel takes several times as long as the copying. What is not used
// is given back after a while, which takes longer still: by a thread of its own.
extern "C" {
extern const char* malloc_conf;
const char* malloc_conf = "thp:always,background_thread:true,dirty_decay_ms:2000,muzzy_decay_ms:0";
}

namespace quorate::cli {
namespace {

int Refuse(std::string_view message) {
  Complain(
      fmt::format("{}\n`quorate --help` lists the commands, `quorate COMMAND --help` tells "
                  "what each takes.",
                  message));
  return kExitUsage;
}

int Run(std::vector<std::string> words) {
  CLI::App app(
      "quorate: a strictly serializable, transactional key-value store on many Raft groups.\n"
      "Exit codes: 0 done; 1 refused or failed, nothing happened; 2 bad input or usage;\n"
      "3 unknown outcome (a transaction's id is printed); 4 get: the key is absent;\n"
      "5 done, but the output could not be written.",
      "quorate");
  app.set_version_flag("--version", "quorate " + std::string(quorate::Version()));
  app.require_subcommand(1);
  app.footer(
      "`quorate COMMAND --help` tells more and gives examples. --cluster, --timeout and --json "
      "may\n"
      "also stand before the command. Keys and values that begin with - stand after --.");
  Context context;
  RegisterNode(app, context);
  RegisterInit(app, context);
  RegisterDev(app, context);
  RegisterGetPut(app, context);
  RegisterScan(app, context);
  RegisterTxn(app, context);
  RegisterSchema(app, context);
  RegisterTable(app, context);
  RegisterStatus(app, context);
  RegisterTop(app, context);
  RegisterPlacement(app, context);
  RegisterRules(app, context);
  RegisterDoctor(app, context);
  RegisterRecover(app, context);
  RegisterBench(app, context);
  RegisterDemo(app, context);
  // As other programs have it: `quorate help`, `quorate help get`.
  if (!words.empty() && words.front() == "help") {
    words.erase(words.begin());
    words.emplace_back("--help");
  }
  if (!words.empty()) {
    auto arranged = ArrangeArguments(app, words);
    if (!arranged.ok()) return Refuse(arranged.status().message());
    words = std::move(*arranged);
  }
  std::reverse(words.begin(), words.end());  // as CLI11 wants them
  try {
    app.parse(std::move(words));
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) return Refuse(error.what());
    std::ostringstream help;
    app.exit(error, help, help);
    Out().Text(help.str());
    return kExitDone;
  }
  return context.exit_code;
}

// Libraries open descriptors when they are initialised, before main and before any constructor
// here.
__attribute__((section(".preinit_array"),
               used)) void (*const open_standard_files)() = OpenStandardFiles;

}  // namespace
}  // namespace quorate::cli

int main(int argc, char** argv) {
  using namespace quorate::cli;
  PrepareStandardFiles();
  return FinishOutput(Run({argv + std::min(argc, 1), argv + argc}));
}
