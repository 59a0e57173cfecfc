// Table: rows of a protobuf message (docs/schema.md), inside the same transactions as raw keys.
//
//   quorate::client::Table<shop::Account> accounts;
//   auto committed = db->Transact([&](SyncTransaction& txn) -> Status {
//     auto account = accounts.GetByIndex(txn, "by_email", {"ann@example.com"});
//     if (!account.ok()) return account.status();
//     if (!account->has_value()) return Status(Code::kNotFound, "no such account");
//     return accounts.Update(txn, {(*account)->id()}, [](shop::Account& row) {
//       row.set_cents(row.cents() - 100);
//       return Status::Ok();
//     });
//   });
//
// Indexes and constraints are kept up by what the catalog says when the transaction first uses the
// table, not by what was compiled in. Fields that this program does not know stay in a row through
// Update; Put and Insert write the message that they are given and nothing else.
//
// Errors, beside those of reads. In all of them nothing was buffered, the transaction may go on and
// commit without it, and each names table, row,
// constraint or index, and field:
//   NOT_FOUND            no such table or index; Update: no such row
//   ALREADY_EXISTS       Insert: the row is there. A unique index has another row's values: names
//                        the index, and both primary keys
//   FAILED_PRECONDITION  a constraint; or this program's message contradicts the catalog's
//   INVALID_ARGUMENT     a row, key or number of entries beyond its bound; a value of a key that is
//                        of another type than its column; a primary key that Update changed; a text
//                        that is not UTF-8, or a required field that is not set, anywhere in a row
//
// Several calls of one transaction may run at once: reads do, and changes of rows are
// made one after another, in the order in which they began, each of them whole. So many changes of
// one transaction take as long at once as in turn. A read beside a change sees it or not.
//
// A Table outlives its calls, and may be used by any number of transactions and threads.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "base/status.h"
#include "base/task.h"
#include "client/transaction.h"

namespace google::protobuf {
class Descriptor;
class Message;
}  // namespace google::protobuf

namespace quorate::client {

// A value of a key, as C++ has it. What a column of what type takes: integers and enums any integer
// in its range; float and double also integers; string and bytes text; bool a bool; Timestamp and
// Duration a Time. INVALID_ARGUMENT names column and value.
class KeyPart {
 public:
  struct Time {
    int64_t seconds = 0;
    int32_t nanos = 0;
  };
  using Any = std::variant<std::nullptr_t, bool, int64_t, uint64_t, double, std::string, Time>;

  KeyPart(std::nullptr_t) : value_(nullptr) {}  // NOLINT: null; implicit by design, as all others
  KeyPart(bool value) : value_(value) {}        // NOLINT
  template <class T>
  requires(std::is_integral_v<T> || std::is_enum_v<T>) KeyPart(T value) {  // NOLINT
    if constexpr (std::is_unsigned_v<T>) {
      value_ = static_cast<uint64_t>(value);
    } else {
      value_ = static_cast<int64_t>(value);
    }
  }
  KeyPart(double value) : value_(value) {}                         // NOLINT
  KeyPart(std::string value) : value_(std::move(value)) {}         // NOLINT
  KeyPart(std::string_view value) : value_(std::string(value)) {}  // NOLINT
  KeyPart(const char* value) : value_(std::string(value)) {}       // NOLINT
  KeyPart(Time value) : value_(value) {}                           // NOLINT

  const Any& value() const { return value_; }

 private:
  Any value_;
};
using Key = std::vector<KeyPart>;

// What of a table, or of an index, is to be read, in the order of its key.
struct RowRange {
  Key first;  // the first columns have these values; none: everything
  // Rows, 1 to 10,000. A page ends earlier with the row that brings it to 2 MiB; it has a row if
  // there is one.
  size_t limit = 1'000;
  bool reverse = false;  // from the end
  std::string cursor;    // of an earlier page of the same range: go on behind it
};
struct RowBytes {
  std::vector<std::string> rows;
  // Where to go on; empty: that was all. Good for as long as the table is, in any process.
  std::string cursor;
};

// Rows as bytes: what Table is made of, and who has no generated class. Coroutine forms.
class Rows {
 public:
  // `message`: if not null, is held against the catalog's (schema/compatible.h), and outlives it.
  explicit Rows(std::string table, const google::protobuf::Descriptor* message = nullptr);

  const std::string& table() const { return name_; }

