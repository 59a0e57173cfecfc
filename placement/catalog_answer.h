// What placement says of its tables.
#pragma once

#include "quorate/v1/admin.pb.h"
#include "schema/catalog.h"

namespace quorate::placement {

// Of tables in one answer; one that reaches it is the last. Any one fits.
inline constexpr size_t kCatalogAnswerBytesMax = 2 << 20;

void FillCatalog(const schema::Catalog& catalog, const v1::GetCatalog& ask,
                 v1::PlacementResponse* response);

}  // namespace quorate::placement
