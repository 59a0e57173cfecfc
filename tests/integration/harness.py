"""Real clusters for the tests in this folder: node processes of the built program on loopback.

The environment names what was built: QUORATE (the program), QUORATE_SOURCE (the repository). Every
process started here ends with the test, whatever becomes of it.
"""
import contextlib
import ctypes
import functools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

PROGRAM = os.environ.get("QUORATE", "build/release/quorate")
SOURCE = os.environ.get("QUORATE_SOURCE", os.path.join(os.path.dirname(__file__), "..", ".."))
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)

DONE, FAILED, USAGE, UNKNOWN, ABSENT, OUTPUT_LOST = range(6)


def die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def is_free(port):
    with socket.socket() as s:
        try:
            s.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


class Ports:
    """2000 ports of this process alone, below the range that the kernel hands out: a node can be
    restarted on its own, and no test takes what another one's node has just left, or was about to
    take. Who owns which is told by names of sockets, which go with the process. Given out is the
    lower half, since `dev` and `demo` take the port 1000 above each of theirs for its pages."""

    FIRST, COUNT, HALF = 10000, 11, 1000

    def __init__(self):
        owned = socket.socket(socket.AF_UNIX)
        for number in random.sample(range(self.COUNT), self.COUNT):
            try:
                owned.bind(f"\0quorate-test-ports-{number}")
                break
            except OSError:
                pass
        else:
            sys.exit(f"{self.COUNT} tests run here already: no ports are left for one more")
        owned.detach()  # until the process ends
        self._base = self.FIRST + number * 2 * self.HALF
        self._next = random.randrange(self.HALF)

    def take(self, nodes, pages=False):
        """The first of so many in a row that nobody listens on, nor (pages) on those 1000 above."""
        while True:
            if self._next + nodes > self.HALF:
                self._next = 0
            first = self._base + self._next
            self._next += nodes
            if all(is_free(first + i) and (not pages or is_free(first + self.HALF + i))
                   for i in range(nodes)):
                return first


@functools.cache
def own_ports():
    return Ports()


def free_ports(count):
    return [own_ports().take(1) for _ in range(count)]


def dev_port():
    """A port from which on `dev` and `demo` find all that they need, for six nodes at most."""
    return own_ports().take(6, pages=True)


def wait_for(what, condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"timed out after {seconds} s waiting for {what}")
        time.sleep(0.05)


def run(*arguments, input=None, timeout=60, env=None, enter=die_with_parent):
    """The program with `arguments`; its exit code and output are the caller's to judge."""
    return subprocess.run([PROGRAM, *arguments], input=input, capture_output=True, text=True,
                          timeout=timeout, preexec_fn=enter, env={**os.environ, **(env or {})})


def get_page(http, path):
    """Status and body of a page of the node whose pages are at `http`."""
    try:
        with urllib.request.urlopen(f"http://{http}{path}", timeout=10) as page:
            return page.status, page.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class Loopback:
    """Where the processes of a cluster live: here, side by side. See nemesis/network.py for another."""

    def __init__(self, nodes):
        ports = free_ports(2 * nodes)
        self.addresses = [f"127.0.0.1:{p}" for p in ports[:nodes]]
        self.http = [f"127.0.0.1:{p}" for p in ports[nodes:]]

    def enter_node(self, node):
        """What the process of a node runs before the program."""
        die_with_parent()

    def enter_client(self):
        die_with_parent()


