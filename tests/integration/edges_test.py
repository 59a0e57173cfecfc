#!/usr/bin/python3
"""What surrounds a node: descriptors, connections, clocks, pipes, signals, limits. It survives, recovers by
itself, and what it says of itself is true."""
import contextlib
import fcntl
import json
import os
import re
import resource
import select
import signal
import socket
import struct
import subprocess
import tempfile
import time
import unittest

import harness
from harness import DONE, FAILED, USAGE

LIMIT = resource.RLIMIT_NOFILE


def connect(address, timeout=5):
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=timeout)


def is_ended(connection):
    """Whether the other side has closed it."""
    if not select.select([connection], [], [], 0)[0]:
        return False
    try:
        while True:
            if not connection.recv(65536, socket.MSG_DONTWAIT):
                return True
    except BlockingIOError:
        return False
    except OSError:
        return True


class Node(contextlib.AbstractContextManager):
    """One node process, with what `Popen` is told besides."""

    def __init__(self, *flags, preexec=None, stderr=None, http=True):
        self._directory = tempfile.TemporaryDirectory(prefix="quorate-test-")
        self.data = os.path.join(self._directory.name, "data")
        self.log_path = os.path.join(self._directory.name, "log")
        ports = harness.free_ports(2)
        self.address, self.http = (f"127.0.0.1:{port}" for port in ports)
        command = [harness.PROGRAM, "node", "--data", self.data]
        if "--listen" not in flags:
            command += ["--listen", self.address]
        if http:
            command += ["--http", self.http]

        def enter():
            harness.die_with_parent()
            if preexec:
                preexec()
        with open(self.log_path, "w") as log:
            self.process = subprocess.Popen([*command, *flags], stdout=log, stderr=stderr or log,
                                            preexec_fn=enter)

    def __exit__(self, *exception):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._directory.cleanup()

    def log(self):
        with open(self.log_path, errors="replace") as log:
            return log.read()

    def quorate(self, command, *arguments, **options):
        return harness.run(command, "--cluster", self.address, *arguments, **options)

    def init(self):
        harness.wait_for("init", lambda: self.quorate("init", "--replicas", "1", "--shards", "2",
                                                      "--timeout", "3s").returncode == DONE)
        harness.wait_for("a healthy node", lambda: self.quorate("status").returncode == DONE)

    def stop(self, seconds=20):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=seconds)

    def get(self, path):
        return harness.get_page(self.http, path)


