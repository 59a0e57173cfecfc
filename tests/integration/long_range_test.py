#!/usr/bin/python3
"""A transaction that read a range of many rows is validated in one go, and nobody else waits for it.

    long_range_test.py [ROWS [MILLISECONDS]]

Three nodes, one shard with ROWS rows (default 30,000). One transaction scans all of them and writes
one key, while others read and write single keys through all three nodes. Printed: the longest of
their requests while the transaction committed, and before it began. With MILLISECONDS the test fails
if the former is longer; without, it fails only for what time has no part in: a wrong answer, an
error, an election.
"""
import sys
import tempfile
import threading
import time
import unittest

import grpc

import harness
import stubs

ROWS = 30_000
LIMIT_MS = None
PER_EXECUTE = 10_000


class Prober(threading.Thread):
    """Reads and writes a key of its own, and keeps the time of its slowest request."""

    def __init__(self, node, pb, txn_pb, key):
        super().__init__(daemon=True)
        self.node, self.pb, self.txn_pb, self.key = node, pb, txn_pb, key
        self.worst, self.requests, self.wrong = 0.0, 0, []
        self.stopping = threading.Event()

    def run(self):
        number = 0
        while not self.stopping.is_set():
            number += 1
            value = str(number).encode()
            put = self.pb.Operation(put=self.txn_pb.Write(key=self.key, value=value))
            begun = time.monotonic()
            written = self.node.Execute(self.pb.ExecuteRequest(operations=[put]), timeout=30)
            read = self.node.Execute(
                self.pb.ExecuteRequest(operations=[self.pb.Operation(get=self.key)]), timeout=30)
            self.worst = max(self.worst, (time.monotonic() - begun) / 2)
            self.requests += 2
            if written.error.code or read.error.code or read.results[0].value.value != value:
                self.wrong.append((written.error, read.error))
            time.sleep(0.002)

    def take_worst(self):
        worst, self.worst = self.worst, 0.0
        return worst * 1000


class LongRange(unittest.TestCase):
    def elections(self, cluster):
        total = 0
        for node in range(len(cluster.http)):
            page = cluster.get_http(node, "/metrics")[1]
            total += sum(float(line.split()[-1]) for line in page.splitlines()
                         if line.startswith("quorate_raft_elections_total"))
        return total

    def fill(self, node):
        for first in range(0, ROWS, PER_EXECUTE):
            operations = [self.pb.Operation(put=self.txn_pb.Write(key=b"r%09d" % i, value=b"value"))
                          for i in range(first, min(ROWS, first + PER_EXECUTE))]
            answer = node.Execute(self.pb.ExecuteRequest(operations=operations, timeout_ms=60_000),
                                  timeout=60)
            while answer.error.code == self.txn_pb.OVERLOADED:
                time.sleep(0.2)
                answer = node.Execute(
                    self.pb.ExecuteRequest(operations=operations, timeout_ms=60_000), timeout=60)
            self.assertEqual(answer.error.code, 0, answer.error)

    def test_nobody_waits_for_a_long_range(self):
        with tempfile.TemporaryDirectory(prefix="quorate-stubs-") as folder, \
                harness.Cluster(shards=1) as cluster:
            self.pb, services, self.txn_pb = stubs.generate(folder)
            channels = [grpc.insecure_channel(a) for a in cluster.addresses]
            nodes = [services.QuorateStub(channel) for channel in channels]
            self.fill(nodes[0])
            before = self.elections(cluster)
            probers = [Prober(node, self.pb, self.txn_pb, b"p%d" % i)
                       for i, node in enumerate(nodes)]
            for prober in probers:
                prober.start()

            session = nodes[1].Begin(self.pb.BeginRequest(), timeout=10).session_id
            rows, position = 0, b"r"
            while True:
                page = nodes[1].Scan(
                    self.pb.SessionScanRequest(session_id=session, to=b"s", **{"from": position}),
                    timeout=60)
                self.assertEqual(page.error.code, 0, page.error)
                rows += len(page.rows)
                if not page.more:
                    break
                position = page.rows[-1].key + b"\0"
            self.assertEqual(rows, ROWS)
            written = nodes[1].Write(self.pb.SessionWriteRequest(
                session_id=session, writes=[self.txn_pb.Write(key=b"x", value=b"seen")]), timeout=60)
            self.assertEqual(written.error.code, 0, written.error)

            alone = max(prober.take_worst() for prober in probers)
            begun = time.monotonic()
            committed = nodes[1].Commit(
                self.pb.SessionCommitRequest(session_id=session, timeout_ms=60_000), timeout=60)
            took = (time.monotonic() - begun) * 1000
            beside = max(prober.take_worst() for prober in probers)
            for prober in probers:
                prober.stopping.set()
            for prober in probers:
                prober.join()
            self.assertEqual(committed.error.code, 0, committed.error)
            print(f"{ROWS} rows validated and committed in {took:.0f} ms; "
                  f"longest request of others: {beside:.1f} ms, before: {alone:.1f} ms")
            self.assertEqual([p.wrong for p in probers], [[], [], []])
            self.assertTrue(all(p.requests for p in probers))
            self.assertEqual(self.elections(cluster), before, "a leader changed")
            if LIMIT_MS is not None:
                self.assertLessEqual(beside, LIMIT_MS)
            for channel in channels:
                channel.close()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        ROWS = int(sys.argv[1])
    if len(sys.argv) > 2:
        LIMIT_MS = float(sys.argv[2])
    del sys.argv[1:]
    harness.main()