  // nullopt: no such row.
  Task<Result<std::optional<std::string>>> Get(Transaction& txn, Key key) const;
  Task<Result<std::vector<std::optional<std::string>>>> GetMany(Transaction& txn,
                                                                std::vector<Key> keys) const;
  Task<Status> Insert(Transaction& txn, std::string row) const;
  Task<Status> Put(Transaction& txn, std::string row) const;
  // What the row becomes; an error ends it, and nothing is buffered. Runs where the task does.
  using Change = std::function<Result<std::string>(const std::string& row)>;
  Task<Status> Update(Transaction& txn, Key key, Change change) const;
  // False: there was none.
  Task<Result<bool>> Delete(Transaction& txn, Key key) const;
  Task<Result<RowBytes>> Scan(Transaction& txn, RowRange range) const;
  // An index of a repeated field has a row once for each of its distinct elements.
  Task<Result<RowBytes>> ScanIndex(Transaction& txn, std::string index, RowRange range) const;
  // The one row with all these values in a unique index. INVALID_ARGUMENT: the index is not unique,
  // or has another number of columns.
  Task<Result<std::optional<std::string>>> GetByIndex(Transaction& txn, std::string index,
                                                      Key values) const;

 private:
  template <class Message>
  friend class Table;

  // The second half of an Update whose closure ran elsewhere: `before` is what Get returned for
  // that key in this transaction. FAILED_PRECONDITION: the transaction has changed the row since.
  Task<Status> Replace(Transaction& txn, Key key, std::string before, std::string after) const;
  Status NoSuchRow() const;

  std::string name_;
  const google::protobuf::Descriptor* message_;
};

// The table that a message is the row of, by its options. INVALID_ARGUMENT: it has none.
Result<std::string> TableNameOf(const google::protobuf::Descriptor& message);

// A row as it is stored. INVALID_ARGUMENT: nobody could read it, and why.
Result<std::string> RowOf(const google::protobuf::Message& message);

template <class Message>
class Table {
 public:
  struct Page {
    std::vector<Message> rows;
    std::string cursor;  // as RowBytes
  };
  using Closure = std::function<Status(Message&)>;

  // As the options of the message name it; a message without them gets INVALID_ARGUMENT everywhere.
  Table() : Table(NameOf(TableNameOf(*Message::descriptor()))) {}
  explicit Table(std::string name)
      : rows_(std::make_shared<const Rows>(std::move(name), Message::descriptor())) {}

  // ---- coroutine forms
  Task<Result<std::optional<Message>>> Get(Transaction& txn, Key key) const {
    co_return Parse(co_await rows_->Get(txn, std::move(key)));
  }
  // As many as keys, in their order.
  Task<Result<std::vector<std::optional<Message>>>> GetMany(Transaction& txn,
                                                            std::vector<Key> keys) const {
    auto read = co_await rows_->GetMany(txn, std::move(keys));
    if (!read.ok()) co_return read.status();
    std::vector<std::optional<Message>> rows;
    for (std::optional<std::string>& bytes : *read) {
      auto row = Parse(Result<std::optional<std::string>>(std::move(bytes)));
      if (!row.ok()) co_return row.status();
      rows.push_back(std::move(*row));
    }
    co_return rows;
  }
  Task<Status> Insert(Transaction& txn, Message row) const {
    auto bytes = RowOf(row);
    if (!bytes.ok()) co_return bytes.status();
    co_return co_await rows_->Insert(txn, std::move(*bytes));
  }
  Task<Status> Put(Transaction& txn, Message row) const {
    auto bytes = RowOf(row);
    if (!bytes.ok()) co_return bytes.status();
    co_return co_await rows_->Put(txn, std::move(*bytes));
  }
  // The closure runs on the thread of the task.
  Task<Status> Update(Transaction& txn, Key key, Closure closure) const {
    return rows_->Update(
        txn, std::move(key),
        [closure = std::move(closure)](const std::string& row) { return Changed(row, closure); });
  }
  Task<Result<bool>> Delete(Transaction& txn, Key key) const {
    return rows_->Delete(txn, std::move(key));
  }
  Task<Result<Page>> Scan(Transaction& txn, RowRange range) const {
    co_return ParsePage(co_await rows_->Scan(txn, std::move(range)));
  }
  Task<Result<Page>> ScanIndex(Transaction& txn, std::string index, RowRange range) const {
    co_return ParsePage(co_await rows_->ScanIndex(txn, std::move(index), std::move(range)));
  }
  Task<Result<std::optional<Message>>> GetByIndex(Transaction& txn, std::string index,
                                                  Key values) const {
    co_return Parse(co_await rows_->GetByIndex(txn, std::move(index), std::move(values)));
  }

