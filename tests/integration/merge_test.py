#!/usr/bin/python3
"""Neighbouring shards become one under clients that write and read all the while, and miss nothing: by hand, again and again, with
nodes killed in the middle, and by themselves. Every key that was acknowledged has its value in the end.

    merge_test.py [--keys N]
"""
import argparse
import sys

import harness
from rebalance_test import Writer, say, settled, wait_for
from split_test import Pairs, shards


def neighbours(cluster):
    """Two of them, the left one first."""
    known = sorted(shards(cluster), key=lambda shard: shard["from"])
    return known[0]["shard_id"], known[1]["shard_id"]


def merged(cluster, count):
    """Asks until there are so few: who led placement, or one of the shards, may just have been killed."""
    if len(shards(cluster)) <= count:
        return True
    left, right = neighbours(cluster)
    say(cluster, "shard", "merge", str(right), str(left), "--wait", "--timeout", "30s")
    return len(shards(cluster)) <= count


def test(cluster, keys):
    wait_for(cluster, "six shards are known", lambda: len(shards(cluster)) == 6)
    left, right = neighbours(cluster)
    wait_for(cluster, "a merge is planned",
             lambda: "merge shard" in say(cluster, "shard", "merge", str(left), str(right), "--dry-run").stdout)
    assert len(shards(cluster)) == 6, "nothing is done"
    done = say(cluster, "shard", "merge", str(left), "77")
    assert done.returncode not in (harness.DONE, harness.UNKNOWN) and "no shard" in done.stderr, done

    writers = [Writer(cluster, keys), Pairs(cluster, keys)]
    try:
        wait_for(cluster, "five shards", lambda: merged(cluster, 5))
        # In the middle: whoever leads any of it may be gone.
        for node, count in ((0, 4), (1, 3), (2, 2)):
            left, right = neighbours(cluster)
            done = say(cluster, "shard", "merge", str(left), str(right))
            cluster.kill(node)
            cluster.start(node)
            wait_for(cluster, f"{count} shards", lambda: merged(cluster, count))
        wait_for(cluster, "all is at rest", lambda: settled(cluster))
    finally:
        for writer in writers:
            writer.end()
    reached = ""
    for shard in sorted(shards(cluster), key=lambda each: each["from"]):
        assert shard["from"] == reached, shards(cluster)
        reached = shard["to"]
    assert reached == "", shards(cluster)
    for writer in writers:
        assert not writer.failed, writer.failed[:3]
        assert len(writer.values) > 10, "nothing was written"
        for key, value in writer.values.items():
            if key in writer.unknown:
                continue
            got = say(cluster, "get", key, "--timeout", "20s")
            assert got.returncode == harness.DONE and got.stdout.strip() == value, (key, value, got)
    written, unknown = (sum(len(each) for each in part) for part in zip(*((w.values, w.unknown) for w in writers)))
    print(f"{written} keys, {unknown} unknown, {len(shards(cluster))} shards")
    return 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--keys", type=int, default=200)
    args = parser.parse_args()
    with harness.Cluster(split_at=["c", "g", "m", "r", "v"]) as cluster:
        return test(cluster, args.keys)


if __name__ == "__main__":
    sys.exit(main())
