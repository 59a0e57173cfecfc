#!/usr/bin/python3
"""Hostile clients beside honest ones on three real nodes: nobody ends, every honest answer is right,
the honest ones hardly notice, and the nodes' memory stays where it was.

    hostile_test.py [--seconds 180] [--only KIND,KIND]

Honest clients are a process (hostile/honest.py), and so is each kind of hostile ones
(hostile/attack.py). What each kind had done in the end is printed.

Hostile clients are other machines in truth. Here they have the processors when nobody else wants
them (SCHED_IDLE): what they take for themselves is no fault of the nodes, and a node that was woken
would have to wait until one of theirs has had its slice. They get all that is left, and what nodes
do for them is at the nodes' own priority.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

import grpc

import harness
import stubs
from hostile import attack, honest
from hostile.memory import MIB, Watch

# What nodes do not stand up to; --only runs it.
#   large_writes  16 MiB enter the logs in parts, but they come, and go on to whom they concern, as
#                 one message, which a node's thread parses in one turn: 40 to 60 ms, in which it
#                 answers nobody. Each kind is within the bound of memory, all together are not.
NOT_MET = ("large_writes",)
MEMORY_MAX = 256 * MIB
SLOWER_MAX = 3
# A shorter run judges only what must not happen at all: it has few steps, whose slowest hundredth is
# a handful, and other work of the machine decides about them.
LONG = 120
# Where a step takes less than this alone, the hundredth of them is what the machine does beside.
FAST = 0.010
FIGURES = ("quorate_calls_overloaded_total", "quorate_call_streams_cut_total", "quorate_requests_cut_total",
           "quorate_peer_parts_dropped_total", "quorate_client_connections_lost_total",
           "quorate_connections_evicted_total", "quorate_connections_refused_total",
           "quorate_raft_elections_total")


def options():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float,
                        default=float(os.environ.get("QUORATE_HOSTILE_SECONDS", 180)))
    parser.add_argument("--only", help="hostile clients of these kinds: KIND,KIND",
                        default=",".join(k for k in attack.KINDS if k not in NOT_MET))
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1000000)
    parser.add_argument("--role", help=argparse.SUPPRESS)
    parser.add_argument("--stubs", help=argparse.SUPPRESS)
    parser.add_argument("--addresses", default="", help=argparse.SUPPRESS)
    parser.add_argument("--http", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    unknown = [kind for kind in args.only.split(",") if kind not in attack.KINDS]
    if unknown:
        parser.error(f"no such kind: {', '.join(unknown)}; there are {', '.join(attack.KINDS)}")
    return args


def figures_of(cluster):
    """What each node counted of what it did against too much, and of what suffered."""
    figures = []
    for node in range(len(cluster.processes)):
        lines = cluster.get_http(node, "/metrics")[1].splitlines()
        figures.append([int(float(line.split()[1])) for figure in FIGURES for line in lines
                        if line.startswith(figure + " ")])
    return figures


def fill(cluster, directory):
    """What hostile clients ask for: 10 MB under fat/."""
    pb, services, txn = stubs.load(directory)
    with grpc.insecure_channel(cluster.addresses[0]) as channel:
        for number in range(10):
            put = pb.Operation(put=txn.Write(key=b"fat/%d" % number, value=b"x" * (MIB - 1000)))
            answer = services.QuorateStub(channel).Execute(pb.ExecuteRequest(operations=[put]),
                                                           timeout=20)
            assert answer.error.code == txn.OK, answer


class Honest:
    """The process of the honest clients."""

    def __init__(self, start):
        self.process = start("honest", stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def round(self, seconds, name=None):
        print(seconds, file=self.process.stdin, flush=True)
        figures = json.loads(self.process.stdout.readline())
        if name:
            print(f"{name:7}", {what: round(each, 4) if isinstance(each, float) else each
                                for what, each in figures.items() if each != []}, flush=True)
        return figures

    def end(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)


def problems_of(args, cluster, alone, beside, after, grown, ended):
    problems = [f"node {node} ended: {process.poll()}"
                for node, process in enumerate(cluster.processes) if process.poll() is not None]
    problems += [f"hostile client {kind} ended with {code}" for kind, code in ended if code != 0]
    for name, figures in (("alone", alone), ("beside", beside), ("after", after)):
        problems += [f"{name}: wrong: {line}" for line in figures["wrong_lines"]]
        problems += [f"{name}: cut off: {line}" for line in figures["cut_lines"]]
        if args.seconds >= LONG:
            problems += [f"{name}: failed: {line}" for line in figures["failed_lines"]]
    problems += [f"node {node} grew by {own // MIB} MiB" for node, (own, _) in enumerate(grown)
                 if own > MEMORY_MAX]
    if args.seconds >= LONG and beside["p99"] > SLOWER_MAX * max(alone["p99"], FAST):
        problems.append(f"p99 {beside['p99']:.3f} s beside, {alone['p99']:.3f} s alone")
    if cluster.quorate("status").returncode != harness.DONE:
        problems.append("the cluster is not healthy afterwards")
    return problems


def test(args, directory, cluster):
    def start(role, *more, **pipes):
        return subprocess.Popen(
            [sys.executable, "-B", __file__, "--role", role, "--stubs", directory, "--addresses",
             cluster.cluster, "--http", ",".join(cluster.http), "--seconds", str(args.seconds),
             "--seed", str(args.seed), *more], preexec_fn=harness.die_with_parent, text=True, **pipes)
    fill(cluster, directory)
    good = Honest(start)
    good.round(2)  # to get warm
    alone = good.round(max(8, args.seconds / 6), "alone")
    watch = Watch(cluster.processes)
    kinds = args.only.split(",")
    bad = [start("hostile", "--only", kind) for kind in kinds]
    time.sleep(1)
    beside = good.round(args.seconds - 2, "beside")
    ended = [(kind, each.wait(timeout=args.seconds + 120)) for kind, each in zip(kinds, bad)]
    grown = watch.end()
    print("most above before, MiB (own, files'):",
          [tuple(each // MIB for each in both) for both in grown])
    print("counted:", ", ".join(each[8:] for each in FIGURES), figures_of(cluster))
    after = good.round(3, "after")
    good.end()
    print("own above before at the end, MiB:", [each // MIB for each in watch.left()], flush=True)
    problems = problems_of(args, cluster, alone, beside, after, grown, ended)
    for problem in problems:
        print(problem)
    print(f"p99 beside / alone: {beside['p99'] / alone['p99']:.1f}; load {os.getloadavg()[0]:.1f}; "
          f"{len(problems)} problems", flush=True)
    return 1 if problems else 0


def main():
    args = options()
    if args.role == "hostile":
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    if args.role:
        return {"honest": honest.run, "hostile": attack.run}[args.role](args)
    print(f"seed {args.seed}, {args.seconds:.0f} s", flush=True)
    with tempfile.TemporaryDirectory(prefix="quorate-stubs-") as directory:
        stubs.generate(directory)
        with harness.Cluster(split_at=["d", "g", "n", "t", "z"]) as cluster:
            return test(args, directory, cluster)


if __name__ == "__main__":
    sys.exit(main())
