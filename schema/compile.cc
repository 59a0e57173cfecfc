#include "schema/compile.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <set>

#include "base/bytes.h"
#include "quorate/options.pb.h"
#include "schema/compile_table.h"
#include "schema/descriptors.h"

namespace quorate::schema {
namespace {

namespace pb = google::protobuf;

void CompileMessages(const pb::Descriptor& message, Compiled* compiled) {
  if (message.options().HasExtension(quorate::table)) {
    if (compiled->tables.size() == kTablesMax) {
      compiled->problems.Add({message.file()->name(), message.full_name(), "",
                              fmt::format("the set has more than {} tables", kTablesMax),
                              "apply them in several files"});
      return;
    }
    // Tables may consist of the same messages, and each keeps its own copy.
    size_t bytes = 0;
    for (const TableSpec& spec : compiled->tables) bytes += spec.table.files().size();
    if (bytes > kTablesFilesBytesMax || compiled->problems.found() >= kProblemsMax) {
      compiled->problems.Add(
          {message.file()->name(), message.full_name(), "",
           fmt::format(
               "it was not looked at: descriptors of {} bytes, or {} problems, are before it",
               kTablesFilesBytesMax, kProblemsMax),
           "apply the tables in several files"});
      return;
    }
    compiled->tables.push_back(CompileTable(message, &compiled->problems));
  }
  for (int i = 0; i < message.nested_type_count(); ++i) {
    CompileMessages(*message.nested_type(i), compiled);
  }
}

void CompileFileOptions(const pb::FileDescriptor& file, Compiled* compiled) {
  if (!file.options().HasExtension(quorate::file)) return;
  const FileOptions& options = file.options().GetExtension(quorate::file);
  if (HasUnknownOptions(options)) {
    compiled->problems.Add({file.name(), "", "(quorate.file)",
                            "has options that this version does not know", "upgrade quorate"});
  }
  for (const std::string& name : options.drop_table()) {
    if (!IsName(name)) {
      compiled->problems.Add({file.name(), "", "drop_table",
                              fmt::format("\"{}\" is no name of a table", Printable(name)),
                              "use the name that the table has"});
    } else {
      compiled->drop_tables.push_back(name);
    }
  }
}

// What only all tables together can have wrong.
void CheckTogether(Compiled* compiled) {
  std::ranges::stable_sort(compiled->tables, {}, [](const TableSpec& spec) -> const std::string& {
    return spec.table.name();
  });
  std::ranges::sort(compiled->drop_tables);
  const auto repeated = std::ranges::unique(compiled->drop_tables);
  compiled->drop_tables.erase(repeated.begin(), repeated.end());
  std::set<std::string> names, former;
  for (const TableSpec& spec : compiled->tables) {
    const std::string& name = spec.table.name();
    const auto add = [&](const char* option, std::string reason, std::string fix) {
      compiled->problems.Add(
          {spec.file, spec.table.message(), option, std::move(reason), std::move(fix)});
    };
    if (!names.insert(name).second) {
      add("name", fmt::format("there are two tables {}", name), "give one of them another name");
    }
    if (!spec.renamed_from.empty() && !former.insert(spec.renamed_from).second) {
      add("renamed_from", fmt::format("two tables were {}", spec.renamed_from),
          "say renamed_from in one of them");
    }
    if (std::ranges::binary_search(compiled->drop_tables, name)) {
      add("name", fmt::format("table {} is described, and in drop_table", name),
          "take one of both away");
    }
  }
}

}  // namespace

std::string Problem::ToString() const {
  std::string text;
  for (const std::string* part : {&file, &message, &field}) {
    if (!part->empty()) text += *part + ": ";
  }
  return text + reason + "; " + fix;
}

Compiled Compile(std::string_view file_descriptor_set) {
  Compiled compiled;
  const auto descriptors = Descriptors::Build(file_descriptor_set, &compiled.problems);
  if (descriptors == nullptr) return compiled;
  for (const pb::FileDescriptor* file : descriptors->files()) {
    CompileFileOptions(*file, &compiled);
    for (int i = 0; i < file->message_type_count(); ++i) {
      CompileMessages(*file->message_type(i), &compiled);
    }
  }
  CheckTogether(&compiled);
  return compiled;
}

}  // namespace quorate::schema
