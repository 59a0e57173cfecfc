#!/usr/bin/env python3
"""Whatever comments and documents name has to be there: files, sections, incidents, invariants.

    tests/tidy/references.py [--root DIR]     exits 1 and lists every name that leads nowhere
    tests/tidy/references.py --self-test      shows that each rule can fail

    RC12, ST4, DX1 ..   an incident: a line of docs/incidents.md
    A1, T2, S1 ..       an invariant of docs/transactions.md (in histories T1 is a transaction, as Elle writes it; docs/edges.md
                        has codes of its own)
    section 4           a numbered heading of docs/transactions.md
    shard/shard.h, `tests/run`, rc05_*     a file, from the root, from tests/, or from where it is named
    first line of a file, if it names a file: that file
    in docs/edges.md and docs/incidents.md, `Suite.Name`, `file_test::test_name` and `bit-rot`: a test, a fault or mutant
    docs/decisions/0012    one record: no two carry a number
"""
import fnmatch
import os
import re

import rules

INCIDENT = re.compile(r"\b(?:RC|ST|TX|PL|SC|CL|OP|DX)\d{1,2}\b")
INVARIANT = re.compile(r"(?<![\w.])[ATSPL]\d\b(?!\.\d)")
SECTION = re.compile(r"\b[Ss]ection (\d+)")
ENDINGS = r"(?:h|cc|md|py|proto|cmake|sim)"
# A path with a folder or an ending; {h,cc} and * stand for several.
PATH = re.compile(r"(?<![\w/.<:$-])((?:[\w.-]+/)*[\w.*-]*[\w*](?:\.\{[\w,]+\}|\." + ENDINGS + r"\b))(?![\w/])")
FOLDERED = re.compile(r"(?<![\w/.<:$~-])((?:base|cli|client|coordinator|deploy|docs|placement|proto|raft|schema|server|shard|"
                      r"storage|tests|txn)/[\w./*-]*[\w*/])(?![\w(:])")
# Pages that say which test, fault, mutant or workload holds what.
HELD_BY = ("docs/edges.md", "docs/incidents.md")
TEST = re.compile(r"`([A-Z]\w+\.[A-Z*][\w*]*|\w+_test::test_\w+|[a-z]+(?:-[a-z]+)+(?:-\*)?)`")
MADE = re.compile(r"^(build|proto/generated|google/protobuf|/)|\.pb\.h$|\.grpc\.pb\.cc$")  # by a build, or outside
# Names for the sake of an example.
EXAMPLES = {"s.sim", "proto/client.proto"}


def prose(path, text):
    """The lines that a person reads, with their numbers: all of a document, the comments of code."""
    in_string = False
    for number, line in enumerate(text.split("\n"), 1):
        if path.endswith(".md"):
            yield number, line
        elif path.endswith((".h", ".cc", ".proto")):
            at = line.find("//")
            if at >= 0 and line[:at].count('"') % 2 == 0 and not line[:at].endswith(":"):
                yield number, line[at + 2:]
        elif path.endswith(".py"):
            quotes = line.count('"""')
            if in_string or quotes:
                yield number, line
            if quotes == 1:
                in_string = not in_string
            elif not in_string and "#" in line and line.split("#")[0].count('"') % 2 == 0:
                yield number, line.split("#", 1)[1]
        elif path.endswith(".txt") and "/scenarios/" in path:
            yield number, line


def spread(name):
    """a.{h,cc} as two names."""
    braces = re.search(r"\{([^}]*)\}", name)
    if not braces:
        return [name]
    return [name[:braces.start()] + one + name[braces.end():] for one in braces[1].split(",")]


class Names:
    def __init__(self, root, files):
        self.files = set(files)
        self.bases = {}
        for f in files:
            self.bases.setdefault(os.path.basename(f), []).append(f)
        self.folders = {os.path.dirname(f) for f in files}
        for folder in list(self.folders):
            while folder:
                folder = os.path.dirname(folder)
                self.folders.add(folder)
        self.endless = {os.path.splitext(f)[0] for f in files}

    def has(self, name, where):
        if MADE.search(name) or name in EXAMPLES:
            return True
        if name.startswith("quorate/"):  # as it is included
            return any(self.has(at + name, where) for at in ("client/install/", "proto/"))
        name = name.rstrip("/")
        folder = os.path.dirname(where)
        candidates = [os.path.normpath(os.path.join(at, name)) for at in ("", "tests", folder, os.path.dirname(folder))]
        if "*" in name:
            return any(fnmatch.fnmatch(f, c) or f.startswith(c.rstrip("*")) for f in self.files | self.folders
                       for c in candidates)
        if any(c in self.files or c in self.folders or c in self.endless for c in candidates):
            return True
        if name.startswith("docs/decisions/"):  # by its number
            return any(f.startswith(name + "-") for f in self.files)
        # Without a folder it may stand anywhere: one cannot look for it in the wrong place.
        return "/" not in name and name in self.bases


