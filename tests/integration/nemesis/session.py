"""A cluster under load: what faults act on, and what is known of the time in which they did."""
import json
import os
import shutil
import subprocess
import threading
import time

import harness
import network as networks

BUILD = os.environ.get("QUORATE_BUILD", os.path.dirname(harness.PROGRAM))
LOAD = os.path.join(BUILD, "tests/integration/nemesis/nemesis_load")
CONVERGE_SECONDS = 30


class Violation(Exception):
    """The cluster broke a promise; in words."""


class Load:
    """nemesis_load as a process: its counts as they come."""

    def __init__(self, cluster, shards, directory, flags=()):
        self.directory = directory
        self.seconds = []  # the lines of counts
        self.violations = []
        self._ready = threading.Event()
        self.process = subprocess.Popen(
            [LOAD, "--cluster", cluster.cluster, "--shards", str(shards), "--directory", directory,
             *flags], stdout=subprocess.PIPE, text=True,
            preexec_fn=cluster.network.enter_client)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        if not self._ready.wait(90):
            raise Violation("the load's set-up did not succeed in 90 s")

    def _read(self):
        for line in self.process.stdout:
            said = json.loads(line)
            if said.get("event") == "ready":
                self._ready.set()
            elif said.get("event") == "violation":
                self.violations.append(said["words"])
            elif "time" in said:
                self.seconds.append(said)

    def stop(self):
        self.process.terminate()
        try:
            code = self.process.wait(180)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Violation("some client never got an answer: the load did not end in 180 s")
        self._thread.join()
        if code not in (0, 1):
            raise Violation(f"the load ended with {code}: final reads could not be had")

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Window:
    """The time from a fault's beginning until everything served again."""

    def __init__(self, kind, start):
        self.kind = kind
        self.start = start
        self.healed = None
        self.end = None  # everything is served again
        self.given_up = None  # or when that was no longer waited for
        self.detail = ""
        self.forbids = 0  # seconds in which the fault itself leaves some shard without writes


class Session:
    """A running cluster of `nodes` with `shards`, split at s01, s02, ..."""

    def __init__(self, nodes, shards, random, namespaces=True):
        self.shards = shards
        self.random = random
        self.windows = []
        self.load = None
        self.no_disk = "not asked for"  # why node 0 has no small disk of its own
        if namespaces:
            self.network, self.no_network = networks.make(nodes)
        else:
            self.network, self.no_network = harness.Loopback(nodes), "not asked for"
        split_at = [f"s{i:02}" for i in range(1, shards)]
        self.cluster = harness.Cluster(nodes, split_at=split_at, network=self.network)

    def start(self):
        self.cluster.__enter__()

    def close(self, keep_logs_in=None):
        """Ends everything; copies the nodes' logs first if they may be wanted."""
        if self.load:
            self.load.kill()
        for node in self.nodes:
            if self.cluster.processes[node]:
                self.cluster.kill(node)
            log = os.path.join(self.cluster.directory, f"log-{node}")
            if keep_logs_in and os.path.exists(log):
                shutil.copy(log, keep_logs_in)
        if self.no_disk is None:
            subprocess.run(["umount", self.cluster.data(0)], check=False)
        self.cluster.__exit__()
        if self.no_network is None:
            self.network.close()

    def start_load(self, directory, flags=()):
        self.load = Load(self.cluster, self.shards, directory, flags)

    # ---- nodes ----------------------------------------------------------------------------------

    @property
    def nodes(self):
        return range(len(self.cluster.processes))

    def majority(self):
        return len(self.nodes) // 2 + 1

    def leads(self):
        """How many shards each node leads, by its own word; silent nodes are left out."""
        nodes = self.cluster.json("nodes", "--timeout", "2s")["nodes"]
        leads = {n["address"]: n["leads"] for n in nodes if n["answers"]}
        return {i: leads[a] for i, a in enumerate(self.cluster.addresses) if a in leads}

    def busiest(self):
        """The node that leads most shards."""
        leads = self.leads()
        return max(sorted(leads), key=lambda node: leads[node])

    def signal(self, node, number):
        self.cluster.processes[node].send_signal(number)

    def check_alive(self):
        """No node ends by itself."""
        for node, process in enumerate(self.cluster.processes):
            if process and process.poll() is not None:
                tail = "\n".join(self.cluster.log(node).splitlines()[-5:])
                raise Violation(f"node {node} ended by itself with {process.returncode}:\n{tail}")

    # ---- faults ---------------------------------------------------------------------------------

    def suffer(self, fault):
        """Runs one fault and waits until the cluster serves everything again."""
        window = Window(fault.name, time.monotonic())
        self.windows.append(window)
        window.detail = fault.run(self, window) or ""
        window.healed = time.monotonic()
        self.converge(window)
        self.check_alive()
        return window

    def converge(self, window):
        """Every node answers, every shard is led, every shard acknowledges writes."""
        def served():
            self.check_alive()
            if self.cluster.quorate("status", "--timeout", "2s").returncode != harness.DONE:
                return False
            since = time.monotonic()
            harness.wait_for("a second of writes", lambda: self._wrote_everywhere(since), 5)
            return True

        end = time.monotonic() + CONVERGE_SECONDS
        while True:
            try:
                if served():
                    break
            except AssertionError:
                pass
            if time.monotonic() > end:
                raise Violation(f"{window.kind} ({window.detail}): healed, but not everything is "
                                f"served again after {CONVERGE_SECONDS} s")
            time.sleep(0.1)
        window.end = time.monotonic()

    def _wrote_everywhere(self, since):
        if self.load is None:
            return True
        if self.load.process.poll() is not None:
            raise Violation(f"the load ended by itself with {self.load.process.returncode}")
        return any(second["time"] - 1 >= since and all(second["by_shard"])
                   for second in self.load.seconds[-10:])
