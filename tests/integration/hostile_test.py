#!/usr/bin/python3
"""Hostile clients beside honest ones on three real nodes: nobody ends, every honest answer is right,
the honest ones hardly notice, and the nodes' memory stays where it was.

    hostile_test.py [--seconds 180] [--only KIND,KIND]

Honest clients are a process, and so is each kind of hostile ones. Those run at the lowest priority:
what they take of this machine's processors themselves is no node's doing. What each kind had done
in the end is printed, so that nobody is called harmless who did nothing.
"""
import argparse
import importlib
import json
import os
import random
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import grpc

import harness
import stubs

MIB = 1 << 20
MEMORY_MAX = 256 * MIB
SLOWER_MAX = 3
# A run this short has few steps, of which the slowest hundredth says little: it is for what must not
# happen at all.
SHORT = 120
SLOWER_MAX_SHORT = 10
# Where a step takes less than this alone, the hundredth of them is what the machine does beside.
FAST = 0.010
HONEST = 4


def options():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float,
                        default=float(os.environ.get("QUORATE_HOSTILE_SECONDS", 180)))
    parser.add_argument("--only", help="hostile clients of these kinds: KIND,KIND")
    parser.add_argument("--role")
    parser.add_argument("--stubs")
    parser.add_argument("--addresses", default="")
    parser.add_argument("--http", default="")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1000000)
    return parser.parse_args()


# ---- honest ----------------------------------------------------------------------------------------


