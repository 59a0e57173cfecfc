// Completion: the callback of one call, called exactly once: with what it is given or, when it is
// destroyed before, with what `dropped` makes then. Executor's thread.
#pragma once

#include <exception>
#include <functional>
#include <string>
#include <utility>

#include "base/log.h"

namespace quorate::client {

// What a person may read of an exception.
inline std::string WhatOf(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const std::exception& e) {
    return e.what();
  } catch (...) {
    return "something that is no std::exception";
  }
}

template <class T>
class Completion {
 public:
  Completion(Logger& log, std::function<void(T)> done, std::function<T()> dropped)
      : log_(&log), done_(std::move(done)), dropped_(std::move(dropped)) {}
  Completion(Completion&& o) noexcept
      : log_(o.log_), done_(std::exchange(o.done_, nullptr)), dropped_(std::move(o.dropped_)) {}
  ~Completion() {
    if (done_) (*this)(dropped_());
  }

  void operator()(T value) {
    const std::function<void(T)> done = std::exchange(done_, nullptr);
    try {
      done(std::move(value));
    } catch (...) {
      log_->Error("client: a callback threw: {}", WhatOf(std::current_exception()));
    }
  }

 private:
  Logger* log_;
  std::function<void(T)> done_;
  std::function<T()> dropped_;
};

}  // namespace quorate::client
