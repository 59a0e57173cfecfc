#!/usr/bin/python3
"""Every command of the program against a live cluster: output, --json, exit codes."""
import json
import os
import signal
import subprocess
import tempfile
import time
import unittest

import harness
from harness import ABSENT, DONE, FAILED, UNKNOWN, USAGE

COMMANDS = ["node", "init", "dev", "get", "put", "delete", "scan", "txn", "outcome", "status",
            "nodes", "shards", "top", "doctor", "bench", "demo"]


class Help(unittest.TestCase):
    def test_every_command_has_help_with_an_example(self):
        top = harness.run("--help")
        self.assertEqual(top.returncode, DONE)
        for command in COMMANDS:
            with self.subTest(command):
                self.assertIn(f"\n  {command} ", top.stdout)
                result = harness.run(command, "--help")
                self.assertEqual(result.returncode, DONE)
                self.assertIn(f"  quorate {command}", result.stdout)

    def test_bad_options_exit_with_2(self):
        for arguments in (["get"], ["get", "a", "--timeout", "soon"],
                          ["get", "a", "--cluster", "here"], ["txn", "/no/such/file"],
                          ["outcome", "xyz"], ["outcome", "xyz", "--key", "k"], ["init", "--shards", "0"],
                          ["init", "--replicas", "2"], ["init", "--replicas", "6"],
                          ["bench", "--workload", "nap"]):
            with self.subTest(arguments):
                self.assertEqual(harness.run(*arguments).returncode, USAGE)

    def test_what_was_given_is_what_is_refused(self):
        for arguments, words in ((["get", "a", "b"], "'b' is one word too many"),
                                 (["outcome", "0" * 32, "--key", ""], "--key is empty"),
                                 (["init", "--replicas", "4"], "--replicas: '4' is none of 1, 3, 5, 7"),
                                 (["get", "a", "--cluster", "127.0.0.1:0070000"], "'127.0.0.1:0070000' is not HOST:PORT"),
                                 (["shard", "split", "3", "--at", "--wait"], "given as --at=--wait"),
                                 (["scan", "", "", "--limit", "--hex"], "given as --limit=--hex"),
                                 (["doctor", "--data", ""], "'' is no directory")):
            with self.subTest(arguments):
                result = harness.run(*arguments)
                self.assertEqual(result.returncode, USAGE, result)
                self.assertIn(words, result.stderr)

    def test_closed_standard_input_is_a_bad_descriptor(self):
        done = subprocess.run(["bash", "-c", 'exec "$0" put k - <&-', harness.PROGRAM], capture_output=True, text=True,
                              timeout=60)
        self.assertEqual(done.returncode, USAGE, done)
        self.assertIn("Bad file descriptor", done.stderr)

    def test_a_command_waits_for_nodes_that_are_being_started(self):
        with tempfile.TemporaryDirectory() as directory:
            port = harness.dev_port()
            early = subprocess.Popen([harness.PROGRAM, "put", "a", "1", "--cluster", f"127.0.0.1:{port}", "--timeout", "60s"],
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                     preexec_fn=harness.die_with_parent)
            time.sleep(2)  # longer than a first attempt is patient
            self.assertIsNone(early.poll())
            dev = subprocess.Popen([harness.PROGRAM, "dev", "--data", directory, "--port", str(port)],
                                   stdout=subprocess.DEVNULL, preexec_fn=harness.die_with_parent)
            try:
                out, error = early.communicate(timeout=90)
                self.assertEqual((early.returncode, out), (DONE, "committed\n"), error)
            finally:
                dev.send_signal(signal.SIGINT)
                dev.wait(timeout=30)

    def test_no_cluster_there(self):
        address = f"127.0.0.1:{harness.free_ports(1)[0]}"
        for command in (["get", "a"], ["status"]):
            result = harness.run(*command, "--cluster", address, "--timeout", "1s")
            self.assertEqual(result.returncode, FAILED, result)
            self.assertIn(address, result.stderr)
            self.assertIn("is it running there? (--cluster names others)", result.stderr)

    def test_a_port_may_have_zeros_in_front(self):
        address = f"127.0.0.1:0{harness.free_ports(1)[0]}"
        for command in (["get", "a"], ["put", "a", "b"], ["status"]):
            result = harness.run(*command, "--cluster", address, "--timeout", "1s")
            self.assertEqual(result.returncode, FAILED, result)
            self.assertIn(address, result.stderr)

    def test_help_is_a_word_too(self):
        self.assertEqual(harness.run("help").stdout, harness.run("--help").stdout)
        self.assertEqual(harness.run("help", "node", "drain").stdout, harness.run("node", "drain", "--help").stdout)


