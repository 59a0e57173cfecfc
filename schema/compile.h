// From a service's files to the tables that they describe: reads the options of
// quorate/options.proto and judges all that can be judged without knowing the catalog.
//
// What messages may have. Everything that protobuf has may be in a row and is kept in it. As
// columns of keys, indexes and checks:
//
//   scalars, enums            yes; enums by number, also of numbers that the file does not name
//   Timestamp, Duration       yes, by time; those outside of protobuf's own range are refused
//   wrappers (Int64Value ..)  yes, as the nullable scalar that they are: short for "field.value"
//   fields of messages        yes, by path; null if a message on the way is absent
//   members of oneofs         yes; null while another member is set
//   repeated fields           yes in indexes, one per index, or several fields of one repeated
//                             message: an entry per distinct element
//   maps                      no, but their size can be checked, and entries can store them
//   messages, Any, Struct     no, but for not_null, and entries can store them
//   groups (proto2)           as messages; no path leads through one
//   extensions (proto2)       no; they are kept as what they are, bytes of other fields
//   required (proto2)         yes, as not_null
//   MessageSet                refused as a row
//   editions                  refused by name, like any syntax but proto2 and proto3
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "quorate/v1/schema.pb.h"
#include "schema/problem.h"

namespace quorate::schema {

// One table as its file describes it. Ids, states and versions are 0: they are the catalog's.
struct TableSpec {
  v1::TableDescriptor table;
  std::string file;
  std::string renamed_from;
  // Of indexes and constraints, by their name; absent: not renamed.
  std::map<std::string, std::string> indexes_renamed_from;
  std::map<std::string, std::string> constraints_renamed_from;
};

struct Compiled {
  std::vector<TableSpec> tables;         // by name
  std::vector<std::string> drop_tables;  // by name, each once
  Problems problems;                     // if there are any, nothing else means anything
};

// `file_descriptor_set`: schema/descriptors.h. All of its messages with a table option, also nested
// ones and those of imported files, are tables. Ends for any input, in time that grows with its
// size, and allocates a small multiple of it.
Compiled Compile(std::string_view file_descriptor_set);

}  // namespace quorate::schema