class Connections(unittest.TestCase):
    def test_who_speaks_no_http_is_told_so(self):
        with Node() as node:
            node.init()
            for sent, status in ((b"hello\r\n\r\n", b"400"),
                                 (b"GET /metrics HTTP/9.9\r\n\r\n", b"400"),
                                 (b"POST /metrics HTTP/1.1\r\nContent-Length: 2\r\n\r\nab", b"405"),
                                 (b"GET / HTTP/1.1\r\nA: " + b"a" * 20000 + b"\r\n\r\n", b"431")):
                with connect(node.http) as connection:
                    connection.settimeout(30)
                    connection.sendall(sent)
                    self.assertEqual(connection.recv(100)[:12], b"HTTP/1.1 " + status, sent[:40])

    def test_idle_and_slow_http_connections_starve_nobody(self):
        with Node() as node:
            node.init()
            with contextlib.ExitStack() as stack:
                for number in range(200):
                    idle = stack.enter_context(connect(node.http))
                    if number % 2:  # a request that never ends
                        idle.sendall(b"GET /metrics HTTP/1.1\r\nHost: ")
                for _ in range(3):
                    self.assertEqual(node.get("/healthz"), (200, "ok\n"))
                    self.assertEqual(node.get("/readyz"), (200, "ok\n"))
                    self.assertIn("quorate_build_info{version=", node.get("/metrics")[1])

    def test_every_metric_is_explained(self):
        with open(os.path.join(harness.SOURCE, "docs", "metrics.md")) as file:
            explained = set(re.findall(r"`(\w+)`", file.read()))
        with Node() as node:
            node.init()
            # What an alert or a rate is to watch must be there before it happens.
            page = node.get("/metrics")[1]
            from_the_start = set(re.findall(r"^# TYPE (\w+) ", page, re.M))
            self.assertEqual({n for n in explained if re.match("quorate_|process_", n)} - from_the_start, set())
            self.assertIn('quorate_txn_aborts_total{reason="read_conflict"} 0\n', page)
            self.assertEqual(node.quorate("put", "a", "1").returncode, DONE)
            shown = set(re.findall(r"^# TYPE (\w+) ", node.get("/metrics")[1], re.M))
            self.assertEqual(shown - explained, set())
            self.assertFalse([name for name in shown if re.search("_(us|ms|kb|mb)(_|$)", name)])

    def test_the_soft_limit_of_descriptors_is_raised(self):
        def few():
            resource.setrlimit(LIMIT, (64, resource.getrlimit(LIMIT)[1]))
        with Node(preexec=few) as node:
            node.init()
            most = re.search(r"^process_max_fds (\d+)$", node.get("/metrics")[1], re.M)
            self.assertEqual(int(most.group(1)), resource.getrlimit(LIMIT)[1])

    def test_too_few_descriptors_are_refused_with_a_sentence(self):
        with Node(preexec=lambda: resource.setrlimit(LIMIT, (100, 100))) as node:
            self.assertEqual(node.process.wait(timeout=20), USAGE)
            self.assertIn("may open 100 files", node.log())

    def test_more_connections_than_descriptors(self):
        """Those that say nothing make room; those that work go on working."""
        with Node(preexec=lambda: resource.setrlimit(LIMIT, (300, 300))) as node:
            node.init()
            with contextlib.ExitStack() as stack:
                crowd = []
                for _ in range(6):
                    for _ in range(100):
                        try:
                            crowd.append(stack.enter_context(connect(node.address)))
                        except OSError:
                            pass
                    put = node.quorate("put", "a", "1")
                    self.assertEqual(put.returncode, DONE, put)
                    self.assertEqual(node.get("/readyz")[0], 200)
                    time.sleep(1.1)  # whoever was just heard of is not given up
                self.assertGreater(sum(is_ended(c) for c in crowd), 300)
            page = node.get("/metrics")[1]
            ended = sum(int(re.search(rf"^quorate_connections_{what}_total (\d+)$", page, re.M)
                            .group(1)) for what in ("evicted", "refused"))
            self.assertGreater(ended, 300)
            self.assertNotIn("cannot be taken", node.log(), "the reserve was never touched")
            self.assertEqual(node.quorate("get", "a").stdout, "1\n")

    def test_the_pages_answer_without_descriptors(self):
        with Node() as node:
            node.init()
            open_files = [int(name) for name in os.listdir(f"/proc/{node.process.pid}/fd")]
            limits = resource.prlimit(node.process.pid, LIMIT)
            resource.prlimit(node.process.pid, LIMIT, (max(open_files) + 1, limits[1]))
            with contextlib.ExitStack() as stack:
                for _ in range(40):  # what is left between the numbers in use, and more
                    stack.enter_context(connect(node.http))
                for _ in range(3):
                    self.assertEqual(node.get("/healthz"), (200, "ok\n"))

    def test_without_descriptors_leaders_move_and_the_node_recovers(self):
        with harness.Cluster() as cluster:
            cluster.wait_ready()
            pid = cluster.processes[0].pid
            limits = resource.prlimit(pid, LIMIT)
            resource.prlimit(pid, LIMIT, (8, limits[1]))
            with contextlib.ExitStack() as stack:
                def deaf():
                    with contextlib.suppress(OSError):
                        stack.enter_context(connect(cluster.addresses[0]))
                    return "connections cannot be taken" in cluster.log(0)
                harness.wait_for("the node to notice", deaf)
                self.assertFalse(cluster.is_ready(0))
                others = ",".join(cluster.addresses[1:])

                def led_elsewhere():
                    nodes = harness.run("nodes", "--json", "--cluster", others)
                    if nodes.returncode != DONE:
                        return False
                    nodes = json.loads(nodes.stdout)["nodes"]
                    return sum(n["leads"] for n in nodes if n["address"] in others) == 8
                harness.wait_for("leaderships to move", led_elsewhere, 60)
                for key in "a", "m", "z":
                    put = harness.run("put", key, "1", "--cluster", others)
                    self.assertEqual(put.returncode, DONE, put)
            resource.prlimit(pid, LIMIT, limits)
            harness.wait_for("the node to take connections", lambda: "taken again" in cluster.log(0))
            harness.wait_for("readiness", lambda: cluster.get_http(0, "/readyz")[0] == 200)
            self.assertEqual(harness.run("put", "a", "2", "--cluster", cluster.addresses[0]).returncode,
                             DONE)


