// The program quorate_history, as a function.
#pragma once

#include <ostream>
#include <string>
#include <vector>

namespace quorate::history {

enum ExitCode { kValid = 0, kAnomalies = 1, kBadInput = 2 };

// quorate_history FILE.edn [--workload W] [--model M] [--total N]
int Judge(const std::vector<std::string>& arguments, std::ostream& out, std::ostream& err);

}  // namespace quorate::history
