#!/usr/bin/python3
"""Tables with real nodes: a file is planned and applied, rows go in and out as JSON, indexes and constraints hold, over
several shards and over the loss of nodes; what cannot be done yet is refused by name; raw writes there are refused by all."""
import concurrent.futures
import json
import os
import tempfile
import threading
import unittest

import grpc

import harness
import stubs
from harness import ABSENT, DONE, FAILED, UNKNOWN, USAGE

SHOP = """
syntax = "proto3";
package shop;
import "quorate/options.proto";
import "google/protobuf/timestamp.proto";
message Account {
  option (quorate.table) = {
    name: "accounts" primary_key: "id"
    index { name: "by_owner" fields: "owner" fields: "cents desc" }
    index { name: "by_email" fields: "email" unique: true }
  };
  uint64 id = 1;
  string owner = 2;
  optional string email = 3;
  int64 cents = 4 [(quorate.field).check = { name: "not_negative" at_least: "0" }];
}
message Visit {
  option (quorate.table) = { name: "visits" primary_key: "at" primary_key: "who" };
  google.protobuf.Timestamp at = 1;
  string who = 2;
}
"""
TABLE = b"\xfftbl"


class Lossy:
    """Between a program and a node: requests with `word` in them are done, and their first `answers` answers (None: all, and
    all that follows) are lost with the stream."""

    def __init__(self, node, word, answers):
        self.channel = grpc.insecure_channel(node)
        self.word, self.answers, self.met = word, answers, False
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
        handler = grpc.stream_stream_rpc_method_handler(self.calls)
        self.server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("quorate.v1.Node", {"Calls": handler})])
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    def calls(self, requests, context):
        if self.met and self.answers is None:
            context.abort(grpc.StatusCode.UNAVAILABLE, "lost")
        asked = threading.Event()

        def watched():
            for batch in requests:
                if self.word in batch:
                    self.met = True
                    asked.set()
                yield batch
        for batch in self.channel.stream_stream("/quorate.v1.Node/Calls")(watched(), metadata=context.invocation_metadata()):
            if asked.is_set() and self.answers != 0:
                if self.answers:
                    self.answers -= 1
                context.abort(grpc.StatusCode.UNAVAILABLE, "lost")
            yield batch

    def __enter__(self):
        self.server.start()
        return f"127.0.0.1:{self.port}"

    def __exit__(self, *exception):
        self.server.stop(None)
        self.channel.close()


