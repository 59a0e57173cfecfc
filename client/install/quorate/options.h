#pragma once
#include "client/options.h"  // IWYU pragma: export
