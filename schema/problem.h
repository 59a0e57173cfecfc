// What is wrong with a file, for the person who wrote it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "schema/limits.h"

namespace quorate::schema {

struct Problem {
  std::string file;     // "FILE"; empty: it concerns no single one
  std::string message;  // full name; empty: as above
  std::string field;    // its name, or the option that is wrong; empty: the message as a whole
  std::string reason;
  std::string fix;  // what to write instead

  // "FILE: shop.Account: owner: REASON; FIX".
  std::string ToString() const;
};

// Problems in the order in which they were found. Keeps kProblemsMax of them and counts the rest.
class Problems {
 public:
  void Add(Problem problem) {
    if (list_.size() < kProblemsMax) list_.push_back(std::move(problem));
    ++found_;
  }
  bool empty() const { return found_ == 0; }
  size_t found() const { return found_; }
  const std::vector<Problem>& list() const { return list_; }

 private:
  std::vector<Problem> list_;
  size_t found_ = 0;
};

}  // namespace quorate::schema
