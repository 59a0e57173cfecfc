#!/usr/bin/env python3
"""The rules a machine can check: who may include whom, banned calls, dead files, sizes.

    tests/tidy/tidy.py [--root DIR]     exits 1 and lists every breach
    tests/tidy/tidy.py --self-test      shows that each rule can fail
"""
import os
import re

import rules

# Folder -> folders of the project it may include, beside itself. Longest prefix decides.
LAYERS = {
    "base": [],
    "proto": [],
    "txn": ["base", "proto"],
    "schema": ["txn", "proto", "base"],
    "storage": ["base"],
    "raft/core": ["base"],
    "raft/host": ["raft/core", "storage", "proto", "base"],
    "shard": ["txn", "storage", "raft/core", "raft/host", "proto", "base"],
    "client/route": ["txn", "proto", "base"],
    "client": ["client/route", "schema", "txn", "proto", "base"],
    "client/example": None,  # outside projects: see OUTSIDE
    "client/install": None,
    "tests/client/outside": None,
    "coordinator": ["shard", "client/route", "txn", "proto", "base", "raft/core"],
    "placement/schedule": ["base"],
    "placement": ["placement/schedule", "schema", "txn", "storage", "raft/core", "raft/host", "proto", "base", "client/route"],
    "server": ["base", "proto", "txn", "storage", "raft/core", "raft/host", "shard", "client",
               "client/route", "coordinator", "placement", "placement/schedule"],
    "cli": ["client", "client/route", "schema", "proto", "base", "txn", "server"],
    "tests/history": ["base"],
    "tests": None,
}
# Files of a lower folder that its users may include although the folder as a whole is closed to them.
ONLY = {
    "shard": {"storage": {"kv_store.h", "ordered_store.h"},
              "raft/host": {"state_machine.h", "host.h"},
              "raft/core": {"ready.h", "types.h"}},
    "coordinator": {"shard": {"shard.h", "pusher.h"}, "raft/core": {"types.h"}},
    "placement": {"storage": {"kv_store.h", "ordered_store.h"},
                  "raft/host": {"state_machine.h", "host.h"},
                  "raft/core": {"ready.h", "types.h"}},
    "cli": {"server": {"run.h", "examine.h", "recover.h"}},
}
# Include <quorate/...> only, or headers of their own; what is installed is not named by CMake.
OUTSIDE = {"client/example": re.compile(r'#include "'),
           "client/install": re.compile(r'#include <'),
           "tests/client/outside": re.compile(r'#include "(?!base/check\.h|proto/)')}

ASIO = re.compile(r"#include <boost/(asio|beast)")
GRPC = re.compile(r"#include <grpc|\.grpc\.pb\.h")
# How the paths begin of those who may; each has to be there.
GRPC_FILES = ("client/route/grpc_", "server/wire/", "server/program/real_env", "server/program/run")
ASIO_FILES = ("server/program/", "client/asio.h")
PUBLIC = ("client/asio.h", "client/database.h", "client/table.h", "client/transaction.h", "client/options.h")

WORLD = [
    (re.compile(r"std::chrono::(system|steady|high_resolution)_clock::now"), "a system clock"),
    (re.compile(r"\bclock_gettime\("), "a system clock"),
    (re.compile(r"\babsl::(Now|SleepFor)\("), "a system clock"),
    (re.compile(r"\bstd::(thread|jthread)\b"), "a thread"),
    (re.compile(r"\bsleep_for\(|\busleep\("), "sleeping"),
    (re.compile(r"\brandom_device\b|[^a-zA-Z_:]rand\(\)"), "a random source"),
    (re.compile(r"\bgetenv\("), "the environment"),
    (re.compile(r"\babsl::Mutex\b"), "absl::Mutex (ThreadSanitizer)"),
]
# Where the real world is made: everything else reaches it through base/env.h.
WORLD_FILES = ("base/real_", "storage/posix_file", "storage/lmdb_", "server/wire/", "server/program/",
               "client/route/grpc_", "cli/", "client/example/", "tests/sim/main", "tests/support/script",
               "tests/integration/", "tests/bench/")

