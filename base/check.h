// CHECK: an invariant that stays on in production. A broken one stops the process, because going on
// could diverge replicas or acknowledge what is not durable.
#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>

namespace quorate {

[[noreturn]] void CheckFailed(const char* file, int line, const char* condition,
                              std::string_view message);

inline std::string CheckMessage() { return {}; }
template <class... Args>
std::string CheckMessage(fmt::format_string<Args...> format, Args&&... args) {
  return fmt::format(format, std::forward<Args>(args)...);
}

}  // namespace quorate

#define CHECK(condition, ...)                                                    \
  do {                                                                           \
    if (!(condition)) [[unlikely]]                                               \
      ::quorate::CheckFailed(__FILE__, __LINE__, #condition,                     \
                             ::quorate::CheckMessage(__VA_ARGS__));              \
  } while (false)
