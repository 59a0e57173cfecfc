#include "cli/catalog.h"

#include "base/status_macros.h"
#include "cli/ask_placement.h"

namespace quorate::cli {
namespace {

Result<v1::Catalog> ReadOnce(Context& context) {
  constexpr int kTries = 5;
  for (int i = 0; i < kTries; ++i) {
    v1::Catalog catalog;
    uint32_t from = 0;
    bool one = true;
    do {
      v1::PlacementRequest ask;
      ask.mutable_get_catalog()->set_from_table_id(from);
      ASSIGN_OR_RETURN(auto answer, AskPlacement(context.admin(), context.addresses(),
                                                 context.timeout(), std::move(ask)));
      one = from == 0 || answer.catalog().version() == catalog.version();
      catalog.set_version(answer.catalog().version());
      catalog.set_next_table_id(answer.catalog().next_table_id());
      for (v1::TableDescriptor& table : *answer.mutable_catalog()->mutable_tables()) {
        *catalog.add_tables() = std::move(table);
      }
      from = answer.more_from_table_id();
    } while (one && from != 0);
    if (one) return catalog;
  }
  return Unavailable("the catalog changed while it was read; try again");
}

Result<v1::TableDescriptor> ReadOnce(Context& context, const std::string& name) {
  v1::PlacementRequest ask;
  ask.mutable_get_catalog()->add_names(name);
  ASSIGN_OR_RETURN(auto answer, AskPlacement(context.admin(), context.addresses(),
                                             context.timeout(), std::move(ask)));
  if (!answer.catalog().tables().empty()) {
    return std::move(*answer.mutable_catalog()->mutable_tables(0));
  }
  return NotFound(fmt::format(
      "there is no table {}: `quorate table list` tells which there are, `quorate schema apply "
      "FILE.proto` makes those of a file",
      name));
}

}  // namespace

Result<v1::Catalog> ReadCatalog(Context& context) {
  return context.UntilReached([&] { return ReadOnce(context); });
}

Result<v1::TableDescriptor> ReadTable(Context& context, const std::string& name) {
  return context.UntilReached([&] { return ReadOnce(context, name); });
}

}  // namespace quorate::cli