class Clock(unittest.TestCase):
    def test_a_step_back_delays_nobody(self):
        with tempfile.TemporaryDirectory(prefix="quorate-test-") as directory:
            shim, shift = os.path.join(directory, "shim.so"), os.path.join(directory, "shift")
            source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "wall_clock_shim.c")
            subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", shim, source], check=True)

            def step(seconds):
                with open(shift, "r+b" if os.path.exists(shift) else "w+b") as file:
                    file.write(struct.pack("q", int(seconds * 1e9)))
            step(0)
            self.addCleanup(os.environ.pop, "LD_PRELOAD", None)
            os.environ["LD_PRELOAD"], os.environ["SHIM_CLOCK_SHIFT"] = shim, shift
            with harness.Cluster() as cluster:
                cluster.wait_ready()
                cluster.kill(1)
                time.sleep(2)  # the others are in the pauses between their attempts
                step(-600)
                harness.wait_for("the step to be seen",
                                 lambda: "clock was set back by 600.0 s" in cluster.log(0))
                time.sleep(1)
                cluster.start(1)
                harness.wait_for("the node that came back", lambda: cluster.is_ready(1), 60)
                cluster.wait_healthy()
                cluster.kill(2)
                put = cluster.quorate("put", "a", "1", "--timeout", "20s")
                self.assertEqual(put.returncode, DONE, put)


class StandardError(unittest.TestCase):
    def test_a_full_pipe_that_nobody_reads_blocks_nothing(self):
        reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        os.write(writer, b"x" * 4096)
        try:
            with Node("--log-level", "debug", stderr=writer) as node:
                node.init()
                self.assertEqual(node.quorate("put", "a", "1").returncode, DONE)
                self.assertEqual(node.get("/readyz")[0], 200)
                self.assertEqual(node.stop(), 0)
        finally:
            os.close(reader)
            os.close(writer)

    def test_a_reader_that_went_away_ends_nothing(self):
        reader, writer = os.pipe()
        os.close(reader)
        try:
            with Node("--log-level", "debug", stderr=writer) as node:
                node.init()
                self.assertEqual(node.quorate("put", "a", "1").returncode, DONE)
                self.assertEqual(node.stop(), 0)
        finally:
            os.close(writer)


class Signals(unittest.TestCase):
    def test_a_stop_at_any_moment_of_the_start_is_clean(self):
        """Who starts it with the signal blocked may send it as soon as there is a process."""
        def blocked():
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        for milliseconds in (0, 5, 10, 20, 40, 80, 160, 320):
            with Node(preexec=blocked) as node:
                time.sleep(milliseconds / 1000)
                self.assertEqual(node.stop(), 0, f"{milliseconds} ms: {node.log()}")
                self.assertRegex(node.log(), "stopped")

    def test_before_it_runs_at_all_a_stop_is_the_kernels(self):
        for milliseconds in (10, 20, 40, 80, 160):
            with Node() as node:
                time.sleep(milliseconds / 1000)
                code = node.stop()
                self.assertIn(code, (0, -signal.SIGTERM))
                if code != 0:  # while its libraries were loaded
                    self.assertEqual(node.log(), "")
                    self.assertFalse(os.path.exists(node.data))

    def test_limits_of_the_process_end_in_a_sentence(self):
        """No silent signal, whatever setrlimit refuses."""
        megabyte = 1 << 20
        limits = [(resource.RLIMIT_FSIZE, 1 << 10), (resource.RLIMIT_FSIZE, 1 << 16),
                  (resource.RLIMIT_FSIZE, 8 * megabyte), (resource.RLIMIT_DATA, 16 * megabyte)]
        limits += [(resource.RLIMIT_AS, size * megabyte) for size in (200, 300, 400, 600, 800)]
        for which, value in limits:
            with self.subTest(which=which, value=value), \
                    Node(preexec=lambda: resource.setrlimit(which, (value, value))) as node:
                try:
                    code = node.process.wait(timeout=5)
                except subprocess.TimeoutExpired:
                    # It started all the same, and lives with it or ends when asked to write.
                    harness.run("init", "--replicas", "1", "--cluster", node.address, "--timeout", "3s")
                    harness.run("put", "a", "x" * 100000, "--cluster", node.address, "--timeout", "3s")
                    code = node.stop() if node.process.poll() is None else node.process.wait()
                self.assertTrue(node.log().strip(), f"ended with {code} and said nothing")
                self.assertNotIn(code, (-signal.SIGXFSZ, -signal.SIGPIPE, -signal.SIGSEGV,
                                        -signal.SIGBUS))