class Honest:
    """One client with keys of its own, of which it knows what they must be."""

    def __init__(self, args, number):
        self.pb, services, self.txn = stubs.load(args.stubs)
        address = args.addresses.split(",")[number % 3]
        self.channel = grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])
        self.node = services.QuorateStub(self.channel)
        self.number = number
        self.rng = random.Random(args.seed + number)
        self.prefix = b"%c/honest/" % (ord("a") + number * 6)
        self.model = {}
        self.latencies = []
        self.wrong = []
        self.refused = 0

    def put(self, key, value):
        return self.pb.Operation(put=self.txn.Write(key=key, value=value))

    def execute(self, operations, conditions=()):
        return self.node.Execute(self.pb.ExecuteRequest(operations=operations,
                                                        conditions=conditions, timeout_ms=10000))

    def check(self, response, *expected):
        if response.error.code == self.txn.OVERLOADED:
            self.refused += 1
            time.sleep(response.error.retry_after_ms / 1000)
            return False
        if response.error.code != self.txn.OK:
            self.wrong.append(f"{response.error}")
            return False
        for got, want in expected:
            if got != want:
                self.wrong.append(f"got {got!r}, expected {want!r}")
        return True

    def write(self):
        """A read, a condition and two writes over two shards, as one transaction."""
        first = self.prefix + b"%d" % self.rng.randrange(50)
        second = b"z" + first
        old = self.model.get(first)
        new = b"%d" % self.rng.randrange(1 << 60)
        condition = self.pb.Condition(key=second, absent=True)
        if old is not None:
            condition = self.pb.Condition(key=second, equals=old)
        answer = self.execute([self.pb.Operation(get=first), self.put(first, new),
                               self.put(second, new)], [condition])
        value = answer.results[0].value if answer.results else None
        if self.check(answer, *([(value.value if value.found else None, old)] if value else [])):
            self.model[first] = new

    def read(self):
        scan = self.pb.ScanOperation(to=self.prefix + b"\xff", reverse=self.rng.random() < 0.5)
        setattr(scan, "from", self.prefix)
        answer = self.execute([self.pb.Operation(scan=scan)])
        if answer.error.code == self.txn.OK:
            got = [(row.key, row.value) for row in answer.results[0].rows]
            self.check(answer, (got, sorted(self.model.items(), reverse=scan.reverse)))
        else:
            self.check(answer)

    def session(self):
        begun = self.node.Begin(self.pb.BeginRequest(), timeout=10)
        if not self.check(begun):
            return
        key = self.prefix + b"%d" % self.rng.randrange(50)
        old = self.model.get(key)
        read = self.node.Read(self.pb.SessionReadRequest(
            session_id=begun.session_id, keys=[key, b"z" + key], for_update=True), timeout=10)
        got = [value.value if value.found else None for value in read.values]
        if self.check(read, (got, [old, old])):
            new = b"s%d" % self.rng.randrange(1 << 60)
            writes = [self.txn.Write(key=key, value=new), self.txn.Write(key=b"z" + key, value=new)]
            written = self.node.Write(self.pb.SessionWriteRequest(
                session_id=begun.session_id, writes=writes), timeout=10)
            if self.check(written):
                done = self.node.Commit(self.pb.SessionCommitRequest(
                    session_id=begun.session_id), timeout=10)
                if self.check(done):
                    self.model[key] = new
                    return
        self.node.Rollback(self.pb.SessionRollbackRequest(session_id=begun.session_id), timeout=10)

    def run(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            step = self.rng.choice([self.write, self.write, self.read, self.session])
            begin = time.monotonic()
            try:
                step()
            except grpc.RpcError as error:
                self.wrong.append(f"{step.__name__}: {error.code()} {error.details()}")
            self.latencies.append(time.monotonic() - begin)
            time.sleep(0.03)


def honest(args):
    clients = [Honest(args, number) for number in range(HONEST)]
    for line in sys.stdin:  # "SECONDS": one round, and its figures
        for client in clients:
            client.latencies.clear()
        threads = [threading.Thread(target=c.run, args=(float(line),)) for c in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        latencies = [each for client in clients for each in client.latencies]
        print(json.dumps({
            "steps": len(latencies),
            "p50": statistics.median(latencies),
            "p99": statistics.quantiles(latencies, n=100)[98],
            "worst": max(latencies),
            "refused": sum(client.refused for client in clients),
            "wrong": [wrong for client in clients for wrong in client.wrong][:5],
        }), flush=True)


# ---- hostile ---------------------------------------------------------------------------------------


class Http2:
    """As much of HTTP/2 as it takes to be rude: a connection that opens no window."""

    def __init__(self, address, window=0):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=5)
        self.next_stream = 1
        self.windows = {}
        self.first_window = 65535
        self.rest = b""
        settings = b"\x00\x04" + window.to_bytes(4, "big")  # INITIAL_WINDOW_SIZE
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + self.frame(4, 0, 0, settings))

    @staticmethod
    def frame(kind, flags, stream, payload):
        return (len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") +
                payload)

    @staticmethod
    def header(name, value):
        return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value

    def call(self, method, message, length=None, end=True):
        """Sends a request; `length`: what it says of itself, if not the truth."""
        stream, self.next_stream = self.next_stream, self.next_stream + 2
        block = b"".join(self.header(*each) for each in (
            (b":method", b"POST"), (b":scheme", b"http"), (b":path", method), (b":authority", b"x"),
            (b"content-type", b"application/grpc"), (b"te", b"trailers")))
        length = len(message) if length is None else length
        data = b"\x00" + length.to_bytes(4, "big") + message
        self.socket.sendall(self.frame(1, 4, stream, block) +
                            self.frame(0, 1 if end else 0, stream, data))
        return stream

    def send_body(self, stream, count):
        """Of a request, as much of `count` bytes as the node has opened windows for."""
        windows = self.windows.setdefault(stream, self.first_window)
        count = min(count, windows, self.windows.get(0, 65535), 1 << 18)
        for at in range(0, max(count, 0), 16384):
            part = min(16384, count - at)
            self.socket.sendall(self.frame(0, 0, stream, b"z" * part))
            self.windows[stream] -= part
            self.windows[0] = self.windows.get(0, 65535) - part
        return max(count, 0)

    def answer_pings(self):
        """Stays alive without taking a byte of an answer."""
        if not select.select([self.socket], [], [], 0)[0]:
            return
        try:
            data = self.socket.recv(1 << 18)
            if not data:
                raise ConnectionError
            self.rest += data
            while len(self.rest) >= 9:
                length = int.from_bytes(self.rest[:3], "big")
                if len(self.rest) < 9 + length:
                    break
                kind, flags = self.rest[3], self.rest[4]
                stream = int.from_bytes(self.rest[5:9], "big")
                payload, self.rest = self.rest[9:9 + length], self.rest[9 + length:]
                if kind == 6 and not flags & 1:
                    self.socket.sendall(self.frame(6, 1, 0, payload))
                elif kind == 4 and not flags & 1:
                    for at in range(0, length, 6):
                        if payload[at:at + 2] == b"\x00\x04":
                            self.first_window = int.from_bytes(payload[at + 2:at + 6], "big")
                    self.socket.sendall(self.frame(4, 1, 0, b""))
                elif kind == 8:
                    opened = self.windows.get(stream, 65535 if stream == 0 else self.first_window)
                    self.windows[stream] = opened + int.from_bytes(payload, "big")
                elif kind == 7:
                    raise ConnectionError
        except socket.timeout:
            pass