  // ---- blocking forms
  Result<std::optional<Message>> Get(SyncTransaction& txn, Key key) const {
    return Wait<std::optional<Message>>(txn,
                                        [&](Transaction& t) { return Get(t, std::move(key)); });
  }
  Result<std::vector<std::optional<Message>>> GetMany(SyncTransaction& txn,
                                                      std::vector<Key> keys) const {
    return Wait<std::vector<std::optional<Message>>>(
        txn, [&](Transaction& t) { return GetMany(t, std::move(keys)); });
  }
  Status Insert(SyncTransaction& txn, Message row) const {
    return txn.Await([&](Transaction& t) { return Insert(t, std::move(row)); });
  }
  Status Put(SyncTransaction& txn, Message row) const {
    return txn.Await([&](Transaction& t) { return Put(t, std::move(row)); });
  }
  // The closure runs on the caller's thread, and may use the transaction, but for this very row
  // (FAILED_PRECONDITION).
  Status Update(SyncTransaction& txn, Key key, Closure closure) const {
    auto before =
        Wait<std::optional<std::string>>(txn, [&](Transaction& t) { return rows_->Get(t, key); });
    if (!before.ok()) return before.status();
    if (!before->has_value()) return rows_->NoSuchRow();
    Result<std::string> after = Changed(**before, closure);
    if (!after.ok()) return after.status();
    return txn.Await([&](Transaction& t) {
      return rows_->Replace(t, std::move(key), std::move(**before), std::move(*after));
    });
  }
  Result<bool> Delete(SyncTransaction& txn, Key key) const {
    return Wait<bool>(txn, [&](Transaction& t) { return Delete(t, std::move(key)); });
  }
  Result<Page> Scan(SyncTransaction& txn, RowRange range) const {
    return Wait<Page>(txn, [&](Transaction& t) { return Scan(t, std::move(range)); });
  }
  Result<Page> ScanIndex(SyncTransaction& txn, std::string index, RowRange range) const {
    return Wait<Page>(
        txn, [&](Transaction& t) { return ScanIndex(t, std::move(index), std::move(range)); });
  }
  Result<std::optional<Message>> GetByIndex(SyncTransaction& txn, std::string index,
                                            Key values) const {
    return Wait<std::optional<Message>>(
        txn, [&](Transaction& t) { return GetByIndex(t, std::move(index), std::move(values)); });
  }

 private:
  static std::string NameOf(Result<std::string> name) {
    return name.ok() ? std::move(*name) : std::string();
  }
  static Result<std::optional<Message>> Parse(Result<std::optional<std::string>> bytes) {
    if (!bytes.ok()) return bytes.status();
    if (!bytes->has_value()) return std::optional<Message>();
    std::optional<Message> row(std::in_place);
    if (row->ParseFromString(**bytes)) return row;
    return Internal("a row does not parse as " + Message::descriptor()->full_name());
  }
  static Result<std::string> Changed(const std::string& bytes, const Closure& closure) {
    auto row = Parse(Result<std::optional<std::string>>(bytes));
    if (!row.ok()) return row.status();
    if (Status status = closure(**row); !status.ok()) return status;
    return RowOf(**row);
  }
  static Result<Page> ParsePage(Result<RowBytes> bytes) {
    if (!bytes.ok()) return bytes.status();
    Page page{{}, std::move(bytes->cursor)};
    for (std::string& each : bytes->rows) {
      auto row = Parse(Result<std::optional<std::string>>(std::move(each)));
      if (!row.ok()) return row.status();
      page.rows.push_back(std::move(**row));
    }
    return page;
  }
  template <class T>
  static Task<Status> Into(Task<Result<T>> task, std::optional<Result<T>>* out) {
    out->emplace(co_await std::move(task));
    co_return Status::Ok();
  }
  template <class T, class Make>
  static Result<T> Wait(SyncTransaction& txn, Make make) {
    std::optional<Result<T>> out;
    const Status ended = txn.Await([&](Transaction& t) { return Into<T>(make(t), &out); });
    if (!ended.ok()) return ended;
    return std::move(*out);
  }

  std::shared_ptr<const Rows> rows_;
};

}  // namespace quorate::client
