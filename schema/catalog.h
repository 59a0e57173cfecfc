// Catalog: all tables, by id and by name, and which changes of them can be made at once.
//
// At once, as long as shards have no fences (docs/schema.md): a table that is new, so that nobody
// has written it yet; and a change of a table that is there if rows are written alike before and
// after it (WrittenAlike), so that it does not matter which version a writer goes by, however old
// it is. Everything else is refused, not done half.
//
// Pure. The same changes in the same order make the same catalog, whatever binary applies them:
// Apply asks only what cannot be known when the change is logged.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/status.h"
#include "quorate/v1/schema.pb.h"

namespace quorate::schema {

// Bytes of one table's descriptor, serialised, and of all together.
inline constexpr size_t kTableBytesMax = 1 << 20;
inline constexpr size_t kCatalogBytesMax = 16 << 20;
inline constexpr size_t kChangeBytesMax = 4 << 20;  // of the tables of one change

// Whether a row has the same key, entries and constraints under both, and rows that were written
// under one are read under the other. Names of the table and of indexes count as well: programs ask
// for them.
bool WrittenAlike(const v1::TableDescriptor& a, const v1::TableDescriptor& b);

// Why a step of a plan is not possible yet; empty: it is. Of a plan whose steps all are, the change
// (ChangeBetween, Finished) passes Catalog::Check.
std::string WhyNotYet(const v1::Catalog& catalog, const v1::Step& step);

// What a catalog is to become, from a whole one: tables of `after` that `before` does not have, or
// has of another version.
v1::CatalogChange ChangeBetween(const v1::Catalog& before, const v1::Catalog& after);

class Catalog {
 public:
  uint64_t version() const { return version_; }
  uint32_t next_table_id() const { return next_table_id_; }
  const std::map<uint32_t, v1::TableDescriptor>& tables() const { return tables_; }
  const v1::TableDescriptor* Find(std::string_view name) const;
  size_t bytes() const { return bytes_; }

  // Whether it may be logged. FAILED_PRECONDITION: made against another version, or it cannot be
  // made at once. INVALID_ARGUMENT: names table and element.
  Status Check(const v1::CatalogChange& change) const;
  // FAILED_PRECONDITION: the catalog has changed since; nothing happened.
  Status Apply(const v1::CatalogChange& change);

  // From a store, part by part.
  void SetVersion(uint64_t version, uint32_t next_table_id);
  // False: no table that this version can keep, or one that is there.
  bool Load(v1::TableDescriptor table);

 private:
  Status CheckVersion(const v1::CatalogChange& change) const;
  Status CheckTable(const v1::TableDescriptor& table) const;
  void Put(v1::TableDescriptor table);

  uint64_t version_ = 0;
  uint32_t next_table_id_ = 1;
  size_t bytes_ = 0;
  std::map<uint32_t, v1::TableDescriptor> tables_;
  std::map<std::string, uint32_t, std::less<>> by_name_;
};

}  // namespace quorate::schema