class Hostile:
    def __init__(self, args):
        self.args = args
        self.pb, self.services, self.txn = stubs.load(args.stubs)
        self.addresses = args.addresses.split(",")
        self.http = args.http.split(",")
        self.rng = random.Random(args.seed)
        self.end = time.monotonic() + args.seconds
        self.done = {}

    def going(self):
        return time.monotonic() < self.end

    def did(self, what, count=1):
        self.done[what] = self.done.get(what, 0) + count

    def hold(self, connections, seconds, step=None):
        """Keeps them open, silent but for the answers to pings and what `step` does with each."""
        until = time.monotonic() + seconds
        while self.going() and time.monotonic() < until and connections:
            for connection in list(connections):
                try:
                    connection.answer_pings()
                    if step:
                        step(connection)
                except OSError:
                    self.did("connections lost")
                    connections.remove(connection)
            time.sleep(0.1)
        for connection in connections:
            connection.socket.close()

    def stub(self):
        channel = grpc.insecure_channel(self.rng.choice(self.addresses),
                                        [("grpc.use_local_subchannel_pool", 1),
                                         ("grpc.max_send_message_length", -1)])
        return channel, self.services.QuorateStub(channel)

    def never_reads(self):
        """40 connections that ask for 100 scans of everything each and take no byte of an answer."""
        scan = self.pb.ScanOperation(to=b"fat0")
        setattr(scan, "from", b"fat/")
        execute = self.pb.ExecuteRequest(operations=[self.pb.Operation(scan=scan)],
                                         timeout_ms=60000).SerializeToString()
        all_of_it = self.pb.ScanAllRequest(to=b"fat0").SerializeToString()
        while self.going():
            connections = [Http2(address) for address in self.addresses for _ in range(14)]
            for _ in range(100):
                for connection in list(connections):
                    try:
                        connection.call(b"/quorate.v1.Quorate/Execute", execute)
                        connection.call(b"/quorate.v1.Quorate/ScanAll", all_of_it)
                        self.did("calls", 2)
                        connection.answer_pings()
                    except OSError:
                        connections.remove(connection)
            self.hold(connections, 15)

    def routes(self):
        """Of fat/: the cluster's id, the shard, and the address of who leads it."""
        node, shard = (importlib.import_module(f"quorate.v1.{name}_pb2")
                            for name in ("node", "shard"))
        placement = importlib.import_module("quorate.v1.placement_pb2")
        rpc_services = importlib.import_module("quorate.v1.rpc_pb2_grpc")
        request = placement.RoutesRequest(to=b"fat0")
        setattr(request, "from", b"fat/")
        ask = node.CallBatch(calls=[node.Call(id=1, request=node.NodeRequest(
            timeout_ms=5000, routes=request))])
        answered = threading.Event()

        def asked():  # a stream whose client has said all ends
            yield ask
            answered.wait()
        with grpc.insecure_channel(self.addresses[0]) as channel:
            answer = next(rpc_services.NodeStub(channel).Calls(asked(), timeout=5))
            answered.set()
        routes = answer.calls[0].response.routes
        route = routes.routes[0]
        leader = next((n.address for n in routes.nodes if n.node_id == route.leader_node_id),
                      self.addresses[0])
        return node, shard, routes.cluster_id, route.shard, leader

    def unread_calls(self):
        """As another process of the cluster: reads of the fat shard on streams that nobody reads."""
        while self.going():
            node, shard, cluster_id, route, leader = self.routes()
            scan = shard.ScanSpan(span={"from": b"fat/", "to": b"fat0"})
            read = shard.ReadRequest(route={"shard_id": route.shard_id, "version": route.version},
                                     scans=[scan])
            batch = node.CallBatch(cluster_id=cluster_id, calls=[
                node.Call(id=number, request=node.NodeRequest(timeout_ms=10000, read=read))
                for number in range(1, 5)]).SerializeToString()
            connections = [Http2(leader) for _ in range(20)]
            for _ in range(5):
                for connection in list(connections):
                    try:
                        connection.call(b"/quorate.v1.Node/Calls", batch, end=False)
                        self.did("reads", 4)
                        connection.answer_pings()
                    except OSError:
                        connections.remove(connection)
                time.sleep(0.2)
            self.hold(connections, 10)

    def reads_everything(self):
        """Scans of all there is, many at once, and read: what a node does at its busiest."""
        scan = self.pb.ScanOperation(to=b"fat0")
        setattr(scan, "from", b"fat/")
        execute = self.pb.ExecuteRequest(operations=[self.pb.Operation(scan=scan)])
        everything = self.pb.ScanAllRequest(to=b"fat0")

        def run():
            channel, stub = self.stub()
            with channel:
                while self.going():
                    try:
                        stub.Execute(execute, timeout=10)
                        for _ in stub.ScanAll(everything, timeout=10):
                            pass
                        self.did("scans", 2)
                    except grpc.RpcError:
                        self.did("refused")
                        time.sleep(0.05)
        threads = [threading.Thread(target=run) for _ in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def cancels(self):
        """Scans and transactions that are cancelled as soon as they run."""
        everything = self.pb.ScanAllRequest(to=b"fat0")
        while self.going():
            channel, stub = self.stub()
            with channel:
                for _ in range(200):
                    calls = [stub.ScanAll(everything, timeout=10) for _ in range(4)]
                    calls += [stub.Execute.future(self.pb.ExecuteRequest(operations=[
                        self.pb.Operation(put=self.txn.Write(key=b"cancel", value=b"x" * 9999))]))]
                    time.sleep(self.rng.random() * 0.02)
                    for call in calls:
                        call.cancel()
                    self.did("calls", len(calls))
                    if not self.going():
                        return
                    time.sleep(0.05)

    def never_sends(self):
        """Requests of nearly the largest size on many connections, and none of them whole."""
        while self.going():
            connections = [Http2(address, 65535) for address in self.addresses for _ in range(8)]
            left = {}
            for connection in connections:
                for _ in range(16):
                    stream = connection.call(b"/quorate.v1.Quorate/Execute", b"", 16 * MIB, end=False)
                    left[connection, stream] = 16 * MIB - 1000
                    self.did("requests")

            def step(connection):
                for stream in range(1, connection.next_stream, 2):
                    sent = connection.send_body(stream, left[connection, stream])
                    left[connection, stream] -= sent
                    self.did("MiB", sent / MIB)
            self.hold(connections, 12, step)

    def headers(self):
        """Headers without end, and calls that are only begun."""
        while self.going():
            connections = [Http2(address, 65535) for address in self.addresses for _ in range(4)]
            for number, connection in enumerate(connections):
                try:
                    if number % 2 == 0:
                        for _ in range(250):
                            connection.call(b"/quorate.v1.Quorate/Execute", b"", 1000, end=False)
                            self.did("calls")
                        continue
                    block = b"".join(Http2.header(b"x-%d" % i, b"v" * 100) for i in range(100))
                    connection.socket.sendall(Http2.frame(1, 0, 1, block))
                    for _ in range(200):
                        connection.socket.sendall(Http2.frame(9, 0, 1, block))
                        self.did("frames of headers")
                except OSError:
                    self.did("connections lost")
            self.hold(connections, 5)

    def write_all(self, values):
        """Transactions of that many large values, one after the other from each connection."""
        def run(number):
            channel, stub = self.stub()
            puts = [self.pb.Operation(put=self.txn.Write(key=b"large/%d/%d" % (number, key),
                                                         value=os.urandom(1000) * 1000))
                    for key in range(values)]
            with channel:
                while self.going():
                    try:
                        answer = stub.Execute(self.pb.ExecuteRequest(operations=puts), timeout=20)
                        self.did("refused" if answer.error.code else "transactions")
                        time.sleep(0.05 + answer.error.retry_after_ms / 1000)
                    except grpc.RpcError:
                        self.did("failed")
        threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def large_values(self):
        """Values of the largest size from many connections."""
        self.write_all(1)

    def large_writes(self):
        """Transactions of nearly the largest size."""
        self.write_all(14)

    def outcomes(self):
        """What became of transactions that never were."""
        while self.going():
            channel, stub = self.stub()
            with channel:
                for _ in range(20):
                    calls = []
                    for _ in range(20):
                        name = bytearray(int(time.time() * 1000).to_bytes(6, "big") + os.urandom(10))
                        name[6], name[8] = 0x70 | name[6] & 15, 0x80 | name[8] & 63
                        txn = self.txn.TxnRef(txn_id=bytes(name), anchor_key=b"outcome")
                        calls.append(stub.GetOutcome.future(self.pb.GetOutcomeRequest(txn=txn)))
                    for call in calls:
                        try:
                            call.result(timeout=10)
                        except (grpc.RpcError, grpc.FutureTimeoutError):
                            self.did("failed")
                    self.did("calls", len(calls))
                    if not self.going():
                        return
                    time.sleep(0.05)

    def sends_slowly(self):
        """Requests that say how long they will be, and never are."""
        while self.going():
            connections = []
            for address in self.addresses * 6:
                connection = Http2(address, 65535)
                connections.append(connection)
                for _ in range(8):
                    connection.call(b"/quorate.v1.Quorate/Execute", b"x" * 4096, 16 * MIB, end=False)
            def step(connection):
                stream = self.rng.randrange(0, 8) * 2 + 1
                connection.socket.sendall(Http2.frame(0, 0, stream, b"y" * 100))
                self.did("frames")
            self.hold(connections, 10, step)

    def garbage(self):
        """Bytes that are nothing, on every port."""
        while self.going():
            host, port = self.rng.choice(self.addresses + self.http).rsplit(":", 1)
            try:
                with socket.create_connection((host, int(port)), timeout=2) as s:
                    s.sendall(self.rng.choice([
                        os.urandom(self.rng.randrange(1, 5000)), b"GET / HTTP/1.1\r\n\r\n",
                        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + os.urandom(2000), b"\0" * 10]))
                    self.did("connections")
                    time.sleep(0.02)
            except OSError:
                pass

    def many_connections(self):
        """Hundreds that say nothing, held and dropped again."""
        while self.going():
            held = []
            for _ in range(600):
                host, port = self.rng.choice(self.addresses).rsplit(":", 1)
                try:
                    held.append(socket.create_connection((host, int(port)), timeout=2))
                    self.did("connections")
                except OSError:
                    pass
                time.sleep(0.005)
            time.sleep(3)
            for s in held:
                s.close()

    def slow_pages(self):
        """Status pages that are asked for a byte at a time."""
        while self.going():
            held = []
            for _ in range(40):
                host, port = self.rng.choice(self.http).rsplit(":", 1)
                try:
                    held.append(socket.create_connection((host, int(port)), timeout=2))
                except OSError:
                    pass
            self.did("connections", len(held))
            for byte in b"GET /metrics HTTP":
                for s in list(held):
                    try:
                        s.sendall(bytes([byte]))
                    except OSError:
                        held.remove(s)
                time.sleep(0.3)
            for s in held:
                s.close()

    def hoards(self):
        """As many sessions as there are to be had, full, locked, and left alone."""
        while self.going():
            channel, stub = self.stub()
            with channel:
                try:
                    for number in range(400):
                        begun = stub.Begin(self.pb.BeginRequest(), timeout=5)
                        if begun.error.code != self.txn.OK:
                            time.sleep(begun.error.retry_after_ms / 1000)
                            break
                        stub.Write(self.pb.SessionWriteRequest(
                            session_id=begun.session_id,
                            writes=[self.txn.Write(key=b"hoard/%d" % number, value=b"x" * MIB)]),
                            timeout=5)
                        stub.Read(self.pb.SessionReadRequest(
                            session_id=begun.session_id, keys=[b"hoard/%d" % number],
                            for_update=True), timeout=5)
                        self.did("sessions")
                        if not self.going():
                            return
                        time.sleep(0.02)
                except grpc.RpcError:
                    pass

    def malformed(self):
        """Messages that are none, or too large, or wrong in every field, to every method."""
        methods = [f"/quorate.v1.Quorate/{m.name}"
                   for m in self.pb.DESCRIPTOR.services_by_name["Quorate"].methods if m.name != "Init"]
        methods += ["/quorate.v1.Node/Calls", "/quorate.v1.Node/Raft", "/quorate.v1.Node/Bulk"]
        while self.going():
            channel, _ = self.stub()
            with channel:
                for _ in range(100):
                    message = self.rng.choice([
                        os.urandom(self.rng.randrange(300)), b"", b"\x0a\xff\xff\xff\xff\x0f",
                        b"\x12\x08\x0a\x06" + b"k" * 6, b"\x12\x04\x1a\x02\x18\x01"])
                    if self.rng.random() < 0.01:
                        message = b"\x0a" + b"\xff" * (33 * MIB)
                    try:
                        self.did("calls")
                        list(channel.stream_stream(self.rng.choice(methods))(iter([message]),
                                                                            timeout=1))
                    except grpc.RpcError:
                        pass
                    if not self.going():
                        return
                    time.sleep(0.02)


KINDS = ("never_reads", "unread_calls", "reads_everything", "cancels", "sends_slowly", "headers",
         "large_values", "outcomes", "garbage", "many_connections", "slow_pages", "hoards",
         "malformed")
# What a node does not stand up to; --only runs them.
#   never_sends   gRPC takes requests in whole before anyone can judge them. Once what it may take
#                 for all is used up, it ends calls at random, honest ones and those between nodes
#                 among them.
#   large_writes  16 MiB are one entry of a log: each step with it takes a node's thread for tenths
#                 of a second, and heartbeats wait behind it.
NOT_MET = ("never_sends", "large_writes")


def hostile(args):
    """One kind."""
    os.setpriority(os.PRIO_PROCESS, 0, 19)
    client = Hostile(args)
    while client.going():
        try:
            getattr(client, args.only)()
        except (OSError, grpc.RpcError):
            time.sleep(0.1)  # it was shown the door: in again
    done = {what: round(count) for what, count in client.done.items()}
    sys.stdout.write(f"{args.only} {done}\n")  # in one piece


# ---- the test --------------------------------------------------------------------------------------


def resident(process):
    with open(f"/proc/{process.pid}/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmRSS"))


