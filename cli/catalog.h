// The catalog, as placement tells it.
#pragma once

#include <string>

#include "base/status.h"
#include "cli/command.h"
#include "quorate/v1/schema.pb.h"

namespace quorate::cli {

// All tables of one version of the catalog. UNAVAILABLE: it changed again and again meanwhile.
Result<v1::Catalog> ReadCatalog(Context& context);
// NOT_FOUND says how tables are made.
Result<v1::TableDescriptor> ReadTable(Context& context, const std::string& name);

}  // namespace quorate::cli
