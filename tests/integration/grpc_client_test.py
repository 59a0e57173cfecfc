#!/usr/bin/python3
"""A client in another language: Python with stubs generated from proto/, over plain unary calls."""
import importlib
import os
import tempfile
import threading
import time
import unittest

import grpc

import harness
import stubs

TIMEOUT = 15


class GrpcClient(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory(prefix="quorate-stubs-")
        cls.addClassCleanup(directory.cleanup)
        cls.pb, services, cls.txn_pb = stubs.generate(directory.name)
        cls.cluster = harness.Cluster(split_at=["g", "n", "t"])
        cls.cluster.__enter__()
        cls.addClassCleanup(cls.cluster.__exit__)
        cls.channels = [grpc.insecure_channel(a) for a in cls.cluster.addresses]
        cls.nodes = [services.QuorateStub(channel) for channel in cls.channels]
        for channel in cls.channels:
            cls.addClassCleanup(channel.close)

    def operation(self, **kind):
        pb = self.pb
        if "put" in kind:
            key, value = kind["put"]
            return pb.Operation(put=self.txn_pb.Write(key=key, value=value))
        if "delete" in kind:
            return pb.Operation(put=self.txn_pb.Write(key=kind["delete"], deletion=True))
        if "scan" in kind:
            begin, end = kind["scan"]
            scan = pb.ScanOperation(to=end)
            setattr(scan, "from", begin)
            return pb.Operation(scan=scan)
        return pb.Operation(get=kind["get"])

    def execute(self, *operations, conditions=(), node=0, txn_id=b""):
        request = self.pb.ExecuteRequest(conditions=conditions, operations=operations,
                                         txn_id=txn_id)
        return self.nodes[node].Execute(request, timeout=TIMEOUT)

    def assertOk(self, response):
        self.assertEqual(response.error.code, self.txn_pb.OK, response.error)
        return response

    def test_execute_over_all_shards_through_any_node(self):
        writes = [self.operation(put=(key, b"1")) for key in (b"a", b"h", b"p", b"x")]
        written = self.assertOk(self.execute(*writes))
        self.assertGreater(written.commit_ts, 0)
        for node in range(3):
            read = self.assertOk(self.execute(self.operation(get=b"a"), self.operation(get=b"none"),
                                              self.operation(scan=(b"h", b"q")), node=node))
            self.assertEqual(read.results[0].value.value, b"1")
            self.assertFalse(read.results[1].value.found)
            self.assertEqual([row.key for row in read.results[2].rows], [b"h", b"p"])
            self.assertEqual(read.commit_ts, 0)
            self.assertGreater(read.read_ts, written.commit_ts)

    def test_conditions_hold_or_nothing_is_written(self):
        pb = self.pb
        absent = pb.Condition(key=b"cond/1", absent=True)
        put = [self.operation(put=(b"cond/1", b"x")), self.operation(put=(b"zcond", b"x"))]
        self.assertOk(self.execute(*put, conditions=[absent]))
        equals = pb.Condition(key=b"zcond", equals=b"x")
        refused = self.execute(self.operation(delete=b"zcond"), conditions=[equals, absent])
        self.assertEqual(refused.error.code, self.txn_pb.FAILED_PRECONDITION)
        self.assertEqual(list(refused.failed_conditions), [1])
        read = self.assertOk(self.execute(self.operation(get=b"zcond")))
        self.assertEqual(read.results[0].value.value, b"x")
        self.assertOk(self.execute(self.operation(delete=b"zcond"), conditions=[equals]))
        read = self.assertOk(self.execute(self.operation(get=b"zcond")))
        self.assertFalse(read.results[0].value.found)

    def new_name(self):
        """A UUIDv7."""
        free = bytearray(os.urandom(10))
        free[0] = free[0] & 0x0F | 0x70
        free[2] = free[2] & 0x3F | 0x80
        return int(time.time() * 1000).to_bytes(6, "big") + bytes(free)

    def outcome(self, name, key, node=0):
        ref = self.txn_pb.TxnRef(txn_id=name, anchor_key=key)
        return self.assertOk(self.nodes[node].GetOutcome(self.pb.GetOutcomeRequest(txn=ref),
                                                         timeout=TIMEOUT)).state

    def test_named_executes_under_contention_have_one_outcome(self):
        """Each is sent by two callers to two nodes at once; all answers about it must agree."""
        keys = [b"a/contended", b"n/contended", b"z/contended"]
        self.assertOk(self.execute(self.operation(put=(keys[0], b"0"))))
        states = {self.txn_pb.COMMITTED: 0, self.txn_pb.ABORTED_STATE: 0}
        committed_at = set()

        def send(name, node, answers):
            present = self.pb.Condition(key=keys[0], absent=False)
            puts = [self.operation(put=(key, name)) for key in keys]
            answers.append(self.execute(*puts, conditions=[present], node=node, txn_id=name))

        def caller(number, failures):
            for i in range(20):
                name, answers = self.new_name(), []
                both = [threading.Thread(target=send, args=(name, (number + n) % 3, answers))
                        for n in range(2)]
                for thread in both:
                    thread.start()
                for thread in both:
                    thread.join()
                state = self.outcome(name, keys[i % 3], node=(number + i) % 3)
                states[state] += 1
                told = [a.commit_ts for a in answers if a.error.code == self.txn_pb.OK]
                nothing = [a for a in answers if a.error.code in (
                    self.txn_pb.READ_CONFLICT, self.txn_pb.LOCK_CONFLICT, self.txn_pb.ABORTED,
                    self.txn_pb.FAILED_PRECONDITION)]
                if told and (state != self.txn_pb.COMMITTED or len(set(told)) > 1):
                    failures.append((name.hex(), "committed", told, state))
                if nothing and state != self.txn_pb.ABORTED_STATE:
                    failures.append((name.hex(), "nothing", nothing[0].error.message, state))
                if len(answers) != 2:
                    failures.append((name.hex(), "unanswered"))
                committed_at.update(told)

        failures = []
        callers = [threading.Thread(target=caller, args=(n, failures)) for n in range(8)]
        for thread in callers:
            thread.start()
        for thread in callers:
            thread.join()
        self.assertEqual(failures, [])
        self.assertEqual(sum(states.values()), 160)
        self.assertGreater(states[self.txn_pb.COMMITTED], 80)
        self.assertEqual(len(committed_at), states[self.txn_pb.COMMITTED], "one timestamp each")

    def test_outcome_by_an_id_of_the_callers_choice(self):
        txn_id = self.new_name()
        written = self.assertOk(self.execute(self.operation(put=(b"outcome", b"1")),
                                             txn_id=txn_id))
        self.assertEqual(written.txn.txn_id, txn_id)
        asked = self.nodes[1].GetOutcome(self.pb.GetOutcomeRequest(txn=written.txn),
                                         timeout=TIMEOUT)
        self.assertOk(asked)
        self.assertEqual(asked.state, self.txn_pb.COMMITTED)
        # It never began: nobody can commit it any more once this was answered.
        never = self.txn_pb.TxnRef(txn_id=self.new_name(), anchor_key=b"outcome")
        for _ in range(2):
            asked = self.nodes[2].GetOutcome(self.pb.GetOutcomeRequest(txn=never), timeout=TIMEOUT)
            self.assertOk(asked)
            self.assertEqual(asked.state, self.txn_pb.ABORTED_STATE)

    def test_session(self):
        pb, node = self.pb, self.nodes[2]
        self.assertOk(self.execute(self.operation(put=(b"s/a", b"1")),
                                   self.operation(put=(b"x/a", b"2"))))
        begun = self.assertOk(node.Begin(pb.BeginRequest(), timeout=TIMEOUT))
        session = begun.session_id
        read = self.assertOk(node.Read(pb.SessionReadRequest(
            session_id=session, keys=[b"s/a", b"x/a"], for_update=True), timeout=TIMEOUT))
        self.assertEqual([v.value for v in read.values], [b"1", b"2"])
        write = self.txn_pb.Write
        self.assertOk(node.Write(pb.SessionWriteRequest(session_id=session, writes=[
            write(key=b"s/a", value=b"0"), write(key=b"x/a", value=b"3"),
            write(key=b"s/b", value=b"new")]), timeout=TIMEOUT))
        scan = pb.SessionScanRequest(session_id=session, to=b"s0")
        setattr(scan, "from", b"s/")
        rows = self.assertOk(node.Scan(scan, timeout=TIMEOUT)).rows
        self.assertEqual([(r.key, r.value) for r in rows], [(b"s/a", b"0"), (b"s/b", b"new")])
        unseen = self.assertOk(self.execute(self.operation(get=b"s/b")))
        self.assertFalse(unseen.results[0].value.found, "nothing is written before commit")
        commit = self.assertOk(node.Commit(pb.SessionCommitRequest(session_id=session),
                                           timeout=TIMEOUT))
        self.assertGreater(commit.commit_ts, 0)
        seen = self.assertOk(self.execute(self.operation(get=b"s/b")))
        self.assertEqual(seen.results[0].value.value, b"new")
        again = self.assertOk(node.Commit(pb.SessionCommitRequest(session_id=session),
                                          timeout=TIMEOUT))
        self.assertEqual(again.commit_ts, commit.commit_ts)
        ref = self.txn_pb.TxnRef(txn_id=begun.txn.txn_id, anchor_key=b"x/a")
        self.assertOk(self.nodes[0].Commit(pb.SessionCommitRequest(session_id=session, txn=ref),
                                           timeout=TIMEOUT))

    def test_sessions_that_conflict_and_roll_back(self):
        pb, node = self.pb, self.nodes[0]
        self.assertOk(self.execute(self.operation(put=(b"c", b"0"))))
        sessions = [node.Begin(pb.BeginRequest(), timeout=TIMEOUT).session_id for _ in range(3)]
        for session in sessions:
            self.assertOk(node.Read(pb.SessionReadRequest(session_id=session, keys=[b"c"]),
                                    timeout=TIMEOUT))
            self.assertOk(node.Write(pb.SessionWriteRequest(session_id=session, writes=[
                self.txn_pb.Write(key=b"c", value=b"%d" % session)]), timeout=TIMEOUT))
        self.assertOk(node.Rollback(pb.SessionRollbackRequest(session_id=sessions[2]),
                                    timeout=TIMEOUT))
        first = node.Commit(pb.SessionCommitRequest(session_id=sessions[0]), timeout=TIMEOUT)
        self.assertOk(first)
        second = node.Commit(pb.SessionCommitRequest(session_id=sessions[1]), timeout=TIMEOUT)
        self.assertIn(second.error.code,
                      (self.txn_pb.READ_CONFLICT, self.txn_pb.LOCK_CONFLICT, self.txn_pb.ABORTED))
        read = self.assertOk(self.execute(self.operation(get=b"c")))
        self.assertEqual(read.results[0].value.value, b"%d" % sessions[0])

    def test_who_waits_for_a_sessions_lock_is_told_whose_it_is(self):
        begun = self.assertOk(self.nodes[1].Begin(self.pb.BeginRequest(), timeout=TIMEOUT))
        read = self.pb.SessionReadRequest(session_id=begun.session_id, keys=[b"held"], for_update=True)
        ended = threading.Event()

        def keep_busy():
            while not ended.wait(0.2):
                self.nodes[1].Read(read, timeout=TIMEOUT)
        self.assertOk(self.nodes[1].Read(read, timeout=TIMEOUT))
        busy = threading.Thread(target=keep_busy)
        busy.start()
        try:
            put = self.cluster.quorate("put", "held", "x", "--timeout", "3s")
        finally:
            ended.set()
            busy.join()
        self.assertEqual(put.returncode, harness.FAILED, put)
        self.assertRegex(put.stderr, "LOCK_CONFLICT: key held is .* by transaction .* since ")
        self.assertNotIn("outcome", put.stderr)
        self.assertOk(self.nodes[1].Rollback(
            self.pb.SessionRollbackRequest(session_id=begun.session_id), timeout=TIMEOUT))
        self.assertEqual(self.cluster.quorate("put", "held", "x").returncode, harness.DONE)

    def test_limits_and_bad_input_are_refused_by_name(self):
        long_key = self.execute(self.operation(put=(b"k" * 481, b"")))
        self.assertEqual(long_key.error.code, self.txn_pb.INVALID_ARGUMENT)
        self.assertIn("480", long_key.error.message)
        empty = self.execute(self.operation(get=b""))
        self.assertEqual(empty.error.code, self.txn_pb.INVALID_ARGUMENT)
        bad_id = self.execute(self.operation(put=(b"k", b"")), txn_id=b"short")
        self.assertEqual(bad_id.error.code, self.txn_pb.INVALID_ARGUMENT)
        session = self.nodes[0].Read(self.pb.SessionReadRequest(session_id=99), timeout=TIMEOUT)
        self.assertEqual(session.error.code, self.txn_pb.NOT_FOUND)

    def test_health_and_reflection_are_served(self):
        def call(method, request):
            return self.channels[0].unary_unary(method)(request, timeout=TIMEOUT)
        # grpc.health.v1.HealthCheckResponse{status: SERVING}
        harness.wait_for("SERVING", lambda: call("/grpc.health.v1.Health/Check", b"") == b"\x08\x01")
        watch = self.channels[0].unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=TIMEOUT)
        self.assertEqual(next(watch), b"\x08\x01")
        watch.cancel()
        with self.assertRaises(grpc.RpcError) as unknown:  # HealthCheckRequest{service: "x"}
            call("/grpc.health.v1.Health/Check", b"\x0a\x01x")
        self.assertEqual(unknown.exception.code(), grpc.StatusCode.NOT_FOUND)
        # ServerReflectionRequest{list_services: "*"}
        stream = self.channels[0].stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        answer = next(stream(iter([b"\x3a\x01*"]), timeout=TIMEOUT))
        self.assertIn(b"quorate.v1.Quorate", answer)

    def refused(self, counter):
        """The sum of a counter over all nodes."""
        lines = [line for node in range(3)
                 for line in self.cluster.get_http(node, "/metrics")[1].splitlines()]
        return sum(int(line.split()[1]) for line in lines if line.startswith(counter))

    def test_answers_of_overloaded_are_counted(self):
        pb, before, answers, sessions = self.pb, self.refused("quorate_calls_overloaded_total"), 0, []
        while not answers:
            sessions.append(self.nodes[0].Begin(pb.BeginRequest(), timeout=TIMEOUT).session_id)
            for number in range(15):
                write = self.txn_pb.Write(key=b"over/%d" % number, value=b"x" * (1 << 20))
                refused = self.nodes[0].Write(
                    pb.SessionWriteRequest(session_id=sessions[-1], writes=[write]), timeout=TIMEOUT).error
                if refused.code:
                    self.assertEqual(refused.code, self.txn_pb.OVERLOADED, refused)
                    self.assertTrue(refused.no_effect)
                    answers += 1
        self.assertEqual(self.refused("quorate_calls_overloaded_total") - before, answers)
        for session in sessions:
            self.nodes[0].Rollback(pb.SessionRollbackRequest(session_id=session), timeout=TIMEOUT)

    def stream(self, method, *messages):
        """What a node answers to raw bytes on one of its streams, until it ends the stream."""
        call = self.channels[0].stream_stream(method)(iter(messages), timeout=TIMEOUT)
        try:
            return [bytes(answer) for answer in call]
        except grpc.RpcError as error:
            return error.code()

    def test_frames_of_strangers_change_nothing_and_are_counted(self):
        node_pb = importlib.import_module("quorate.v1.node_pb2")
        raft_pb = importlib.import_module("quorate.v1.raft_pb2")
        for method in ("/quorate.v1.Node/Calls", "/quorate.v1.Node/Raft", "/quorate.v1.Node/Bulk"):
            self.stream(method, b"\xff\xff\xff\xff no message at all")
            oversized = self.stream(method, b"\x0a" + b"\xff" * (33 << 20))
            self.assertEqual(oversized, grpc.StatusCode.RESOURCE_EXHAUSTED)
        before = self.refused("quorate_peer_batches_refused_total")
        vote = raft_pb.RaftMessage(group=1, term=1 << 60, vote=raft_pb.RaftVote())
        for cluster_id, to_node in (("f" * 32, 1), ("", 1), (self.cluster_id(), 77)):
            self.stream("/quorate.v1.Node/Raft", raft_pb.PeerBatch(
                cluster_id=cluster_id, from_node=2, to_node=to_node,
                messages=[vote]).SerializeToString())
        harness.wait_for("three refused batches", lambda: self.refused(
            "quorate_peer_batches_refused_total") >= before + 3)
        before = self.refused('quorate_requests_refused_total{why="wrong_')
        for cluster_id, to_node, code in (("f" * 32, 0, self.txn_pb.WRONG_CLUSTER),
                                          (self.cluster_id(), 77, self.txn_pb.WRONG_NODE)):
            call = node_pb.Call(id=5, request=node_pb.NodeRequest(
                timeout_ms=1000, status=importlib.import_module("quorate.v1.admin_pb2").StatusRequest()))
            batch = node_pb.CallBatch(cluster_id=cluster_id, to_node=to_node, calls=[call])
            self.assertEqual(self.call_node(node_pb, batch).error.code, code)
        self.assertEqual(self.refused('quorate_requests_refused_total{why="wrong_'), before + 2)
        self.assertOk(self.execute(self.operation(put=(b"still", b"here"))))

    def test_a_batch_of_too_many_calls_ends_its_stream(self):
        node_pb = importlib.import_module("quorate.v1.node_pb2")
        batch = node_pb.CallBatch(cluster_id=self.cluster_id())
        for number in range(16385):
            batch.calls.add(id=number).request.slot.SetInParent()
        with self.assertRaises(grpc.RpcError) as ended:
            self.call_node(node_pb, batch)
        self.assertEqual(ended.exception.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
        del batch.calls[-1]
        self.assertEqual(self.call_node(node_pb, batch).error.code, self.txn_pb.OK)

    def call_node(self, node_pb, batch):
        """The answer to the one call of `batch`; the stream stays open until it is there."""
        answered = threading.Event()

        def requests():
            yield batch.SerializeToString()
            answered.wait(TIMEOUT)
        answers = self.channels[0].stream_stream("/quorate.v1.Node/Calls")(requests(),
                                                                           timeout=TIMEOUT)
        try:
            return node_pb.CallBatch.FromString(next(answers)).calls[0].response
        finally:
            answered.set()

    def cluster_id(self):
        return self.cluster.json("status")["cluster_id"]

    def test_status(self):
        status = self.assertOk(self.nodes[0].Status(
            importlib.import_module("quorate.v1.admin_pb2").StatusRequest(), timeout=TIMEOUT))
        self.assertEqual(len(status.map.nodes), 3)
        self.assertEqual(len(status.map.routes), 4)


if __name__ == "__main__":
    harness.main()
