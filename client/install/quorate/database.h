#pragma once
#include "client/database.h"  // IWYU pragma: export
