#include "cli/list_rows.h"

#include <algorithm>

#include "base/status_macros.h"

namespace quorate::cli {
namespace {

using client::Rows;
using client::SyncTransaction;
using client::Transaction;

Task<Status> ReadPage(Transaction* txn, const Rows* rows, std::string index, client::RowRange range,
                      client::RowBytes* page) {
  auto read = index.empty() ? co_await rows->Scan(*txn, std::move(range))
                            : co_await rows->ScanIndex(*txn, std::move(index), std::move(range));
  if (!read.ok()) co_return read.status();
  *page = std::move(*read);
  co_return Status::Ok();
}

}  // namespace

Status ListRows(client::Database& database, const RowList& list,
                const std::function<Status(const std::string& row)>& take, bool* begun) {
  constexpr size_t kPage = 1'000;
  const Rows rows(list.table);
  return database.Snapshot([&](SyncTransaction& txn) -> Status {
    // Another attempt reads another snapshot.
    if (*begun) return Status(Code::kAborted, "the versions that are read are kept no longer");
    client::RowRange range{.first = list.first, .reverse = list.reverse};
    size_t left = list.limit == 0 ? SIZE_MAX : list.limit;
    do {
      range.limit = std::min(left, kPage);
      client::RowBytes page;
      RETURN_IF_ERROR(
          txn.Await([&](Transaction& t) { return ReadPage(&t, &rows, list.index, range, &page); }));
      for (const std::string& row : page.rows) {
        *begun = true;
        RETURN_IF_ERROR(take(row));
      }
      left -= page.rows.size();
      range.cursor = std::move(page.cursor);
    } while (!range.cursor.empty() && left > 0);
    return Status::Ok();
  });
}

}  // namespace quorate::cli
