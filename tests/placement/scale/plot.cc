#include "tests/placement/scale/plot.h"

#include <fmt/format.h>

#include <algorithm>

namespace quorate::placement::scale {

namespace {

constexpr double kLeft = 70, kWidth = 900, kHeight = 180, kGap = 70;

double At(const std::vector<double>& sorted, double part) {
  if (sorted.empty()) return 0;
  return sorted[static_cast<size_t>(part * static_cast<double>(sorted.size() - 1))];
}

}  // namespace

void Plot::Sample(const model::Model& model, int64_t second) {
  if (!moments_.empty() && second < moments_.back().second + every_) return;
  if (moments_.size() == kMomentsMax) {
    for (size_t i = 0; i < kMomentsMax / 2; ++i) moments_[i] = std::move(moments_[2 * i]);
    moments_.resize(kMomentsMax / 2);
    every_ *= 2;
  }
  Moment moment;
  moment.second = second;
  for (const auto& [id, node] : model.view.nodes()) {
    if (node.view.liveness != Liveness::kUp) continue;
    moment.replicas.push_back(static_cast<double>(node.load.replicas));
    moment.leaders.push_back(static_cast<double>(node.load.leaders));
    moment.requests.push_back(static_cast<double>(node.load.requests));
  }
  for (auto* values : {&moment.replicas, &moment.leaders, &moment.requests}) {
    std::sort(values->begin(), values->end());
  }
  moments_.push_back(std::move(moment));
}

void Plot::Panel(std::string* svg, double top, const std::string& name,
                 std::vector<double> Moment::*values) const {
  double most = 1;
  for (const Moment& moment : moments_) most = std::max(most, At(moment.*values, 1));
  const double last = std::max<double>(1, static_cast<double>(moments_.back().second));
  const auto x = [&](const Moment& m) {
    return kLeft + kWidth * static_cast<double>(m.second) / last;
  };
  const auto y = [&](double value) { return top + kHeight * (1 - value / most); };
  const auto band = [&](double low, double high, const char* colour) {
    std::string points;
    for (const Moment& m : moments_)
      points += fmt::format("{:.1f},{:.1f} ", x(m), y(At(m.*values, low)));
    for (auto m = moments_.rbegin(); m != moments_.rend(); ++m) {
      points += fmt::format("{:.1f},{:.1f} ", x(*m), y(At((*m).*values, high)));
    }
    *svg += fmt::format("<polygon points=\"{}\" fill=\"{}\"/>\n", points, colour);
  };
  band(0, 1, "#cfe0f3");
  band(0.1, 0.9, "#7fb0e0");
  std::string median;
  for (const Moment& m : moments_)
    median += fmt::format("{:.1f},{:.1f} ", x(m), y(At(m.*values, 0.5)));
  *svg += fmt::format("<polyline points=\"{}\" fill=\"none\" stroke=\"#123\"/>\n", median);
  *svg += fmt::format(
      "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"#999\"/>\n", kLeft,
      top, kWidth, kHeight);
  *svg +=
      fmt::format("<text x=\"{}\" y=\"{}\">{}: least, tenth, median, nine tenths, most</text>\n",
                  kLeft, top - 6, name);
  for (int i = 0; i <= 4; ++i) {
    *svg += fmt::format("<text x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">{:.0f}</text>\n",
                        kLeft - 6, y(most * i / 4) + 4, most * i / 4);
    *svg += fmt::format("<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{:.0f} s</text>\n",
                        kLeft + kWidth * i / 4, top + kHeight + 16, last * i / 4);
  }
}

std::string Plot::Svg(const std::string& title) const {
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1000\" height=\"{:.0f}\" "
      "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" "
      "fill=\"#fff\"/>\n"
      "<text x=\"{}\" y=\"20\" font-size=\"15\">{}</text>\n",
      50 + 3 * (kHeight + kGap), kLeft, title);
  if (!moments_.empty()) {
    Panel(&svg, 50, "replicas of a node", &Moment::replicas);
    Panel(&svg, 50 + kHeight + kGap, "shards that a node leads", &Moment::leaders);
    Panel(&svg, 50 + 2 * (kHeight + kGap), "requests per second of these", &Moment::requests);
  }
  return svg + "</svg>\n";
}

}  // namespace quorate::placement::scale
