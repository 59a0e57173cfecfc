#!/usr/bin/python3
"""What it costs to have many shards that are all in use: `bench put` over keys of all shards, with few and with many,
in turns so that the machine's mood is the same for both.

Exits 1 if the throughput with many is below --least of that with few (medians), or a put failed. The figures mean something
on a machine that does nothing else.

  tests/bench/active_shards.py [--few 8] [--many 1000] [--rounds 3] [--seconds 15] [--least 0.8] [--clients 64]
"""
import argparse
import json
import os
import statistics
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))
import harness  # noqa: E402
from moving_state import brief  # noqa: E402


KEYS = 20000


def bench_key(number):
    """As cli/bench.cc makes them: spread over the first byte."""
    return bytes([(number * 0x9E3779B97F4A7C15 & (1 << 64) - 1) >> 56]) + b"bench/%08d" % number


def begin(shards):
    """A cluster of so many shards, each with as many of the keys."""
    keys = sorted(map(bench_key, range(KEYS)))
    return harness.Cluster(nodes=3, split_at=[keys[KEYS * n // shards] for n in range(1, shards)])


def put(cluster, options, seconds):
    done = cluster.quorate("bench", "--json", "--workload", "put", "--seconds", str(seconds), "--warmup", "2",
                           "--keys", str(KEYS), "--value-size", "100", "-c", str(options.clients), "--timeout", "30s",
                           "--no-load", timeout=seconds + 120)
    if done.returncode != harness.DONE:
        sys.exit(f"bench: {done.stdout} {done.stderr}")
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--few", type=int, default=8)
    parser.add_argument("--many", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--least", type=float, default=0.8)
    parser.add_argument("--clients", type=int, default=64)
    options = parser.parse_args()
    rates = {options.few: [], options.many: []}
    wrong = 0
    for _ in range(options.rounds):
        for shards in rates:
            with begin(shards) as cluster:
                put(cluster, options, 5)  # each shard is awake
                figures = put(cluster, options, options.seconds)
                print(f"{shards} shards: {brief(figures)}", flush=True)
                rates[shards].append(figures["ops_per_second"])
                wrong += figures["failed"] + figures["unknown"]
    few, many = (statistics.median(rates[shards]) for shards in (options.few, options.many))
    print(f"{options.many} shards: {many:.0f} puts/s, {options.few}: {few:.0f}; {many / few:.2f} of it")
    if wrong or many < options.least * few:
        sys.exit(f"{wrong} puts failed or are unknown; {many / few:.2f} is below {options.least}" if wrong
                 else f"{many / few:.2f} is below {options.least}")


if __name__ == "__main__":
    main()
