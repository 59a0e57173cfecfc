#!/usr/bin/python3
"""The program as people and scripts use it, against a `quorate dev` cluster: standard output as a
terminal, pipe, full device, closed pipe and nothing at all; bytes that are no text; slips of every
option; exit codes that a script can rely on."""
import contextlib
import json
import os
import pty
import random
import re
import signal
import subprocess
import tempfile
import termios
import time
import unittest
import uuid

import harness
from harness import ABSENT, DONE, FAILED, OUTPUT_LOST, UNKNOWN, USAGE

# Bytes that a row, a terminal or a C string could stumble over.
NASTY = [b"", b"plain", b"x\nnl/9\ty\x1b[31m", b"\x00", b"\x00\x00", b"a\x00b", b"\xff\xfe", b"\r\n", b"\\", b"\\n",
         "grün 漢 🙂".encode(), "\x9b31m\u202e".encode(), b"\xc2", b"\x7f", bytes(range(256)), b"\t", b"(absent)"]
# Line feeds end rows and tabs part them; nothing else that acts on a terminal may reach it.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


def with_output(out, *arguments, input=None, timeout=60, **options):
    """The program with `out` as its standard output; its exit code and standard error."""
    done = subprocess.run([harness.PROGRAM, *arguments], input=input, stdout=out, stderr=subprocess.PIPE,
                          timeout=timeout, preexec_fn=harness.die_with_parent, **options)
    return done.returncode, done.stderr.decode()


def on_full_device(*arguments, **options):
    with open("/dev/full", "wb") as full:
        return with_output(full, *arguments, **options)


def on_closed_pipe(*arguments, ignored=False, **options):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return with_output(writer, *arguments, restore_signals=not ignored, **options)
    finally:
        os.close(writer)


def without_output(*arguments, closed="1>&-", **options):
    done = subprocess.run(["bash", "-c", f'exec "$0" "$@" {closed}', harness.PROGRAM, *arguments],
                          stderr=subprocess.PIPE, timeout=60, preexec_fn=harness.die_with_parent, **options)
    return done.returncode, done.stderr.decode()