class Cluster(contextlib.AbstractContextManager):
    """`nodes` processes in a temporary directory; numbered from 0."""

    def __init__(self, nodes=3, shards=8, split_at=None, network=None):
        self._directory = tempfile.TemporaryDirectory(prefix="quorate-test-")
        self.directory = self._directory.name
        self.network = network or Loopback(nodes)
        self.addresses = self.network.addresses
        self.http = self.network.http
        self.processes = [None] * nodes
        self.flags = []  # more flags of every node that is started from now on
        self.join = None  # what they are to --join; None: all others
        self._init = ["--split-at", *split_at] if split_at else ["--shards", str(shards)]
        if split_at and isinstance(split_at[0], bytes):
            self._init = ["--hex", "--split-at", *(key.hex() for key in split_at)]
        self._init += ["--replicas", "3" if nodes >= 3 else "1"]

    def __enter__(self):
        try:
            for node in range(len(self.processes)):
                self.start(node)
            self.init()
            self.wait_healthy()
        except BaseException:
            self.print_logs()
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception):
        if exception and exception[0]:
            self.print_logs()
        for node, process in enumerate(self.processes):
            if process:
                self.kill(node)
        self._directory.cleanup()

    @property
    def cluster(self):
        return ",".join(self.addresses)

    def data(self, node):
        return os.path.join(self.directory, f"node-{node}")

    def start(self, node):
        others = self.join or [a for i, a in enumerate(self.addresses) if i != node]
        command = [PROGRAM, "node", "--data", self.data(node), "--listen", self.addresses[node],
                   "--http", self.http[node], *self.flags]
        if others:
            command += ["--join", ",".join(others)]
        with open(os.path.join(self.directory, f"log-{node}"), "a") as log:
            self.processes[node] = subprocess.Popen(
                command, stdout=log, stderr=log, preexec_fn=lambda: self.network.enter_node(node))

    def add_node(self):
        """One more process, with an empty directory, that joins the others; its number."""
        listen, http = free_ports(2)
        self.addresses.append(f"127.0.0.1:{listen}")
        self.http.append(f"127.0.0.1:{http}")
        self.processes.append(None)
        node = len(self.processes) - 1
        self.start(node)
        return node

    def move(self, node):
        """What is started as this node from now on listens somewhere else."""
        listen, http = free_ports(2)
        self.addresses[node] = f"127.0.0.1:{listen}"
        self.http[node] = f"127.0.0.1:{http}"

    def kill(self, node):
        self.processes[node].kill()
        self.processes[node].wait()
        self.processes[node] = None

    def stop(self, node):
        """SIGTERM; the exit code."""
        process, self.processes[node] = self.processes[node], None
        process.send_signal(signal.SIGTERM)
        return process.wait(timeout=30)

    def log(self, node):
        with open(os.path.join(self.directory, f"log-{node}"), errors="replace") as log:
            return log.read()

    def print_logs(self):
        for node in range(len(self.processes)):
            if not os.path.exists(os.path.join(self.directory, f"log-{node}")):
                continue
            tail = "\n".join(self.log(node).splitlines()[-40:])
            print(f"---- log of node {node}\n{tail}", file=sys.stderr)

    def init(self):
        def done():
            result = self.quorate("init", *self._init)
            return result.returncode == DONE or "ALREADY_EXISTS" in result.stderr
        wait_for("init", done)

    def wait_healthy(self):
        wait_for("a healthy cluster", lambda: self.quorate("status").returncode == DONE)

    def quorate(self, command, *arguments, **options):
        return run(command, "--cluster", self.cluster, *arguments, enter=self.network.enter_client,
                   **options)

    def json(self, command, *arguments, **options):
        result = self.quorate(command, "--json", *arguments, **options)
        assert result.returncode == DONE, result
        return json.loads(result.stdout)

    def json_of_failed(self, command, *arguments, **options):
        """What a command that found something wrong says all the same."""
        result = self.quorate(command, "--json", *arguments, **options)
        assert result.returncode == FAILED, result
        return json.loads(result.stdout)

    def get_http(self, node, path):
        return get_page(self.http[node], path)

    def is_ready(self, node):
        try:
            return self.get_http(node, "/readyz")[0] == 200
        except OSError:
            return False

    def wait_ready(self):
        for node in range(len(self.processes)):
            wait_for(f"node {node} to be ready", lambda: self.is_ready(node))


def main():
    if not os.access(PROGRAM, os.X_OK):
        sys.exit(f"no program at {PROGRAM}: build it, or name it in QUORATE")
    unittest.main(verbosity=2)
