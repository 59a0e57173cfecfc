#!/usr/bin/python3
"""The commands of README's "Five minutes with a cluster", as they stand there, pasted at once.

Only paths and ports are changed: the program is the one under test, the data directory a temporary
one, the cluster's ports free ones. The line that builds is left to tests/run.
"""
import os
import re
import signal
import subprocess
import tempfile
import unittest

import harness


def commands():
    with open(os.path.join(harness.SOURCE, "README.md")) as readme:
        section = readme.read().split("## Five minutes with a cluster", 1)[1].split("\n## ", 1)[0]
    lines = [line[4:] for line in section.splitlines() if line.startswith("    ")]
    return [re.sub(r"\s+#.*", "", line) for line in lines if "cmake" not in line]


class Readme(unittest.TestCase):
    def test_five_minutes(self):
        lines = commands()
        self.assertGreaterEqual(len(lines), 5)
        self.assertIn(" dev ", lines[0])
        self.assertEqual(lines.pop(), "kill %1")  # here: at the end, in any case
        port = harness.dev_port()
        with tempfile.TemporaryDirectory(prefix="quorate-test-") as directory:
            def shell(line):
                line = line.replace("build/release/quorate", os.path.abspath(harness.PROGRAM))
                return re.sub(r"--data \S+", f"--data {directory} --port {port}", line)
            dev = subprocess.Popen(["bash", "-c", "exec " + shell(lines[0]).rstrip("& ")],
                                   stdout=subprocess.PIPE, text=True,
                                   preexec_fn=harness.die_with_parent)
            try:
                for line in lines[1:]:
                    with self.subTest(line):
                        result = subprocess.run(
                            ["bash", "-c", shell(line)], capture_output=True, text=True, timeout=60,
                            env={**os.environ, "QUORATE_CLUSTER": f"127.0.0.1:{port}"})
                        self.assertEqual(result.returncode, 0, result)
                        self.assertTrue(result.stdout, result)
            finally:
                dev.send_signal(signal.SIGINT)
                dev.stdout.read()
                dev.wait(timeout=30)
                dev.stdout.close()


if __name__ == "__main__":
    harness.main()