class Watch:
    """The most memory that each node had."""

    def __init__(self, cluster):
        self.processes = list(cluster.processes)
        self.before = [resident(p) for p in self.processes]
        self.most = list(self.before)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.stop.wait(0.2):
            for number, process in enumerate(self.processes):
                if process.poll() is None:
                    self.most[number] = max(self.most[number], resident(process))

    def end(self):
        self.stop.set()
        self.thread.join()
        return [most - before for most, before in zip(self.most, self.before)]


FIGURES = ("quorate_calls_overloaded_total", "quorate_call_streams_cut_total",
           "quorate_peer_parts_dropped_total", "quorate_client_connections_lost_total",
           "quorate_connections_evicted_total", "quorate_connections_refused_total")


def figures_of(cluster):
    """What each node counted of what it did against too much, and of what suffered."""
    figures = []
    for node in range(len(cluster.processes)):
        lines = cluster.get_http(node, "/metrics")[1].splitlines()
        figures.append([int(float(line.split()[1])) for figure in FIGURES for line in lines
                        if line.startswith(figure + " ")])
    return figures


def fill(cluster, directory):
    """What hostile clients ask for: 10 MB under fat/."""
    pb, services, txn = stubs.load(directory)
    with grpc.insecure_channel(cluster.addresses[0]) as channel:
        for number in range(10):
            put = pb.Operation(put=txn.Write(key=b"fat/%d" % number, value=b"x" * (MIB - 1000)))
            answer = services.QuorateStub(channel).Execute(pb.ExecuteRequest(operations=[put]),
                                                           timeout=20)
            assert answer.error.code == txn.OK, answer


