// What is asked of the placement leader: of any node that answers, which passes it on.
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "quorate/v1/admin.pb.h"

namespace quorate::cli {

class Admin;

// UNINITIALIZED: no cluster here yet. The rest as PlacementResponse.error and Admin::CallAny say.
Result<v1::PlacementResponse> AskPlacement(Admin& admin, const std::vector<std::string>& addresses,
                                           Duration timeout, v1::PlacementRequest ask);

}  // namespace quorate::cli
