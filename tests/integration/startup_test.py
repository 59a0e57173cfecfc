#!/usr/bin/python3
"""Start and stop of real nodes: what is refused says why and exits with 2, SIGTERM ends cleanly."""
import os
import signal
import socket
import subprocess
import tempfile
import unittest

import harness
from harness import DONE, FAILED, USAGE


class BadInput(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory(prefix="quorate-test-")
        self.addCleanup(self.directory.cleanup)
        self.port = harness.free_ports(1)[0]
        self.listen = f"127.0.0.1:{self.port}"

    def refused(self, *arguments, words):
        """One line on standard error that contains `words`, and exit 2."""
        result = harness.run("node", *arguments, timeout=20)
        self.assertEqual(result.returncode, USAGE, result)
        # The log, with a time in front, may have had something to say before that.
        lines = [line for line in result.stderr.splitlines() if line and not line[0].isdigit()]
        self.assertEqual(len(lines), 1, result.stderr)
        for word in words:
            self.assertIn(word, lines[0])

    def path(self, name):
        return os.path.join(self.directory.name, name)

    def config(self, text):
        with open(self.path("config"), "w") as file:
            file.write(text)
        return self.path("config")

    def test_flags_that_are_missing_or_malformed(self):
        self.refused(words=["--data"])
        self.refused("--data", self.path("n"), words=["--listen"])
        self.refused("--data", self.path("n"), "--listen", "nowhere", words=["nowhere", "HOST:PORT"])
        self.refused("--data", self.path("n"), "--listen", "127.0.0.1:99999", words=["99999"])
        self.refused("--data", self.path("n"), "--listen", "0.0.0.0:7400", words=["--advertise"])
        self.refused("--data", self.path("n"), "--listen", self.listen, "--join", "a;b",
                     words=["join", "a;b"])
        self.refused("--data", self.path("n"), "--listen", self.listen, "--locality", "zone",
                     words=["zone", "key=value"])
        self.refused("--data", self.path("n"), "--listen", self.listen, "--min-free", "lots",
                     words=["lots"])
        self.assertFalse(os.path.exists(self.path("n")), "nothing is created by a refused start")

    def test_unknown_flag_and_command(self):
        self.assertEqual(harness.run("node", "--colour", "red").returncode, USAGE)
        self.assertEqual(harness.run("nodule").returncode, USAGE)
        self.assertEqual(harness.run().returncode, USAGE)

    def test_configuration_file(self):
        self.refused("--config", self.path("none"), words=["cannot read"])
        self.refused("--config", self.config("data = x\nlisten 1\n"), words=["config:2", "key = value"])
        self.refused("--config", self.config("colour = red\n"), words=["config:1", "colour"])
        self.refused("--config", self.config("data = x\ndata = y\n"), words=["config:2", "twice"])
        self.refused("--config", self.config("# only data\ndata = x\n"), words=["--listen"])

    def test_port_in_use(self):
        with socket.socket() as other:
            other.bind(("127.0.0.1", self.port))
            other.listen()
            self.refused("--data", self.path("n"), "--listen", self.listen,
                         words=[self.listen, "in use"])
            free = harness.free_ports(1)[0]
            self.refused("--data", self.path("m"), "--listen", f"127.0.0.1:{free}", "--http",
                         self.listen, words=[self.listen, "--http"])

    def test_directories_that_are_not_ours(self):
        os.mkdir(self.path("foreign"))
        with open(self.path("foreign/letters.txt"), "w") as file:
            file.write("something else\n")
        self.refused("--data", self.path("foreign"), "--listen", self.listen, words=["foreign"])
        with open(self.path("file"), "w"):
            pass
        self.refused("--data", self.path("file"), "--listen", self.listen, words=["file"])

    def test_a_damaged_identity_is_a_failure(self):
        os.mkdir(self.path("n"))
        with open(self.path("n/IDENTITY"), "w") as file:
            file.write("quorate identity\nformat 2\ncrc 00000000\n")
        result = harness.run("node", "--data", self.path("n"), "--listen", self.listen)
        self.assertEqual(result.returncode, FAILED, result)
        self.assertIn("IDENTITY is damaged", result.stderr)

    @unittest.skipIf(os.geteuid() == 0, "root may write anywhere")
    def test_unwritable_directory(self):
        os.mkdir(self.path("locked"), mode=0o500)
        self.refused("--data", self.path("locked"), "--listen", self.listen, words=["locked"])


class Life(unittest.TestCase):
    def test_a_second_process_on_one_directory_is_refused(self):
        with harness.Cluster(nodes=1, shards=1) as cluster:
            port = harness.free_ports(1)[0]
            result = harness.run("node", "--data", cluster.data(0), "--listen", f"127.0.0.1:{port}")
            self.assertEqual(result.returncode, USAGE, result)
            self.assertIn(cluster.data(0), result.stderr)
            self.assertEqual(cluster.quorate("put", "a", "1").returncode, DONE)

    def test_pages_and_stop_and_restart(self):
        with harness.Cluster() as cluster:
            self.assertEqual(cluster.quorate("put", "a", "1").returncode, DONE)
            self.assertEqual(cluster.get_http(0, "/healthz")[0], 200)
            harness.wait_for("readiness", lambda: cluster.get_http(0, "/readyz")[0] == 200)
            status, metrics = cluster.get_http(0, "/metrics")
            self.assertEqual(status, 200)
            self.assertIn("# TYPE quorate_calls_total counter", metrics)
            self.assertIn("process_cpu_seconds_total", metrics)
            self.assertEqual(cluster.get_http(0, "/elsewhere")[0], 404)
            for node in range(3):
                self.assertEqual(cluster.stop(node), 0, cluster.log(node))
            for folder, _, names in os.walk(cluster.data(0)):
                self.assertEqual(os.stat(folder).st_mode & 0o777, 0o700, folder)
                for name in names:
                    path = os.path.join(folder, name)
                    self.assertEqual(os.stat(path).st_mode & 0o777, 0o600, path)
            for node in range(3):
                cluster.start(node)
            cluster.wait_healthy()
            self.assertEqual(cluster.quorate("get", "a").stdout, "1\n")

    def test_a_disk_that_is_nearly_full_refuses_writes_and_serves_reads(self):
        with harness.Cluster() as cluster:
            self.assertEqual(cluster.quorate("put", "a", "1").returncode, DONE)
            cluster.flags = ["--min-free", "1000000G"]
            for node in range(3):
                cluster.stop(node)
                cluster.start(node)
            cluster.wait_healthy()
            refused = cluster.quorate("put", "a", "2", "--timeout", "3s")
            self.assertEqual(refused.returncode, FAILED, refused)
            self.assertIn("NO_SPACE", refused.stderr)
            self.assertEqual(cluster.quorate("get", "a").stdout, "1\n")
            self.assertFalse(cluster.json("status")["accepts_writes"])
            cluster.flags = []
            for node in range(3):
                cluster.stop(node)
                cluster.start(node)
            cluster.wait_healthy()
            self.assertEqual(cluster.quorate("put", "a", "2").returncode, DONE)

    def test_before_init_a_node_says_what_to_do(self):
        with tempfile.TemporaryDirectory() as directory:
            ports = harness.free_ports(2)
            address = f"127.0.0.1:{ports[0]}"
            node = subprocess.Popen(
                [harness.PROGRAM, "node", "--data", directory + "/n", "--listen", address],
                stderr=subprocess.DEVNULL, preexec_fn=harness.die_with_parent)
            try:
                def asked():
                    result = harness.run("get", "a", "--cluster", address, "--timeout", "2s")
                    self.assertEqual(result.returncode, 1)
                    return "quorate init" in result.stderr
                harness.wait_for("the node's answer", asked)
                early = harness.run("init", "--cluster", address, "--timeout", "3s")
                self.assertEqual(early.returncode, FAILED, early)
                self.assertIn("--replicas 1", early.stderr)
                made = harness.run("init", "--cluster", address, "--replicas", "1")
                self.assertEqual(made.returncode, DONE, made)
                self.assertIn("no fault tolerance", made.stdout)
                second = harness.run("init", "--cluster", address)
                self.assertEqual(second.returncode, 1)
                self.assertIn("ALREADY_EXISTS", second.stderr)
            finally:
                node.send_signal(signal.SIGTERM)
                self.assertEqual(node.wait(timeout=30), 0)

    def test_a_second_signal_while_it_stops_changes_nothing(self):
        with harness.Cluster(nodes=1, shards=2) as cluster:
            process = cluster.processes[0]
            process.send_signal(signal.SIGTERM)
            while process.poll() is None:  # as often as it takes to fall into every step of the stop
                process.send_signal(signal.SIGTERM)
                process.send_signal(signal.SIGINT)
            self.assertEqual(process.wait(), 0)
            self.assertIn("stopped\n", cluster.log(0))
            with open(os.path.join(cluster.data(0), "IDENTITY")) as file:
                self.assertIn("stopped clean", file.read())

    def test_dev_with_fewer_nodes_than_its_data_is_refused(self):
        with tempfile.TemporaryDirectory() as directory:
            for node in (1, 2, 3):
                os.makedirs(f"{directory}/node-{node}")
                open(f"{directory}/node-{node}/IDENTITY", "w").close()
            refused = harness.run("dev", "--nodes", "1", "--data", directory, "--port", str(harness.dev_port()))
            self.assertEqual(refused.returncode, USAGE, refused)
            self.assertIn("--nodes 3", refused.stderr)

    def test_dev_goes_on_with_its_data(self):
        with tempfile.TemporaryDirectory() as directory:
            port = harness.dev_port()
            for start in ("A new cluster", "The cluster goes on"):
                dev = subprocess.Popen(
                    [harness.PROGRAM, "dev", "--data", directory, "--port", str(port)],
                    stdout=subprocess.PIPE, text=True, preexec_fn=harness.die_with_parent)
                try:
                    self.assertIn(start, dev.stdout.readline())
                    cluster = f"127.0.0.1:{port}"
                    if start.startswith("A new"):
                        put = harness.run("put", "k", "v", "--cluster", cluster)
                        self.assertEqual(put.returncode, DONE, put)
                    self.assertEqual(harness.run("get", "k", "--cluster", cluster).stdout, "v\n")
                finally:
                    dev.send_signal(signal.SIGINT)
                    dev.stdout.read()
                    self.assertEqual(dev.wait(timeout=30), 0)
                    dev.stdout.close()


if __name__ == "__main__":
    harness.main()
