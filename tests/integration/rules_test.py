#!/usr/bin/python3
"""Rules of placement with real nodes: a range of keys gets five replicas and a place for its leaders, under clients that write;
a leader is elsewhere only while none of those nodes is up; without the rule all is as before.

    rules_test.py [--keys N]
"""
import argparse
import sys

import harness
from rebalance_test import Writer, ask, say, settled, wait_for
from split_test import shards

ZONES = "abcde"


class Zones(harness.Cluster):
    """Each node in a zone of its own."""

    def start(self, node):
        self.flags = ["--locality", f"zone={ZONES[node]}"]
        super().start(node)


def shard_at(cluster, key):
    return next(s for s in shards(cluster) if s["from"] <= key and (s["to"] == "" or key < s["to"]))


def voters(cluster, key):
    return len(shard_at(cluster, key)["replicas"])


def refused(cluster, code, text, *words):
    done = say(cluster, "rules", "set", *words)
    assert done.returncode == code and text in done.stderr, (words, done)


def node_in_zone_e(cluster):
    return next(n["node_id"] for n in ask(cluster, "nodes")["nodes"] if n["address"] == cluster.addresses[4])


def judge_refusals(cluster):
    refused(cluster, harness.USAGE, "none of 1, 3, 5, 7", "--replicas", "4")
    refused(cluster, harness.USAGE, "in 0..7", "--replicas", "9")
    refused(cluster, harness.USAGE, "not name=value", "--leaders", "zone")
    refused(cluster, harness.USAGE, "says nothing", "--from", "a")
    refused(cluster, harness.USAGE, "range is empty", "--from", "m", "--to", "c", "--replicas", "3")
    refused(cluster, harness.FAILED, "7 replicas need 7 nodes", "--replicas", "7")
    refused(cluster, harness.FAILED, "no node that may hold", "--require", "zone=nowhere", "--replicas", "1")
    refused(cluster, harness.FAILED, "on zone=a,zone=b: there are 2", "--require", "zone=a,zone=b")


def test(cluster, keys):
    wait_for(cluster, "two shards are known", lambda: len(shards(cluster)) == 2)
    wait_for(cluster, "rules can be made",
             lambda: say(cluster, "rules", "set", "--replicas", "5", "--dry-run").returncode == harness.DONE)
    judge_refusals(cluster)
    e = node_in_zone_e(cluster)
    assert ask(cluster, "rules", "get")["rules"] == [], "nothing was made"

    writer = Writer(cluster, keys)
    try:
        done = say(cluster, "rules", "set", "--from", "s", "--replicas", "5", "--leaders", "zone=e")
        assert done.returncode == harness.DONE and "2 replicas to copy" in done.stdout, done
        refused(cluster, harness.USAGE, "under a rule already", "--from", "t", "--replicas", "3")
        wait_for(cluster, "a shard begins where the rule does", lambda: shard_at(cluster, "s")["from"] == "s")
        wait_for(cluster, "five replicas", lambda: voters(cluster, "s") == 5)
        assert voters(cluster, "r") == 3 and voters(cluster, "a") == 3
        wait_for(cluster, "a leader in zone e", lambda: shard_at(cluster, "s")["leader"] == e)
        wait_for(cluster, "all is as the rules say", lambda: ask(cluster, "rules", "get")["breaches"] == [])
        told = say(cluster, "explain", "shard", str(shard_at(cluster, "s")["shard_id"])).stdout
        assert "its rule: keys from 's': 5 replicas, leaders rather on zone=e" in told, told
        told = say(cluster, "explain", "shard", str(shard_at(cluster, "a")["shard_id"])).stdout
        assert "its rule: none" in told, told

        cluster.kill(4)
        wait_for(cluster, "another leader", lambda: shard_at(cluster, "s")["leader"] not in (0, e))
        cluster.start(4)
        wait_for(cluster, "the leader is back in zone e", lambda: shard_at(cluster, "s")["leader"] == e)

        # A node that is gone for good cannot be made up for: that is what doctor says.
        assert say(cluster, "settings", "set", "placement.down_after", "5s").returncode == harness.DONE
        cluster.kill(4)
        wait_for(cluster, "doctor misses a replica",
                 lambda: "is not as its rule says: 4 replicas" in say(cluster, "doctor").stdout)
        cluster.start(4)
        wait_for(cluster, "all is as the rules say again", lambda: ask(cluster, "rules", "get")["breaches"] == [])

        dry = say(cluster, "rules", "unset", "--from", "s", "--dry-run")
        assert dry.returncode == harness.DONE and "2 to remove" in dry.stdout, dry
        assert len(ask(cluster, "rules", "get")["rules"]) == 1
        assert say(cluster, "rules", "unset", "--from", "x").returncode == harness.FAILED
        assert say(cluster, "rules", "unset", "--from", "s").returncode == harness.DONE
        wait_for(cluster, "three replicas", lambda: voters(cluster, "s") == 3)
        wait_for(cluster, "all is at rest", lambda: settled(cluster))
    finally:
        writer.end()
    assert not writer.failed, writer.failed[:3]
    assert len(writer.values) > 10, "nothing was written"
    for key, value in writer.values.items():
        if key not in writer.unknown:
            got = say(cluster, "get", key, "--timeout", "20s")
            assert got.returncode == harness.DONE and got.stdout.strip() == value, (key, value, got)
    print(f"{len(writer.values)} keys, {len(writer.unknown)} unknown, {len(shards(cluster))} shards")
    return 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--keys", type=int, default=200)
    args = parser.parse_args()
    with Zones(nodes=5, split_at=["m"]) as cluster:
        return test(cluster, args.keys)


if __name__ == "__main__":
    sys.exit(main())
