#!/usr/bin/env python3
"""Known bugs are where they belong: the catalogue names those in the code and no others, and a
binary that was not asked for them contains none.

    mutants_check.py ROOT BINARY absent|present
"""
import pathlib
import re
import sys

FOLDERS = ["base", "client", "coordinator", "placement", "raft", "server", "shard", "storage", "txn"]


def main():
    root, binary, expected = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    in_code = set()
    # Those of the schedulers are found by random runs of their own.
    schedule, of_schedule = root / "placement/schedule", set()
    for folder in FOLDERS:
        for path in (root / folder).rglob("*"):
            if path.suffix in (".cc", ".h") and path.name != "mutant.h":
                names = in_code if schedule not in path.parents else of_schedule
                names.update(re.findall(r'MUTANT\(\s*"([^"]+)"', path.read_text()))
    catalogue = (root / "tests/sim/mutants_catalogue.cc").read_text()
    listed = re.findall(r'\{\s*"([a-z-]+)",', catalogue)
    problems = []
    hunted = re.findall(r'\{\s*"(schedule-[a-z-]+)",',
                        (root / "tests/placement/schedule/mutants.cc").read_text())
    problems += [f"{name}: in the code or in tests/placement/schedule/mutants.cc, not in both"
                 for name in sorted(of_schedule ^ set(hunted))]
    if len(listed) != len(set(listed)):
        problems.append("the catalogue names one twice")
    problems += [f"{name}: in the code, not in the catalogue" for name in sorted(in_code - set(listed))]
    problems += [f"{name}: in the catalogue, not in the code" for name in sorted(set(listed) - in_code)]
    content = pathlib.Path(binary).read_bytes()
    for name in sorted(in_code):
        if (name.encode() in content) != (expected == "present"):
            problems.append(f"{name}: {'not ' if expected == 'present' else ''}in {binary}")
    for problem in problems:
        print(problem)
    print(f"{len(in_code) + len(of_schedule)} mutants in the code, {len(problems)} problems")
    return 1 if problems or not in_code else 0


sys.exit(main())
