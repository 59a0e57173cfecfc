#!/usr/bin/python3
"""Stale reads: replicas answer by themselves, also when the leader of their shard is stopped, and when there can be none."""
import importlib
import json
import signal
import tempfile
import time
import unittest

import grpc

import harness
import stubs

TIMEOUT = 15
BOUND_MS = 5000


class Stale(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory(prefix="quorate-stubs-")
        cls.addClassCleanup(directory.cleanup)
        cls.pb, cls.services, cls.txn_pb = stubs.generate(directory.name)
        cls.shard_pb = importlib.import_module("quorate.v1.shard_pb2")

    def setUp(self):
        self.cluster = harness.Cluster(split_at=["m"])
        self.cluster.__enter__()
        self.addCleanup(self.cluster.__exit__)
        self.nodes = []
        for address in self.cluster.addresses:
            channel = grpc.insecure_channel(address)
            self.addCleanup(channel.close)
            self.nodes.append(self.services.QuorateStub(channel))

    def execute(self, node, *operations, stale=None, timeout=TIMEOUT):
        request = self.pb.ExecuteRequest(operations=operations, timeout_ms=int(timeout * 1000))
        if stale is not None:
            request.stale.CopyFrom(stale)
        return self.nodes[node].Execute(request, timeout=timeout + 5)

    def put(self, key, value):
        return self.pb.Operation(put=self.txn_pb.Write(key=key, value=value))

    def get(self, *keys):
        return [self.pb.Operation(get=key) for key in keys]

    def stale(self, max_age_ms=BOUND_MS, not_before=0):
        return self.shard_pb.StaleRead(max_age_ms=max_age_ms, not_before=not_before)

    def assertOk(self, response):
        self.assertEqual(response.error.code, self.txn_pb.OK, response.error)
        return response

    def metric(self, node, name):
        for line in self.cluster.get_http(node, "/metrics")[1].splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
        return 0.0

    def leader_of(self, key):
        """The number, from 0, of the node that leads the shard of `key`."""
        shards = self.cluster.json("shards")["shards"]
        shard = [s for s in shards if s["from"] <= key and (not s["to"] or key < s["to"])][0]
        nodes = {n["node_id"]: n["address"] for n in self.cluster.json("nodes")["nodes"]}
        address = nodes.get(shard.get("leader"))
        return self.cluster.addresses.index(address) if address else None

    def test_one_snapshot_of_the_past_through_any_node(self):
        written = self.assertOk(self.execute(0, self.put(b"a", b"1"), self.put(b"z", b"1")))
        floor = written.commit_ts
        for round in range(20):
            for node in range(3):
                read = self.assertOk(self.execute(node, *self.get(b"a", b"z"), stale=self.stale(not_before=floor)))
                self.assertGreaterEqual(read.read_ts, floor)
                a, z = (result.value for result in read.results)
                self.assertTrue(a.found)
                self.assertEqual(a.value, z.value, "of a transaction all is seen, or nothing")
                floor = read.read_ts
            value = str(round).encode()
            self.assertOk(self.execute(round % 3, self.put(b"a", value), self.put(b"z", value)))

    def test_the_command_line(self):
        self.assertEqual(self.cluster.quorate("put", "a", "1").returncode, harness.DONE)
        harness.wait_for("the value, as old as a stale read may be", lambda: self.cluster.quorate(
            "get", "a", "--stale", "500ms").stdout == "1\n")
        shown = self.cluster.json("get", "a", "--stale", "500ms")
        self.assertRegex(shown.pop("read_ts"), r"^\d+\.\d+\.0$")
        self.assertEqual(shown, {"key": "a", "found": True, "value": "1"})
        scanned = self.cluster.quorate("scan", "--stale", "500ms", "a", "b")
        self.assertEqual(scanned.stdout, "a\t1\n", scanned)
        for bad in ("0", "61s", "soon", "-1s"):
            refused = self.cluster.quorate("get", "a", f"--stale={bad}")
            self.assertEqual(refused.returncode, harness.USAGE, refused)
            self.assertIn("--stale", refused.stderr)

    def test_the_door(self):
        invalid = self.txn_pb.INVALID_ARGUMENT
        for max_age_ms in (0, 60001):
            self.assertEqual(self.execute(0, *self.get(b"a"), stale=self.stale(max_age_ms)).error.code, invalid)
            begun = self.nodes[0].Begin(self.pb.BeginRequest(read_only=True, stale=self.stale(max_age_ms)), timeout=TIMEOUT)
            self.assertEqual(begun.error.code, invalid)
            pages = list(self.nodes[0].ScanAll(self.pb.ScanAllRequest(stale=self.stale(max_age_ms)), timeout=TIMEOUT))
            self.assertEqual(pages[-1].error.code, invalid)
        self.assertEqual(self.execute(0, self.put(b"a", b"1"), stale=self.stale()).error.code, invalid)
        begun = self.nodes[0].Begin(self.pb.BeginRequest(stale=self.stale()), timeout=TIMEOUT)
        self.assertEqual(begun.error.code, invalid)
        ahead = self.stale(not_before=1 << 63)
        self.assertEqual(self.execute(0, *self.get(b"a"), stale=ahead).error.code, invalid)
        # In a session, and in pages.
        begun = self.assertOk(self.nodes[0].Begin(
            self.pb.BeginRequest(read_only=True, stale=self.stale()), timeout=TIMEOUT))
        self.assertOk(self.nodes[0].Read(
            self.pb.SessionReadRequest(session_id=begun.session_id, keys=[b"a", b"z"]), timeout=TIMEOUT))
        pages = list(self.nodes[1].ScanAll(self.pb.ScanAllRequest(stale=self.stale()), timeout=TIMEOUT))
        self.assertEqual({page.error.code for page in pages}, {self.txn_pb.OK})

    def test_a_stopped_leader_is_not_missed(self):
        written = self.assertOk(self.execute(0, self.put(b"a", b"1")))
        harness.wait_for("a leader", lambda: self.leader_of("a") is not None)
        time.sleep(0.5)
        leader = self.leader_of("a")
        reader = (leader + 1) % 3
        seen = written.commit_ts

        def read():
            nonlocal seen
            begun = time.time()
            response = self.assertOk(self.execute(reader, *self.get(b"a"), stale=self.stale(not_before=seen)))
            self.assertEqual(response.results[0].value.value, b"1")
            age = begun - (response.read_ts >> 22) / 1000
            self.assertLess(age, BOUND_MS / 1000 + 0.5, "by one and the same clock")
            seen = response.read_ts

        end = time.time() + 4
        while time.time() < end:
            read()
            time.sleep(0.05)

        def served():
            return sum(self.metric(node, "quorate_shard_stale_reads_total") for node in range(3) if node != leader)
        before = served()
        process = self.cluster.processes[leader]
        process.send_signal(signal.SIGSTOP)
        try:
            for _ in range(40):
                read()
                time.sleep(0.02)
            self.assertGreater(served(), before + 20, "answered by who does not lead")
            # And on, under the next one.
            end = time.time() + 8
            while time.time() < end:
                read()
                time.sleep(0.1)
        finally:
            process.send_signal(signal.SIGCONT)

    def test_a_replica_that_is_alone_tells_what_it_knows(self):
        self.assertOk(self.execute(0, self.put(b"a", b"1"), self.put(b"z", b"1")))
        time.sleep(0.5)
        self.assertOk(self.execute(0, self.put(b"b", b"closes what was written before"), self.put(b"y", b"")))
        harness.wait_for("every replica has heard of it", lambda: all(
            self.execute(node, *self.get(b"a", b"z"), stale=self.stale(60000)).results[1].value.found
            for node in range(3)))
        for node in (1, 2):
            self.cluster.kill(node)
        time.sleep(2)  # no lease is left, whoever led
        alone = [self.cluster.addresses[0]]
        failed = harness.run("get", "--cluster", alone[0], "a", "--timeout", "2s")
        self.assertEqual(failed.returncode, harness.FAILED, failed)
        found = harness.run("get", "--cluster", alone[0], "a", "--stale", "60s")
        self.assertEqual(found.stdout, "1\n", found)
        scanned = harness.run("scan", "--cluster", alone[0], "--json", "--stale", "60s", "a", "b")
        self.assertEqual([json.loads(line)["value"] for line in scanned.stdout.splitlines()], ["1"], scanned)
        time.sleep(1.2)
        old = harness.run("get", "--cluster", alone[0], "a", "--stale", "1s", "--timeout", "2s")
        self.assertEqual(old.returncode, harness.FAILED, old)
        self.assertRegex(old.stderr, r"\d+ ms old, and may be 1000 ms")

    def test_an_idle_shard_stays_silent(self):
        self.assertOk(self.execute(0, self.put(b"a", b"1"), self.put(b"z", b"1")))

        def shards_quiescent():
            # Placement's own group is busy with heartbeats.
            return all(self.metric(node, "quorate_raft_quiescent_groups") >= 2 for node in range(3))
        # As they do only when nothing is logged for seconds, by whoever would close anything.
        harness.wait_for("both shards fall silent", shards_quiescent)
        self.assertOk(self.execute(0, *self.get(b"a"), stale=self.stale(500)))
        # It went to the leader, which closed; so the next one need not.
        harness.wait_for("a replica that can be read again", lambda: self.reads_alone(b"a"))

    def reads_alone(self, key):
        before = sum(self.metric(node, "quorate_shard_stale_reads_total") for node in range(3))
        self.assertOk(self.execute(0, *self.get(key), stale=self.stale(1000)))
        return sum(self.metric(node, "quorate_shard_stale_reads_total") for node in range(3)) > before


if __name__ == "__main__":
    harness.main()
