// Rows of a table as a list: page by page, all of them of one snapshot.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "client/database.h"
#include "client/table.h"

namespace quorate::cli {

struct RowList {
  std::string table;
  std::string index;  // in its order; empty: in that of the primary key
  client::Key first;  // the first columns have these values
  size_t limit = 0;   // rows; 0: all
  bool reverse = false;
};

// Gives the rows to `take`, until it returns an error, which is the result. Blocking. Whatever the
// result, no row is given twice, and `*begun` is true once one was: what was given is the beginning
// then.
Status ListRows(client::Database& database, const RowList& list,
                const std::function<Status(const std::string& row)>& take, bool* begun);

}  // namespace quorate::cli
