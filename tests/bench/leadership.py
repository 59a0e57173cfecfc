#!/usr/bin/python3
"""What it costs when leaderships go elsewhere on purpose: planned transfers, and a rolling restart.

Transfers: one writer puts keys of one shard, one after the other, through a node that does not lead it, while its
leadership goes from node to node (`shard transfer-leader --wait`); the gap of a transfer is the longest time between two
acknowledgements around it. Rolling restart: `bench put` over all shards while each node is stopped (SIGTERM) and started
again, with /readyz in between.

Exits 1 if a request failed, if the 99th percentile of the gaps is above --gap-ms, or if leaders are not within one of
even --settle seconds after the last restart. The figures mean something on a machine that does nothing else.

  tests/bench/leadership.py [--nodes 5] [--shards 20] [--transfers 100] [--gap-ms 50] [--settle 30]
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))
import grpc  # noqa: E402
import harness  # noqa: E402
import stubs  # noqa: E402

PATIENCE = 120
AROUND = 0.3  # seconds before and after a transfer whose gaps are its own


def say(cluster, *words):
    """--cluster stands before a command that has others below it."""
    return harness.run("--cluster", cluster.cluster, *words, timeout=PATIENCE)


def ask(cluster, *words):
    done = say(cluster, *words, "--json")
    assert done.returncode == harness.DONE, (words, done.stderr)
    return json.loads(done.stdout)


class Writer(threading.Thread):
    """Puts keys below `prefix` one after the other, and notes when each was acknowledged."""

    def __init__(self, stub, pb, txn_pb, prefix):
        super().__init__(daemon=True)
        self.stub, self.pb, self.txn_pb, self.prefix = stub, pb, txn_pb, prefix
        self.acknowledged = []
        self.failed = []
        self.stopped = threading.Event()

    def run(self):
        number = 0
        while not self.stopped.is_set():
            put = self.pb.Operation(put=self.txn_pb.Write(key=self.prefix + str(number % 1000).encode(), value=b"1"))
            try:
                done = self.stub.Execute(self.pb.ExecuteRequest(operations=[put]), timeout=10)
                if done.error.code != self.txn_pb.OK:
                    self.failed.append(done.error.message)
            except grpc.RpcError as error:
                self.failed.append(str(error))
            self.acknowledged.append(time.monotonic())
            number += 1

    def end(self):
        self.stopped.set()
        self.join()

    def gap(self, begin, end):
        """The longest time between two acknowledgements that overlaps [begin, end]; milliseconds."""
        times = self.acknowledged
        return 1000 * max((b - a for a, b in zip(times, times[1:]) if b >= begin and a <= end), default=0)


def percentile(values, fraction):
    values = sorted(values)
    return values[min(len(values) - 1, int(fraction * len(values)))]


def transfers(cluster, count):
    """Gaps of `count` transfers, of as many quiet times beside them, and the requests that failed."""
    shard = ask(cluster, "shards")["shards"][-1]
    prefix = shard["from"].encode() if "from" in shard else bytes.fromhex(shard["from_hex"])
    outside = [i for i, node in enumerate(sorted(ask(cluster, "nodes")["nodes"], key=lambda n: n["node_id"]))
               if node["node_id"] not in shard["replicas"]]
    address = sorted(ask(cluster, "nodes")["nodes"], key=lambda n: n["node_id"])[outside[0] if outside else 0]["address"]
    with tempfile.TemporaryDirectory(prefix="quorate-stubs-") as directory:
        pb, services, txn_pb = stubs.generate(directory)
        with grpc.insecure_channel(address) as channel:
            writer = Writer(services.QuorateStub(channel), pb, txn_pb, prefix)
            writer.start()
            time.sleep(1)
            gaps, quiet = [], []
            for number in range(count):
                heir = shard["replicas"][number % len(shard["replicas"])]
                leader = next(s["leader"] for s in ask(cluster, "shards")["shards"] if s["shard_id"] == shard["shard_id"])
                if heir == leader:
                    continue
                quiet.append((time.monotonic() - AROUND, time.monotonic()))
                begin = time.monotonic()
                done = say(cluster, "shard", "transfer-leader", str(shard["shard_id"]), "--to", str(heir), "--wait")
                assert done.returncode == harness.DONE, done
                time.sleep(AROUND)
                gaps.append((begin, time.monotonic()))
            writer.end()
    return [writer.gap(*each) for each in gaps], [writer.gap(*each) for each in quiet], writer.failed


def rolling_restart(cluster, seconds, settle):
    """Failed requests, and the leaders of each node in the end."""
    bench = subprocess.Popen([harness.PROGRAM, "bench", "--cluster", cluster.cluster, "--workload", "put", "-c", "16",
                              "--keys", "1000", "--seconds", str(seconds), "--json"],
                             stdout=subprocess.PIPE, text=True, preexec_fn=harness.die_with_parent)
    begin = time.monotonic()
    for node in range(len(cluster.processes)):
        assert cluster.stop(node) == 0, f"node {node} did not stop cleanly"
        cluster.start(node)
        harness.wait_for(f"node {node} to be ready", lambda: cluster.is_ready(node), PATIENCE)
    restarted = time.monotonic()
    assert restarted - begin + settle < seconds, f"the restarts took {restarted - begin:.0f} s: give more --seconds"
    leaders = None
    while time.monotonic() - restarted < settle:
        leaders = [node["leads"] for node in ask(cluster, "nodes")["nodes"]]
        time.sleep(0.5)
    report = json.loads(bench.communicate()[0])
    return report["failed"], report["unknown"], leaders, restarted - begin


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=5)
    parser.add_argument("--shards", type=int, default=20)
    parser.add_argument("--transfers", type=int, default=100)
    parser.add_argument("--gap-ms", type=float, default=50)
    parser.add_argument("--settle", type=float, default=30)
    parser.add_argument("--seconds", type=int, default=150, help="of load over the rolling restart")
    args = parser.parse_args()
    bad = []
    with harness.Cluster(nodes=args.nodes, shards=args.shards) as cluster:
        paused = say(cluster, "settings", "set", "placement.pause", "balance-leaders")
        assert paused.returncode == harness.DONE, paused
        gaps, quiet, failed = transfers(cluster, args.transfers)
        p99 = percentile(gaps, 0.99)
        print(f"{len(gaps)} planned transfers: longest gap p50 {percentile(gaps, 0.5):.0f} ms, p99 {p99:.0f} ms, "
              f"most {max(gaps):.0f} ms (without a transfer: p99 {percentile(quiet, 0.99):.0f} ms); "
              f"{len(failed)} requests failed")
        if failed:
            bad.append(f"a request failed during a transfer: {failed[0]}")
        if p99 > args.gap_ms:
            bad.append(f"gap p99 {p99:.0f} ms, {args.gap_ms:.0f} allowed")

        again = say(cluster, "settings", "set", "placement.pause", "none")
        assert again.returncode == harness.DONE, again
        failed, unknown, leaders, took = rolling_restart(cluster, args.seconds, args.settle)
        print(f"rolling restart of {args.nodes} nodes in {took:.0f} s: {failed} requests failed, {unknown} unknown; "
              f"leaders {args.settle:.0f} s later: {leaders}")
        if failed or unknown:
            bad.append("a request failed during the rolling restart")
        even = args.shards / args.nodes
        if sum(leaders) != args.shards or any(abs(leads - even) > 1 for leads in leaders):
            bad.append(f"leaders are not within one of even: {leaders}")
    for each in bad:
        print(f"NOT AS PROMISED: {each}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
