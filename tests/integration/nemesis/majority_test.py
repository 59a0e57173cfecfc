#!/usr/bin/python3
"""The logs of two of three nodes are damaged while all are down: what the groups lost nobody can
know. They refuse, and say why; no read is answered with less than was acknowledged."""
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
import faults  # noqa: E402
import harness  # noqa: E402
from harness import DONE, FAILED  # noqa: E402

KEYS = ["a", "h", "p", "x"]
SPLIT_AT = ["g", "n", "t"]
DAMAGED = [0, 2]


def damage_everywhere(directory):
    """A byte in every record of the older half of what is in the log: a part of every group."""
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        used = faults.used_bytes(path)
        with open(path, "r+b") as file:
            for at in range(4096, used // 2, 128):
                file.seek(at)
                byte = file.read(1)[0]
                file.seek(at)
                file.write(bytes([byte ^ 0xff]))


class DamagedMajority(unittest.TestCase):
    def test_is_refused_loudly_and_nothing_old_is_served(self):
        with harness.Cluster(split_at=SPLIT_AT) as cluster:
            for value in range(30):
                lines = "".join(f"put {key}/{i} {value}\n" for key in KEYS for i in range(20))
                self.assertEqual(cluster.quorate("txn", "-", input=lines).returncode, DONE)
            for node in range(3):
                cluster.kill(node)
            for node in DAMAGED:
                damage_everywhere(os.path.join(cluster.data(node), "wal"))
            for node in range(3):
                cluster.start(node)
            for node in DAMAGED:
                harness.wait_for(f"node {node} to say it",
                                 lambda node=node: "replica is quarantined" in cluster.log(node))
            refused = 0
            for key in KEYS:
                read = cluster.quorate("get", f"{key}/7", "--timeout", "3s")
                self.assertTrue(read.returncode == FAILED or read.stdout == "29\n", read)
                refused += read.returncode == FAILED
            self.assertEqual(refused, len(KEYS))
            for node in range(3):
                self.assertIsNone(cluster.processes[node].poll(), cluster.log(node))


if __name__ == "__main__":
    harness.main()
