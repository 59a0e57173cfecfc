#include "server/real_env.h"

namespace quorate::server {

RealEnv::RealEnv(LogLevel log_level) : log(log_level) {}

}  // namespace quorate::server
