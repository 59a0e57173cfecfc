#include "tests/sim/options.h"

#include <fmt/format.h>

#include <cmath>

#include "base/random.h"

namespace quorate::sim {
namespace {

// Log-uniform between the bounds.
double LogUniform(Random& random, double low, double high) {
  return std::exp(std::log(low) + random.Unit() * (std::log(high) - std::log(low)));
}

Duration Interval(Random& random, double chance, double low_s, double high_s) {
  const bool on = random.Chance(chance);
  const double seconds = LogUniform(random, low_s, high_s);
  return on ? Duration(static_cast<int64_t>(seconds * 1e9)) : Duration(0);
}

double Rate(Random& random, double chance, double low, double high) {
  const bool on = random.Chance(chance);
  const double rate = LogUniform(random, low, high);
  return on ? rate : 0;
}

}  // namespace

Options Options::Draw(uint64_t seed, Duration chaos) {
  Random random = Random(seed).Fork("options");
  Options o;
  o.seed = seed;
  o.chaos = chaos;
  o.nodes = static_cast<int>(random.Between(3, 5));
  o.shards = static_cast<int>(random.Between(1, 12));
  o.clients = static_cast<int>(random.Between(2, 8));
  o.accounts = random.Chance(0.3) ? 3 : static_cast<int>(random.Between(4, 40));
  o.lists = random.Chance(0.3) ? 2 : static_cast<int>(random.Between(3, 20));
  o.network.latency_min = Duration(random.Between(10'000, 500'000));
  o.network.latency_max = o.network.latency_min + Duration(random.Between(0, 5'000'000));
  o.network.tail_chance = Rate(random, 0.5, 1e-4, 2e-2);
  o.network.loss = Rate(random, 0.5, 1e-4, 5e-2);
  o.network.duplicate = Rate(random, 0.5, 1e-4, 5e-2);
  o.network.reset = Rate(random, 0.5, 1e-4, 1e-2);
  o.disk.sync_max = Duration(random.Between(200'000, 10'000'000));
  o.disk.stall_chance = Rate(random, 0.3, 1e-5, 1e-3);
  o.disk.stall = Duration(random.Between(100'000'000, 2'000'000'000));
  o.quorum_reads = random.Chance(0.2);
  o.txn_lifetime =
      random.Chance(0.3) ? Duration(std::chrono::seconds(8)) : Duration(std::chrono::seconds(60));
  o.kill_every = Interval(random, 0.7, 3, 30);
  o.power_loss_every = Interval(random, 0.5, 5, 40);
  o.power_loss_all_every = Interval(random, 0.3, 10, 60);
  o.partition_every = Interval(random, 0.5, 4, 30);
  o.one_way_every = Interval(random, 0.4, 4, 30);
  o.isolate_leader_every = Interval(random, 0.4, 5, 30);
  o.pause_every = Interval(random, 0.5, 3, 30);
  o.clock_jump_every = Interval(random, 0.3, 5, 30);
  o.client_death_every = Interval(random, 0.3, 5, 30);
  o.drift_max = Rate(random, 0.5, 1e-4, 2e-2);
  return o;
}

Options Options::Calm() const {
  Options o;
  o.seed = seed;
  o.chaos = chaos;
  o.nodes = nodes;
  o.shards = shards;
  o.clients = clients;
  o.accounts = accounts;
  o.lists = lists;
  o.quorum_reads = quorum_reads;
  o.txn_lifetime = txn_lifetime;
  return o;
}

std::string Options::ToString() const {
  const auto seconds = [](Duration d) { return static_cast<double>(d.count()) / 1e9; };
  return fmt::format(
      "nodes={} shards={} clients={} accounts={} lists={} latency={:.2f}..{:.2f}ms tail={:.4f} "
      "loss={:.4f} duplicate={:.4f} reset={:.4f} sync_max={:.1f}ms stall={:.5f} quorum_reads={} "
      "lifetime={:.0f}s kill={:.0f}s power={:.0f}s power_all={:.0f}s partition={:.0f}s "
      "one_way={:.0f}s isolate={:.0f}s pause={:.0f}s clock_jump={:.0f}s client_death={:.0f}s "
      "drift={:.4f}",
      nodes, shards, clients, accounts, lists, seconds(network.latency_min) * 1e3,
      seconds(network.latency_max) * 1e3, network.tail_chance, network.loss, network.duplicate,
      network.reset, seconds(disk.sync_max) * 1e3, disk.stall_chance, quorum_reads,
      seconds(txn_lifetime), seconds(kill_every), seconds(power_loss_every),
      seconds(power_loss_all_every), seconds(partition_every), seconds(one_way_every),
      seconds(isolate_leader_every), seconds(pause_every), seconds(clock_jump_every),
      seconds(client_death_every), drift_max);
}

}  // namespace quorate::sim