def tests_of(files, read):
    """What TEST can name: tests of GoogleTest and of tests/integration, and every string of tests/sim."""
    for path in files:
        if path.startswith("tests/") and path.endswith("_test.cc"):
            for suite, name in re.findall(r"^TEST(?:_\w)?\((\w+),\s*(\w+)\)", read(path), re.M):
                yield f"{suite}.{name}"
        elif path.startswith("tests/integration/") and path.endswith("_test.py"):
            base = os.path.basename(path)[:-len(".py")]
            for name in re.findall(r"^\s+def (test_\w+)\(", read(path), re.M):
                yield f"{base}::{name}"
        elif path.startswith("tests/sim/") and path.endswith(".cc"):
            yield from re.findall(r'"([a-z-]+)"', read(path))


def check(root):
    files = rules.tracked(root)
    names = Names(root, files)
    read = lambda path: open(os.path.join(root, path), encoding="utf-8", errors="replace").read()
    incidents = set(re.findall(r"^\| ([A-Z]{2}\d+) \|", read("docs/incidents.md"), re.M)) \
        if "docs/incidents.md" in names.files else set()
    transactions = read("docs/transactions.md") if "docs/transactions.md" in names.files else ""
    invariants = set(re.findall(r"\*\*([A-Z]\d)\b", transactions)) | set(re.findall(r"^\| \**([A-Z]\d)\b", transactions, re.M))
    sections = set(re.findall(r"^#+ (\d+)\. ", transactions, re.M))
    held_by = set(tests_of(files, read))
    breaches = []
    decisions = {}
    for path in files:
        number = re.match(r"docs/decisions/(\d+)-", path)
        if not number:
            continue
        if decisions.setdefault(number[1], path) != path:
            breaches.append(f"{path}: {decisions[number[1]]} is decision {number[1]}, too")
        if not read(path).startswith(f"# {number[1]}: "):
            breaches.append(f"{path}:1: is not headed {number[1]}")
    for path in files:
        if path.startswith(("tests/fuzz/corpus", "tests/tidy/")):
            continue
        text = read(path)
        first = text.split("\n", 1)[0]
        own = re.match(r"(?://|#) ?([\w/]+\." + ENDINGS + r")\b", first)
        if own and os.path.basename(own[1]) != os.path.basename(path) and path.endswith((".h", ".cc")) and \
                not path.startswith("tests/"):
            breaches.append(f"{path}:1: calls itself {own[1]}")
        for number, line in prose(path, text):
            where = f"{path}:{number}"
            for code in INCIDENT.findall(line):
                if code not in incidents:
                    breaches.append(f"{where}: no incident {code} in docs/incidents.md")
            if not path.startswith("tests/history/") and path not in ("docs/testing.md", "docs/edges.md"):
                for code in INVARIANT.findall(line):
                    if code not in invariants:
                        breaches.append(f"{where}: no invariant {code} in docs/transactions.md")
            for section in SECTION.findall(line):
                if section not in sections:
                    breaches.append(f"{where}: no section {section} in docs/transactions.md")
            for name in TEST.findall(line) if path in HELD_BY else ():
                if not fnmatch.filter(held_by, name):
                    breaches.append(f"{where}: no test, fault or mutant {name}")
            for pattern in (PATH, FOLDERED):
                for match in pattern.finditer(line):
                    for name in spread(match[1]):
                        if not names.has(name, path):
                            breaches.append(f"{where}: no file {name}")
    return sorted(set(breaches))


SELF_TEST = {
    "a.h": ("// After RC99.\n", "no incident RC99"),
    "base/b.h": ("// By invariant T9.\n", "no invariant T9"),
    "base/c.cc": ("int a;  // docs/transactions.md, section 9\n", "no section 9"),
    "base/d.h": ("// As in base/nowhere.h.\n", "no file base/nowhere.h"),
    "docs/e.md": ("See `tests/none/`.\n", "no file tests/none"),
    "f.py": ('"""Reads missing.md."""\n', "no file missing.md"),
    "base/g.h": ("// base/c.h: a header.\n", "calls itself base/c.h"),
    "base/c.h": ("// See d.cc.\n", "no file d.cc"),
    "docs/edges.md": ("| D1 | x | `Suite.Name`, but not `Suite.Other` |\n", "no test, fault or mutant Suite.Other"),
    "docs/decisions/0001-twice.md": ("# 0001: the same number\n", "is decision 0001, too"),
    "docs/decisions/0002-other.md": ("# 0003: another number\n", "is not headed 0002"),
}


FINE = {"docs/incidents.md": "| RC1 | x | `docs/transactions.md` |\n",
        "docs/transactions.md": "## 1. One\n**T1** holds. See RC1, section 1.\n",
        "tests/a_test.cc": "TEST(Suite, Name) {}\n",
        "docs/decisions/0001-one.md": "# 0001: one\n"}

if __name__ == "__main__":
    rules.main(__doc__, check, [(path, body, FINE, said) for path, (body, said) in SELF_TEST.items()],
               "names lead nowhere")
