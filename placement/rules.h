// Rules as messages. What others wrote is judged by CheckRule (schedule/rule.h), not here.
#pragma once

#include "placement/schedule/rule.h"
#include "quorate/v1/placement.pb.h"

namespace quorate::placement {

Rule RuleOf(const v1::PlacementRule& rule);
v1::PlacementRule ToProto(const Rule& rule);

}  // namespace quorate::placement
