// schema plan, schema apply: from .proto files to tables.
#include <algorithm>

#include "base/bytes.h"
#include "base/status_macros.h"
#include "cli/ask_placement.h"
#include "cli/catalog.h"
#include "cli/command.h"
#include "cli/output.h"
#include "cli/proto_files.h"
#include "schema/catalog.h"
#include "schema/compile.h"
#include "schema/keys.h"
#include "schema/plan.h"

namespace quorate::cli {
namespace {

using Json = nlohmann::ordered_json;

struct SchemaFlags {
  std::string file;
  std::vector<std::string> paths;
};

struct Planned {
  v1::Catalog catalog;
  v1::Plan plan;
  std::vector<std::string> not_yet;  // of each step: why it cannot be done; empty: it can
  bool possible() const {
    return plan.refusals().empty() &&
           std::all_of(not_yet.begin(), not_yet.end(), [](const auto& why) { return why.empty(); });
  }
};

Result<Planned> MakePlan(Context& context, const SchemaFlags& flags) {
  ASSIGN_OR_RETURN(const std::string set, ReadProtoFiles(flags.file, flags.paths));
  const schema::Compiled compiled = schema::Compile(set);
  if (!compiled.problems.empty()) {
    std::string text;
    for (const schema::Problem& problem : compiled.problems.list()) {
      text += (text.empty() ? "" : "\n") + problem.ToString();
    }
    const size_t more = compiled.problems.found() - compiled.problems.list().size();
    if (more > 0) text += fmt::format("\nand {} more", more);
    return InvalidArgument(std::move(text));
  }
  if (compiled.tables.empty() && compiled.drop_tables.empty()) {
    return InvalidArgument(fmt::format(
        "{}: no message has the option (quorate.table); see quorate/options.proto", flags.file));
  }
  Planned planned;
  ASSIGN_OR_RETURN(planned.catalog, ReadCatalog(context));
  planned.plan = schema::MakePlan(planned.catalog, compiled);
  for (const v1::Step& step : planned.plan.steps()) {
    planned.not_yet.push_back(schema::WhyNotYet(planned.catalog, step));
  }
  return planned;
}

Json ToJson(const Planned& planned) {
  Json steps = Json::array(), refusals = Json::array();
  for (int i = 0; i < planned.plan.steps_size(); ++i) {
    const v1::Step& step = planned.plan.steps(i);
    steps.push_back(
        {{"table", step.table()},
         {"what", step.what()},
         {"details", std::vector<std::string>(step.details().begin(), step.details().end())},
         {"not_yet", planned.not_yet[static_cast<size_t>(i)]}});
  }
  for (const v1::Refusal& refusal : planned.plan.refusals()) {
    refusals.push_back({{"table", refusal.table()},
                        {"element", refusal.element()},
                        {"reason", refusal.reason()},
                        {"fix", refusal.fix()}});
  }
  return {{"catalog_version", planned.plan.catalog_version()},
          {"steps", steps},
          {"refusals", refusals},
          {"possible", planned.possible()}};
}

void SayPlan(const Planned& planned) {
  Out().Text(schema::Format(planned.plan));
  for (int i = 0; i < planned.plan.steps_size(); ++i) {
    const std::string& why = planned.not_yet[static_cast<size_t>(i)];
    if (why.empty()) continue;
    Say("not possible yet: {}: {}: {}\n", planned.plan.steps(i).table(),
        planned.plan.steps(i).what(), why);
  }
}

int Plan(Context& context, const SchemaFlags& flags) {
  const auto planned = MakePlan(context, flags);
  if (!planned.ok()) return Fail(context, planned.status());
  if (context.json) {
    PrintJson(ToJson(*planned));
  } else {
    SayPlan(*planned);
  }
  return planned->possible() ? kExitDone : kExitFailed;
}

// Nobody can write keys there any more, but somebody may have before there were tables.
Status CheckFree(Context& context, const v1::TableDescriptor& table) {
  const Span span = schema::TableSpan(table.table_id());
  bool free = true;
  const Status scanned = context.UntilReached([&] {
    return context.database().ScanAll(span.from, span.to, {.keys_only = true, .limit = 1},
                                      [&free](client::ScanPage page) {
                                        free = free && page.rows.empty();
                                        return Status::Ok();
                                      });
  });
  RETURN_IF_ERROR(scanned);
  if (free) return scanned;
  return {Code::kFailedPrecondition,
          fmt::format("table {}: there are keys of before where its rows would be, from {}: "
                      "`quorate scan --hex {} {}` lists them; nothing was changed",
                      table.name(), EscapeBytes(span.from), ToHex(span.from), ToHex(span.to))};
}

// The change as it is asked for, once it is sure that it may be.
Result<v1::PlacementRequest> MakeChange(Context& context, const Planned& planned) {
  ASSIGN_OR_RETURN(const v1::Catalog after, schema::Finished(planned.catalog, planned.plan));
  v1::PlacementRequest ask;
  v1::CatalogChange* change = ask.mutable_change_tables()->mutable_change();
  *change = schema::ChangeBetween(planned.catalog, after);
  for (const v1::TableDescriptor& table : change->tables()) {
    if (table.version() == 1) RETURN_IF_ERROR(CheckFree(context, table));
  }
  return ask;
}

// The change was asked for, maybe more than once: whoever waited in vain for an answer asks again,
// and is refused if it was done meanwhile. So what the catalog has become decides.
int Settle(Context& context, const SchemaFlags& flags, const Status& failed) {
  const bool silent =
      failed.code() == Code::kUnavailable || failed.code() == Code::kDeadlineExceeded;
  if (!silent && failed.code() != Code::kFailedPrecondition) return Fail(context, failed);
  const auto left = MakePlan(context, flags);
  if (left.ok() && left->possible() && left->plan.steps().empty()) return kExitDone;
  if (!silent) return Fail(context, failed);
  return FailUnknown(context, failed,
                     "The tables may or may not have been made or changed; apply the file again: "
                     "it does what is missing.");
}

int Apply(Context& context, const SchemaFlags& flags) {
  const auto planned = MakePlan(context, flags);
  if (!planned.ok()) return Fail(context, planned.status());
  const bool nothing = planned->plan.steps().empty();
  if (!context.json) SayPlan(*planned);
  if (planned->possible() && !nothing) {
    const auto ask = MakeChange(context, *planned);
    if (!ask.ok()) return Fail(context, ask.status());
    const Status done =
        AskPlacement(context.admin(), context.addresses(), context.timeout(), *ask).status();
    const int settled = done.ok() ? kExitDone : Settle(context, flags, done);
    if (settled != kExitDone) return settled;
  }
  if (context.json) {
    Json json = ToJson(*planned);
    json["applied"] = planned->possible() && !nothing;
    PrintJson(json);
  } else if (!planned->possible()) {
    Complain("nothing was changed");
  } else if (!nothing) {
    Say("applied\n");
  }
  return planned->possible() ? kExitDone : kExitFailed;
}

}  // namespace

void RegisterSchema(CLI::App& app, Context& context) {
  auto flags = std::make_shared<SchemaFlags>();
  CLI::App* schema =
      app.add_subcommand("schema", "Make the tables that a .proto file describes, and see how.");
  schema->require_subcommand(1);
  CLI::App* plan = AddCommand(
      *schema, context, "plan", "Say what `schema apply` would do, or why it would not.",
      "  quorate schema plan shop.proto\n  quorate schema plan proto/shop/v1/shop.proto -I proto\n"
      "Exit 1 if it would be refused. Messages with the option (quorate.table) are tables;\n"
      "quorate/options.proto says what else there is. So far tables can be made, and their\n"
      "messages changed where no key, index or constraint is concerned.",
      CommonOptions::kCluster, [&context, flags] { return Plan(context, *flags); });
  CLI::App* apply =
      AddCommand(*schema, context, "apply", "Make the tables of a .proto file, all or none.",
                 "  quorate schema apply shop.proto\n"
                 "The same file again does nothing. Tables that are not in it stay as they are.",
                 CommonOptions::kCluster, [&context, flags] { return Apply(context, *flags); });
  for (CLI::App* each : {plan, apply}) {
    each->add_option("FILE", flags->file, "a .proto file")->required();
    each->add_option("-I,--proto-path", flags->paths,
                     "where imports are looked for; if not given, where FILE is")
        ->type_name("DIRECTORY");
  }
}

}  // namespace quorate::cli
