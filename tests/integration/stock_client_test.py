#!/usr/bin/python3
"""A client that was told nothing: Python's gRPC with its own limits and options, every call of the
public service, with values that hurt if they can."""
import os
import random
import tempfile
import time
import unittest

import grpc

import harness
import stubs
from hostile.http2 import Http2

TIMEOUT = 20
MIB = 1 << 20
STOCK_LIMIT = 4 * MIB
ROWS = 40


class StockClient(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory(prefix="quorate-stubs-")
        cls.addClassCleanup(directory.cleanup)
        cls.pb, cls.services, cls.txn_pb = stubs.generate(directory.name)
        cls.cluster = harness.Cluster(split_at=["big/1", "big/3", "t"])
        cls.cluster.__enter__()
        cls.addClassCleanup(cls.cluster.__exit__)
        cls.channels = [grpc.insecure_channel(a) for a in cls.cluster.addresses]
        cls.nodes = [cls.services.QuorateStub(channel) for channel in cls.channels]
        for channel in cls.channels:
            cls.addClassCleanup(channel.close)
        cls.big = [b"big/%02d" % i for i in range(ROWS)]
        for key in cls.big:
            put = cls.pb.Operation(put=cls.txn_pb.Write(key=key, value=key[-1:] * MIB))
            cls.nodes[0].Execute(cls.pb.ExecuteRequest(operations=[put]), timeout=TIMEOUT)

    def ok(self, response):
        self.assertEqual(response.error.code, self.txn_pb.OK, response.error)
        self.assertLessEqual(response.ByteSize(), STOCK_LIMIT)
        return response

    def range(self, message, begin=b"", end=b"", **fields):
        request = message(to=end, **fields)
        setattr(request, "from", begin)
        return request

    def execute(self, *operations, node=0, **fields):
        return self.nodes[node].Execute(self.pb.ExecuteRequest(operations=operations, **fields),
                                        timeout=TIMEOUT)

    def scan(self, begin=b"", end=b"", **fields):
        scan = self.range(self.pb.ScanOperation, begin, end, **fields)
        return self.ok(self.execute(self.pb.Operation(scan=scan))).results[0]

    def follow(self, begin, end, **fields):
        """The keys of a range, scan by scan."""
        keys = []
        while True:
            result = self.scan(begin, end, **fields)
            keys += [row.key for row in result.rows]
            if not result.more:
                return keys
            self.assertTrue(result.rows)
            if fields.get("reverse"):
                end = result.resume_key
            else:
                begin = result.resume_key

    def begin(self, node=0):
        return self.ok(self.nodes[node].Begin(self.pb.BeginRequest(), timeout=TIMEOUT)).session_id

    def test_scans_of_large_values_are_cut_to_fit_and_can_be_followed(self):
        self.assertEqual(self.follow(b"big/", b"big0"), self.big)
        self.assertEqual(self.follow(b"big/", b"big0", reverse=True), self.big[::-1])
        keys = self.scan(b"big/", b"big0", keys_only=True)
        self.assertEqual([(row.key, row.value) for row in keys.rows], [(k, b"") for k in self.big])
        self.assertFalse(keys.more)
        few = self.scan(b"big/", b"big0", limit_bytes=MIB)
        self.assertEqual([row.key for row in few.rows], self.big[:1])
        last = self.scan(b"big/", self.big[-1] + b"\0", limit=ROWS, keys_only=True)
        self.assertEqual((len(last.rows), last.more), (ROWS, False))

    def test_what_does_not_fit_is_refused_before_it_is_committed(self):
        gets = [self.pb.Operation(get=key) for key in self.big]
        mark = self.pb.Operation(put=self.txn_pb.Write(key=b"mark", value=b"1"))
        refused = self.execute(mark, *gets)
        self.assertEqual(refused.error.code, self.txn_pb.INVALID_ARGUMENT)
        self.assertIn("limit_bytes", refused.error.message)
        self.assertTrue(refused.error.no_effect)
        self.assertFalse(self.ok(self.execute(self.pb.Operation(get=b"mark"))).results[0].value.found)
        self.ok(self.execute(mark, *gets[:3]))
        fifteen = [self.pb.Operation(put=self.txn_pb.Write(key=b"mark/%d" % i, value=b"x" * MIB))
                   for i in range(15)]
        # It may find the memory taken by sessions that other tests have left: told so, it waits.
        request = self.pb.ExecuteRequest(operations=fifteen, timeout_ms=60_000)
        end = time.monotonic() + 60
        while True:
            answer = self.nodes[0].Execute(request, timeout=60)
            if answer.error.code != self.txn_pb.OVERLOADED or time.monotonic() > end:
                break
            time.sleep(answer.error.retry_after_ms / 1000)
        self.ok(answer)

    def test_a_session_with_large_values(self):
        node, session = self.nodes[1], self.begin(1)
        read = node.Read(self.pb.SessionReadRequest(session_id=session, keys=self.big[:5]),
                         timeout=TIMEOUT)
        self.assertEqual(read.error.code, self.txn_pb.INVALID_ARGUMENT)
        read = self.ok(node.Read(self.pb.SessionReadRequest(session_id=session, keys=self.big[:3]),
                                 timeout=TIMEOUT))
        self.assertEqual([len(v.value) for v in read.values], [MIB] * 3)
        page = self.ok(node.Scan(self.range(self.pb.SessionScanRequest, b"big/", b"big0",
                                            session_id=session, reverse=True), timeout=TIMEOUT))
        self.assertEqual([row.key for row in page.rows], self.big[:-4:-1])
        self.assertTrue(page.more)
        self.ok(node.Write(self.pb.SessionWriteRequest(session_id=session, writes=[
            self.txn_pb.Write(key=b"session", value=b"1")]), timeout=TIMEOUT))
        self.ok(node.Commit(self.pb.SessionCommitRequest(session_id=session), timeout=TIMEOUT))

    def test_scan_all_streams_one_snapshot_and_goes_on_after_a_break(self):
        for reverse in (False, True):
            want = self.big[::-1] if reverse else self.big
            request = self.range(self.pb.ScanAllRequest, b"big/", b"big0", reverse=reverse)
            stream = self.nodes[0].ScanAll(request, timeout=TIMEOUT)
            first = [self.ok(next(stream)) for _ in range(3)]
            stream.cancel()
            self.ok(self.execute(self.pb.Operation(put=self.txn_pb.Write(key=b"big/005", value=b""))))
            end = "to" if reverse else "from"
            setattr(request, end, first[-1].resume_key)
            request.read_ts = first[-1].read_ts
            rest = [self.ok(page) for page in self.nodes[2].ScanAll(request, timeout=TIMEOUT)]
            self.assertEqual([row.key for page in first + rest for row in page.rows], want)
            self.assertEqual({page.read_ts for page in first + rest}, {request.read_ts})
            self.assertEqual(rest[-1].resume_key, b"")
            delete = self.txn_pb.Write(key=b"big/005", deletion=True)
            self.ok(self.execute(self.pb.Operation(put=delete)))
        old = self.range(self.pb.ScanAllRequest, read_ts=1 << 20)
        # Before anything was written: no rows, or refused once that time is not kept any more.
        pages = list(self.nodes[0].ScanAll(old, timeout=TIMEOUT))
        self.assertTrue(pages)
        for page in pages:
            self.assertEqual(len(page.rows), 0)
            self.assertIn(page.error.code, (self.txn_pb.OK, self.txn_pb.SNAPSHOT_TOO_OLD))

    def resident(self, node):
        with open(f"/proc/{self.cluster.processes[node].pid}/status") as status:
            return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmRSS"))

    def test_scans_that_nobody_reads_hold_little(self):
        before = self.resident(0)
        request = self.range(self.pb.ScanAllRequest, b"big/", b"big0")
        # A stub that is never asked for its next page reads none but the first.
        streams = [self.nodes[0].ScanAll(request, timeout=TIMEOUT) for _ in range(60)]
        time.sleep(3)
        self.assertLess(self.resident(0) - before, 220 * MIB)
        # Whoever reads nothing may hold no more there, and is told when to come again; elsewhere it can.
        get = self.pb.ExecuteRequest(operations=[self.pb.Operation(get=b"big/00")])
        answer = self.nodes[0].Execute(get, timeout=TIMEOUT)
        self.assertIn(answer.error.code, (self.txn_pb.OK, self.txn_pb.OVERLOADED))
        if answer.error.code == self.txn_pb.OVERLOADED:
            self.assertGreater(answer.error.retry_after_ms, 0)
        self.ok(self.nodes[1].Execute(get, timeout=TIMEOUT))
        for stream in streams:
            stream.cancel()
        end = time.monotonic() + 30
        while self.nodes[0].Execute(get, timeout=TIMEOUT).error.code == self.txn_pb.OVERLOADED:
            self.assertLess(time.monotonic(), end, "what they held is free once they are gone")
            time.sleep(0.05)
        self.assertEqual(self.follow(b"big/", b"big0"), self.big)

    def test_a_call_that_is_given_up_leaves_its_session_usable(self):
        # The older one holds the lock, or the other would take it away: of one node, since between
        # two of them the age is only roughly known.
        node, holder = self.nodes[0], self.begin()
        self.ok(node.Read(self.pb.SessionReadRequest(
            session_id=holder, keys=[b"held"], for_update=True), timeout=TIMEOUT))
        session = self.begin()
        read = self.pb.SessionReadRequest(session_id=session, keys=[b"held"], for_update=True)
        for _ in range(3):
            # Node and client keep the same deadline: either may be the first to notice.
            try:
                late = node.Read(read, timeout=0.2).error.code
                self.assertEqual(late, self.txn_pb.DEADLINE_EXCEEDED)
            except grpc.RpcError as error:
                self.assertEqual(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        under_way = node.Read.future(read, timeout=TIMEOUT)
        time.sleep(0.2)
        begin = time.monotonic()
        rollback = node.Rollback(self.pb.SessionRollbackRequest(session_id=session),
                                 timeout=TIMEOUT)
        self.ok(rollback)
        self.assertLess(time.monotonic() - begin, 2)
        self.assertEqual(under_way.result().error.code, self.txn_pb.CANCELLED)
        self.ok(node.Rollback(self.pb.SessionRollbackRequest(session_id=holder), timeout=TIMEOUT))

    def test_every_call_of_the_service(self):
        """A name that this test does not know means that a call was added without it."""
        known = {"Execute", "Begin", "Read", "Scan", "Write", "Commit", "Rollback", "ScanAll",
                 "GetOutcome", "Init", "Status"}
        methods = self.pb.DESCRIPTOR.services_by_name["Quorate"].methods
        self.assertEqual({method.name for method in methods}, known)

    def hostile(self, rng, field):
        """A value for a field that a reasonable client would not send."""
        d = field
        if d.cpp_type == d.CPPTYPE_STRING:
            raw = rng.choice([b"", b"\0", b"\xff", b"k" * 480, b"k" * 481, b"k" * 482,
                              os.urandom(rng.randrange(40)), b"v" * (MIB + 1), b"a"])
            return raw if d.type == d.TYPE_BYTES else raw[:500].decode("latin-1")
        if d.cpp_type == d.CPPTYPE_BOOL:
            return rng.random() < 0.5
        if d.cpp_type == d.CPPTYPE_ENUM:
            return rng.choice([0, 1, 2, 99])
        if d.cpp_type == d.CPPTYPE_UINT32:
            return rng.choice([0, 1, 7, 1000, (1 << 31), (1 << 32) - 1])
        return rng.choice([0, 1, 1 << 20, 1 << 63, (1 << 64) - 1])

    def fill(self, rng, message, session, depth=0):
        for field in message.DESCRIPTOR.fields:
            if rng.random() < 0.4:
                continue
            if field.name == "session_id":
                message.session_id = rng.choice([session, session, 0, 1 << 63])
            elif field.cpp_type == field.CPPTYPE_MESSAGE:
                if field.label == field.LABEL_REPEATED:
                    for _ in range(rng.choice([1, 2, 5])):
                        self.fill(rng, getattr(message, field.name).add(), session, depth + 1)
                else:
                    self.fill(rng, getattr(message, field.name), session, depth + 1)
            elif field.label == field.LABEL_REPEATED:
                for _ in range(rng.choice([1, 3, 20])):
                    getattr(message, field.name).append(self.hostile(rng, field))
            elif field.name == "timeout_ms":
                message.timeout_ms = rng.choice([1, 200, 500])
            else:
                setattr(message, field.name, self.hostile(rng, field))

    def test_hostile_values_get_an_answer_and_harm_nobody(self):
        seed = int(os.environ.get("QUORATE_SEED", time.time_ns() % 1000000))
        print(f"seed {seed}", flush=True)
        rng = random.Random(seed)
        methods = [m for m in self.pb.DESCRIPTOR.services_by_name["Quorate"].methods
                   if m.name not in ("Init", "Status")]
        codes = {}
        for step in range(600):
            if step % 10 == 0:
                session = self.begin(step % 3)
            method = rng.choice(methods)
            request = getattr(self.pb, method.input_type.name)()
            self.fill(rng, request, session)
            call = getattr(self.nodes[step // 10 % 3], method.name)
            try:
                answers = call(request, timeout=5)
                answers = list(answers) if method.name == "ScanAll" else [answers]
            except grpc.RpcError as error:
                # Time may run out; nothing else may go wrong at the transport.
                self.assertEqual(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED, error)
                continue
            for answer in answers:
                self.assertLessEqual(answer.ByteSize(), STOCK_LIMIT)
                code = answer.error.code
                codes[code] = codes.get(code, 0) + 1
                self.assertNotEqual(code, self.txn_pb.INTERNAL, (request, answer.error))
                if code == self.txn_pb.OVERLOADED:
                    self.assertGreater(answer.error.retry_after_ms, 0)
                if code != self.txn_pb.OK:
                    self.assertTrue(answer.error.message, request)
        self.assertIn(self.txn_pb.INVALID_ARGUMENT, codes)
        for node in range(3):
            self.assertIsNone(self.cluster.processes[node].poll())
            self.ok(self.execute(self.pb.Operation(put=self.txn_pb.Write(key=b"alive", value=b"1")),
                                 node=node))

    def test_more_than_a_client_may_hold_is_told_with_a_time_to_wait(self):
        """One connection takes all that it gets; another notices nothing."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(self.cluster.addresses[0], options=options) as channel:
            greedy = self.services.QuorateStub(channel)
            writes = [self.txn_pb.Write(key=b"g/%d" % i, value=b"x" * MIB) for i in range(15)]
            for _ in range(10):
                session = greedy.Begin(self.pb.BeginRequest(), timeout=TIMEOUT).session_id
                told = greedy.Write(self.pb.SessionWriteRequest(session_id=session, writes=writes),
                                    timeout=TIMEOUT)
                if told.error.code != self.txn_pb.OK:
                    break
            self.assertEqual(told.error.code, self.txn_pb.OVERLOADED)
            self.assertGreater(told.error.retry_after_ms, 0)
            self.ok(self.execute(self.pb.Operation(put=self.txn_pb.Write(key=b"me", value=b"1"))))
            self.begin()

    def cut(self):
        page = self.cluster.get_http(0, "/metrics")[1]
        return int(page.split("\nquorate_requests_cut_total ")[1].split("\n")[0])

    def test_requests_that_never_come_whole_are_given_up_and_slow_ones_are_not(self):
        put = self.pb.Operation(put=self.txn_pb.Write(key=b"slow", value=b"1"))
        message = self.pb.ExecuteRequest(operations=[put]).SerializeToString()
        method = b"/quorate.v1.Quorate/Execute"
        slow = Http2(self.cluster.addresses[0], 65535)
        stream = slow.call(method, message[:5], len(message), end=False)
        before = self.cut()
        crowd = [Http2(self.cluster.addresses[0], 65535) for _ in range(4)]
        for connection in crowd:
            for _ in range(16):
                connection.call(method, b"", 16 * MIB, end=False)

        def given_up():
            for connection in crowd:
                slow.answer_pings()
                connection.answer_pings()
                for each in set(range(1, 33, 2)) - connection.ended:
                    connection.send_body(each, MIB)
            return self.cut() > before
        harness.wait_for("unfinished requests to be given up", given_up, 60)
        self.assertNotIn(stream, slow.ended)
        slow.send_rest(stream, message[5:])

        def answered():
            slow.answer_pings()
            return stream in slow.ended
        harness.wait_for("the slow one's answer", answered, 60)
        response = self.pb.ExecuteResponse.FromString(slow.answers[stream][5:])
        self.ok(response)
        for connection in crowd + [slow]:
            connection.socket.close()

    def test_more_calls_at_once_than_a_connection_may_have_wait_their_turn(self):
        get = self.pb.ExecuteRequest(operations=[self.pb.Operation(get=b"alive")])
        calls = [self.nodes[0].Execute.future(get, timeout=TIMEOUT) for _ in range(1000)]
        for call in calls:
            self.ok(call.result())


if __name__ == "__main__":
    harness.main()
