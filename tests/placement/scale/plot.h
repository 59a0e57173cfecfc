// An SVG of what each node bears over time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/placement/schedule/model.h"

namespace quorate::placement::scale {

class Plot {
 public:
  // Keeps a sample of all nodes of the cluster, or thins what it has once it is too much.
  void Sample(const model::Model& model, int64_t second);
  std::string Svg(const std::string& title) const;

 private:
  struct Moment {
    int64_t second = 0;
    // Sorted; nodes that are down bear nothing and are left out.
    std::vector<double> replicas, leaders, requests;
  };
  static constexpr size_t kMomentsMax = 400;

  void Panel(std::string* svg, double top, const std::string& name,
             std::vector<double> Moment::*values) const;

  int64_t every_ = 1;
  std::vector<Moment> moments_;
};

}  // namespace quorate::placement::scale
