#pragma once
#include "client/table.h"  // IWYU pragma: export
