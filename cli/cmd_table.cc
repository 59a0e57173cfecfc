// table: rows of tables as JSON, by the message that the catalog has.
#include <algorithm>

#include "base/limits.h"
#include "base/status_macros.h"
#include "cli/arguments.h"
#include "cli/catalog.h"
#include "cli/command.h"
#include "cli/input.h"
#include "cli/list_rows.h"
#include "cli/output.h"
#include "cli/row_json.h"
#include "cli/table.h"
#include "client/table.h"
#include "schema/row_codec.h"
#include "schema/table_plan.h"

namespace quorate::cli {
namespace {

using Json = nlohmann::ordered_json;
using client::Key;
using client::KeyPart;
using client::Rows;
using client::SyncTransaction;
using client::Transaction;

struct TableFlags {
  std::string table;
  std::vector<std::string> key;
  std::string row;
  std::string index;
  size_t limit = 0;
  bool insert = false;
  bool reverse = false;
};

// ---- keys of the command line -------------------------------------------------------------------

KeyPart PartOf(const schema::Value& value) {
  using schema::Kind;
  switch (value.kind()) {
    case Kind::kBool:
      return value.boolean();
    case Kind::kInt:
      return value.integer();
    case Kind::kUint:
      return value.natural();
    case Kind::kFloat:
      return static_cast<double>(value.single());
    case Kind::kDouble:
      return value.real();
    case Kind::kString:
    case Kind::kBytes:
      return value.text();
    case Kind::kTimestamp:
    case Kind::kDuration:
      return KeyPart::Time{value.seconds(), value.nanos()};
    case Kind::kNull:
    case Kind::kPresent:
      break;
  }
  return nullptr;
}

// Words are literals of the columns, in order.
template <class Columns>
Result<Key> KeyOfWords(const Columns& columns, const std::vector<std::string>& words) {
  if (words.size() > static_cast<size_t>(columns.size())) {
    return InvalidArgument(fmt::format("{} values were given, there are {} columns: {}",
                                       words.size(), columns.size(), schema::Describe(columns)));
  }
  Key key;
  for (size_t i = 0; i < words.size(); ++i) {
    const v1::Column& column = columns.Get(static_cast<int>(i)).column();
    auto value = schema::ParseLiteral(column.type(), words[i]);
    if (!value.ok()) {
      return InvalidArgument(fmt::format("{}: {}", column.path(), value.status().message()));
    }
    key.push_back(PartOf(*value));
  }
  return key;
}

// One word that is a JSON object: a row of which only the primary key counts.
Result<Key> KeyOfRow(const v1::TableDescriptor& table, const std::string& json) {
  ASSIGN_OR_RETURN(const RowJson rows, RowJson::Make(table));
  std::vector<std::string> columns;
  for (const auto& column : table.primary_key()) columns.push_back(column.column().path());
  ASSIGN_OR_RETURN(const std::string row, rows.PartFromJson(json, columns));
  ASSIGN_OR_RETURN(const schema::RowCodec codec, schema::RowCodec::Make(table));
  const auto row_key = codec.RowKey(row);
  if (!row_key.ok()) return row_key.violation.ToStatus();
  ASSIGN_OR_RETURN(const auto values, codec.DecodeRowKey(*row_key));
  Key key;
  for (const schema::Value& value : values) key.push_back(PartOf(value));
  return key;
}

Result<Key> PrimaryKey(const v1::TableDescriptor& table, const std::vector<std::string>& words) {
  if (words.size() == 1 && words[0].starts_with('{')) return KeyOfRow(table, words[0]);
  if (words.size() != static_cast<size_t>(table.primary_key_size())) {
    return InvalidArgument(fmt::format("the primary key of table {} is {}: {} values were given",
                                       table.name(), schema::Describe(table.primary_key()),
                                       words.size()));
  }
  return KeyOfWords(table.primary_key(), words);
}

// ---- list, show ---------------------------------------------------------------------------------

int List(Context& context) {
  const auto catalog = ReadCatalog(context);
  if (!catalog.ok()) return Fail(context, catalog.status());
  if (context.json) {
    Json tables = Json::array();
    for (const v1::TableDescriptor& table : catalog->tables()) {
      tables.push_back({{"name", table.name()},
                        {"table_id", table.table_id()},
                        {"version", table.version()},
                        {"message", table.message()},
                        {"indexes", table.indexes_size()},
                        {"constraints", table.constraints_size()}});
    }
    PrintJson({{"catalog_version", catalog->version()}, {"tables", tables}});
    return kExitDone;
  }
  Table rows({{"TABLE", Table::Align::kLeft},
              {"ID"},
              {"VERSION"},
              {"INDEXES"},
              {"CONSTRAINTS"},
              {"MESSAGE", Table::Align::kLeft, true}});
  for (const v1::TableDescriptor& table : catalog->tables()) {
    rows.Add({table.name(), std::to_string(table.table_id()), std::to_string(table.version()),
              std::to_string(table.indexes_size()), std::to_string(table.constraints_size()),
              table.message()});
  }
  Out().Text(rows.Text(Out().columns()));
  return kExitDone;
}

int Show(Context& context, const TableFlags& flags) {
  const auto table = ReadTable(context, flags.table);
  if (!table.ok()) return Fail(context, table.status());
  if (context.json) {
    Json indexes = Json::array(), constraints = Json::array(), fields = Json::array();
    for (const v1::IndexDescriptor& index : table->indexes()) {
      indexes.push_back({{"name", index.name()},
                         {"unique", index.unique()},
                         {"columns", schema::Describe(index.columns())}});
    }
    for (const v1::ConstraintDescriptor& constraint : table->constraints()) {
      constraints.push_back({{"name", constraint.name()}, {"column", constraint.column().path()}});
    }
    for (const v1::RowField& field : table->fields()) {
      if (field.state() != v1::FIELD_PUBLIC) continue;
      fields.push_back({{"number", field.number()}, {"name", field.name()}});
    }
    PrintJson({{"name", table->name()},
               {"table_id", table->table_id()},
               {"version", table->version()},
               {"message", table->message()},
               {"primary_key", schema::Describe(table->primary_key())},
               {"fields", fields},
               {"indexes", indexes},
               {"constraints", constraints}});
    return kExitDone;
  }
  Say("table {} (id {}), version {}: rows are {}\n", table->name(), table->table_id(),
      table->version(), table->message());
  Say("primary key {}\n", schema::Describe(table->primary_key()));
  for (const v1::RowField& field : table->fields()) {
    if (field.state() == v1::FIELD_PUBLIC) Say("field {} = {}\n", field.name(), field.number());
  }
  for (const v1::IndexDescriptor& index : table->indexes()) {
    Say("index {}\n", schema::Describe(index));
  }
  for (const v1::ConstraintDescriptor& constraint : table->constraints()) {
    Say("constraint {}\n", schema::Describe(constraint));
  }
  return kExitDone;
}

// ---- single rows --------------------------------------------------------------------------------

Task<Status> GetRow(Transaction* txn, const Rows* rows, Key key, std::optional<std::string>* row) {
  auto got = co_await rows->Get(*txn, std::move(key));
  if (!got.ok()) co_return got.status();
  *row = std::move(*got);
  co_return Status::Ok();
}

int Get(Context& context, const TableFlags& flags) {
  const auto table = ReadTable(context, flags.table);
  if (!table.ok()) return Fail(context, table.status());
  const auto key = PrimaryKey(*table, flags.key);
  if (!key.ok()) return Fail(context, key.status());
  const auto json = RowJson::Make(*table);
  if (!json.ok()) return Fail(context, json.status());
  const Rows rows(flags.table);
  std::optional<std::string> row;
  const Status read = context.UntilReached([&] {
    return context.database().Snapshot([&](SyncTransaction& txn) {
      return txn.Await([&](Transaction& t) { return GetRow(&t, &rows, *key, &row); });
    });
  });
  if (!read.ok()) return Fail(context, read);
  if (!row) {
    Complain("no such row");
    return kExitAbsent;
  }
  const auto text = json->ToJson(*row);
  if (!text.ok()) return Fail(context, text.status());
  Say("{}\n", *text);
  return kExitDone;
}

int Committed(const Context& context, const client::CommitResult& result) {
  if (!result.ok()) return FailWrite(context, result);
  if (context.json) {
    PrintJson({{"committed", true}, {"commit_ts", result.commit_ts.ToString()}});
  } else {
    Say("committed\n");
  }
  return kExitDone;
}

int Put(Context& context, const TableFlags& flags) {
  std::string text = flags.row;
  if (text == "-") {
    auto read = ReadInput("-", 8 * limits::kValueBytesMax);
    if (!read.ok()) return Fail(context, read.status());
    text = std::move(*read);
  }
  const auto table = ReadTable(context, flags.table);
  if (!table.ok()) return Fail(context, table.status());
  const auto json = RowJson::Make(*table);
  if (!json.ok()) return Fail(context, json.status());
  const auto row = json->FromJson(text);
  if (!row.ok()) return Fail(context, row.status());
  const Rows rows(flags.table);
  return Committed(context, context.UntilReached([&] {
    return context.database().Transact([&](SyncTransaction& txn) {
      return txn.Await(
          [&](Transaction& t) { return flags.insert ? rows.Insert(t, *row) : rows.Put(t, *row); });
    });
  }));
}

Task<Status> DeleteRow(Transaction* txn, const Rows* rows, Key key) {
  co_return (co_await rows->Delete(*txn, std::move(key))).status();
}

int Delete(Context& context, const TableFlags& flags) {
  const auto table = ReadTable(context, flags.table);
  if (!table.ok()) return Fail(context, table.status());
  const auto key = PrimaryKey(*table, flags.key);
  if (!key.ok()) return Fail(context, key.status());
  const Rows rows(flags.table);
  return Committed(context, context.UntilReached([&] {
    return context.database().Transact([&](SyncTransaction& txn) {
      return txn.Await([&](Transaction& t) { return DeleteRow(&t, &rows, *key); });
    });
  }));
}

// ---- scan ---------------------------------------------------------------------------------------

Result<Key> FirstOf(const v1::TableDescriptor& table, const TableFlags& flags) {
  if (flags.index.empty()) return KeyOfWords(table.primary_key(), flags.key);
  for (const v1::IndexDescriptor& index : table.indexes()) {
    if (index.name() == flags.index) return KeyOfWords(index.columns(), flags.key);
  }
  return InvalidArgument(
      fmt::format("--index: table {} has no index {}", table.name(), flags.index));
}

int Scan(Context& context, const TableFlags& flags) {
  const auto table = ReadTable(context, flags.table);
  if (!table.ok()) return Fail(context, table.status());
  const auto first = FirstOf(*table, flags);
  if (!first.ok()) return Fail(context, first.status());
  const auto json = RowJson::Make(*table);
  if (!json.ok()) return Fail(context, json.status());
  const RowList list{flags.table, flags.index, *first, flags.limit, flags.reverse};
  bool begun = false;
  const auto print = [&](const std::string& row) -> Status {
    ASSIGN_OR_RETURN(const std::string text, json->ToJson(row));
    Say("{}\n", text);
    return Out().error() == 0 ? Status::Ok() : Cancelled("the output is lost");
  };
  Status read;
  const Status reached = context.UntilReached([&] {
    read = ListRows(context.database(), list, print, &begun);
    return begun ? Status::Ok() : read;  // what was printed is not printed again
  });
  if (!begun) read = reached;
  if (Out().error() != 0) return kExitDone;  // FinishOutput tells
  if (read.ok()) return kExitDone;
  return Fail(context,
              Status(read.code(), fmt::format("{}{}", read.message(),
                                              begun ? "; what is listed is incomplete" : "")));
}

// Reads all of them: there is no number that is kept.
int Count(Context& context, const TableFlags& flags) {
  const auto table = ReadTable(context, flags.table);
  if (!table.ok()) return Fail(context, table.status());
  const auto first = FirstOf(*table, flags);
  if (!first.ok()) return Fail(context, first.status());
  const RowList list{flags.table, flags.index, *first};
  uint64_t rows = 0;
  const auto add = [&rows](const std::string&) {
    ++rows;
    return Status::Ok();
  };
  const Status read = context.UntilReached([&] {
    bool begun = false;
    rows = 0;
    return ListRows(context.database(), list, add, &begun);
  });
  if (!read.ok()) return Fail(context, read);
  if (context.json) {
    PrintJson({{"rows", rows}});
  } else {
    Say("{}\n", rows);
  }
  return kExitDone;
}

constexpr std::string_view kKeys =
    "Keys are values of the primary key, in its order: numbers, text, true and false; enums by\n"
    "number. Or one JSON object with these fields, for all other types. What begins with - stands\n"
    "behind --";

}  // namespace

void RegisterTable(CLI::App& app, Context& context) {
  auto flags = std::make_shared<TableFlags>();
  CLI::App* table =
      app.add_subcommand("table", "Look at tables, and read and write their rows as JSON.");
  table->require_subcommand(1);
  const auto add = [&](const std::string& name, const std::string& help,
                       const std::string& examples, int (*run)(Context&, const TableFlags&)) {
    CLI::App* command = AddCommand(*table, context, name, help, examples, CommonOptions::kCluster,
                                   [&context, flags, run] { return run(context, *flags); });
    command->add_option("TABLE", flags->table, "its name")->required();
    return command;
  };
  AddCommand(*table, context, "list", "Print which tables there are.", "  quorate table list",
             CommonOptions::kCluster, [&context] { return List(context); });
  add("show", "Print what a table is: its key, fields, indexes and constraints.",
      "  quorate table show accounts", Show);
  CLI::App* get = add("get", "Print a row; exit 4 if there is none.",
                      fmt::format("  quorate table get accounts 7\n"
                                  "  quorate table get accounts -- -7\n"
                                  "  quorate table get visits '{{\"at\": "
                                  "\"2026-01-31T10:00:00Z\"}}'\n{}",
                                  kKeys),
                      Get);
  CLI::App* put =
      add("put", "Write a row, in place of the one with its primary key if there is one.",
          "  quorate table put accounts '{\"id\": 7, \"owner\": \"ann\"}'\n"
          "  quorate table put --insert accounts - < row.json\n"
          "Refused, and nothing written, if it breaks a constraint or a unique index.",
          Put);
  CLI::App* remove = add("delete", "Delete a row; done even if there was none.",
                         fmt::format("  quorate table delete accounts 7\n{}", kKeys), Delete);
  CLI::App* scan =
      add("scan", "Print rows, one JSON object per line, at one snapshot.",
          "  quorate table scan accounts --limit 10\n"
          "  quorate table scan accounts --index by_owner --first ann\n"
          "In the order of the primary key, or of the index. A value that begins with -\n"
          "is given as --first=-7. All of it within --timeout, which is 60 s at most.",
          Scan);
  CLI::App* count = add("count", "Print how many rows there are, at one snapshot.",
                        "  quorate table count accounts\n"
                        "  quorate table count accounts --index by_owner --first ann\n"
                        "Reads them all within --timeout, which is 60 s at most. By an index of a\n"
                        "repeated field a row counts once per distinct element.",
                        Count);
  for (CLI::App* each : {get, remove}) each->add_option("KEY", flags->key)->required();
  put->add_option("ROW", flags->row, "a JSON object; - takes it from standard input")->required();
  put->add_flag("--insert", flags->insert, "refuse it if there is a row with its primary key");
  for (CLI::App* each : {scan, count}) {
    each->add_option("--index", flags->index, "by this index")->type_name("NAME");
    each->add_option("--first", flags->key, "rows whose first columns have these values")
        ->type_name("VALUE...");
  }
  AddNumber(scan, "--limit", &flags->limit, 0, 1'000'000'000, "rows at most; 0: all");
  scan->add_flag("--reverse", flags->reverse, "from the end");
}

}  // namespace quorate::cli
