#!/usr/bin/python3
"""`quorate demo --rebalance` in its short form: it holds its own checks, and what it reports is what it did."""
import json
import unittest

import harness


class Rebalance(unittest.TestCase):
    def test_nodes_come_go_and_are_lost(self):
        port = harness.dev_port()
        done = harness.run("demo", "--rebalance", "--seconds", "10", "--accounts", "200", "--clients", "4",
                           "--port", str(port), "--json", timeout=280)
        self.assertEqual(done.returncode, harness.DONE, done.stdout + done.stderr)
        report = json.loads(done.stdout)
        self.assertTrue(report["good"], report)
        for wrong in ("refused", "unknown", "totals_wrong", "totals_failed", "acknowledged_missing", "aborted_applied",
                      "balances_wrong"):
            self.assertEqual(report[wrong], 0, wrong)
        self.assertEqual(len(report["nodes"]), 3)
        self.assertTrue({4, 5} < set(report["nodes"]), report["nodes"])
        before, grow, drain, lose, after = report["phases"]
        self.assertGreater(before["commits"], 0)
        self.assertGreater(after["commits"], 0)
        self.assertEqual(before["replicas_moved"], 0)
        for phase in (grow, drain, lose):
            self.assertGreater(phase["replicas_moved"], 0, phase)
            self.assertGreater(phase["snapshot_bytes"], 0, phase)
            self.assertGreater(phase["commits"], 0, phase)
        # The node that is lost held a replica of some shards at least; each comes to another node once.
        self.assertLessEqual(lose["replicas_moved"], 11, "ten shards and the placement group")


if __name__ == "__main__":
    harness.main()