# "wal: torn tail cut": who, and what happened to it.
PROBE = re.compile(r'\bPROBE\("(?![a-z][a-z ]*: [^"]+"\))')
HASH_ITERATION = re.compile(r"for \([^;]*:\s*(\w+_)\)")
LINES_MAX = {".h": 500, ".cc": 700}
DOCUMENTS_MAX = {"docs/testing.md": 150}  # what was measured is beside it, in docs/measured/
FUNCTION_MAX = 70
# Ends with its opening brace, and is no type, namespace, statement or initialiser.
FUNCTION = re.compile(r" {0,4}(?!namespace|class|struct|enum|union|extern|if|for|while|switch|do|else|try|return)"
                      r"[\w~:*&<>(].*[^=] ?\{$")

CODE = (".h", ".cc", ".cpp")


def folder_of(path):
    best = None
    for folder in LAYERS:
        if path.startswith(folder + "/") and (best is None or len(folder) > len(best)):
            best = folder
    return best


def long_functions(text):
    """Line and length of each function that is too long: from its brace to the one that closes it."""
    lines = text.split("\n")
    for begin, line in enumerate(lines):
        if not FUNCTION.match(line) or ")" not in " ".join(lines[max(0, begin - 3):begin + 1]):
            continue
        indent = len(line) - len(line.lstrip())  # of the last line of its head, which may be deeper
        closes = (i for i in range(begin + 1, len(lines)) if re.match(r" {0,%d}\}" % indent, lines[i]))
        end = next(closes, begin)
        if end - begin + 1 > FUNCTION_MAX:
            yield begin + 1, end - begin + 1


def check(root):
    breaches = []
    files = [f for f in rules.tracked(root) if f.endswith(CODE)]
    text = {f: open(os.path.join(root, f), encoding="utf-8").read() for f in files}
    cmake = ""
    for base, dirs, names in os.walk(root):
        dirs[:] = [d for d in dirs if d not in ("build", ".git")]
        for name in names:
            if name == "CMakeLists.txt":
                cmake += open(os.path.join(base, name), encoding="utf-8").read()

    if os.path.exists(os.path.join(root, "base", "env.h")):  # the project, not a self-test
        named = {*GRPC_FILES, *ASIO_FILES, *PUBLIC, *WORLD_FILES, *(f + "/" for f in LAYERS)}
        named |= {f"{of}/" + name for only in ONLY.values() for of, some in only.items() for name in some}
        for allowed in sorted(named):
            if allowed.endswith("/") and os.path.isdir(os.path.join(root, allowed)):
                continue
            if not any(f.startswith(allowed) or (allowed.endswith(".h") and f.startswith(os.path.dirname(allowed)) and
                                                 f.endswith("/" + os.path.basename(allowed))) for f in files):
                breaches.append(f"tests/tidy/tidy.py: allows {allowed}, which is not there")

    for path, most in DOCUMENTS_MAX.items():
        if os.path.exists(os.path.join(root, path)):
            lines = open(os.path.join(root, path), encoding="utf-8").read().count("\n")
            if lines > most:
                breaches.append(f"{path}: {lines} lines, {most} at most")

    for path in files:
        folder = folder_of(path)
        if folder is None:
            breaches.append(f"{path}: is in no known folder")
            continue
        if folder in OUTSIDE:
            if OUTSIDE[folder].search(text[path]):
                breaches.append(f"{path}: includes what an outside project cannot")
            continue
        allowed = LAYERS[folder]
        for number, line in enumerate(text[path].split("\n"), 1):
            where = f"{path}:{number}"
            include = re.match(r'#include "([^"]+)"', line)
            if include and allowed is not None:
                # Generated headers are named as protoc names them: without their root folder.
                header = re.sub(r"^quorate/", "proto/quorate/", include.group(1))
                target = folder_of(header)
                if target != folder and target is not None:
                    if target not in allowed:
                        breaches.append(f"{where}: {folder} may not include {include.group(1)}")
                    only = ONLY.get(folder, {}).get(target)
                    if only is not None and os.path.basename(include.group(1)) not in only:
                        breaches.append(
                            f"{where}: of {target}, {folder} may include only {', '.join(sorted(only))}")
            if not path.startswith("tests/"):
                if GRPC.search(line) and not path.startswith(GRPC_FILES):
                    breaches.append(f"{where}: gRPC outside client/route/grpc_channel and server/wire/")
                if PROBE.search(line):
                    breaches.append(f"{where}: a probe is named as in PROBE(\"wal: torn tail cut\")")
                if ASIO.search(line) and not path.startswith(ASIO_FILES):
                    breaches.append(f"{where}: Asio outside the real executor and the HTTP server")
            if path in PUBLIC and re.search(r"grpc|\.pb\.h", line, re.I):
                breaches.append(f"{where}: a public header mentions gRPC or protobuf")
            if not path.startswith(WORLD_FILES):
                code = line.split("//")[0]
                for pattern, what in WORLD:
                    if what == "the environment" and path.startswith("tests/"):
                        continue  # knobs of a test run
                    if pattern.search(code):
                        breaches.append(f"{where}: reaches {what} past base/env.h")
            if len(line) > 100:
                breaches.append(f"{where}: {len(line)} columns, 100 at most")
        # Iterating a hash container where the order could reach a log, a message or a schedule.
        hashed = set(re.findall(r"(?:flat_hash_(?:map|set)|unordered_(?:map|set))<[^;]*>\s+(\w+_)\b",
                                text[path]))
        for match in HASH_ITERATION.finditer(text[path]):
            if match.group(1) in hashed:
                breaches.append(f"{path}: iterates the hash container {match.group(1)}")
        lines = text[path].count("\n")
        limit = LINES_MAX.get(os.path.splitext(path)[1], 900)
        if lines > limit:
            breaches.append(f"{path}: {lines} lines, {limit} at most")
        if not path.startswith("tests/"):  # where scenarios and tables are told in one piece
            for number, length in long_functions(text[path]):
                breaches.append(f"{path}:{number}: a function of {length} lines, {FUNCTION_MAX} at most")
        if path.endswith(".cc") and folder not in OUTSIDE:
            if os.path.basename(path) not in cmake:
                breaches.append(f"{path}: no CMakeLists.txt names it")
        if path.endswith(".h") and folder not in OUTSIDE:
            names = (f'"{path}"', f'"{os.path.basename(path)}"')
            if not any(any(n in body for n in names) for other, body in text.items() if other != path):
                if path not in PUBLIC and os.path.basename(path) not in cmake:
                    breaches.append(f"{path}: nobody includes it")
    return breaches


