"""Disks that are full to the last byte, on one node, on all, and at a start: nobody ends, reads go on,
writes get one clear error where there is no majority with room, all is back soon after there is space,
and nothing that was acknowledged is missing. Every node has a disk of 1 GiB of its own."""
import os
import subprocess
import sys
import time
import unittest

# Mounts and their loop devices go with this process, whatever becomes of it.
if os.geteuid() == 0 and "QUORATE_NEMESIS_MOUNTS" not in os.environ:
    os.environ["QUORATE_NEMESIS_MOUNTS"] = "private"
    try:
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", *sys.orig_argv])
    except OSError:
        pass

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
import faults  # noqa: E402
import harness  # noqa: E402
from harness import DONE, FAILED  # noqa: E402

BACK_SECONDS = 30
VALUE = "x" * 100_000


class SmallDisks(harness.Cluster):
    """Three nodes; what was acknowledged is remembered."""

    def __enter__(self):
        self.acknowledged = {}
        self.flags = ["--min-free", "64M"]
        self.mounted = []
        for node in range(len(self.processes)):
            why = faults.small_disk(self.data(node))
            if why:
                self.__exit__()
                raise unittest.SkipTest(why)
            self.mounted.append(node)
        return super().__enter__()

    def __exit__(self, *exception):
        if exception and exception[0]:
            self.print_logs()
        for node, process in enumerate(self.processes):
            if process:
                self.kill(node)
        for node in self.mounted:
            subprocess.run(["umount", self.data(node)], check=False)
        super().__exit__()

    def ballast(self, node):
        return os.path.join(self.data(node), "ballast")

    def fill(self, node):
        """Takes every block, and what becomes free while that happens."""
        with open(self.ballast(node), "ab") as file:
            step = 64 << 20
            while step >= 4096:
                try:
                    size = os.fstat(file.fileno()).st_size
                    os.posix_fallocate(file.fileno(), size, step)
                except OSError:
                    step //= 2

    def empty(self, node):
        os.unlink(self.ballast(node))

    def put(self, key, value=VALUE, seconds=5):
        result = self.quorate("put", key, value, "--timeout", f"{seconds}s")
        if result.returncode == DONE:
            self.acknowledged[key] = value
        return result

    def put_many(self, letter):
        """5 MB in one transaction."""
        values = {f"many{i:02}": letter * 100_000 for i in range(50)}
        script = "".join(f"put {key} {value}\n" for key, value in values.items())
        result = self.quorate("txn", "-", "--timeout", "10s", input=script)
        if result.returncode == DONE:
            self.acknowledged.update(values)
        return result

    def node_status(self, node):
        nodes = self.json("nodes", "--timeout", "5s")["nodes"]
        return next(n for n in nodes if n["address"] == self.addresses[node])

    def leads(self, node):
        return self.node_status(node)["leads"]


class FullDiskTest(unittest.TestCase):
    def check_alive(self, cluster):
        for node, process in enumerate(cluster.processes):
            self.assertIsNone(process.poll(), f"node {node} ended: {cluster.log(node)[-2000:]}")

    def check_reads(self, cluster):
        for key, value in list(cluster.acknowledged.items())[-5:]:
            result = cluster.quorate("get", key, "--timeout", "5s")
            self.assertEqual(result.returncode, DONE, result)
            self.assertEqual(result.stdout, value + "\n")

    def check_all(self, cluster):
        for key, value in cluster.acknowledged.items():
            self.assertEqual(cluster.quorate("get", key).stdout, value + "\n", key)

    def write(self, cluster, prefix, count):
        for i in range(count):
            result = cluster.put(f"{prefix}{i:04}")
            self.assertEqual(result.returncode, DONE, result.stderr)

    def check_back(self, cluster, since):
        """Every node has room again, and any two of them are a majority."""
        left = BACK_SECONDS - (time.monotonic() - since)
        harness.wait_for("room everywhere", lambda: all(
            n["answers"] and n["accepts_writes"]
            for n in cluster.json("nodes", "--timeout", "2s")["nodes"]), left)
        left = BACK_SECONDS - (time.monotonic() - since)
        harness.wait_for("a write", lambda: cluster.put("back", "1", 2).returncode == DONE, left)
        self.check_alive(cluster)
        for node in range(len(cluster.processes)):
            cluster.kill(node)
            harness.wait_for("a write without it", lambda: cluster.put(
                f"without-{node}", "1", 2).returncode == DONE)
            cluster.start(node)
            cluster.wait_healthy()
        self.check_all(cluster)

    def test_on_one_node(self):
        for leader in (False, True):
            with self.subTest(leader=leader), SmallDisks() as cluster:
                self.write(cluster, "before", 20)
                by_leads = sorted(range(3), key=cluster.leads)
                full = by_leads[-1 if leader else 0]
                cluster.fill(full)
                # Some segments of the log pass by meanwhile.
                for i in range(40):
                    result = cluster.put_many(chr(ord("a") + i % 26))
                    self.assertEqual(result.returncode, DONE, result.stderr)
                harness.wait_for("its leaderships to go", lambda: cluster.leads(full) == 0, 15)
                self.assertFalse(cluster.node_status(full)["accepts_writes"])
                self.assertTrue(cluster.json("status")["accepts_writes"])
                self.check_reads(cluster)
                self.check_alive(cluster)
                # Killed and started on the full disk.
                cluster.kill(full)
                cluster.start(full)
                self.write(cluster, "after", 20)
                cluster.wait_healthy()
                self.check_alive(cluster)
                cluster.empty(full)
                self.check_back(cluster, time.monotonic())

    def test_on_all_nodes(self):
        with SmallDisks() as cluster:
            self.write(cluster, "before", 20)
            for node in range(3):
                cluster.fill(node)
            self.check_refused(cluster)
            self.assertEqual(cluster.quorate("delete", "before0000").returncode, DONE,
                             "the reserve is for deletions")
            del cluster.acknowledged["before0000"]
            for node in range(3):
                cluster.empty(node)
            self.check_back(cluster, time.monotonic())

    def test_at_a_start(self):
        for stop in ("kill", "stop"):
            with self.subTest(stop=stop), SmallDisks() as cluster:
                self.write(cluster, "before", 20)
                for node in range(3):
                    getattr(cluster, stop)(node)
                    cluster.fill(node)
                for node in range(3):
                    cluster.start(node)
                cluster.wait_healthy()
                self.check_refused(cluster)
                for node in range(3):
                    cluster.empty(node)
                self.check_back(cluster, time.monotonic())

    def check_refused(self, cluster):
        """Growth is, by name; reads are not; and nobody ends."""
        harness.wait_for("a refusal", lambda: cluster.put("refused", VALUE, 5).returncode != DONE, 20)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            result = cluster.put("refused", VALUE, 5)
            self.assertEqual(result.returncode, FAILED, result)
            self.assertIn("NO_SPACE", result.stderr)
            self.assertRegex(result.stderr, "the disk of node [0-9]")
            self.check_reads(cluster)
        status = cluster.json("status")
        self.assertFalse(status["accepts_writes"])
        self.assertRegex(status["writes_refused_because"], "the disk of node [0-9]")
        self.check_alive(cluster)


if __name__ == "__main__":
    harness.main()