def child(role, args, cluster, directory, *options, **pipes):
    return subprocess.Popen(
        [sys.executable, "-B", __file__, "--role", role, "--stubs", directory, "--addresses",
         cluster.cluster, "--http", ",".join(cluster.http), "--seconds", str(args.seconds),
         "--seed", str(args.seed), *options], preexec_fn=harness.die_with_parent, text=True, **pipes)


def main():
    args = options()
    if args.role:
        return {"honest": honest, "hostile": hostile}[args.role](args)
    print(f"seed {args.seed}, {args.seconds:.0f} s", flush=True)
    with tempfile.TemporaryDirectory(prefix="quorate-stubs-") as directory:
        stubs.generate(directory)
        with harness.Cluster(split_at=["d", "g", "n", "t", "z"]) as cluster:
            fill(cluster, directory)
            good = child("honest", args, cluster, directory, stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE)

            def round_of(seconds):
                print(seconds, file=good.stdin, flush=True)
                return json.loads(good.stdout.readline())
            round_of(2)  # to get warm
            alone = round_of(max(8, args.seconds / 6))
            print("alone ", alone, flush=True)
            watch = Watch(cluster)
            kinds = args.only.split(",") if args.only else KINDS
            bad = [child("hostile", args, cluster, directory, "--only", kind) for kind in kinds]
            time.sleep(1)
            beside = round_of(args.seconds - 2)
            print("beside", beside, flush=True)
            ended = [each.wait(timeout=args.seconds + 120) for each in bad]
            grown = watch.end()
            print("most memory above before, MiB:", [g // MIB for g in grown], flush=True)
            print("counted:", ", ".join(each[8:] for each in FIGURES), figures_of(cluster))
            after = round_of(3)
            print("after ", after, flush=True)
            good.stdin.close()
            good.wait(timeout=30)
            problems = [f"node {node} ended: {process.poll()}"
                        for node, process in enumerate(cluster.processes)
                        if process.poll() is not None]
            problems += [f"hostile client {kind} ended with {code}"
                         for kind, code in zip(kinds, ended) if code != 0]
            problems += [f"wrong: {wrong}" for figures in (alone, beside, after)
                         for wrong in figures["wrong"]]
            problems += [f"node {node} grew by {g // MIB} MiB" for node, g in enumerate(grown)
                         if g > MEMORY_MAX]
            slower_max = SLOWER_MAX_SHORT if args.seconds < SHORT else SLOWER_MAX
            if beside["p99"] > slower_max * max(alone["p99"], FAST):
                problems.append(f"p99 {beside['p99']:.3f} s beside, {alone['p99']:.3f} s alone")
            if cluster.quorate("status").returncode != harness.DONE:
                problems.append("the cluster is not healthy afterwards")
            for problem in problems:
                print(problem)
            print(f"p99 beside / alone: {beside['p99'] / alone['p99']:.1f}; "
                  f"{len(problems)} problems", flush=True)
            return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
