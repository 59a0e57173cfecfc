#!/usr/bin/python3
"""A follower whose store is slow: each LMDB commit takes --delay-ms more, and its log is as fast as ever.
`bench put` over one shard for --seconds, once with all three alike and once with the slow one.

Prints what both runs came to, and of each node the most memory of its own (anonymous pages) and of
what is applied and not in the store yet. Exits 1 if a put failed or its outcome is unknown, if the
slow node's memory passed that of the fastest by more than --budget-mib, if in the second half of the
run it grew by a quarter of that more than the others', or if no commit was slow.

  tests/bench/slow_store.py [--seconds 300] [--delay-ms 200] [--budget-mib 128] [--clients 64]
"""
import argparse
import json
import os
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))
import harness  # noqa: E402
from moving_state import anonymous_mib, brief, metric  # noqa: E402


class Watch(threading.Thread):
    """Memory of each node, second by second."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self._cluster = cluster
        self.seconds = []
        self.overlay = [0] * len(cluster.processes)
        self.ends = False

    def run(self):
        while not self.ends:
            self.seconds.append([anonymous_mib(process.pid) for process in self._cluster.processes])
            for node, most in enumerate(self.overlay):
                self.overlay[node] = max(most, metric(self._cluster, node, "quorate_overlay_bytes") / (1 << 20))
            time.sleep(1)

    def most(self, node, of):
        return max(second[node] for second in of)


def put(cluster, options, seconds):
    watch = Watch(cluster)
    watch.start()
    done = cluster.quorate("bench", "--json", "--workload", "put", "--seconds", str(seconds), "--warmup", "0",
                           "--keys", "100000", "--value-size", "1024", "-c", str(options.clients),
                           "--timeout", "30s", "--no-load", timeout=seconds + 120)
    watch.ends = True
    watch.join()
    if done.returncode != harness.DONE:
        sys.exit(f"bench: {done.stdout} {done.stderr}")
    return json.loads(done.stdout), watch


def follower_of(cluster):
    leads = [metric(cluster, node, "quorate_raft_leader_groups") for node in range(3)]
    return leads.index(min(leads))


def slow_commits(cluster, node):
    """How many commits there were and how long they took, in seconds."""
    count = metric(cluster, node, "quorate_overlay_flush_seconds_count")
    took = metric(cluster, node, "quorate_overlay_flush_seconds_sum")
    return count, took / count if count else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--delay-ms", type=int, default=200)
    parser.add_argument("--budget-mib", type=int, default=128)
    parser.add_argument("--clients", type=int, default=64)
    options = parser.parse_args()
    with harness.Cluster(nodes=3, shards=1) as cluster:
        shim = os.path.join(cluster.directory, "shim.so")
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "slow_store_shim.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", shim, source, "-ldl"], check=True)
        alike, _ = put(cluster, options, max(10, options.seconds // 10))
        print(f"all alike: {brief(alike)}", flush=True)
        slow = follower_of(cluster)
        cluster.stop(slow)
        os.environ["LD_PRELOAD"], os.environ["SHIM_SYNC_MS"] = shim, str(options.delay_ms)
        cluster.start(slow)
        del os.environ["LD_PRELOAD"], os.environ["SHIM_SYNC_MS"]
        cluster.wait_healthy()
        figures, watch = put(cluster, options, options.seconds)
        print(f"node {slow + 1} slow: {brief(figures)}")
        half = len(watch.seconds) // 2
        most = [[watch.most(node, part) for part in (watch.seconds[:half], watch.seconds[half:])]
                for node in range(3)]
        for node in range(3):
            count, took = slow_commits(cluster, node)
            print(f"node {node + 1}: most memory {most[node][0]:.0f} MiB in the first half, {most[node][1]:.0f} in the "
                  f"second; most not in the store yet {watch.overlay[node]:.0f} MiB; {count:.0f} flushes of "
                  f"{took * 1000:.0f} ms each")
        _, took = slow_commits(cluster, slow)
        more = max(most[slow]) - min(max(node) for node in most)
        growth = [second - first for first, second in most]
        grew = growth[slow] - min(growth)
        complaints = []
        if took * 1000 < options.delay_ms:
            complaints.append("no commit was slow")
        if figures["failed"] or figures["unknown"]:
            complaints.append(f"{figures['failed']} puts failed, {figures['unknown']} unknown")
        if more > options.budget_mib:
            complaints.append(f"the slow node had {more:.0f} MiB more than the fastest")
        if grew > options.budget_mib / 4:
            complaints.append(f"the slow node grew by {grew:.0f} MiB more than another")
        if complaints:
            sys.exit("; ".join(complaints))


if __name__ == "__main__":
    main()
