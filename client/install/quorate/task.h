#pragma once
#include "base/task.h"  // IWYU pragma: export
