#!/usr/bin/python3
"""Data directories that are put back to an earlier state, or started twice: found out by the other nodes."""
import os
import shutil
import subprocess
import unittest

import harness
from harness import DONE, FAILED

PATIENCE = 120


def put(cluster, key, value):
    done = cluster.quorate("put", key, value, "--timeout", "20s")
    assert done.returncode == DONE, done


def get(cluster, key):
    done = cluster.quorate("get", key, "--timeout", "20s")
    assert done.returncode == DONE, done
    return done.stdout.strip()


def quarantined(cluster, node):
    """How many replicas of the node wait for a snapshot; None: it does not answer."""
    try:
        status, page = cluster.get_http(node, "/metrics")
    except OSError:
        return None
    for line in page.splitlines():
        if line.startswith("quorate_raft_quarantined_groups "):
            return float(line.split()[1])
    return None


def installed(cluster, node):
    _, page = cluster.get_http(node, "/metrics")
    return next(float(line.split()[1]) for line in page.splitlines()
                if line.startswith("quorate_raft_snapshots_installed_total "))


def found_out(cluster, node):
    """Starts the node whenever it has ended; whether it has said what became of its directory."""
    process = cluster.processes[node]
    if process is not None and process.poll() is not None:
        assert process.returncode == FAILED, process.returncode
        process = None
    if process is None:
        cluster.start(node)
    return "was put back to a state before" in cluster.log(node)


def well(cluster):
    harness.wait_for("a healthy cluster", lambda: cluster.quorate("status").returncode == DONE, PATIENCE)
    cluster.wait_ready()


def stop_and_copy(cluster, node):
    """The directory as a clean stop left it, beside it; then the node goes on and hears of new things."""
    assert cluster.stop(node) == 0
    copy = cluster.data(node) + "-copy"
    subprocess.run(["cp", "-a", cluster.data(node), copy], check=True)
    cluster.start(node)
    well(cluster)
    for i in range(8):
        put(cluster, f"since/{i}", str(i))
    return copy


class Incarnations(unittest.TestCase):
    def test_a_directory_is_put_back(self):
        with harness.Cluster() as cluster:
            put(cluster, "before", "1")
            copy = stop_and_copy(cluster, 2)
            self.assertEqual(cluster.stop(2), 0)
            shutil.rmtree(cluster.data(2))
            os.rename(copy, cluster.data(2))
            cluster.start(2)
            # Too soon behind the last process it ends; then it notes what it is, and goes on by itself.
            harness.wait_for("it to be found out", lambda: found_out(cluster, 2), PATIENCE)
            self.assertIn("node: starts anew", cluster.log(2))
            well(cluster)
            harness.wait_for("its replicas", lambda: quarantined(cluster, 2) == 0, PATIENCE)
            self.assertGreaterEqual(installed(cluster, 2), 9)  # eight shards and placement
            self.assertIn("replica is quarantined", cluster.log(2))
            # It counts again: with another node down, everything is still there.
            cluster.kill(0)
            for i in range(8):
                self.assertEqual(get(cluster, f"since/{i}"), str(i))
            put(cluster, "after", "1")
            cluster.start(0)
            well(cluster)
            # And once more it starts as any other.
            self.assertEqual(cluster.stop(2), 0)
            cluster.start(2)
            well(cluster)
            self.assertEqual(quarantined(cluster, 2), 0)

    def test_a_copy_is_started_beside_it(self):
        with harness.Cluster() as cluster:
            copy = stop_and_copy(cluster, 2)
            listen, http = harness.free_ports(2)
            log = os.path.join(cluster.directory, "log-copy")
            with open(log, "w") as out:
                second = subprocess.Popen(
                    [harness.PROGRAM, "node", "--data", copy, "--listen", f"127.0.0.1:{listen}",
                     "--http", f"127.0.0.1:{http}", "--join", cluster.cluster],
                    stdout=out, stderr=out, preexec_fn=harness.die_with_parent)
            self.assertEqual(second.wait(timeout=PATIENCE), FAILED)
            with open(log) as said:
                self.assertIn("this directory is a copy: remove it", said.read())
            # The original has not noticed.
            self.assertIsNone(cluster.processes[2].poll())
            well(cluster)
            self.assertEqual(quarantined(cluster, 2), 0)
            for i in range(8):
                self.assertEqual(get(cluster, f"since/{i}"), str(i))
            addresses = {node["address"] for node in cluster.json("nodes")["nodes"]}
            self.assertEqual(addresses, set(cluster.addresses))

    def test_the_same_directory_is_started_twice(self):
        with harness.Cluster(nodes=1) as cluster:
            listen, http = harness.free_ports(2)
            done = harness.run("node", "--data", cluster.data(0), "--listen", f"127.0.0.1:{listen}",
                               "--http", f"127.0.0.1:{http}")
            self.assertNotEqual(done.returncode, DONE)
            self.assertRegex(done.stderr, r"in use by another process \(\d+\)")
            well(cluster)


if __name__ == "__main__":
    harness.main()
