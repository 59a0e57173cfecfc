#!/usr/bin/python3
"""Shards split under clients that write and read all the while, and miss nothing: by hand, with a node killed in between, and
by themselves when they grow. Each row of a pair is written with its partner on the other side of the first border.

    split_test.py [--keys N] [--busy]

--busy: by themselves because they serve too much, which wants the processors for clients that ask all the time.
"""
import argparse
import sys

import harness
from rebalance_test import Writer, ask, say, settled, wait_for

MIB = 1 << 20


class Pairs(Writer):
    """Writes two keys in one transaction, far apart."""

    def run(self):
        number = 0
        while not self.stopped.is_set():
            keys = [f"{side}-pair{number % self.keys}" for side in "bx"]
            script = "".join(f"put {key} {number}\n" for key in keys)
            done = harness.run("--cluster", self.cluster.cluster, "txn", "-", "--timeout", "20s", input=script, timeout=90)
            if done.returncode == harness.DONE:
                self.values.update({key: str(number) for key in keys})
                self.unknown.difference_update(keys)
            elif done.returncode == harness.UNKNOWN:
                self.unknown.update(keys)
            else:
                self.failed.append(done.stderr.strip())
            number += 1


def shards(cluster):
    return ask(cluster, "shards")["shards"]


def split(cluster, shard, at):
    """Leaderships are evened out in the beginning: whoever comes in between is told so, and asks again."""
    def asked():
        done = say(cluster, "shard", "split", str(shard), "--at", at, "--wait", "--timeout", "60s")
        assert done.returncode == harness.DONE or "has an operator under way" in done.stderr, (at, done.stderr)
        return done.returncode == harness.DONE
    wait_for(cluster, f"the split at {at}", asked)


def refused(cluster, *words):
    done = say(cluster, "shard", "split", *words)
    assert done.returncode not in (harness.DONE, harness.UNKNOWN), words
    return done.stderr


def test(cluster, keys):
    first = shards(cluster)[0]["shard_id"]
    # Placement may just have been elected, and not have heard of the shard.
    wait_for(cluster, "a split is planned",
             lambda: "'m'" in say(cluster, "shard", "split", str(first), "--at", "m", "--dry-run").stdout)
    assert len(shards(cluster)) == 1, "nothing is done"
    assert "no shard" in refused(cluster, "77", "--at", "m")
    assert "placement group" in refused(cluster, "1", "--at", "m")

    writers = [Writer(cluster, keys), Pairs(cluster, keys)]
    try:
        split(cluster, first, "m")
        wait_for(cluster, "two shards are known", lambda: len(shards(cluster)) == 2)
        assert "belongs to" in refused(cluster, str(first), "--at", "q")
        split(cluster, first, "f")
        wait_for(cluster, "three shards are known", lambda: len(shards(cluster)) == 3)
        # The halves have their state, whoever starts again in the middle.
        last = max(shards(cluster), key=lambda shard: shard["from"])
        done = say(cluster, "shard", "split", str(last["shard_id"]), "--at", "t")
        assert done.returncode == harness.DONE, done.stderr
        cluster.kill(0)
        cluster.start(0)

        def asked_again():
            # Who led placement, and was to order it, may have been the one that was killed.
            if len(shards(cluster)) == 4:
                return True
            say(cluster, "shard", "split", str(last["shard_id"]), "--at", "t")
            return False

        wait_for(cluster, "four shards are known", asked_again)

        # By themselves, once they are too large.
        assert say(cluster, "settings", "set", "placement.split_bytes", "1MiB").returncode == harness.DONE
        value = "v" * 60_000
        for number in range(120):
            done = say(cluster, "put", f"large{number:04}", value, "--timeout", "20s")
            assert done.returncode == harness.DONE, done.stderr
        wait_for(cluster, "large shards are split", lambda: len(shards(cluster)) >= 8)
        wait_for(cluster, "all is at rest", lambda: settled(cluster))
        assert say(cluster, "settings", "set", "placement.pause", "split").returncode == harness.DONE
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


def busy(cluster):
    """A shard that serves too much for one node is divided among its keys, and one busy key is only told of."""
    def bench(keys, seconds):
        done = say(cluster, "bench", "--workload", "get", "--keys", str(keys), "-c", "8", "--seconds", str(seconds))
        assert done.returncode == harness.DONE, done.stderr

    def operators():
        return say(cluster, "operators").stdout

    for setting in ("split_bytes", "16GiB"), ("split_requests", "200"):
        assert say(cluster, "settings", "set", f"placement.{setting[0]}", setting[1]).returncode == harness.DONE
    # Two keys are parted, and then nothing helps.
    bench(2, 40)
    wait_for(cluster, "the busy keys are told of", lambda: "100% of them for one key" in operators())
    assert len(shards(cluster)) == 2, shards(cluster)
    bench(1000, 20)
    wait_for(cluster, "the busy shard is split", lambda: len(shards(cluster)) > 2)
    print(f"{len(shards(cluster))} shards of the busy one")
    return 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--keys", type=int, default=200)
    parser.add_argument("--busy", action="store_true")
    args = parser.parse_args()
    with harness.Cluster(shards=1) as cluster:
        return busy(cluster) if args.busy else test(cluster, args.keys)


if __name__ == "__main__":
    sys.exit(main())