class Commands(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = harness.Cluster(split_at=["g", "n", "t"])
        cls.cluster.__enter__()
        cls.addClassCleanup(cls.cluster.__exit__)

    def quorate(self, *arguments, expect=DONE, **options):
        result = self.cluster.quorate(*arguments, **options)
        self.assertEqual(result.returncode, expect, result)
        return result

    def test_outcome_of_a_name(self):
        free = bytearray(os.urandom(10))
        free[0], free[2] = free[0] & 0x0F | 0x70, free[2] & 0x3F | 0x80
        name = (int(time.time() * 1000).to_bytes(6, "big") + bytes(free)).hex()
        # Nothing is known of it: asking closes it.
        self.assertEqual(self.quorate("outcome", name, "--key", "some/key").stdout, "aborted\n")
        with_hyphens = "-".join((name[:8], name[8:12], name[12:16], name[16:20], name[20:]))
        asked = self.cluster.json("outcome", with_hyphens, "--key", "some/key")
        self.assertEqual(asked["outcome"], "aborted")
        self.quorate("outcome", "ff" * 16, "--key", "some/key", expect=USAGE)

    def test_keys(self):
        self.assertEqual(self.quorate("put", "key/1", "one").stdout, "committed\n")
        self.assertEqual(self.quorate("get", "key/1").stdout, "one\n")
        self.assertEqual(self.cluster.json("get", "key/1"),
                         {"key": "key/1", "found": True, "value": "one"})
        self.quorate("delete", "key/1")
        self.assertIn("no such key", self.quorate("get", "key/1", expect=ABSENT).stderr)
        self.quorate("put", "key/2", "-", input="line\nline")
        self.assertEqual(self.quorate("get", "key/2").stdout, "line\nline\n")
        self.quorate("put", "--hex", "00ff", "fe00")
        self.assertEqual(self.quorate("get", "--hex", "00ff").stdout, "fe00\n")
        self.assertEqual(self.cluster.json("get", "--hex", "00ff")["value_hex"], "fe00")
        self.assertEqual(harness.run("get", "key/2", env={"QUORATE_CLUSTER": self.cluster.cluster})
                         .returncode, DONE)

    def test_limits_are_named(self):
        result = self.quorate("put", "k" * 481, "v", expect=USAGE)
        self.assertIn("480", result.stderr)
        result = self.quorate("put", "big", "-", input="x" * (1024 * 1024 + 1), expect=USAGE)
        self.assertIn(str(1024 * 1024), result.stderr)
        self.quorate("put", "k" * 480, "v")
        self.quorate("put", "big", "-", input="x" * 1024 * 1024)
        self.quorate("get", "big2", expect=ABSENT)
        self.quorate("put", "", "v", expect=USAGE)

    def test_scan(self):
        for key in ("scan/a", "scan/b", "scan/c", "szz", "t!"):
            self.quorate("put", key, key.upper())
        self.assertEqual(self.quorate("scan", "scan/a", "scan/c").stdout,
                         "scan/a\tSCAN/A\nscan/b\tSCAN/B\n")
        self.assertEqual(self.quorate("scan", "--prefix", "scan/", "--reverse", "--limit", "1").stdout,
                         "scan/c\tSCAN/C\n")
        rows = self.quorate("scan", "--json", "szz", "t#").stdout.splitlines()
        self.assertEqual([json.loads(r)["key"] for r in rows], ["szz", "t!"])

    def test_txn_is_atomic_over_shards(self):
        script = ("# four shards\ncheck txn/z == absent\nput a/1 1\nput h/1 \"two words\"\n"
                  "put p/1 3\nput txn/z 4\nget h/1\nscan a/ a0\n")
        result = self.quorate("txn", "-", input=script)
        self.assertEqual(result.stdout, "h/1\ttwo words\na/1\t1\ncommitted\n")
        again = self.quorate("txn", "-", input=script, expect=FAILED)
        self.assertIn("line 2: check txn/z == absent does not hold: txn/z is '4'", again.stderr)
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "script")
            with open(path, "w") as file:
                file.write("check a/1 == 1\ncheck h/1 == \"two words\"\ndelete a/1\nput p/1 5\n"
                           "get a/1\n")
            output = self.cluster.json("txn", path)
        self.assertTrue(output["committed"])
        self.assertEqual(output["results"], [{"key": "a/1", "found": False}])
        self.assertEqual(output["shards"], 3)
        failed = self.quorate("txn", "-", input="check p/1 == 6\nput p/1 7\n", expect=FAILED)
        self.assertIn("FAILED_PRECONDITION: line 1: check p/1 == '6' does not hold: p/1 is '5'", failed.stderr)
        self.assertEqual(self.quorate("get", "p/1").stdout, "5\n")

    def test_txn_bad_script(self):
        for script, words in (("put a\n", "line 1"), ("\nfrob a\n", "line 2"),
                              ('put a "open\n', "line 1"), ("check a = 1\n", "line 1")):
            self.assertIn(words, self.quorate("txn", "-", input=script, expect=USAGE).stderr)

    def test_views(self):
        status = self.cluster.json("status")
        self.assertEqual((status["nodes_answering"], status["shards_serving"]), (3, 4))
        self.assertTrue(status["healthy"])
        nodes = self.cluster.json("nodes")["nodes"]
        self.assertEqual(sum(n["leads"] for n in nodes), 4)
        self.assertEqual({n["http"] for n in nodes}, set(self.cluster.http))
        for node in nodes:  # of the store, what is used and what later writes can take
            self.assertLess(node["store_reusable_bytes"], node["store_bytes"])
        self.assertIn("reusable", self.quorate("nodes").stdout.splitlines()[0])
        shards = self.cluster.json("shards")["shards"]
        self.assertEqual([s["from"] for s in shards], ["", "g", "n", "t"])
        self.assertIn("[start, 'g')", self.quorate("shards").stdout)
        for command in ("status", "nodes", "shards", "top"):
            self.assertTrue(self.quorate(command).stdout)

    def test_top_tells_who_bears_what(self):
        top = {}

        def busy():
            top.update(self.cluster.json("top", "--shards", "2"))
            return len(top["hottest_shards"]) == 2
        load = subprocess.Popen([harness.PROGRAM, "bench", "--cluster", self.cluster.cluster, "--seconds", "60", "--warmup", "0",
                                 "--workload", "put", "-c", "4"], stdout=subprocess.DEVNULL, preexec_fn=harness.die_with_parent)
        try:
            harness.wait_for("two shards with requests", busy)
        finally:
            load.kill()
            load.wait()
        first, second = [s["reads_per_second"] + s["prepares_per_second"] for s in top["hottest_shards"]]
        self.assertGreaterEqual(first, second)
        self.assertGreater(second, 0)
        self.assertEqual([node["node_id"] for node in top["nodes"]], [1, 2, 3])
        for node in top["nodes"]:
            self.assertTrue(node["answers"])
            self.assertGreater(node["resident_bytes"], 0)
            self.assertEqual(node["replicas"], 5, "four shards and the placement group")
        self.assertGreater(sum(node["cpu_cores"] for node in top["nodes"]), 0)
        self.assertGreaterEqual(sum(node["prepares_per_second"] for node in top["nodes"]),
                                top["hottest_shards"][0]["prepares_per_second"])

    def test_bench(self):
        for workload in ("put", "get", "transfer"):
            figures = self.cluster.json("bench", "--workload", workload, "--seconds", "1",
                                        "--warmup", "0.2", "--keys", "200", "-c", "8")
            self.assertGreater(figures["ops_per_second"], 0)
            self.assertEqual(figures["unknown"], 0)
            self.assertIn("server_cpu_us_per_op", figures)
            self.assertLessEqual(figures["p50_us"], figures["p999_us"])
            self.assertEqual(figures.get("sum_kept"), True if workload == "transfer" else None)

    def test_bench_takes_its_keys_away_if_asked(self):
        def keys_of(table):
            rows = self.quorate("scan", "--keys-only", "--hex").stdout.splitlines()
            return [row for row in rows if table.encode().hex() in row]
        bench = ["bench", "--workload", "transfer", "--seconds", "0.2", "--warmup", "0", "--keys", "450", "-c", "2"]
        self.assertIn("of all balances is what it was", self.quorate(*bench).stdout)
        self.assertGreaterEqual(len(keys_of("bench-account/")), 450)
        self.quorate(*bench, "--clean")
        self.assertEqual([k for k in keys_of("bench-account/") if int(bytes.fromhex(k)[-8:]) < 450], [])

    def test_a_port_that_speaks_http_is_called_so(self):
        for command in (["get", "a"], ["status"]):
            result = harness.run(*command, "--cluster", self.cluster.http[0], "--timeout", "1s")
            self.assertEqual(result.returncode, FAILED, result)
        self.assertIn("is it a node's --http address?",
                      harness.run("get", "a", "--cluster", self.cluster.http[0], "--timeout", "1s").stderr)

    def test_what_was_never_drained_is_not_taken_back(self):
        result = harness.run("--cluster", self.cluster.cluster, "node", "undrain", "1")
        self.assertEqual((result.returncode, result.stdout), (DONE, "node 1 was not being drained: nothing is to be taken back\n"))


