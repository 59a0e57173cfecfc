#!/usr/bin/python3
"""What shards cost that nobody uses: three nodes on this machine, some shards, no client.

For each number of shards: the processor time of all nodes together, in percent of one core, and resident memory per replica
above that of a cluster of eight shards; first as they were made, then after each was written once. At last the node that leads
most is killed (-9) for good: how many of its shards have a leader again after 5 s, and what the other two then use.

Exits 1 if a figure of the largest number is outside of its bound. The figures mean something on a machine that does nothing
else.

A cluster begins with at most 4,096 shards (`quorate init`): with 10,000, all their groups are awake at once, and for a minute
nobody is answered. More would have to be divided afterwards, which this does not do yet.

  tests/bench/idle.py [--shards 100,1000,4096] [--seconds 30] [--percent 5] [--kib 2]
"""
import argparse
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))
import harness  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")
SETTLE = 600  # seconds in which leaders are even and groups have fallen silent
LED_AGAIN = 0.999
FEW = 8


def cpu(cluster):
    """Seconds of processor time that each node has used."""
    used = []
    for process in filter(None, cluster.processes):
        with open(f"/proc/{process.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        used.append((int(fields[11]) + int(fields[12])) / TICKS)
    return used


def resident(cluster):
    """KiB of all nodes' own memory."""
    total = 0
    for process in cluster.processes:
        with open(f"/proc/{process.pid}/status") as status:
            total += next(int(line.split()[1]) for line in status if line.startswith("RssAnon:"))
    return total


def metric(cluster, node, name):
    lines = cluster.get_http(node, "/metrics")[1].splitlines()
    return next(int(float(line.split()[1])) for line in lines if line.startswith(name + " "))


def keys(shards):
    return [f"{number:06d}" for number in range(1, shards)]


def settle(cluster, shards):
    """Until leaders are even and next to all groups are silent, twice in a row. (The placement group never
    is, and a few look whether their leaders are there.)"""
    calm = 0
    end = time.monotonic() + SETTLE
    nodes = [node for node, process in enumerate(cluster.processes) if process]
    while calm < 2:
        assert time.monotonic() < end, "the cluster does not come to rest"
        time.sleep(3)
        silent = min(metric(cluster, node, "quorate_raft_quiescent_groups") for node in nodes)
        led = [metric(cluster, node, "quorate_raft_leader_groups") for node in nodes]
        even = max(led) - min(led) <= max(4, shards // 20)
        calm = calm + 1 if even and silent >= shards - max(2, shards // 100) else 0


def rest(cluster, shards, seconds):
    """Percent of one core, of all nodes together, while nobody asks anything."""
    settle(cluster, shards)
    before, began = sum(cpu(cluster)), time.monotonic()
    time.sleep(seconds)
    return 100 * (sum(cpu(cluster)) - before) / (time.monotonic() - began)


def write_each(cluster, shards):
    script = os.path.join(cluster.directory, "writes")
    each = ["000000"] + keys(shards)
    for first in range(0, shards, 500):
        with open(script, "w") as file:
            file.writelines(f"put {key} 1\n" for key in each[first:first + 500])
        done = harness.run("--cluster", cluster.cluster, "txn", script, "--timeout", "60s", timeout=120)
        assert done.returncode == harness.DONE, done.stderr


def kill(cluster, shards):
    """The share of the killed node's shards that have a leader 5 s later."""
    led = [metric(cluster, node, "quorate_raft_leader_groups") for node in range(3)]
    victim = led.index(max(led))
    cluster.kill(victim)
    time.sleep(5)
    now = sum(metric(cluster, node, "quorate_raft_leader_groups") for node in range(3) if node != victim)
    missing = shards + 1 - now  # with the placement group
    return 1 - missing / led[victim]


def measure(shards, seconds, base):
    with harness.Cluster(split_at=keys(shards)) as cluster:
        idle = rest(cluster, shards, seconds)
        made = (resident(cluster) - base) / 3 / shards
        write_each(cluster, shards)
        written_idle = rest(cluster, shards, seconds)
        written = (resident(cluster) - base) / 3 / shards
        again = kill(cluster, shards)
        without = rest(cluster, shards, seconds)
    print(f"| {shards} | {idle:.1f} | {made:.1f} | {written_idle:.1f} | {written:.1f} | {100 * again:.2f} | {without:.1f} |",
          flush=True)
    return max(idle, written_idle, without), max(made, written), again


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shards", default="100,1000,4096")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--percent", type=float, default=5)
    parser.add_argument("--kib", type=float, default=2)
    args = parser.parse_args()
    with harness.Cluster(split_at=keys(FEW)) as cluster:
        few = rest(cluster, FEW, args.seconds)
        base = resident(cluster)
    print(f"{FEW} shards: {few:.1f} % of a core, {base / 3 / 1024:.0f} MiB of own memory per node\n")
    print("| shards | made: % of a core | KiB per replica | written once: % of a core | KiB per replica "
          "| % led again 5 s after kill -9 | then: % of a core |\n|---|---|---|---|---|---|---|", flush=True)
    for shards in map(int, args.shards.split(",")):
        percent, kib, again = measure(shards, args.seconds, base)
    return 0 if percent <= args.percent and kib <= args.kib and again >= LED_AGAIN else 1


if __name__ == "__main__":
    sys.exit(main())
