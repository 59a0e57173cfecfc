// quorate: node, tools and demo in one program.
#include "cli/command.h"

int main(int argc, char** argv) {
  using namespace quorate::cli;
  CLI::App app(
      "quorate: a strictly serializable, transactional key-value store on many Raft groups.\n"
      "Exit codes: 0 done; 1 refused or failed, nothing happened; 2 bad input or usage;\n"
      "3 unknown outcome (the transaction's id is printed).",
      "quorate");
  app.set_version_flag("--version", "quorate " QUORATE_VERSION);
  app.require_subcommand(1);
  app.footer("`quorate COMMAND --help` tells more and gives examples.");
  Context context;
  RegisterNode(app, context);
  RegisterInit(app, context);
  RegisterDev(app, context);
  RegisterGetPut(app, context);
  RegisterScan(app, context);
  RegisterTxn(app, context);
  RegisterStatus(app, context);
  RegisterBench(app, context);
  RegisterDemo(app, context);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitDone : kExitUsage;
  }
  return context.exit_code;
}
