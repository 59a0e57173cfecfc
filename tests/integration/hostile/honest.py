"""Honest clients, each with keys of its own, of which it knows what they must be.

Every transaction has a name. When a call ends without an answer, or with one that leaves open what
became of the transaction, the client asks, as docs/service.md says; and goes on knowing it.
"""
import json
import os
import random
import statistics
import sys
import threading
import time

import grpc

import stubs

CLIENTS = 4
PAUSE = 0.03
# How long an outcome is asked for; a cluster that cannot say by then does not serve.
OUTCOME_SECONDS = 60


def new_name():
    """A UUIDv7."""
    free = bytearray(os.urandom(10))
    free[0] = free[0] & 0x0F | 0x70
    free[2] = free[2] & 0x3F | 0x80
    return int(time.time() * 1000).to_bytes(6, "big") + bytes(free)


class Failed(Exception):
    """A step had no effect that the client does not know of, and no success."""


class Honest:
    def __init__(self, args, number):
        self.pb, services, self.txn = stubs.load(args.stubs)
        address = args.addresses.split(",")[number % 3]
        self.channel = grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])
        self.node = services.QuorateStub(self.channel)
        self.rng = random.Random(args.seed + number)
        self.prefix = b"%c/honest/" % (ord("a") + number * 6)
        self.model = {}
        self.latencies = []
        self.wrong = []   # answers that contradict what is known
        self.cut = []     # calls that ended without an answer
        self.failed = []  # and with one that says: not now
        self.refused = 0

    # What an answer may say beside OK: that the node has no room, or no time.
    def excuses(self):
        t = self.txn
        return {t.UNAVAILABLE, t.DEADLINE_EXCEEDED, t.UNKNOWN_OUTCOME, t.ABORTED, t.READ_CONFLICT,
                t.LOCK_CONFLICT, t.CANCELLED}

    def judge(self, response):
        """Of an answer other than OK. What it left open is for the caller to ask."""
        error = response.error
        if error.code == self.txn.OVERLOADED:
            self.refused += 1
            time.sleep(error.retry_after_ms / 1000)
        elif error.code in self.excuses():
            self.failed.append(f"{self.txn.ErrorCode.Name(error.code)}: {error.message}"[:200])
        else:
            self.wrong.append(str(error)[:300])

    def ask(self, call, request):
        """The answer of a call that may fail without harm; judged if it is not OK."""
        response = call(request, timeout=15)
        if response.error.code != self.txn.OK:
            self.judge(response)
            raise Failed
        return response

    def expect(self, got, want, what):
        if got != want:
            self.wrong.append(f"{what}: got {str(got)[:120]}, expected {str(want)[:120]}")

    def put(self, key, value):
        return self.pb.Operation(put=self.txn.Write(key=key, value=value))

    def pick(self):
        key = self.prefix + b"%d" % self.rng.randrange(50)
        return key, b"z" + key, self.model.get(key), b"%d" % self.rng.randrange(1 << 60)

    def finish(self, name, key, new, commit):
        """Commits by calling `commit`, and knows afterwards whether it did. The answer, if it did by it."""
        definite = {self.txn.OVERLOADED, self.txn.ABORTED, self.txn.READ_CONFLICT,
                    self.txn.LOCK_CONFLICT}
        try:
            response = commit()
            if response.error.code == self.txn.OK:
                self.model[key] = new
                return response
            self.judge(response)
            open_ended = response.error.code in self.excuses() - definite
        except grpc.RpcError as error:
            self.note(error)
            open_ended = True
        if open_ended and self.outcome(name, key):
            self.model[key] = new
        raise Failed

    def outcome(self, name, key):
        request = self.pb.GetOutcomeRequest(txn=self.txn.TxnRef(txn_id=name, anchor_key=key))
        until = time.monotonic() + OUTCOME_SECONDS
        while time.monotonic() < until:
            try:
                response = self.node.GetOutcome(request, timeout=15)
                if response.error.code == self.txn.OK:
                    return response.state == self.txn.COMMITTED
                self.judge(response)
            except grpc.RpcError as error:
                self.note(error)
            time.sleep(0.1)
        self.wrong.append(f"the outcome of {name.hex()} cannot be had")
        return False

    def note(self, error):
        """A deadline that passed is the node's slowness; anything else is a call that was cut off."""
        late = error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        (self.failed if late else self.cut).append(f"{error.code()} {error.details()}"[:200])

    # ---- steps -------------------------------------------------------------------------------

    def write(self):
        """A read, a condition and two writes over two shards, as one transaction."""
        key, twin, old, new = self.pick()
        name = new_name()
        condition = self.pb.Condition(key=twin, absent=True)
        if old is not None:
            condition = self.pb.Condition(key=twin, equals=old)
        request = self.pb.ExecuteRequest(
            operations=[self.pb.Operation(get=key), self.put(key, new), self.put(twin, new)],
            conditions=[condition], txn_id=name, timeout_ms=10000)
        answer = self.finish(name, key, new, lambda: self.node.Execute(request, timeout=15))
        value = answer.results[0].value
        self.expect(value.value if value.found else None, old, "write")

    def read(self):
        scan = self.pb.ScanOperation(to=self.prefix + b"\xff", reverse=self.rng.random() < 0.5)
        setattr(scan, "from", self.prefix)
        answer = self.ask(self.node.Execute,
                          self.pb.ExecuteRequest(operations=[self.pb.Operation(scan=scan)]))
        got = [(row.key, row.value) for row in answer.results[0].rows]
        self.expect(got, sorted(self.model.items(), reverse=scan.reverse), "scan")

    def session(self):
        key, twin, old, new = self.pick()
        begun = self.ask(self.node.Begin, self.pb.BeginRequest())
        number = begun.session_id
        try:
            read = self.ask(self.node.Read, self.pb.SessionReadRequest(
                session_id=number, keys=[key, twin], for_update=True))
            self.expect([value.value if value.found else None for value in read.values], [old, old],
                        "session")
            writes = [self.txn.Write(key=each, value=new) for each in (key, twin)]
            self.ask(self.node.Write, self.pb.SessionWriteRequest(session_id=number, writes=writes))
        except (Failed, grpc.RpcError):
            # Its locks would be in this client's own way.
            self.node.Rollback(self.pb.SessionRollbackRequest(session_id=number), timeout=15)
            raise
        ref = self.txn.TxnRef(txn_id=begun.txn.txn_id, anchor_key=key)
        self.finish(begun.txn.txn_id, key, new, lambda: self.node.Commit(
            self.pb.SessionCommitRequest(session_id=number, txn=ref), timeout=15))

    def run(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            step = self.rng.choice([self.write, self.write, self.read, self.session])
            begin = time.monotonic()
            try:
                step()
            except grpc.RpcError as error:
                self.note(error)
            except Failed:
                pass
            self.latencies.append(time.monotonic() - begin)
            time.sleep(PAUSE)


def figures(clients):
    latencies = [each for client in clients for each in client.latencies]
    found = {"steps": len(latencies), "p50": statistics.median(latencies),
             "p99": statistics.quantiles(latencies, n=100)[98], "worst": max(latencies),
             "refused": sum(client.refused for client in clients)}
    for what in ("failed", "cut", "wrong"):
        lines = [line for client in clients for line in getattr(client, what)]
        found[what] = len(lines)
        found[what + "_lines"] = lines[:5]
    return found


def run(args):
    """Rounds of SECONDS each, as lines of stdin say; prints the figures of each."""
    clients = [Honest(args, number) for number in range(CLIENTS)]
    for line in sys.stdin:
        for client in clients:
            client.refused = 0
            for what in (client.latencies, client.failed, client.cut, client.wrong):
                what.clear()
        threads = [threading.Thread(target=c.run, args=(float(line),)) for c in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(json.dumps(figures(clients)), flush=True)
