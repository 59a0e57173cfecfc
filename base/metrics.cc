#include "base/metrics.h"

#include <fmt/format.h>

#include <bit>
#include <iterator>

namespace quorate {
namespace {

std::string Braced(std::string_view label) {
  return label.empty() ? std::string() : fmt::format("{{{}}}", label);
}

// Durations are recorded in microseconds, as integers, and shown in seconds.
std::string Shown(std::string_view name, uint64_t value) {
  if (!name.ends_with("_seconds")) return fmt::to_string(value);
  return fmt::format("{:.9g}", static_cast<double>(value) / 1e6);
}

}  // namespace

void Histogram::Record(uint64_t value) {
  const int bucket = value == 0 ? 0 : std::min<int>(std::bit_width(value), kBuckets - 1);
  buckets_[bucket].fetch_add(1, std::memory_order_relaxed);
  count_.fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value, std::memory_order_relaxed);
}

template <class M>
M& Metrics::Find(Families<M>& families, std::string_view name, std::string_view help,
                 std::string_view label) {
  auto family = families.find(name);
  if (family == families.end()) {
    family = families.emplace(std::string(name), Family<M>{std::string(help), {}}).first;
  }
  auto& slot = family->second.by_label[std::string(label)];
  if (slot == nullptr) slot = std::make_unique<M>();
  return *slot;
}

Counter& Metrics::GetCounter(std::string_view name, std::string_view help, std::string_view label) {
  std::lock_guard lock(mutex_);
  return Find(counters_, name, help, label);
}

Gauge& Metrics::GetGauge(std::string_view name, std::string_view help, std::string_view label) {
  std::lock_guard lock(mutex_);
  return Find(gauges_, name, help, label);
}

Histogram& Metrics::GetHistogram(std::string_view name, std::string_view help,
                                 std::string_view label) {
  std::lock_guard lock(mutex_);
  return Find(histograms_, name, help, label);
}

std::string Metrics::Exposition() const {
  std::lock_guard lock(mutex_);
  std::string text;
  auto out = std::back_inserter(text);
  const auto scalars = [&](const auto& families, std::string_view type) {
    for (const auto& [name, family] : families) {
      fmt::format_to(out, "# HELP {} {}\n# TYPE {} {}\n", name, family.help, name, type);
      for (const auto& [label, metric] : family.by_label) {
        fmt::format_to(out, "{}{} {}\n", name, Braced(label), metric->Value());
      }
    }
  };
  scalars(counters_, "counter");
  scalars(gauges_, "gauge");
  for (const auto& [name, family] : histograms_) {
    fmt::format_to(out, "# HELP {} {}\n# TYPE {} histogram\n", name, family.help, name);
    for (const auto& [label, metric] : family.by_label) {
      const std::string prefix = label.empty() ? "" : label + ",";
      uint64_t cumulative = 0;
      for (int i = 0; i + 1 < Histogram::kBuckets; ++i) {
        cumulative += metric->Bucket(i);
        fmt::format_to(out, "{}_bucket{{{}le=\"{}\"}} {}\n", name, prefix,
                       Shown(name, (1ull << i) - 1), cumulative);
      }
      fmt::format_to(out, "{}_bucket{{{}le=\"+Inf\"}} {}\n", name, prefix, metric->Count());
      fmt::format_to(out, "{}_sum{} {}\n", name, Braced(label), Shown(name, metric->Sum()));
      fmt::format_to(out, "{}_count{} {}\n", name, Braced(label), metric->Count());
    }
  }
  return text;
}

void Metrics::Visit(const MetricVisitor& visit) const {
  std::lock_guard lock(mutex_);
  const auto all = [&](const auto& families, MetricSample::Kind kind, const auto& fill) {
    for (const auto& [name, family] : families) {
      for (const auto& [label, metric] : family.by_label) {
        MetricSample sample{kind, name, family.help, label};
        fill(*metric, &sample);
        visit(sample);
      }
    }
  };
  const auto scalar = [](const auto& metric, MetricSample* sample) {
    sample->value = static_cast<int64_t>(metric.Value());
  };
  all(counters_, MetricSample::Kind::kCounter, scalar);
  all(gauges_, MetricSample::Kind::kGauge, scalar);
  all(histograms_, MetricSample::Kind::kHistogram,
      [](const Histogram& metric, MetricSample* sample) {
        sample->value = static_cast<int64_t>(metric.Count());
        sample->sum = metric.Sum();
      });
}

}  // namespace quorate