def on_terminal(*arguments, input=b"", columns=0, env=None):
    """The exit code and what a terminal that is both outputs gets, without its own \\r. Columns 0: it does not tell."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, columns))
    process = subprocess.Popen([harness.PROGRAM, *arguments], stdin=subprocess.PIPE, stdout=slave, stderr=slave,
                               env={**os.environ, **(env or {})}, preexec_fn=harness.die_with_parent)
    os.close(slave)
    process.stdin.write(input)
    process.stdin.close()
    text = b""
    with contextlib.suppress(OSError):  # EIO: the last process has closed the terminal
        while chunk := os.read(master, 65536):
            text += chunk
    os.close(master)
    return process.wait(timeout=60), text.decode().replace("\r\n", "\n")


def run(*arguments, input=b"", cluster=None, **options):
    """Exit code, standard output and standard error, in bytes but for the last."""
    env = {**os.environ, **({"QUORATE_CLUSTER": cluster} if cluster else {})}
    done = subprocess.run([harness.PROGRAM, *arguments], input=input, capture_output=True, timeout=60, env=env,
                          preexec_fn=harness.die_with_parent, **options)
    return done.returncode, done.stdout, done.stderr.decode()


class OnDevCluster(unittest.TestCase):
    """One `quorate dev` for all tests of a class; it is reached through QUORATE_CLUSTER."""

    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory(prefix="quorate-test-")
        cls.addClassCleanup(directory.cleanup)
        cls.directory = directory.name
        port = harness.dev_port()
        cls.dev = subprocess.Popen([harness.PROGRAM, "dev", "--data", directory.name, "--port", str(port)],
                                   stdout=subprocess.PIPE, text=True, preexec_fn=harness.die_with_parent)
        cls.addClassCleanup(cls.stop)
        line = cls.dev.stdout.readline()
        assert "A new cluster" in line, line
        cls.cluster = f"127.0.0.1:{port}"
        os.environ["QUORATE_CLUSTER"] = cls.cluster
        cls.addClassCleanup(lambda: os.environ.pop("QUORATE_CLUSTER"))

    @classmethod
    def stop(cls):
        cls.dev.send_signal(signal.SIGINT)
        cls.dev.stdout.read()
        cls.dev.stdout.close()
        cls.dev.wait(timeout=30)

    def expect(self, code, *arguments, input=b""):
        result = run(*arguments, input=input)
        self.assertEqual(result[0], code, (arguments, result))
        return result[1], result[2]


def printing_commands():
    """Every command that prints: its arguments, its standard input, its exit code (None: as it finds)."""
    commands = [(["--help"], b"", DONE), (["--version"], b"", DONE)]
    for name in ("node", "init", "dev", "get", "put", "delete", "scan", "txn", "outcome", "status", "nodes", "shards", "top",
                 "doctor", "bench", "demo"):
        commands.append(([name, "--help"], b"", DONE))
    put = b"put lost/2 2\n"
    bench = ["bench", "--seconds", "0.2", "--warmup", "0", "--keys", "10", "-c", "2"]
    for words, input, code in ((["put", "lost/1", "1"], b"", DONE), (["get", "lost/1"], b"", DONE),
                               (["get", "lost/1", "--raw"], b"", DONE), (["scan"], b"", DONE),
                               (["txn", "-"], put + b"get lost/2\n", DONE), (["delete", "lost/no"], b"", DONE),
                               (["status"], b"", DONE), (["nodes"], b"", DONE), (["shards"], b"", DONE), (["shards", "--watch"], b"", DONE),
                               (["top"], b"", DONE), (["doctor"], b"", None),
                               (["scan", "--keys-only"], b"", DONE),
                               (bench, b"", DONE)):
        commands.append((words, input, code))
        if "--raw" not in words:
            commands.append((words + ["--json"], input, code))
    commands.append((["get", "lost/no", "--json"], b"", ABSENT))
    for more in ([], ["--json"]):
        commands.append((["outcome", name_of_now(), "--key", "6c", "--hex", *more], b"", DONE))
    return commands


def name_of_now():
    """A UUIDv7 that no transaction has."""
    bits = (int(time.time() * 1000) << 80) | (7 << 76) | (random.getrandbits(12) << 64) | (2 << 62) | random.getrandbits(62)
    return str(uuid.UUID(int=bits))


class Dev(OnDevCluster):
    """A second `dev` beside the one that runs: nobody is greeted by it, and its words tell why."""

    def refused(self, *words):
        done = subprocess.run([harness.PROGRAM, "dev", *words], capture_output=True, text=True, timeout=60,
                              preexec_fn=harness.die_with_parent)
        self.assertEqual((done.returncode, done.stdout), (USAGE, ""), done)
        return done.stderr

    def test_on_the_same_port(self):
        port = self.cluster.rsplit(":", 1)[1]
        with tempfile.TemporaryDirectory(prefix="quorate-test-") as directory:
            for first in (int(port), int(port) - 2, int(port) - 1000):  # its own, a last node's, an HTTP port
                self.assertRegex(self.refused("--data", directory, "--port", str(first)), r"port \d+ is in use.*choose another --port")
            self.assertNotIn("node-1", os.listdir(directory))

    def test_on_the_same_data(self):
        told = self.refused("--data", self.directory, "--port", str(harness.dev_port()), "--nodes", "5")
        self.assertIn(f"another `quorate dev` (process {self.dev.pid}) run on '{self.directory}'", told)
        self.assertNotIn("node-5", " ".join(os.listdir(self.directory)))

    def test_a_node_that_cannot_start_is_quoted(self):
        with tempfile.TemporaryDirectory(prefix="quorate-test-") as directory:
            os.mkdir(os.path.join(directory, "node-2"))
            with open(os.path.join(directory, "node-2", "letter"), "w") as letter:
                letter.write("of somebody")
            told = self.refused("--data", directory, "--port", str(harness.dev_port()))
            self.assertIn("node 2 has ended: ", told)
            self.assertIn("is not a quorate data directory", told)


class LostOutput(OnDevCluster):
    def test_a_full_device_is_an_error_of_every_command(self):
        for words, input, code in printing_commands():
            with self.subTest(words):
                usual = run(*words, input=input)[0]
                self.assertIn(usual, (DONE, FAILED) if code is None else (code,))
                exit_code, error = on_full_device(*words, input=input)
                self.assertEqual(exit_code, FAILED if usual == FAILED else OUTPUT_LOST, error)
                self.assertIn("standard output cannot be written: No space left on device", error)
                self.assertEqual("done" in error, usual != FAILED)

    def test_a_closed_pipe_ends_a_command_as_it_ends_others(self):
        for words, input, code in printing_commands():
            if code is None:
                continue
            with self.subTest(words):
                exit_code, error = on_closed_pipe(*words, input=input)
                self.assertEqual((exit_code, error), (-signal.SIGPIPE, ""))
        exit_code, error = on_closed_pipe("scan", ignored=True)
        self.assertEqual(exit_code, OUTPUT_LOST)
        self.assertIn("Broken pipe", error)

    def test_no_output_at_all(self):
        exit_code, error = without_output("put", "closed/1", "kept")
        self.assertEqual(exit_code, OUTPUT_LOST)
        self.assertIn("done, but its output is lost: standard output cannot be written", error)
        self.assertEqual(self.expect(DONE, "get", "closed/1")[0], b"kept\n")
        # Nothing may be written by accident where standard error was.
        self.assertEqual(without_output("get", "lost/none", closed="2>&-"), (ABSENT, ""))
        exit_code, _ = without_output("put", "closed/2", "-", closed="0<&-")
        self.assertEqual(exit_code, USAGE)
        self.expect(ABSENT, "get", "closed/2")

    def test_a_failure_keeps_its_exit_code_and_is_told_elsewhere(self):
        down = f"127.0.0.1:{harness.free_ports(1)[0]}"
        for words, code in ((["get", "a", "--json", "--cluster", down, "--timeout", "500ms"], FAILED),
                            (["init", "--json"], FAILED), (["get", "", "--json"], USAGE),
                            (["outcome", "x", "--json"], USAGE)):
            with self.subTest(words):
                exit_code, error = on_full_device(*words)
                self.assertEqual(exit_code, code, error)
                self.assertEqual(len(error.splitlines()), 2, error)

    def test_long_commands_go_on_and_tell_at_the_end(self):
        with tempfile.TemporaryDirectory(prefix="quorate-test-") as directory, open("/dev/full", "wb") as full:
            dev = subprocess.Popen([harness.PROGRAM, "dev", "--data", directory, "--port", str(harness.dev_port())],
                                   stdout=full, stderr=subprocess.PIPE, preexec_fn=harness.die_with_parent)
            log = os.path.join(directory, "node-1.log")
            harness.wait_for("a node", lambda: os.path.exists(log) and "serving" in open(log).read())
            dev.send_signal(signal.SIGINT)
            _, error = dev.communicate(timeout=60)
            self.assertEqual(dev.returncode, OUTPUT_LOST, error)


class Bytes(OnDevCluster):
    def test_what_goes_in_comes_out(self):
        for number, value in enumerate([*NASTY, os.urandom(4096), os.urandom(1 << 20)]):
            with self.subTest(value[:20]):
                key = f"bytes/{number}"
                self.expect(DONE, "put", key, "-", input=value)
                self.assertEqual(self.expect(DONE, "get", key, "--raw")[0], value)
                self.assertEqual(self.expect(DONE, "get", key)[0], value + b"\n")
                self.assertEqual(self.expect(DONE, "get", key.encode().hex(), "--hex")[0].decode(), value.hex() + "\n")
                self.expect(DONE, "put", "--hex", key.encode().hex(), "-", input=value[1:])
                self.assertEqual(self.expect(DONE, "get", "--hex", "--raw", key.encode().hex())[0], value[1:])

    def test_a_row_is_a_line_and_json_is_exact(self):
        pairs = {b"row/" + key: key for key in NASTY}
        for key, value in pairs.items():
            self.expect(DONE, "put", "--hex", key.hex(), "-", input=value)
        lines = self.expect(DONE, "scan", "--prefix", "row/")[0].split(b"\n")[:-1]
        self.assertEqual(len(lines), len(pairs))
        self.assertEqual(len(set(lines)), len(pairs))
        self.assertIn(b"row/x\\nnl/9\\ty\\x1b[31m\tx\\nnl/9\\ty\\x1b[31m", lines)
        hexes = [line.split("\t") for line in self.expect(DONE, "scan", "--hex", "--prefix", b"row/".hex())[0]
                 .decode().splitlines()]
        self.assertEqual({bytes.fromhex(k): bytes.fromhex(v) for k, v in hexes}, pairs)
        rows = [json.loads(line) for line in self.expect(DONE, "scan", "--json", "--prefix", "row/")[0].splitlines()]
        read = {json_bytes(row, "key"): json_bytes(row, "value") for row in rows}
        self.assertEqual(read, pairs)
        raw = b"".join(k + b"\t" + v + b"\n" for k, v in sorted(pairs.items()))
        self.assertEqual(self.expect(DONE, "scan", "--raw", "--prefix", "row/")[0], raw)
        # The same words in a script's output.
        escaped = b"".join(b'get "row/' + b"".join(b"\\x%02x" % c for c in key) + b'"\n' for key in NASTY)
        printed = self.expect(DONE, "txn", "-", input=escaped)[0].split(b"\n")
        self.assertEqual(set(printed[:-2]), set(lines))
        self.assertEqual(self.expect(DONE, "txn", "-", input=b"get no/such\n")[0], b"no/such (absent)\ncommitted\n")

    def test_a_listing_without_values_and_a_large_one(self):
        for number in range(70):
            self.expect(DONE, "put", f"large/{number:02}", "-", input=b"v" * (1 << 20))
        keys = [f"large/{number:02}" for number in range(70)]
        for reverse in ([], ["--reverse"]):
            words = ["scan", "--prefix", "large/", *reverse]
            expected = keys[::-1] if reverse else keys
            self.assertEqual(self.expect(DONE, *words, "--keys-only")[0].decode().splitlines(), expected)
            rows = [json.loads(row) for row in self.expect(DONE, *words, "--keys-only", "--json", "--limit", "5")[0].splitlines()]
            self.assertEqual(rows, [{"key": key} for key in expected[:5]])
            lines = self.expect(DONE, *words)[0].split(b"\n")[:-1]
            self.assertEqual([line.split(b"\t")[0].decode() for line in lines], expected)
            self.assertEqual(on_closed_pipe(*words), (-signal.SIGPIPE, ""))
        self.assertEqual(self.expect(DONE, "scan", "--prefix", b"large/6".hex(), "--hex", "--keys-only", "--raw")[0].decode(),
                         "".join(f"{key}\n" for key in keys[60:]))
        self.expect(DONE, "txn", "-", input="".join(f"delete {key}\n" for key in keys).encode())  # others list all

    def test_keys_with_nul_are_kept_apart(self):
        for key in (b"nul", b"nul\0", b"nul\0\0"):
            self.expect(DONE, "put", "--hex", key.hex(), "-", input=str(len(key)).encode())
        self.assertEqual(self.expect(DONE, "get", "nul")[0], b"3\n")
        self.assertEqual(self.expect(DONE, "get", "--hex", b"nul\0".hex(), "--raw")[0], b"4")
        self.assertEqual(self.expect(DONE, "scan", "--prefix", "nul")[0],
                         b"nul\t3\nnul\\x00\t4\nnul\\x00\\x00\t5\n")

    def test_on_a_terminal_watching_goes_on_until_ctrl_c(self):
        for words, head in ((["shards", "--watch"], b"replicas"), (["top", "--interval", "1"], b"mem MiB")):
            master, slave = pty.openpty()
            watching = subprocess.Popen([harness.PROGRAM, *words], stdin=slave, stdout=slave,
                                        stderr=slave, preexec_fn=harness.die_with_parent)
            os.close(slave)
            try:
                text = b""
                while text.count(head) < 3:  # it comes again and again
                    text += os.read(master, 65536)
                watching.send_signal(signal.SIGINT)
                self.assertEqual(watching.wait(timeout=30), DONE, text)
            finally:
                watching.kill()
                watching.wait()
                os.close(master)

    def test_a_row_is_a_line_of_a_narrow_terminal(self):
        self.expect(DONE, "put", "narrow", "1")
        for words in (["nodes"], ["shards"]):
            for columns in (20, 40, 80):
                with self.subTest([*words, columns]):
                    code, text = on_terminal(*words, columns=columns)
                    self.assertEqual(code, DONE)
                    self.assertLessEqual(max(map(len, text.splitlines())), columns, text)
                    self.assertEqual(on_terminal(*words, env={"COLUMNS": str(columns)}), (code, text))
        self.assertGreater(max(map(len, on_terminal("nodes")[1].splitlines())), 80)
        self.assertEqual(on_terminal("nodes", columns=200)[1].count("\n"), 4)
        # Cut, not wrapped: as many lines as a wide one has.
        self.assertEqual(on_terminal("shards", columns=30)[1].count("\n"), on_terminal("shards")[1].count("\n"))
        one_second = ["timeout", "--foreground", "-s", "INT", "5"]
        for columns, env in ((40, {}), (40, {"TERM": "dumb"})):
            master, slave = pty.openpty()
            termios.tcsetwinsize(slave, (24, columns))
            top = subprocess.run([*one_second, harness.PROGRAM, "top", "--interval", "1"], stdin=slave, stdout=slave,
                                 stderr=slave, timeout=60, env={**os.environ, **env}, preexec_fn=harness.die_with_parent)
            os.close(slave)
            text = b""
            with contextlib.suppress(OSError):
                while chunk := os.read(master, 65536):
                    text += chunk
            os.close(master)
            self.assertEqual(top.returncode, 124, text)
            self.assertEqual(b"\x1b" in text, not env, text)
            lines = text.replace(b"\x1b[H\x1b[2J", b"").replace(b"\r\n", b"\n").splitlines()
            self.assertTrue(any(line.startswith(b"node") for line in lines), text)
            self.assertLessEqual(max(map(len, lines)), columns, text)

    def test_no_control_byte_reaches_a_terminal(self):
        for value in NASTY:
            self.expect(DONE, "put", "--hex", (b"tty/" + value).hex(), "-", input=value)
        keys = [(b"tty/" + value).hex() for value in NASTY]
        commands = [["scan", "--prefix", "tty/"], ["scan", "--json", "--prefix", "tty/"], ["scan"], ["shards"],
                    ["nodes"], ["status", "--json"], ["get", "x\x1b[31m"], ["get", "tty/\u202e"], ["put", "a", "-\x1b[2J"],
                    ["frob\x1b"], ["get", "a", "--cluster", "\x1b[31m"], ["get", "a", "--timeout", "\x9b1m"],
                    ["scan", "--limit", "\x1b"], ["txn", "/no/\x1b"], ["outcome", "\x1b"], ["bench", "--workload", "\x1b"],
                    ["scan", "\x1bb", "\x1ba"], ["--\x1b"], ["node", "--config", "\x1b\x9b"]]
        commands += [["get", "--hex", key] for key in keys] + [["get", "--json", "--hex", key] for key in keys]
        for words in commands:
            with self.subTest(words):
                _, text = on_terminal(*words)
                self.assertTrue(text)
                self.assertIsNone(CONTROL.search(text), text)
        # Without --hex, since such keys cannot all be typed: by their number of lines.
        _, text = on_terminal("scan", "--prefix", "tty/")
        self.assertEqual(len(text.splitlines()), len(NASTY))
        for script in (b'put "a"\x1b[31m b\n', b"frob \x1b\n", b'get "x\\x1b"\n', b'get "tty/x\\nnl/9\\ty\\x1b[31m"\n'):
            _, text = on_terminal("txn", "-", input=script)
            self.assertIsNone(CONTROL.search(text), text)
        # A value on a terminal is escaped; --raw is what somebody asked for.
        self.expect(DONE, "put", "tty", "-", input=b"a\x1bb\\")
        self.assertEqual(on_terminal("get", "tty"), (DONE, "a\\x1bb\\\\\n"))
        self.assertEqual(on_terminal("get", "tty", "--raw"), (DONE, "a\x1bb\\"))

    def test_hex_is_for_every_key(self):
        for key in ("ff", "ff00", "ffff", "fe", "fe01"):
            self.expect(DONE, "put", "--hex", key, key)
        for words, rows in ((["--prefix", "ff"], ["ff", "ff00", "ffff"]), (["ff", "ffff"], ["ff", "ff00"]),
                            (["fe01", ""], ["fe01", "ff", "ff00", "ffff"])):
            text = self.expect(DONE, "scan", "--hex", *words)[0].decode()
            self.assertEqual([line.split("\t")[0] for line in text.splitlines()], rows)
        raw = subprocess.run(["bash", "-c", '"$0" scan --hex --prefix ff; "$0" scan --prefix $\'\\xff\' | wc -l',
                              harness.PROGRAM], capture_output=True, text=True, timeout=60)
        self.assertEqual(raw.stdout.splitlines()[-1], "3")


def json_bytes(row, name):
    return row[name].encode() if name in row else bytes.fromhex(row[name + "_hex"])


# (arguments, words that the message has to hold): all are exit 2, none is sent anywhere.
SLIPS = [
    (["get", "a", "--timeout", t], ["--timeout", repr(t)])
    for t in ("", "nan", "-nan", "inf", "-inf", "-1", "0", "1e-12", "1e99", "61s", "10 s", "1h", "+1", "0x10", "soon")
] + [
    (["get", "a", "--cluster", c], ["--cluster", "HOST:PORT"])
    for c in ("", ",", "127.0.0.1:1,", "127.0.0.1", ":7400", "a:0", "a:65536", "a:-1", "http://a:1", "a:1/", "[a:1,b:1]",
              "u@a:1", "a b:1", "::1:7400", "a:nan")
] + [
    (["scan", "--limit", n], ["--limit", repr(n)]) for n in ("-1", "", "99999999999999999999", "1.5", "nan", "1e3", " 1", "x")
] + [
    ([command, option, n], [option, repr(n), ".."])
    for command, options in (("bench", ("--concurrency", "--seconds", "--warmup", "--keys", "--value-size")),
                             ("dev", ("--nodes", "--port", "--shards")), ("init", ("--shards", "--replicas")),
                             ("demo", ("--seconds", "--accounts", "--clients", "--shards", "--port")))
    for option in options for n in ("", "-1", "nan", "99999999999999999999")
] + [
    (["bench", "-c", "0"], ["--concurrency", "'0'"]),
    (["bench", "--workload", ""], ["--workload"]),
    (["init", "--split-at", "g,n,t"], ["'g,n,t' is one key", "--split-at g n t"]),
    (["init", "--split-at", "6", "--hex"], ["--split-at: '6'"]),
    (["init", "--split-at", "g", "--shards", "2"], ["--split-at"]),
    (["scan", "--prefix", ""], ["--prefix: is empty"]),
    (["scan", "--prefix", "fg", "--hex"], ["--prefix: 'fg'", "hexadecimal"]),
    (["scan", "--prefix", "f", "a"], ["--prefix"]),
    (["scan", "0g", "--hex"], ["FROM: '0g'"]), (["scan", "00", "1", "--hex"], ["TO: '1'"]),
    (["scan", "b", "a"], ["from"]), (["scan", "a", "b", "c"], ["c"]),
    (["scan", "--raw", "--json"], ["--raw"]), (["get", "a", "--raw", "--json"], ["--raw"]),
    (["get", "--hex", "0x61"], ["KEY: '0x61'"]), (["put", "--hex", "61", "a"], ["VALUE: 'a'"]),
    (["delete", "--hex", "a"], ["KEY: 'a'"]), (["get", ""], ["key"]), (["put", "", "v"], ["key"]), (["delete", ""], ["key"]),
    (["get"], ["KEY"]), (["put", "a"], ["VALUE"]), (["put", "a", "b", "c"], ["c"]), (["get", "a", "--timeout"], ["--timeout"]),
    (["put", "a", "-x"], ["'-x' is not an option of `quorate put`", "stands after --"]),
    (["get", "--frob"], ["'--frob'", "--"]), (["status", "--frob"], ["'--frob'", "quorate status --help"]),
    (["txn", "/tmp"], ["'/tmp'", "Is a directory"]), (["txn", "/no/such"], ["'/no/such'", "No such file"]),
    (["txn", ""], ["''"]), (["txn"], ["FILE"]), (["outcome", ""], ["''"]), (["outcome", "xyz"], ["'xyz'"]),
    (["outcome", "xyz", "--key", "a"], ["'xyz'"]), (["outcome", "xyz", "--key", "a", "--hex"], ["--key: 'a'"]),
    (["frob"], ["'frob' is not a command"]), (["--json"], ["command"]), (["--frob", "get", "a"], ["--frob"]),
    (["--cluster", "a:1"], ["command"]), (["dev", "--data", "/dev/null/x"], ["/dev/null/x"]), (["dev", "--data", ""], ["--data"]),
    (["demo", "--data", "/dev/null/x"], ["/dev/null/x"]), (["put", "-5", "--frob", "x"], ["'--frob'"]),
    (["node"], ["data"]), (["node", "--data", "/dev/null/x", "--listen", "127.0.0.1:1"], ["/dev/null/x"]),
    (["node", "--config", "/tmp"], ["/tmp"]), (["node", "--config", "/no/such"], ["/no/such"]),
] + [
    (["node", "--data", "/dev/null/x", *(["--listen", "127.0.0.1:7"] if option != "--listen" else []), option, value], [option.lstrip("-"), value.split(",")[-1]])
    for option, values in (("--listen", ("x", "127.0.0.1", "127.0.0.1:-1", "a b:1")), ("--http", ("x",)), ("--join", ("x", "a:1,b")),
                           ("--advertise", ("x",)), ("--log-level", ("loud",)), ("--read-mode", ("fast",)),
                           ("--min-free", ("nan", "-1", "1e3", "99999999999999999999", "5X")), ("--locality", ("x", "=x")))
    for value in values
]


class Slips(OnDevCluster):
    def test_every_one_is_named_and_exit_2(self):
        for words, parts in SLIPS:
            with self.subTest(words):
                exit_code, out, error = run(*words)
                self.assertEqual(exit_code, USAGE, (out, error))
                self.assertEqual(out, b"")
                for part in parts:
                    self.assertIn(part, error)

    def test_a_wrong_place_for_temporary_files(self):
        for place in ("/no/such", "/dev/null"):
            done = subprocess.run([harness.PROGRAM, "demo"], capture_output=True, text=True, timeout=60,
                                  env={**os.environ, "TMPDIR": place})
            self.assertEqual(done.returncode, USAGE, done)
            self.assertIn("TMPDIR", done.stderr)

    def test_a_script_is_judged_before_it_is_sent(self):
        for script, part in ((b"", "no step"), (b"# nothing\n\n", "no step"), (b'put "a"b c\n', "line 1, column 8"),
                             (b'\nput "k"x\n', "line 2, column 8"), (b"\xff\xfep\0", "UTF-8"), (b"frob\n", "line 1"),
                             (b"put a\n", "line 1"), (b'put a "x\n', "line 1, column 7"), (b"put " + b"k" * 481 + b" v\n", "480"),
                             (b"put a 1\nscan b a\n", "line 2"), (b'put "" v\n', "line 1"),
                             (b"".join(b"put n%d v\n" % i for i in range(50001)), "50000")):
            with self.subTest(script[:30]):
                _, error = self.expect(USAGE, "txn", "-", input=script)
                self.assertIn(part, error.replace(",0", "0") if part == "50000" else error)
        for script in (b"\xef\xbb\xbfput bom 1\r\nget bom", b'put "bom" 1\n', b"put bom a\0b\n",
                       b"put bom " + b"v" * (1 << 20) + b"\n"):
            self.expect(DONE, "txn", "-", input=script)

    def test_input_that_cannot_be_read_is_no_empty_value(self):
        for words in (["put", "unread", "-"], ["txn", "-"]):
            done = subprocess.run(["bash", "-c", 'exec "$0" "$@" < /tmp', harness.PROGRAM, *words],
                                  capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, USAGE, done)
            self.assertIn("standard input: Is a directory", done.stderr)
        done = subprocess.run(["bash", "-c", 'exec "$0" put unread - < /dev/zero', harness.PROGRAM], capture_output=True,
                              text=True, timeout=60)
        self.assertEqual(done.returncode, USAGE, done)
        self.expect(ABSENT, "get", "unread")


class Words(OnDevCluster):
    def test_values_may_look_like_anything(self):
        for number, value in enumerate(["-5", "-.5", "++", "put", "get", "[[1,2],[3]]", "{}", '"quoted"', "/x", "", "a=b",
                                        "--", "-x", "--json", "-h", "--help", "%s", "$HOME", "#x", "- "]):
            with self.subTest(value):
                dash = ["--"] if value.startswith("-") and value not in ("-5", "-.5") else []
                self.expect(DONE, "put", *dash, f"words/{number}", value)
                self.assertEqual(self.expect(DONE, "get", f"words/{number}")[0].decode(), value + "\n")
        for key in ("-k", "++", "--", "-5", "--json"):
            with self.subTest(key):
                self.expect(DONE, "put", "--", key, "v")
                self.assertEqual(self.expect(DONE, "get", "--", key)[0], b"v\n")
                self.assertEqual(self.expect(DONE, "scan", "--", key, key + "0")[0].decode(), f"{key}\tv\n")
                self.assertEqual(self.expect(DONE, "scan", f"--prefix={key}", "--limit", "1")[0].decode(), f"{key}\tv\n")
                self.expect(DONE, "delete", "--", key)
                self.expect(ABSENT, "get", "--", key)
        for command in ("get", "put", "delete", "scan"):
            self.assertIn(" -- ", self.expect(DONE, command, "--help")[0].decode())

    def test_common_options_stand_before_or_behind_the_command(self):
        nowhere = "127.0.0.1:1"
        self.expect(DONE, "put", "where", "here")
        for words in (["--cluster", self.cluster, "get", "where", "--json"], ["--json", "get", "where"],
                      ["--timeout=5s", "--json", f"--cluster={self.cluster}", "get", "where"]):
            code, out, error = run(*words, cluster=nowhere if any("cluster" in w for w in words) else None)
            self.assertEqual(code, DONE, error)
            self.assertEqual(json.loads(out)["value"], "here")
        self.expect(FAILED, "--cluster", nowhere, "--timeout", "300ms", "get", "where")
        self.expect(DONE, "get", "where", "--cluster", f" {self.cluster} , {nowhere}\n")
        self.expect(USAGE, "--cluster", nowhere, "status", "--cluster", self.cluster)  # which of the two?
        self.assertIn("before the command", self.expect(DONE, "--help")[0].decode())


class ExitCodes(OnDevCluster):
    def test_absent_is_not_unreachable(self):
        self.expect(ABSENT, "get", "no/such")
        self.assertEqual(json.loads(self.expect(ABSENT, "get", "no/such", "--json")[0]), {"key": "no/such", "found": False})
        for command in (["get", "a"], ["scan"], ["status"], ["nodes"], ["shards"]):
            self.expect(FAILED, *command, "--cluster", "127.0.0.1:1", "--timeout", "500ms")

    def test_a_write_that_was_never_sent_did_nothing(self):
        for command in (["put", "a", "b"], ["delete", "a"], ["txn", "-"]):
            words = [*command, "--cluster", "127.0.0.1:1", "--timeout", "1s"]
            out, error = self.expect(FAILED, *words, input=b"put a b\n")
            self.assertEqual(out, b"")
            self.assertNotIn("outcome", error)
            failed = json.loads(self.expect(FAILED, *words, "--json", input=b"put a b\n")[0])
            self.assertEqual((failed["effect"], failed["exit_code"]), ("nothing", FAILED))
            self.assertNotIn("txn_id", failed)

    def test_errors_name_an_address_once_and_no_internals(self):
        gone = [f"127.0.0.1:{port}" for port in harness.free_ports(2)]
        for command in (["get", "a"], ["put", "a", "b"], ["status"], ["scan"]):
            for cluster in (gone[0], ",".join(gone), "no-such-host.invalid:7400"):
                with self.subTest([*command, cluster]):
                    _, error = self.expect(FAILED, *command, "--cluster", cluster, "--timeout", "1s")
                    for address in cluster.split(","):
                        self.assertEqual(error.count(address), 1, error)
                    self.assertNotRegex(error, r"ipv4:|ipv6:|ares|ARES|C-ares|qtype|is_balancer|subchannel|UNKNOWN|errno")


class MajorityDown(unittest.TestCase):
    def test_what_is_unknown_can_be_asked_about(self):
        with harness.Cluster() as cluster:
            for node in (0, 1):
                cluster.kill(node)
            for number in range(4):
                result = cluster.quorate("put", f"{chr(ord('a') + 6 * number)}", "v", "--json", "--timeout", "2s")
                answer = json.loads(result.stdout)
                self.assertEqual(answer["exit_code"], result.returncode)
                self.assertIn(result.returncode, (FAILED, UNKNOWN), result)
                self.assertEqual(answer["effect"], "nothing" if result.returncode == FAILED else "unknown")
                if result.returncode == FAILED:
                    continue
                self.assertTrue(answer["txn_id"], result)
                asked = cluster.quorate("outcome", answer["txn_id"], "--json", "--timeout", "1s")
                self.assertEqual(asked.returncode, UNKNOWN, asked)
                self.assertEqual(json.loads(asked.stdout)["txn_id"], answer["txn_id"])


if __name__ == "__main__":
    harness.main()