class Operators(unittest.TestCase):
    """What operators do to nodes and shards, as every command tells of it. Replicas move only when asked."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = harness.Cluster(nodes=4, split_at=["m"])
        cls.cluster.__enter__()
        cls.addClassCleanup(cls.cluster.__exit__)
        pause = ["settings", "set", "placement.pause", "balance-replicas,balance-leaders"]
        harness.wait_for("the pause", lambda: harness.run("--cluster", cls.cluster.cluster, *pause).returncode == DONE)
        operators = ["--cluster", cls.cluster.cluster, "operators"]
        harness.wait_for("nothing under way", lambda: "nothing is under way" in harness.run(*operators).stdout)

    def say(self, *words, expect=DONE):
        result = harness.run("--cluster", self.cluster.cluster, *words)
        self.assertEqual(result.returncode, expect, result)
        return result.stdout + result.stderr

    def node(self, node):
        return next(n for n in self.cluster.json("nodes")["nodes"] if n["node_id"] == node)

    def test_a_drain_is_seen_everywhere(self):
        harness.wait_for("the drain can be begun",
                         lambda: harness.run("--cluster", self.cluster.cluster, "node", "drain", "4", "--dry-run").returncode == DONE)
        self.assertEqual(self.node(4)["draining"], False)
        told = self.say("node", "drain", "4", "--wait", "--timeout", "60s")
        self.assertIn("node 4 holds nothing any more", told)
        self.assertNotIn("standing still", told)
        harness.wait_for("nodes hear of it", lambda: self.node(4)["state"] == "drained")
        self.assertEqual(self.node(4)["draining"], True)
        self.assertRegex(self.say("nodes"), r"(?m)^ +4 .* drained ")
        self.assertRegex(self.say("top"), r"(?m)^ +4 .* drained ")
        self.assertIn("drained      node 4 (holds nothing)\n", self.say("status"))
        self.assertEqual(self.cluster.json("status")["nodes_draining"], [4])
        found = self.say("doctor", expect=FAILED)
        self.assertIn("node 4 is drained", found)
        self.assertIn("`quorate node remove 4`", found)
        self.assertNotIn("`init` gave them", found)
        self.say("node", "undrain", "4")
        harness.wait_for("nodes hear of that, too", lambda: self.node(4)["state"] == "up")

    def test_a_split_says_what_became_of_the_shard(self):
        shard = next(s["shard_id"] for s in self.cluster.json("shards")["shards"] if s["from"] == "")
        self.assertIn("split: split shard", self.say("shard", "split", str(shard), "--at", "c", "--dry-run"))
        told = self.say("shard", "split", str(shard), "--at", "c", "--wait", "--timeout", "30s")
        self.assertRegex(told, rf"shard {shard} is \[start, 'c'\), shard \d+ is \['c', 'm'\)\n$")
        self.assertIn("operator 7000001 was begun by another placement leader",
                      self.say("explain", "operator", "7000001", expect=FAILED))

    def test_settings_say_which_unit_is_missing(self):
        self.assertIn("'60' has no unit: write 60s", self.say("settings", "set", "placement.down_after", "60", expect=USAGE))


class LostOperator(unittest.TestCase):
    def test_what_nobody_tells_of_any_more_is_unknown(self):
        with harness.Cluster(nodes=4, shards=4) as cluster:
            pause = ["settings", "set", "placement.pause", "balance-replicas,balance-leaders"]
            harness.wait_for("the pause", lambda: harness.run("--cluster", cluster.cluster, *pause).returncode == DONE)
            harness.wait_for("rest", lambda: not cluster.json("operators")["operators"])
            node_of = {node["node_id"]: cluster.addresses.index(node["address"]) for node in cluster.json("nodes")["nodes"]}
            leader = cluster.json("status")["placement_leader"]
            # What is on its way to a node that hangs waits; that node is none of placement's, which go on with two.
            shard = next(s for s in cluster.json("shards")["shards"] if 4 not in s["replicas"])
            os.kill(cluster.processes[node_of[4]].pid, signal.SIGSTOP)
            start = next(node for node in shard["replicas"] if node != leader)
            moving = subprocess.Popen([harness.PROGRAM, "shard", "move", str(shard["shard_id"]), "--from", str(start), "--to", "4",
                                       "--wait", "--json", "--cluster", cluster.cluster, "--timeout", "20s"],
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                      preexec_fn=harness.die_with_parent)
            try:
                harness.wait_for("the operator", lambda: cluster.json("operators")["operators"])
                time.sleep(1)  # it is asked after
                cluster.kill(node_of[leader])
                out, error = moving.communicate(timeout=60)
            finally:
                moving.kill()
                os.kill(cluster.processes[node_of[4]].pid, signal.SIGCONT)
            self.assertEqual(moving.returncode, UNKNOWN, (out, error))
            told = json.loads(out)
            self.assertEqual((told["error"], told["effect"], told["exit_code"]), ("UNKNOWN_OUTCOME", "unknown", UNKNOWN), told)


class NoMajority(unittest.TestCase):
    def test_what_has_no_leader_is_told_from_what_does_not_answer(self):
        with harness.Cluster(shards=2) as cluster:
            cluster.wait_ready()
            for node in (0, 1):
                cluster.kill(node)
            for words in (["operators"], ["settings", "get"], ["rules", "get"], ["explain", "shard", "2"]):
                with self.subTest(words):
                    told = harness.run("--cluster", cluster.cluster, "--timeout", "4s", *words)
                    self.assertEqual(told.returncode, FAILED, told)
                    self.assertIn("no leader of placement answered in time", told.stderr)
                    self.assertIn("`quorate doctor`", told.stderr)
                    self.assertNotIn("no node answers", told.stderr)
            read = cluster.quorate("get", "a", "--timeout", "2s")
            self.assertEqual(read.returncode, FAILED, read)
            self.assertRegex(read.stderr, r"no leader of shard \d+ answered in time")
            found = cluster.quorate("doctor", "--timeout", "2s").stdout
            self.assertIn("`quorate recover`", found)
            self.assertNotIn("`quorate node remove", found, "nobody is there to take a node out")


if __name__ == "__main__":
    harness.main()
