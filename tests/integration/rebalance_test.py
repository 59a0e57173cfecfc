#!/usr/bin/python3
"""Replicas follow the nodes: three nodes, two more join, one is drained and removed, another is killed for good; clients
write and read all the while, and miss nothing.

    rebalance_test.py [--keys N]
"""
import argparse
import json
import sys
import threading
import time

import harness

PATIENCE = 90


class Writer:
    """Writes keys one after the other, with a new value each time, and remembers what was acknowledged."""

    def __init__(self, cluster, keys):
        self.cluster = cluster
        self.keys = keys
        self.values = {}
        self.unknown = set()
        self.failed = []
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        number = 0
        while not self.stopped.is_set():
            key = f"{'abcdefghijklmnopqrstuvwxyz'[number % 26]}{number % self.keys}"
            value = str(number)
            done = say(self.cluster, "put", key, value, "--timeout", "20s")
            if done.returncode == harness.DONE:
                self.values[key] = value
                self.unknown.discard(key)
            elif done.returncode == harness.UNKNOWN:
                self.unknown.add(key)
            else:
                self.failed.append(done.stderr.strip())
            number += 1

    def end(self):
        self.stopped.set()
        self.thread.join()


def say(cluster, *words):
    """--cluster stands before a command that has others below it."""
    return harness.run("--cluster", cluster.cluster, *words, timeout=PATIENCE)


def ask(cluster, *words):
    done = say(cluster, *words, "--json")
    assert done.returncode == harness.DONE, (words, done.stderr)
    return json.loads(done.stdout)


def wait_for(cluster, what, condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            for words in (["shards"], ["operators", "--all"]):
                print(say(cluster, *words).stdout)
            raise AssertionError(f"not within {PATIENCE} s: {what}")
        time.sleep(0.3)


def holders(cluster):
    """Of each shard, the nodes of its replicas."""
    return [sorted(shard["replicas"]) for shard in ask(cluster, "shards")["shards"]]


def all_whole(cluster, nodes):
    return all(len(each) == 3 and set(each) <= nodes for each in holders(cluster))


def settled(cluster):
    return not ask(cluster, "operators")["operators"]


def test(cluster, keys):
    writer = Writer(cluster, keys)
    try:
        assert all_whole(cluster, {1, 2, 3}), holders(cluster)

        cluster.add_node()
        cluster.add_node()
        wait_for(cluster, "new nodes hold something",
                 lambda: {4, 5} <= {node for each in holders(cluster) for node in each})
        wait_for(cluster, "all is at rest", lambda: settled(cluster))
        wait_for(cluster, "every shard is whole", lambda: all_whole(cluster, {1, 2, 3, 4, 5}))

        drained = say(cluster, "node", "drain", "2", "--wait", "--timeout", "60s")
        assert drained.returncode == harness.DONE, drained.stderr
        # Who is asked for shards hears of them a second later than placement.
        wait_for(cluster, "the map is without node 2", lambda: all_whole(cluster, {1, 3, 4, 5}))
        address = {node["node_id"]: node["address"] for node in ask(cluster, "nodes")["nodes"]}
        removed = say(cluster, "node", "remove", "2")
        assert removed.returncode == harness.DONE, removed.stderr
        # It knows nothing of the cluster from now on, and says so.
        gone = cluster.addresses.index(address[2])
        wait_for(cluster, "the removed node to say so", lambda: "was removed" in cluster.get_http(gone, "/readyz")[1])
        for command in ("status", "nodes", "shards", "doctor"):
            told = harness.run(command, "--cluster", address[2])
            assert told.returncode == harness.FAILED, told
            assert "node 2 was removed from the cluster" in told.stdout + told.stderr, told
        both = harness.run("status", "--json", "--cluster", f"{address[2]},{address[1]}")
        assert json.loads(both.stdout)["nodes"] == 4, both
        cluster.stop(gone)

        again = say(cluster, "settings", "set", "placement.down_after", "6s")
        assert again.returncode == harness.DONE, again.stderr
        cluster.kill(cluster.addresses.index(address[3]))
        wait_for(cluster, "the lost node's replicas are replaced", lambda: all_whole(cluster, {1, 4, 5}))
    finally:
        writer.end()
    assert not writer.failed, writer.failed[:3]
    assert len(writer.values) > 10, "nothing was written"
    for key, value in writer.values.items():
        if key in writer.unknown:
            continue
        got = say(cluster, "get", key, "--timeout", "20s")
        assert got.returncode == harness.DONE and got.stdout.strip() == value, (key, value, got)
    print(f"{len(writer.values)} keys, {len(writer.unknown)} unknown; shards on {holders(cluster)}")
    return 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--keys", type=int, default=200)
    args = parser.parse_args()
    with harness.Cluster(split_at=["e", "i", "m", "q", "u"]) as cluster:
        return test(cluster, args.keys)


if __name__ == "__main__":
    sys.exit(main())
