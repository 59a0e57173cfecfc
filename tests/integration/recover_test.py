#!/usr/bin/python3
"""A majority is lost for good: `quorate recover` has the survivor go on alone, and the cluster is whole again."""
import json
import shutil
import unittest

import harness
from harness import DONE, USAGE

PATIENCE = 120
ACCEPT = "--i-accept-that-writes-may-be-lost"


def recover(cluster, node, *arguments):
    return harness.run("recover", "--data", cluster.data(node), *arguments)


class Recover(unittest.TestCase):
    def test_two_of_three_are_lost(self):
        with harness.Cluster() as cluster:
            ids = {n["address"]: n["node_id"] for n in cluster.json("nodes")["nodes"]}
            survivor, lost = ids[cluster.addresses[2]], sorted(ids[a] for a in cluster.addresses[:2])
            names = ",".join(map(str, lost))
            values = {f"{c}/{i}": f"{c}{i}" for c in "aJz" for i in range(20)}
            script = "".join(f"put {key} {value}\n" for key, value in values.items())
            self.assertEqual(cluster.quorate("txn", "-", input=script).returncode, DONE)
            running = recover(cluster, 2, "--lost", names, "--dry-run")
            self.assertNotEqual(running.returncode, DONE, "a node runs on it")
            cluster.kill(0)
            # What two of two acknowledge, and all before it, the survivor has.
            for key in ("a/mark", "J/mark", "z/mark"):
                harness.wait_for("a write without node 0", lambda: cluster.quorate(
                    "put", key, "1", "--timeout", "5s").returncode == DONE)
            cluster.kill(1)
            for node in (0, 1):
                shutil.rmtree(cluster.data(node))
            cluster.kill(2)

            refused = recover(cluster, 2, "--lost", names)
            self.assertEqual(refused.returncode, USAGE)
            self.assertIn(ACCEPT, refused.stderr)
            self.assertEqual(recover(cluster, 2, "--lost", str(survivor), ACCEPT).returncode, USAGE)
            self.assertEqual(recover(cluster, 2, "--lost", "1,", "--dry-run").returncode, USAGE)
            elsewhere = harness.run("recover", "--data", cluster.directory, "--lost", names, "--dry-run")
            self.assertEqual(elsewhere.returncode, USAGE)
            one = recover(cluster, 2, "--lost", str(lost[0]), ACCEPT)
            self.assertEqual(one.returncode, DONE)
            self.assertIn("0 of 9 groups go on alone", one.stdout)

            slip = recover(cluster, 2, "--lost", f"{lost[0]},99", "--dry-run")
            self.assertIn("No group here has a replica on node 99", slip.stdout)
            self.assertEqual(json.loads(recover(cluster, 2, "--lost", "99", "--dry-run", "--json").stdout)["lost_but_no_member"], [99])

            for _ in range(2):  # which changes nothing
                dry = recover(cluster, 2, "--lost", names, "--dry-run")
                self.assertEqual(dry.returncode, DONE, dry.stderr)
                self.assertIn("9 of 9 groups would go on alone", dry.stdout)
                self.assertNotIn("No group here", dry.stdout)
            done = recover(cluster, 2, "--lost", names, ACCEPT)
            self.assertEqual(done.returncode, DONE, done.stderr)
            self.assertIn("9 of 9 groups go on alone", done.stdout)
            self.assertIn("may be lost", done.stdout)
            again = json.loads(recover(cluster, 2, "--lost", names, "--json", "--dry-run").stdout)
            self.assertEqual({g["fate"] for g in again["groups"]}, {"untouched"}, again)

            cluster.start(2)
            cluster.addresses, cluster.http = cluster.addresses[2:], cluster.http[2:]
            cluster.processes = cluster.processes[2:]
            self.data = cluster.data
            cluster.data = lambda node: self.data(node + 2)
            harness.wait_for("a write", lambda: cluster.quorate(
                "put", "after", "1", "--timeout", "2s").returncode == DONE, PATIENCE)
            for node in lost:
                harness.wait_for(f"node {node} to be taken out", lambda: harness.run(
                    "node", "remove", str(node), "--lost", "--cluster", cluster.cluster).returncode == DONE, PATIENCE)
            # Two new ones: every shard has three replicas again, and bears a loss.
            cluster.add_node()
            cluster.add_node()
            harness.wait_for("a healthy cluster", lambda: cluster.quorate("status").returncode == DONE
                             and self.replicas(cluster) == {3}, PATIENCE)
            for key, value in values.items():
                self.assertEqual(cluster.quorate("get", key).stdout, value + "\n", key)
            cluster.kill(0)
            harness.wait_for("a write without the survivor", lambda: cluster.quorate(
                "put", "without", "1", "--timeout", "2s").returncode == DONE, PATIENCE)
            self.assertEqual(cluster.quorate("get", "a/0").stdout, "a0\n")

    def replicas(self, cluster):
        return {len(s["replicas"]) for s in cluster.json("shards")["shards"]}


if __name__ == "__main__":
    harness.main()