class Tables(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # A shard begins inside the rows of the first table, and another at its first index.
        cls.cluster = harness.Cluster(split_at=["6d", (TABLE + b"\x01\x01\x00\x19\x05").hex(), (TABLE + b"\x01\x01\x01\x01").hex(),
                                                "--hex"])
        cls.cluster.__enter__()
        cls.addClassCleanup(cls.cluster.__exit__)
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        cls.file = os.path.join(directory.name, "shop.proto")
        cls.write(SHOP)
        # Every node has told its version.
        harness.wait_for("tables can be made", lambda: cls.say("schema", "apply", cls.file).returncode == DONE)

    @classmethod
    def write(cls, text):
        with open(cls.file, "w") as file:
            file.write(text)

    @classmethod
    def say(cls, *words, **more):
        return harness.run(*words, "--cluster", ",".join(cls.cluster.addresses), **more)

    def refused(self, code, text, *words, **more):
        done = self.say(*words, **more)
        self.assertEqual(done.returncode, code, done)
        self.assertIn(text, done.stderr + done.stdout)

    def put(self, row, *flags, table="accounts"):
        return self.say("table", "put", table, json.dumps(row), *flags)

    def rows(self, *words):
        done = self.say("table", "scan", *words)
        self.assertEqual(done.returncode, DONE, done)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def setUp(self):
        self.write(SHOP)
        for row in self.rows("accounts"):
            self.assertEqual(self.say("table", "delete", "accounts", row["id"]).returncode, DONE)

    def test_a_file_is_applied_once(self):
        plan = self.say("schema", "plan", self.file)
        self.assertEqual((plan.returncode, plan.stdout), (DONE, "nothing to do\n"))
        again = self.say("schema", "apply", self.file)
        self.assertEqual((again.returncode, again.stdout), (DONE, "nothing to do\n"))
        tables = json.loads(self.say("table", "list", "--json").stdout)["tables"]
        self.assertEqual([(t["name"], t["indexes"]) for t in tables][:2], [("accounts", 2), ("visits", 0)])
        show = self.say("table", "show", "accounts").stdout
        self.assertIn("primary key (id)", show)
        self.assertIn("by_owner (owner, cents desc)", show)

    def test_rows_go_in_and_come_out(self):
        for n in range(1, 8):
            self.assertEqual(self.put({"id": n, "owner": "ab"[n % 2], "cents": n, "email": f"{n}@x"}).returncode, DONE)
        got = self.say("table", "get", "accounts", "3")
        self.assertEqual(json.loads(got.stdout), {"id": "3", "owner": "b", "email": "3@x", "cents": "3"})
        self.assertEqual(self.say("table", "get", "accounts", "30").returncode, ABSENT)
        self.assertEqual([r["id"] for r in self.rows("accounts")], list("1234567"))
        self.assertEqual(self.say("table", "count", "accounts").stdout, "7\n")
        self.assertEqual(self.say("table", "count", "accounts", "--index", "by_owner", "--first", "b").stdout, "4\n")
        self.assertEqual([r["id"] for r in self.rows("accounts", "--reverse", "--limit", "2")], ["7", "6"])
        self.assertEqual([r["id"] for r in self.rows("accounts", "--index", "by_owner", "--first", "b")], list("7531"))
        self.assertEqual([r["id"] for r in self.rows("accounts", "--index", "by_email", "--first", "5@x")], ["5"])
        self.assertEqual(self.say("table", "delete", "accounts", "5").returncode, DONE)
        self.assertEqual(self.rows("accounts", "--index", "by_email", "--first", "5@x"), [])
        visit = {"at": "2026-01-31T10:00:00.500Z", "who": "ann"}
        self.assertEqual(self.put(visit, table="visits").returncode, DONE)
        self.assertEqual(json.loads(self.say("table", "get", "visits", json.dumps(visit)).stdout), visit)
        for column in ("at", "who"):
            part = json.dumps({name: value for name, value in visit.items() if name != column})
            refused = self.say("table", "delete", "visits", part)
            self.assertEqual(refused.returncode, USAGE, refused)
            self.assertIn(f"{column} is a column of the primary key", refused.stderr)

    def test_indexes_and_constraints_hold(self):
        self.assertEqual(self.put({"id": 1, "owner": "ann", "email": "a@x"}).returncode, DONE)
        second = self.put({"id": 2, "email": "a@x"})
        self.assertEqual(second.returncode, FAILED)
        self.assertIn("index by_email", second.stderr)
        self.assertIn("row (1) has them already", second.stderr)
        self.assertIn("the row is there already", self.put({"id": 1}, "--insert").stderr)
        self.assertIn("not_negative", self.put({"id": 3, "cents": -1}).stderr)
        self.assertEqual(self.put({"id": 3, "colour": "red"}).returncode, USAGE)
        self.assertEqual(self.put({"id": 3}, table="nothing").returncode, FAILED)
        self.assertEqual([r["id"] for r in self.rows("accounts")], ["1"])

    def test_what_is_not_there_yet_is_refused_by_name(self):
        self.put({"id": 1, "owner": "ann"})
        self.write(SHOP.replace('fields: "email" unique: true }',
                                'fields: "email" unique: true } index { name: "by_cents" fields: "cents" }'))
        self.refused(FAILED, "not possible yet: accounts: add index by_cents", "schema", "plan", self.file)
        self.refused(FAILED, "nothing was changed", "schema", "apply", self.file)
        self.write(SHOP.replace("string owner = 2;", "bytes owner = 2;"))
        self.refused(FAILED, "refused: accounts", "schema", "apply", self.file)
        self.write(SHOP.replace("uint64 id = 1;", "uint64 id = one;", 1))
        self.refused(USAGE, "shop.proto:12:", "schema", "apply", self.file)
        self.assertEqual(len(json.loads(self.say("table", "show", "accounts", "--json").stdout)["indexes"]), 2)

    def test_a_field_is_added_at_once(self):
        note = SHOP[:SHOP.index("message Account")] + """
message Note {
  option (quorate.table) = { name: "notes" primary_key: "id" };
  uint64 id = 1;
}
"""
        def apply(fields):
            self.write(note.replace("uint64 id = 1;", "uint64 id = 1; " + fields))
            return self.say("schema", "apply", self.file)
        self.assertEqual(apply("").returncode, DONE)
        self.assertEqual(self.put({"id": 1}, table="notes").returncode, DONE)
        self.assertEqual(self.put({"id": 2, "text": "tea"}, table="notes").returncode, USAGE)
        done = apply("string text = 2;")
        self.assertEqual(done.returncode, DONE, done)
        self.assertEqual(self.put({"id": 2, "text": "tea"}, table="notes").returncode, DONE)
        self.assertEqual(self.rows("notes"), [{"id": "1"}, {"id": "2", "text": "tea"}])
        self.assertEqual(apply('reserved 2; reserved "text";').returncode, DONE)
        self.assertIn("refused: notes", apply("").stdout)

    def test_an_answer_that_is_lost_is_no_refusal(self):
        lost = SHOP[:SHOP.index("message Account")] + """
message Lost {
  option (quorate.table) = { name: "NAME" primary_key: "id" };
  uint64 id = 1;
}
"""
        def apply(name, answers, *flags):
            self.write(lost.replace("NAME", name))
            with Lossy(self.cluster.addresses[0], name.encode(), answers) as address:
                return harness.run("schema", "apply", self.file, "--cluster", address, *flags)
        # The second sending is refused: the first was done.
        done = apply("lost_once", 1)
        self.assertEqual((done.returncode, done.stdout.splitlines()[-1]), (DONE, "applied"), done)
        self.assertEqual(self.put({"id": 1}, table="lost_once").returncode, DONE)
        silent = apply("lost_ever", None, "--timeout", "2s", "--json")
        self.assertEqual(silent.returncode, UNKNOWN, silent)
        self.assertEqual(json.loads(silent.stdout)["effect"], "unknown")
        self.assertIn("apply the file again", apply("lost_too", None, "--timeout", "2s").stderr)
        again = self.say("schema", "apply", self.file)
        self.assertEqual((again.returncode, again.stdout), (DONE, "nothing to do\n"))

    def test_raw_writes_there_are_refused(self):
        key = (TABLE + b"\x01\x01\x00row").hex()
        self.refused(USAGE, "is of a table", "put", "--hex", key, "00")
        self.refused(USAGE, "is of a table", "delete", "--hex", key)
        with tempfile.TemporaryDirectory() as directory:
            client_pb2, client_pb2_grpc, txn_pb2 = stubs.generate(directory)
        request = client_pb2.ExecuteRequest()
        request.operations.add().put.key = bytes.fromhex(key)
        with grpc.insecure_channel(self.cluster.addresses[0]) as channel:
            answer = client_pb2_grpc.QuorateStub(channel).Execute(request, timeout=20)
        self.assertEqual(answer.error.code, txn_pb2.INVALID_ARGUMENT, answer)

    def test_tables_outlive_nodes(self):
        self.assertEqual(self.put({"id": 9, "owner": "ann", "email": "nine@x"}).returncode, DONE)
        for node in range(3):
            self.cluster.kill(node)
        for node in range(3):
            self.cluster.start(node)
        got = self.say("table", "get", "accounts", "9", "--timeout", "60s")
        self.assertEqual(json.loads(got.stdout)["owner"], "ann", got)
        self.assertIn("row (9)", self.put({"id": 10, "email": "nine@x"}).stderr)


if __name__ == "__main__":
    unittest.main()
