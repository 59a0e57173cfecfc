#!/usr/bin/python3
"""The installed library: an outside project finds it with find_package, builds the example service
and runs it against a live cluster (tests/client/installed_example.sh)."""
import os
import subprocess
import tempfile
import unittest

import harness


class InstalledExample(unittest.TestCase):
    def test_outside_project_against_a_live_cluster(self):
        script = os.path.join(harness.SOURCE, "tests", "client", "installed_example.sh")
        with harness.Cluster(split_at=["g", "n", "t"]) as cluster, \
                tempfile.TemporaryDirectory(prefix="quorate-install-") as directory:
            result = subprocess.run(
                ["bash", script, os.environ["QUORATE_BUILD"], directory, cluster.cluster],
                capture_output=True, text=True, timeout=500)
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
            print(result.stdout)


if __name__ == "__main__":
    harness.main()
