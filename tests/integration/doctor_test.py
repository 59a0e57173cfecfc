#!/usr/bin/python3
"""quorate doctor: what is wrong with a cluster or a data directory is found, and what is not, is not."""
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import unittest

import harness
from harness import DONE, FAILED, USAGE


def digest(directory):
    """Of every file's name and content, but for the lock that an examination takes."""
    found = hashlib.sha256()
    for folder, _, names in sorted(os.walk(directory)):
        for name in sorted(names):
            path = os.path.join(folder, name)
            if name in ("LOCK", "lock.mdb"):
                continue
            with open(path, "rb") as file:
                found.update(path.encode() + b"\0" + file.read())
    return found.hexdigest()


class Doctor(unittest.TestCase):
    def findings(self, result, *words):
        """Those whose sentence contains all `words`."""
        found = json.loads(result.stdout)["findings"]
        return [f for f in found if all(word in f["what"] for word in words)]

    def test_a_cluster(self):
        with harness.Cluster() as cluster:
            cluster.wait_ready()
            of_the_machine = ("disk", "may open")
            found = None

            def sound():
                nonlocal found
                found = cluster.quorate("doctor", "--json")
                return all(any(word in f["what"] for word in of_the_machine)
                           for f in json.loads(found.stdout)["findings"])
            # One node may have won most of the first elections, until placement spreads them.
            try:
                harness.wait_for("nothing to find", sound)
            except AssertionError as error:
                raise AssertionError(f"{error}: {found}") from None
            self.assertIn("survives   the loss of 1 node, whichever it is", found.stdout)

            cluster.kill(2)
            broken = cluster.quorate("doctor", "--json")
            self.assertEqual(broken.returncode, FAILED, broken)
            self.assertTrue(self.findings(broken, "does not answer", cluster.addresses[2]), broken)
            self.assertTrue(self.findings(broken, "miss a replica"), broken)
            text = cluster.quorate("doctor")
            self.assertEqual(text.returncode, FAILED)
            self.assertIn("PROBLEM", text.stdout)
            gone = next(n["node_id"] for n in cluster.json("nodes")["nodes"] if not n["answers"])
            self.assertIn(f"start a new node with --join, and take this one out: `quorate node remove {gone} --lost`", text.stdout)

    def test_one_replica_is_called_what_it_is(self):
        with harness.Cluster(nodes=1, shards=2) as cluster:
            found = cluster.quorate("doctor", "--json")
            self.assertEqual(found.returncode, FAILED, found)
            self.assertTrue(self.findings(found, "no fault tolerance"), found)

    def test_a_node_of_no_cluster_yet(self):
        port = harness.free_ports(1)[0]
        with tempfile.TemporaryDirectory() as directory:
            node = subprocess.Popen([harness.PROGRAM, "node", "--data", directory, "--listen", f"127.0.0.1:{port}"],
                                    stderr=subprocess.DEVNULL, preexec_fn=harness.die_with_parent)
            try:
                def told():
                    return harness.run("doctor", "--cluster", f"127.0.0.1:{port}", "--timeout", "2s").stdout
                harness.wait_for("the node", lambda: "belongs to no cluster" in told())
                self.assertIn("`quorate init` makes a cluster", told())
            finally:
                node.kill()
                node.wait()

    def test_nobody_there(self):
        port = harness.free_ports(1)[0]
        result = harness.run("doctor", "--cluster", f"127.0.0.1:{port}", "--timeout", "2s", "--json")
        self.assertEqual(result.returncode, FAILED, result)
        self.assertTrue(self.findings(result, f"127.0.0.1:{port}"))

    def test_a_data_directory(self):
        self.assertEqual(harness.run("doctor", "--data", "/no/such").returncode, USAGE)
        with tempfile.TemporaryDirectory() as foreign:
            open(os.path.join(foreign, "letter"), "w").close()
            told = harness.run("doctor", "--data", foreign)
            self.assertEqual(told.returncode, FAILED, told)
            self.assertIn("is not a quorate data directory", told.stdout)
            self.assertIn("name the directory of a node's --data", told.stdout)
            self.assertNotIn("empty or new", told.stdout)
        with harness.Cluster(shards=2) as cluster:
            self.assertEqual(cluster.quorate("put", "a", "1").returncode, DONE)
            data = cluster.data(0)
            used = harness.run("doctor", "--data", data, "--json")
            self.assertIn("a node runs on it", used.stdout)
            self.assertEqual(cluster.stop(0), 0)

            before = digest(data)
            sound = harness.run("doctor", "--data", data, "--json")
            self.assertFalse(self.findings(sound, "log"), sound)
            self.assertFalse(self.findings(sound, "damaged"), sound)
            self.assertIn("every page that is in use was read", sound.stdout)
            self.assertEqual(digest(data), before, "an examination changes nothing")

            wal = os.path.join(data, "wal")
            headless = os.path.join(data, "../headless")
            shutil.copytree(data, headless)
            for name in os.listdir(os.path.join(headless, "wal")):
                with open(os.path.join(headless, "wal", name), "r+b") as file:
                    file.write(os.urandom(64))
            shaken = harness.run("doctor", "--data", headless, "--json")
            self.assertEqual(shaken.returncode, FAILED, shaken)
            self.assertTrue(self.findings(shaken, "the header of", "damaged"), shaken)
            for loss in ("data.mdb", "store"):
                path = os.path.join(headless, "store")
                shutil.rmtree(path) if loss == "store" else os.truncate(os.path.join(path, loss), 0)
                lost = harness.run("doctor", "--data", headless, "--json")
                self.assertEqual(lost.returncode, FAILED, lost)
                self.assertTrue(self.findings(lost, "the store is gone"), lost)
            shutil.rmtree(headless)

            segment = os.path.join(wal, sorted(n for n in os.listdir(wal))[0])
            with open(segment, "r+b") as file:  # a record in the middle of what was acknowledged
                file.seek(4096)
                file.write(b"\xff" * 64)
            damaged = harness.run("doctor", "--data", data, "--json")
            self.assertEqual(damaged.returncode, FAILED, damaged)
            self.assertTrue(self.findings(damaged, "log"), damaged)
            shutil.rmtree(wal)
            gone = harness.run("doctor", "--data", data, "--json")
            self.assertTrue(self.findings(gone, "the log is gone"), gone)


if __name__ == "__main__":
    harness.main()
