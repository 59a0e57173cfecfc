"""quorate_sim --history: what it writes is judged by quorate_history, and a wrong history is found.

    history_check.py QUORATE_SIM QUORATE_HISTORY
"""
import os
import re
import subprocess
import sys
import tempfile

KINDS = ["list-append", "rw-register", "set", "counter", "long-fork"]


def judge(program, path, workload):
    return subprocess.run([program, path, "--workload", workload], capture_output=True, text=True)


def main():
    sim, program = sys.argv[1:]
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run([sim, "--seeds", "2", "--first", "31", "--seconds", "10", "--history", directory,
                        "--workload", ",".join(KINDS)], check=True, capture_output=True)
        for seed in (31, 32):
            for kind in KINDS:
                path = os.path.join(directory, f"seed-{seed}-{kind}.edn")
                verdict = judge(program, path, kind)
                assert verdict.returncode == 0, (path, verdict)
                assert int(re.search(r"\((\d+) ok", verdict.stdout)[1]) > 3, verdict.stdout
                text = open(path).read()
                assert text.startswith(f"; workload: {kind}\n"), text[:80]
                # Only what was acknowledged says what it read.
                for line in text.splitlines()[1:]:
                    if ":type :ok" not in line and ":r " in line:
                        assert not re.search(r"\[:r \S+ (?!nil)", line), line
        path = os.path.join(directory, "seed-31-list-append.edn")
        lines = open(path).read().splitlines()
        last = max(i for i, line in enumerate(lines) if ":type :ok" in line and re.search(r"\[:r \S+ \[[^\]]", line))
        lines[last] = re.sub(r"(\[:r \S+ \[)[^\]]+", r"\g<1>", lines[last])
        open(path, "w").write("\n".join(lines))
        verdict = judge(program, path, "list-append")
        assert verdict.returncode == 1 and "INVALID" in verdict.stdout, verdict
        wrong = subprocess.run([sim, "--seeds", "1", "--history", directory + "/none"], capture_output=True)
        assert wrong.returncode == 2, wrong


main()
