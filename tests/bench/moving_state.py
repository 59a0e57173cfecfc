#!/usr/bin/env python3
"""What sending a large state costs its group: a follower is away while more is written than the
leader's log keeps, comes back, and is sent all of the state, under constant puts.

Prints put latencies before and during, the time it took, and the memory of every node (anonymous
pages; what is mapped of the store's file is the kernel's to take back), against what it had while
the state was written. Exits 1 if one answer in a thousand took longer than --longest, or the memory
of a node grew by more than --growth-mib.

  tests/bench/moving_state.py [--mib 300] [--value-size 16384] [--longest 0.5] [--growth-mib 128]
"""
import argparse
import json
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "integration"))
import harness  # noqa: E402


def anonymous_mib(pid):
    with open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) / 1024
    return 0


class Memory(threading.Thread):
    """The most that each node had since the last call of `take`."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self._cluster = cluster
        self._most = {}
        self._lock = threading.Lock()

    def run(self):
        while True:
            for node, process in enumerate(self._cluster.processes):
                try:
                    mib = anonymous_mib(process.pid) if process else 0
                except OSError:
                    mib = 0
                with self._lock:
                    self._most[node] = max(self._most.get(node, 0), mib)
            time.sleep(0.05)

    def take(self):
        with self._lock:
            most, self._most = self._most, {}
        return {node: round(mib) for node, mib in sorted(most.items())}


def metric(cluster, node, name):
    try:
        page = cluster.get_http(node, "/metrics")[1]
    except OSError:
        return 0
    return sum(float(line.split()[-1]) for line in page.splitlines()
               if line.split("{")[0].split(" ")[0] == name)


def bench(cluster, seconds, value_size, keys, *more):
    arguments = ["--workload", "put", "--seconds", str(seconds), "--warmup", "0",
                 "--keys", str(keys), "--value-size", str(value_size), "--timeout", "30s", *more]
    result = cluster.quorate("bench", "--json", *arguments, timeout=seconds + 300)
    if result.returncode != harness.DONE:
        sys.exit(f"bench: {result.stdout} {result.stderr}")
    return json.loads(result.stdout)


def brief(figures):
    return (f"{figures['ops_per_second']:.0f} puts/s, p50 {figures['p50_us'] / 1000:.1f} ms, "
            f"p99 {figures['p99_us'] / 1000:.1f} ms, p99.9 {figures['p999_us'] / 1000:.1f} ms, "
            f"{figures['failed']} failed, {figures['unknown']} unknown")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mib", type=int, default=300)
    parser.add_argument("--value-size", type=int, default=16384)
    parser.add_argument("--longest", type=float, default=0.5)
    parser.add_argument("--growth-mib", type=int, default=128)
    parser.add_argument("--seconds", type=int, default=10)
    options = parser.parse_args()
    keys = max(1, (options.mib << 20) // options.value_size)
    with harness.Cluster(nodes=3, shards=1) as cluster:
        # It would not stay one group.
        paused = harness.run("--cluster", cluster.cluster, "settings", "set", "placement.pause", "split")
        assert paused.returncode == harness.DONE, paused.stderr
        memory = Memory(cluster)
        memory.start()

        def stored(node):
            return os.path.getsize(os.path.join(cluster.data(node), "store", "data.mdb")) >> 20

        bench(cluster, 1, options.value_size, keys, "-c", "8")  # writes each key first
        time.sleep(12)  # a flush interval
        before = bench(cluster, options.seconds, 128, keys, "-c", "16", "--no-load")
        print(f"file of {stored(0)} MiB; before: {brief(before)}")
        leads = [metric(cluster, node, "quorate_raft_leader_groups") for node in range(3)]
        follower = leads.index(min(leads))
        cluster.kill(follower)
        # More than the log keeps.
        bench(cluster, 5, options.value_size, keys, "-c", "8", "--no-load")
        alone = bench(cluster, options.seconds, 128, keys, "-c", "16", "--no-load")
        print(f"two of three, before: {brief(alone)}")
        memory_before = memory.take()
        cluster.start(follower)
        begun = time.monotonic()
        during = []
        while True:
            during.append(bench(cluster, 2, 128, keys, "-c", "16", "--no-load"))
            if metric(cluster, follower, "quorate_raft_snapshots_installed_total") > 0:
                break
            if time.monotonic() - begun > 600:
                cluster.print_logs()
                sys.exit("the follower was not sent its state within 10 minutes")
        took = time.monotonic() - begun
        memory_during = memory.take()
        print(f"installed within {took:.1f} s")
        for figures in during:
            print(f"during: {brief(figures)}")
        print(f"memory before, most, MiB: {memory_before}\nmemory during, most, MiB: {memory_during}")
        for node in range(3):
            for line in cluster.log(node).splitlines():
                if "snapshot" in line:
                    print(f"node {node}: {line}")
        longest = max(figures["p999_us"] for figures in during) / 1e6
        grown = max(memory_during[node] - memory_before[node] for node in range(3))
        if longest > options.longest or grown > options.growth_mib:
            sys.exit(f"longest answer {longest:.3f} s, memory grew by {grown} MiB")


if __name__ == "__main__":
    main()
