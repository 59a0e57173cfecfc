#include "placement/catalog_answer.h"

#include <algorithm>

#include "base/limits.h"

namespace quorate::placement {

static_assert(kCatalogAnswerBytesMax + schema::kTableBytesMax < limits::kAnswerBytesMax);

void FillCatalog(const schema::Catalog& catalog, const v1::GetCatalog& ask,
                 v1::PlacementResponse* response) {
  v1::Catalog* answer = response->mutable_catalog();
  answer->set_version(catalog.version());
  answer->set_next_table_id(catalog.next_table_id());
  size_t bytes = 0;
  const auto& tables = catalog.tables();
  for (auto at = tables.lower_bound(ask.from_table_id()); at != tables.end(); ++at) {
    const v1::TableDescriptor& table = at->second;
    const auto& names = ask.names();
    if (!names.empty() && std::ranges::find(names, table.name()) == names.end()) continue;
    if (bytes >= kCatalogAnswerBytesMax) {
      response->set_more_from_table_id(at->first);
      return;
    }
    bytes += table.ByteSizeLong();
    *answer->add_tables() = table;
  }
}

}  // namespace quorate::placement
