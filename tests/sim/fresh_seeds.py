#!/usr/bin/env python3
"""Runs seeds that were hardly ever run before: their range comes from the commit and the day.

    tests/sim/fresh_seeds.py SIM [--seeds N] [--seconds N] [--extremes N] [--keep DIR]

The same commit on the same day takes the same seeds, so that a failure can be looked at; tomorrow,
or after the next commit, it is others. A seed that fails is shrunk into DIR as a script: move it to
tests/sim/scripts/ with the fix. Exit codes: those of quorate_sim.
"""
import argparse
import datetime
import hashlib
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
# Far above the ranges that the documentation quotes, below what fits quorate_sim's signal handler.
FIRST_MIN = 1_000_000
FIRST_RANGE = 2_000_000_000


def commit():
    git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=HERE, capture_output=True, text=True)
    return git.stdout.strip() if git.returncode == 0 else "no commit"


def first_seed(commit_id, day, salt):
    digest = hashlib.sha256(f"{commit_id} {day} {salt}".encode()).digest()
    return FIRST_MIN + int.from_bytes(digest[:8], "big") % FIRST_RANGE


def run(sim, first, seeds, seconds, flags, keep):
    command = [sim, "--seeds", str(seeds), "--first", str(first), "--seconds", str(seconds)] + flags
    print("running", " ".join(command), flush=True)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    failed = []
    for line in process.stdout:
        print(line, end="", flush=True)
        match = re.match(r"seed (\d+) FAILED|aborted in seed (\d+)", line)
        if match:
            failed.append(match.group(1) or match.group(2))
    code = process.wait()
    if failed:
        os.makedirs(keep, exist_ok=True)
    for seed in failed[:3]:
        script = os.path.join(keep, f"seed_{seed}.sim")
        subprocess.run([sim, "--shrink", seed, "--seconds", str(seconds), "--tries", "60",
                        "--script", script] + flags, stdout=subprocess.DEVNULL)
        if os.path.exists(script):
            print(f"seed {seed} is kept as {script}:")
            print(open(script, encoding="utf-8").read(), flush=True)
    return code if code >= 0 else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sim", help="the quorate_sim to run")
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--extremes", type=int, default=8, help="seeds run with --extremes besides")
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--keep", default="failed-seeds")
    args = parser.parse_args()
    commit_id, day = commit(), datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    print(f"seeds of commit {commit_id[:12]} on {day}")
    worst = 0
    for salt, seeds, flags in (("default", args.seeds, []), ("extremes", args.extremes, ["--extremes"])):
        if seeds > 0:
            first = first_seed(commit_id, day, salt)
            worst = max(worst, run(args.sim, first, seeds, args.seconds, flags, args.keep))
    return worst


if __name__ == "__main__":
    sys.exit(main())