class Addresses(unittest.TestCase):
    def test_listening_on_everything_gives_out_what_others_reach(self):
        port, http = harness.free_ports(2)
        for host in ("0.0.0.0", "0", "[::]", "[::0]"):
            with tempfile.TemporaryDirectory() as directory:
                refused = harness.run("node", "--data", directory + "/n", "--listen", f"{host}:{port}")
                self.assertEqual(refused.returncode, USAGE, refused)
                self.assertIn("--advertise", refused.stderr)
            with Node("--listen", f"{host}:{port}", "--advertise", f"127.0.0.1:{port}", "--http",
                      f"{host}:{http}", http=False) as node:
                node.address, node.http = f"127.0.0.1:{port}", f"127.0.0.1:{http}"
                node.init()
                nodes = node.quorate("nodes", "--json").stdout
                self.assertIn(f'"http":"127.0.0.1:{http}"', nodes)
                self.assertEqual(node.get("/readyz")[0], 200)
                self.assertEqual(node.stop(), 0)


class Log(unittest.TestCase):
    def test_loss_and_return_of_a_node_and_leaders_are_told_once(self):
        with harness.Cluster(shards=32) as cluster:
            cluster.wait_ready()
            before = len(cluster.log(0).splitlines())
            cluster.kill(2)
            address = cluster.addresses[2]
            harness.wait_for("the loss in the log", lambda: f"'{address}' is down" in cluster.log(0))
            time.sleep(5)
            cluster.start(2)
            harness.wait_for("its return", lambda: f"'{address}' is up again" in cluster.log(0))
            harness.wait_for("leaders", lambda: "led now" in cluster.log(0))
            lines = cluster.log(0).splitlines()[before:]
            self.assertLess(len(lines), 40, "\n".join(lines))

    def test_what_cannot_be_joined_is_said_with_its_cause_and_not_every_second(self):
        port = harness.free_ports(1)[0]
        with Node("--join", f"127.0.0.1:{port}") as node:
            harness.wait_for("the cause", lambda: "cannot join" in node.log())
            time.sleep(3)
            lines = [line for line in node.log().splitlines() if "cannot join" in line]
            self.assertEqual(len(lines), 1, lines)
            self.assertIn(f"127.0.0.1:{port}", lines[0])
            self.assertEqual(node.stop(), 0)


class Status(unittest.TestCase):
    def test_what_cannot_be_written_is_not_called_accepted(self):
        with harness.Cluster() as cluster:
            cluster.wait_ready()
            full = cluster.quorate("status").stdout
            self.assertRegex(full, r"writes +accepted")
            self.assertRegex(full, r"survives +the loss of 1 node")
            cluster.kill(1)
            one = cluster.quorate("status")
            self.assertEqual(one.returncode, FAILED)
            self.assertRegex(one.stdout, r"survives +no further loss")
            cluster.kill(2)

            def refused():
                result = cluster.quorate("status", "--timeout", "5s")
                return result.returncode == FAILED and "accepted" not in result.stdout
            harness.wait_for("the truth about writes", refused)
            self.assertFalse(cluster.json_of_failed("status")["accepts_writes"])

    def test_another_node_at_an_address_is_not_the_one_that_was_there(self):
        with harness.Cluster() as cluster:
            cluster.wait_ready()
            cluster.kill(2)
            # Somebody started the node with an empty directory at the same address.
            os.rename(cluster.data(2), cluster.data(2) + ".old")
            cluster.start(2)

            def seen():
                nodes = {n["node_id"]: n for n in cluster.json("nodes")["nodes"]}
                return 4 in nodes and nodes[4]["answers"]
            harness.wait_for("the new node to join", seen)
            nodes = {n["node_id"]: n for n in cluster.json("nodes")["nodes"]}
            lost = next(n for i, n in nodes.items() if i != 4 and n["address"] == cluster.addresses[2])
            self.assertFalse(lost["answers"])
            self.assertNotEqual(cluster.quorate("status").returncode, DONE)
            self.assertEqual({n["version"] for n in nodes.values()}, {nodes[1]["version"]})
            self.assertRegex(nodes[1]["version"], "^[0-9]+[.][0-9]+")


if __name__ == "__main__":
    harness.main()
