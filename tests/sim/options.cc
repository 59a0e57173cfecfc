#include "tests/sim/options.h"

#include <fmt/format.h>

#include <charconv>
#include <type_traits>

#include "base/random.h"
#include "tests/sim/faults.h"

namespace quorate::sim {

template <class Self, class Visitor>
void Options::VisitFields(Self& o, Visitor visit) {
  visit("seed", o.seed);
  visit("chaos", o.chaos);
  visit("nodes", o.nodes);
  visit("shards", o.shards);
  visit("clients", o.clients);
  visit("accounts", o.accounts);
  visit("lists", o.lists);
  visit("think_max", o.think_max);
  visit("latency_min", o.latency_min);
  visit("latency_max", o.latency_max);
  visit("sync_min", o.sync_min);
  visit("sync_max", o.sync_max);
  visit("quorum_reads", o.quorum_reads);
  visit("drift_max", o.drift_max);
  visit("moves", o.moves);
  visit("down_after", o.down_after);
  visit("split_requests", o.split_requests);
  visit("zones", o.zones);
  visit("txn_lifetime", o.txn_lifetime);
  visit("name_retention", o.name_retention);
  visit("push_after", o.push_after);
  visit("prepared_push_after", o.prepared_push_after);
  visit("wal_segment_bytes", o.wal_segment_bytes);
  visit("wal_copy_step_bytes", o.wal_copy_step_bytes);
  visit("store_latency_max", o.store_latency_max);
  visit("overlay_flush_bytes", o.overlay_flush_bytes);
  visit("flush_interval", o.flush_interval);
  visit("log_keep_entries", o.log_keep_entries);
  visit("wal_keep_entries", o.wal_keep_entries);
  visit("node_log_bytes", o.node_log_bytes);
  visit("overlay_bytes_max", o.overlay_bytes_max);
  visit("snapshot_turn_bytes", o.snapshot_turn_bytes);
  visit("snapshot_bytes_per_second", o.snapshot_bytes_per_second);
  visit("quiesce_ticks", o.quiesce_ticks);
  visit("awake_max", o.awake_max);
  visit("append_bytes_max", o.append_bytes_max);
  visit("step_versions", o.step_versions);
  visit("client_bytes_max", o.client_bytes_max);
  visit("part_bytes_max", o.part_bytes_max);
}

namespace {

Duration DrawDuration(Random& random, double low_s, double high_s) {
  return Duration(static_cast<int64_t>(DrawFrom(random, {low_s, high_s}) * 1e9));
}

template <class T>
bool Parse(std::string_view text, T* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size();
}

void DrawKnobs(Random& random, Options* o) {
  const auto extreme = [&] { return random.Chance(0.5); };
  if (extreme()) o->txn_lifetime = DrawDuration(random, 3, 10);
  if (extreme()) o->push_after = DrawDuration(random, 0.02, 2);
  if (extreme()) o->prepared_push_after = DrawDuration(random, 0.2, 10);
  if (extreme()) o->wal_segment_bytes = random.Chance(0.7) ? 64 << 10 : 2 << 20;
  if (extreme()) o->store_latency_max = DrawDuration(random, 0.004, 1);
  if (extreme()) o->append_bytes_max = random.Chance(0.5) ? 1 : 4 << 10;
  if (extreme()) o->step_versions = static_cast<uint64_t>(random.Between(2, 200));
  if (extreme()) o->name_retention = DrawDuration(random, 4, 30);
  // Work that spans turns is seen half-done.
  if (extreme()) o->wal_copy_step_bytes = random.Chance(0.5) ? 1 : 4 << 10;
  if (random.Chance(0.2)) o->snapshot_turn_bytes = random.Chance(0.5) ? 256 : 16 << 10;
  if (random.Chance(0.2)) o->log_keep_entries = 20;
  if (random.Chance(0.2)) o->wal_keep_entries = 20;
  if (extreme()) o->client_bytes_max = 96 << 10;
}

}  // namespace

Options Options::Draw(uint64_t seed, Duration chaos) {
  Random random = Random(seed).Fork("options");
  Options o;
  o.seed = seed;
  o.chaos = chaos;
  o.nodes = static_cast<int>(random.Between(3, 5));
  o.shards = static_cast<int>(random.Chance(0.2) ? random.Between(13, 20) : random.Between(1, 12));
  o.clients = static_cast<int>(random.Between(2, 8));
  o.accounts = random.Chance(0.3) ? 3 : static_cast<int>(random.Between(4, 40));
  o.lists = random.Chance(0.3) ? 2 : static_cast<int>(random.Between(3, 20));
  o.think_max = DrawDuration(random, 0.005, 0.5);
  o.latency_min = Duration(random.Between(10'000, 500'000));
  o.latency_max = o.latency_min + Duration(random.Between(0, 5'000'000));
  o.sync_max = Duration(random.Between(200'000, 10'000'000));
  o.quorum_reads = random.Chance(0.25);
  if (random.Chance(0.5)) o.drift_max = DrawFrom(random, {1e-4, 2e-2});
  DrawKnobs(random, &o);
  o.moves = random.Chance(0.6);
  if (o.moves) o.down_after = std::chrono::seconds(random.Between(6, 30));
  Random parts = Random(seed).Fork("parts");
  if (parts.Chance(0.3)) o.part_bytes_max = parts.Chance(0.5) ? 1 : 24;
  Random idle = Random(seed).Fork("idle");
  if (idle.Chance(0.6)) o.quiesce_ticks = static_cast<uint64_t>(idle.Between(2, 30));
  Random awake = Random(seed).Fork("awake");
  if (awake.Chance(0.3)) o.awake_max = static_cast<uint64_t>(awake.Between(0, 6));
  Random logs = Random(seed).Fork("logs");
  if (logs.Chance(0.5)) o.node_log_bytes = static_cast<uint64_t>(logs.Between(256, 64 << 10));
  if (logs.Chance(0.2)) {
    o.overlay_flush_bytes = static_cast<uint64_t>(logs.Between(4 << 10, 16 << 10));
    o.overlay_bytes_max = 4 * o.overlay_flush_bytes;
  }
  Random load = Random(seed).Fork("load");
  if (o.moves && load.Chance(0.4)) o.split_requests = static_cast<uint64_t>(load.Between(2, 10));
  Random zones = Random(seed).Fork("zones");
  if (o.moves && zones.Chance(0.5)) o.zones = static_cast<int>(zones.Between(2, 3));
  return o;
}

void Options::DrawExtremes() {
  Random random = Random(seed).Fork("extremes");
  const auto extreme = [&] { return random.Chance(0.5); };
  if (extreme()) {
    overlay_flush_bytes = random.Chance(0.5) ? 4 << 10 : 64 << 10;
    overlay_bytes_max = std::max(overlay_bytes_max, 4 * overlay_flush_bytes);
  }
  if (extreme()) flush_interval = DrawDuration(random, 0.05, 10);
  if (extreme()) log_keep_entries = random.Chance(0.5) ? 1 : 20;
  if (extreme()) wal_keep_entries = random.Chance(0.5) ? 0 : 20;
  if (extreme()) snapshot_turn_bytes = 256;
  if (extreme()) snapshot_bytes_per_second = 256 << 10;
}

void Options::FixSize() {
  nodes = 5;
  shards = 20;
  clients = 8;
}

std::string Options::ToString() const {
  std::string text;
  VisitFields(*this, [&](std::string_view name, const auto& value) {
    if (!text.empty()) text += ' ';
    if constexpr (std::is_same_v<std::decay_t<decltype(value)>, Duration>) {
      text += fmt::format("{}={}", name, value.count());
    } else {
      text += fmt::format("{}={}", name, value);
    }
  });
  return text;
}

bool Options::Set(std::string_view name, std::string_view value) {
  bool ok = false;
  VisitFields(*this, [&](std::string_view field, auto& target) {
    if (field != name) return;
    using T = std::decay_t<decltype(target)>;
    if constexpr (std::is_same_v<T, Duration>) {
      int64_t count = 0;
      ok = Parse(value, &count);
      target = Duration(count);
    } else if constexpr (std::is_same_v<T, bool>) {
      ok = value == "true" || value == "false";
      target = value == "true";
    } else {
      ok = Parse(value, &target);
    }
  });
  return ok;
}

}  // namespace quorate::sim
