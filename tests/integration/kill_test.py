#!/usr/bin/python3
"""kill -9 of real nodes while `quorate txn` runs over several shards.

QUORATE_KILL_ROUNDS: kills of each node (default 4); the full number is
    QUORATE_KILL_ROUNDS=50 QUORATE=build/release/quorate tests/integration/kill_test.py
"""
import concurrent.futures
import os
import random
import threading
import time
import unittest

import harness
from harness import DONE, FAILED, UNKNOWN

ROUNDS = int(os.environ.get("QUORATE_KILL_ROUNDS", "4"))
WRITERS = 4
KEYS = ["a", "h", "p", "x"]  # one in each shard
SPLIT_AT = ["g", "n", "t"]


class KillOneNode(unittest.TestCase):
    def setUp(self):
        self.cluster = harness.Cluster(split_at=SPLIT_AT)
        self.cluster.__enter__()
        self.addCleanup(self.cluster.__exit__)
        self.ends = {DONE: 0, FAILED: 0, UNKNOWN: 0}

    def put_everywhere(self, name):
        """One transaction that writes `name` under a shared and an own key of every shard."""
        lines = [f"put {key}/shared {name}\nput {key}/own/{name} {name}\n" for key in KEYS]
        result = self.cluster.quorate("txn", "--timeout", "15s", "-", input="".join(lines))
        self.assertIn(result.returncode, self.ends, result)
        end = result.returncode
        self.ends[end] += 1
        if end == UNKNOWN:
            handle = result.stdout.strip()

            def resolved():
                nonlocal end
                outcome = self.cluster.quorate("outcome", handle)
                if outcome.returncode != DONE:
                    return False
                end = DONE if outcome.stdout == "committed\n" else FAILED
                return True
            harness.wait_for(f"the outcome of {handle}", resolved, seconds=60)
        return name, end

    def check(self, ends):
        """All of each transaction, or nothing of it, as it was reported; in one snapshot."""
        lines = [f"get {key}/shared\n" for key in KEYS]
        lines += [f"get {key}/own/{name}\n" for name, _ in ends for key in KEYS]
        read = self.cluster.json("txn", "-", input="".join(lines))["results"]
        shared = [row.get("value") for row in read[:len(KEYS)]]
        self.assertEqual(len(set(shared)), 1, f"a transaction took effect in part: {shared}")
        for i, (name, end) in enumerate(ends):
            own = read[len(KEYS) * (i + 1):len(KEYS) * (i + 2)]
            found = [row["found"] for row in own]
            self.assertEqual(found, [end == DONE] * len(KEYS), f"{name} ended with {end}: {own}")

    def write_until(self, killed, name):
        """One transaction after another; the kill comes in the middle of one."""
        ends = []
        while not killed.is_set():
            ends.append(self.put_everywhere(f"{name}.{len(ends)}"))
        return ends

    def test_every_txn_is_whole_while_a_node_is_killed(self):
        with concurrent.futures.ThreadPoolExecutor(WRITERS) as pool:
            for count in range(ROUNDS):
                for node in range(3):
                    killed = threading.Event()
                    writers = [pool.submit(self.write_until, killed, f"{count}-{node}-{i}")
                               for i in range(WRITERS)]
                    time.sleep(random.uniform(0.05, 0.4))
                    self.cluster.kill(node)
                    killed.set()
                    self.check([end for writer in writers for end in writer.result()])
                    self.cluster.start(node)
                    self.cluster.wait_healthy()
        print(f"{ROUNDS} kills of each of 3 nodes; transactions: {self.ends[DONE]} committed, "
              f"{self.ends[FAILED]} refused, {self.ends[UNKNOWN]} unknown and resolved")
        self.assertGreater(self.ends[DONE], 3 * ROUNDS)


class KillAllNodes(unittest.TestCase):
    def test_every_acknowledged_write_survives(self):
        with harness.Cluster(split_at=SPLIT_AT) as cluster:
            acknowledged = []
            stop = threading.Event()

            def write(writer):
                count = 0
                while not stop.is_set():
                    name = f"{writer}-{count}"
                    script = "".join(f"put {key}/{name} {name}\n" for key in KEYS)
                    result = cluster.quorate("txn", "--timeout", "3s", "-", input=script)
                    if result.returncode == DONE:
                        acknowledged.append(name)
                    count += 1

            for life in range(3):
                before = len(acknowledged)
                stop.clear()
                writers = [threading.Thread(target=write, args=(f"{life}.{i}",)) for i in range(4)]
                for writer in writers:
                    writer.start()
                harness.wait_for("writes", lambda: len(acknowledged) >= before + 40)
                for node in range(3):
                    cluster.kill(node)
                stop.set()
                for writer in writers:
                    writer.join()
                for node in range(3):
                    cluster.start(node)
                cluster.wait_healthy()
                for key in KEYS:
                    rows = cluster.quorate("scan", "--prefix", f"{key}/").stdout.splitlines()
                    there = {row.split("\t")[1] for row in rows}
                    missing = set(acknowledged) - there
                    self.assertFalse(missing, f"acknowledged and lost under {key}/")
            print(f"{len(acknowledged)} acknowledged transactions, all there after three kills of all")


if __name__ == "__main__":
    harness.main()
