#!/usr/bin/python3
"""Where nodes are: they move house and are found again, and the machine that they are on is their host."""
import signal
import subprocess
import tempfile
import unittest

import harness
from harness import DONE

PATIENCE = 120


def put(cluster, key, value):
    done = cluster.quorate("put", key, value, "--timeout", "20s")
    assert done.returncode == DONE, done


def get(cluster, key):
    done = cluster.quorate("get", key, "--timeout", "20s")
    assert done.returncode == DONE, done
    return done.stdout.strip()


def healthy(cluster):
    harness.wait_for("a healthy cluster", lambda: cluster.quorate("status").returncode == DONE, PATIENCE)


def addresses(cluster):
    return {node["address"] for node in cluster.json("nodes")["nodes"]}


def say(cluster, *words):
    """--cluster stands before a command that has others below it."""
    return harness.run("--cluster", cluster.cluster, *words)


class House(unittest.TestCase):
    def test_one_node_after_the_other_moves(self):
        with harness.Cluster() as cluster:
            put(cluster, "before", "1")
            for node in range(3):
                self.assertEqual(cluster.stop(node), 0)
                old = cluster.addresses[node]
                cluster.move(node)
                cluster.start(node)
                healthy(cluster)
                harness.wait_for("all to know the new address",
                                 lambda: addresses(cluster) == set(cluster.addresses), PATIENCE)
                self.assertNotIn(old, addresses(cluster))
                put(cluster, f"moved/{node}", "1")
            self.assertEqual(get(cluster, "before"), "1")
            # None is where it was when the cluster was made, and each knows where the others are now.
            for node in range(3):
                cluster.kill(node)
            for node in range(3):
                cluster.start(node)
            healthy(cluster)
            for node in range(3):
                self.assertEqual(get(cluster, f"moved/{node}"), "1")

    def test_all_nodes_move_at_once(self):
        with harness.Cluster() as cluster:
            put(cluster, "before", "1")
            for node in range(3):
                cluster.kill(node)
            for node in range(3):
                cluster.move(node)
            for node in range(3):
                cluster.start(node)
            healthy(cluster)
            self.assertEqual(get(cluster, "before"), "1")
            put(cluster, "after", "1")
            self.assertEqual(addresses(cluster), set(cluster.addresses))

    def test_a_majority_moves_and_the_third_does_not_know_where(self):
        with harness.Cluster() as cluster:
            put(cluster, "before", "1")
            for node in (0, 1):
                cluster.kill(node)
                cluster.move(node)
            for node in (0, 1):
                cluster.start(node)
            healthy(cluster)
            self.assertEqual(get(cluster, "before"), "1")

    def test_the_founders_are_gone(self):
        with harness.Cluster(nodes=1) as cluster:
            put(cluster, "before", "1")
            for _ in range(3):
                cluster.add_node()
            harness.wait_for("the placement group to grow", lambda: len(cluster.json("nodes")["nodes"]) == 4, PATIENCE)
            drained = say(cluster, "node", "drain", "1", "--wait")
            self.assertEqual(drained.returncode, DONE, drained)
            removed = say(cluster, "node", "remove", "1")
            self.assertEqual(removed.returncode, DONE, removed)
            self.assertEqual(cluster.stop(0), 0)
            for node in (1, 2, 3):
                cluster.kill(node)
            cluster.join = [cluster.addresses[0]]  # where nobody is any more
            for node in (1, 2, 3):
                cluster.start(node)
            healthy(cluster)
            self.assertEqual(get(cluster, "before"), "1")
            put(cluster, "after", "1")

    def test_dev_goes_on_at_another_port(self):
        with tempfile.TemporaryDirectory(prefix="quorate-test-") as data:
            for words in (("put", "kept", "1"), ("get", "kept")):
                port = harness.dev_port()
                dev = subprocess.Popen([harness.PROGRAM, "dev", "--data", data, "--port", str(port)],
                                       stdout=subprocess.PIPE, text=True, preexec_fn=harness.die_with_parent)
                try:
                    first = dev.stdout.readline()
                    self.assertIn("cluster", first)
                    done = harness.run(*words, "--cluster", f"127.0.0.1:{port}")
                    self.assertEqual(done.returncode, DONE, done)
                finally:
                    dev.send_signal(signal.SIGINT)
                    dev.stdout.read()
                    dev.wait(timeout=30)
                    dev.stdout.close()
                self.assertEqual(dev.returncode, 0)
            self.assertEqual(done.stdout.strip(), "1")


class Host(unittest.TestCase):
    def test_nodes_on_one_machine_share_its_host(self):
        with harness.Cluster(nodes=1) as cluster:
            cluster.flags = ["--locality", "zone=z,host=mine"]
            cluster.add_node()
            harness.wait_for("two nodes", lambda: len(cluster.json("nodes")["nodes"]) == 2, PATIENCE)
            with open("/proc/sys/kernel/random/boot_id") as boot_id:
                machine = {"host": "boot-" + boot_id.read().strip()}
            harness.wait_for("their labels", lambda: [node["locality"] for node in cluster.json("nodes")["nodes"]] ==
                             [machine, {"zone": "z", "host": "mine"}], PATIENCE)


if __name__ == "__main__":
    harness.main()
