// Counters, gauges and histograms of one node, with Prometheus text exposition.
//
// A metric is looked up once, when its component is built, then only incremented. Increments are
// relaxed atomics, since the WAL and flush threads count too.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "base/metric_sample.h"

namespace quorate {

class Counter {
 public:
  void Add(uint64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  uint64_t Value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

class Gauge {
 public:
  void Set(int64_t value) { value_.store(value, std::memory_order_relaxed); }
  int64_t Value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> value_{0};
};

// Power-of-two buckets over microseconds (or any non-negative unit that its name states).
class Histogram {
 public:
  static constexpr int kBuckets = 32;
  void Record(uint64_t value);
  uint64_t Count() const { return count_.load(std::memory_order_relaxed); }
  uint64_t Sum() const { return sum_.load(std::memory_order_relaxed); }
  uint64_t Bucket(int i) const { return buckets_[i].load(std::memory_order_relaxed); }

 private:
  std::array<std::atomic<uint64_t>, kBuckets> buckets_{};
  std::atomic<uint64_t> count_{0};
  std::atomic<uint64_t> sum_{0};
};

class Metrics {
 public:
  // Names follow Prometheus: quorate_wal_syncs_total, quorate_commit_latency_seconds, base
  // units. What a histogram named _seconds records are microseconds; they are shown in seconds. A
  // `label` is one `key="value"` pair or empty. The reference stays valid as long as the registry.
  Counter& GetCounter(std::string_view name, std::string_view help, std::string_view label = {});
  Gauge& GetGauge(std::string_view name, std::string_view help, std::string_view label = {});
  Histogram& GetHistogram(std::string_view name, std::string_view help,
                          std::string_view label = {});
  // The text exposition format, version 0.0.4, in name order.
  std::string Exposition() const;
  // All values, in name order within a kind.
  void Visit(const MetricVisitor& visit) const;

 private:
  template <class M>
  struct Family {
    std::string help;
    std::map<std::string, std::unique_ptr<M>, std::less<>> by_label;
  };
  template <class M>
  using Families = std::map<std::string, Family<M>, std::less<>>;
  template <class M>
  static M& Find(Families<M>& families, std::string_view name, std::string_view help,
                 std::string_view label);

  mutable std::mutex mutex_;  // registration and exposition only
  Families<Counter> counters_;
  Families<Gauge> gauges_;
  Families<Histogram> histograms_;
};

}  // namespace quorate
