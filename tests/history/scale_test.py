#!/usr/bin/env python3
"""Judging 100,000 operations takes less than 10 s of CPU, and memory linear in the history.

    scale_test.py QUORATE_HISTORY      prints the figures; exits 1 if one is out of bounds
"""
import os
import random
import subprocess
import sys
import tempfile

PROCESSES = 20
WRITES_PER_KEY = 64
SECONDS_MAX = 10
# Twice the operations: more than this in memory is not linear.
RATIO_MAX = 2.5


def history(workload, operations, stale, out):
    """A serial database behind clients that overlap; with one stale read in the middle, if asked."""
    rng = random.Random(operations)
    state, old, writes, keys, next_key = {}, {}, {}, list(range(8)), 8
    pending = {}  # process -> (transaction when it is done)
    lists = workload == "list-append"
    element = 0

    def show(value):
        if lists:
            return "[" + " ".join(map(str, value or [])) + "]"
        return "nil" if value is None else str(value)

    done = 0
    spoiled = not stale
    while done < operations or pending:
        process = rng.randrange(PROCESSES)
        if process in pending:
            out.write(pending.pop(process))
            continue
        if done == operations:
            continue
        done += 1
        asked, answered = [], []
        spoil = not spoiled and done > operations // 2
        for _ in range(rng.randint(1, 4)):
            slot = rng.randrange(len(keys))
            key = keys[slot]
            if rng.random() < 0.5:
                seen = state.get(key)
                if spoil and key in old:
                    seen, spoiled, spoil = old[key], True, False
                asked.append(f"[:r {key} nil]")
                answered.append(f"[:r {key} {show(seen)}]")
                continue
            element += 1
            old[key] = state.get(key)
            state[key] = (state.get(key) or []) + [element] if lists else element
            asked.append(f"[:{'append' if lists else 'w'} {key} {element}]")
            answered.append(asked[-1])
            writes[key] = writes.get(key, 0) + 1
            if writes[key] == WRITES_PER_KEY:
                keys[slot] = next_key
                next_key += 1
        outcome = "info" if rng.random() < 0.01 else "ok"
        line = "{{:type :{}, :process {}, :f :txn, :value [{}]}}\n"
        out.write(line.format("invoke", process, " ".join(asked)))
        pending[process] = line.format(outcome, process, " ".join(answered))


def judge(program, workload, operations, stale=False):
    """(exit code, CPU seconds, peak resident bytes) of judging such a history."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "history.edn")
        with open(path, "w", encoding="utf-8") as out:
            history(workload, operations, stale, out)
        size = os.path.getsize(path)
        child = subprocess.Popen([program, path, "--workload", workload],
                                 stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    seconds = usage.ru_utime + usage.ru_stime
    print(f"{workload}, {operations} operations{', one read stale' if stale else ''}: "
          f"{size / 1e6:.0f} MB of EDN, {seconds:.2f} s of CPU, {usage.ru_maxrss / 1024:.0f} MB")
    return child.returncode, seconds, usage.ru_maxrss


def main():
    program = sys.argv[1]
    wrong = []
    for workload in ("list-append", "rw-register"):
        code, _, small = judge(program, workload, 50_000)
        whole_code, seconds, large = judge(program, workload, 100_000)
        stale_code, stale_seconds, _ = judge(program, workload, 100_000, stale=True)
        if (code, whole_code, stale_code) != (0, 0, 1):
            wrong.append(f"{workload}: verdicts {code} {whole_code} {stale_code}, not 0 0 1")
        if max(seconds, stale_seconds) > SECONDS_MAX:
            wrong.append(f"{workload}: more than {SECONDS_MAX} s")
        if large > RATIO_MAX * small:
            wrong.append(f"{workload}: memory grows {large / small:.2f} times")
        print(f"{workload}: twice the operations, {large / small:.2f} times the memory")
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
