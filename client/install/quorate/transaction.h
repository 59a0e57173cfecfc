#pragma once
#include "client/transaction.h"  // IWYU pragma: export