SELF_TEST = {
    "txn/bad.cc": ('#include "storage/kv_store.h"\n', "txn may not include"),
    "storage/bad.cc": ("auto t = std::chrono::steady_clock::now();\n", "a system clock"),
    "shard/bad.cc": ('#include "storage/wal.h"\n', "shard may include only"),
    "coordinator/bad.cc": ("#include <grpcpp/grpcpp.h>\n", "gRPC outside"),
    "server/bad.cc": ("#include <boost/asio.hpp>\n", "Asio outside"),
    "shard/loop.cc": ("std::unordered_map<int, int> seen_;\nfor (auto& s : seen_) {\n", "iterates the hash container"),
    "client/database.h": ('#include "quorate/v1/node.pb.h"\n', "a public header mentions"),
    "base/bad.cc": ("// " + "x" * 120 + "\n", "123 columns"),
    "raft/core/bad.cc": ('#include "quorate/v1/raft.pb.h"\n', "raft/core may not include"),
    "tests/bad.cc": ("\n" * 701, "701 lines"),
    "raft/core/probe.cc": ('PROBE("raft.truncate");\n', "a probe is named"),
    "base/loop.cc": ("int F(\n    int a) {\n" + "  a;\n" * 69 + "}\n", "a function of 71 lines"),
    "txn/nobodys.h": ("\n", "nobody includes it"),
    "txn/unnamed.cc": ("\n", "no CMakeLists.txt names it"),
    "nowhere/bad.cc": ("\n", "is in no known folder"),
    "docs/testing.md": ("\n" * 151, "151 lines, 150 at most"),
}

if __name__ == "__main__":
    fine = {"CMakeLists.txt": "bad.cc loop.cc probe.cc"}  # so that nothing else is wrong with them
    rules.main(__doc__, check, [(path, body, fine, said) for path, (body, said) in SELF_TEST.items()], "breaches")
