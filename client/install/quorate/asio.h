#pragma once
#include "client/asio.h"  // IWYU pragma: export
