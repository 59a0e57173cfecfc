#include "server/program/real_env.h"

namespace quorate::server {

RealEnv::RealEnv(LogLevel log_level, Waiter& waiter) : log(log_level), executor(waiter) {}

}  // namespace quorate::server
