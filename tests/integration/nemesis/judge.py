"""Judges a nemesis run from what its clients wrote down."""
import bisect
import os
import re
import subprocess

from session import BUILD

HISTORY = os.path.join(BUILD, "tests/history/quorate_history")
EDN = ["bank", "list-append", "rw-register"]
# What a transaction may end with although nothing is wrong with the cluster.
USER_ERRORS = {"FAILED_PRECONDITION"}


class Acks:
    """When writes were acknowledged, in each shard."""

    def __init__(self, path, shards):
        self.shards = [[] for _ in range(shards)]
        self.all = []
        with open(path) as file:
            for line in file:
                if not line.endswith("\n"):
                    break  # being written
                time, shard = line.split()
                self.shards[int(shard)].append(int(time) / 1e9)
        for shard in self.shards:
            self.all += shard
        self.all.sort()

    @staticmethod
    def longest(times, start, end):
        """The longest time without an acknowledgement that began in [start, end)."""
        first = bisect.bisect_left(times, start)
        longest, before = 0, start
        for time in times[first:]:
            longest = max(longest, time - before)
            before = time
            if time >= end:
                return longest
        return max(longest, end - before)

    def quiet(self, start, end):
        """As the second of gaps(), of [start, end) alone: what follows has its own cause."""
        return max(self.longest([time for time in shard if time < end], start, end)
                   for shard in self.shards)

    def gaps(self, start, end):
        """Of any write at all, and of the shard that had to wait longest."""
        return (self.longest(self.all, start, end),
                max(self.longest(shard, start, end) for shard in self.shards))


def operations(path):
    """Type, time, error and the whole line of each operation in an EDN history."""
    pattern = re.compile(r":type :(\w+), .*?(?::error :(\w+), )?:time (\d+)\}$")
    with open(path) as file:
        for line in file:
            found = pattern.search(line)
            if found:
                yield found.group(1), int(found.group(3)) / 1e9, found.group(2), line


def failed_requests(directory, start, end):
    """Operations that ended in [start, end) with an error that is not the user's own."""
    failed = []
    for name in EDN:
        for kind, time, error, line in operations(os.path.join(directory, f"{name}.edn")):
            if kind in ("fail", "info") and start <= time < end and error not in USER_ERRORS:
                failed.append(line.strip())
    return failed


def judge_bank(directory):
    """Totals in every snapshot; the ledger has what was acknowledged, and balances are its sum."""
    reads, transfers, wrong = [], {}, []
    transfer = re.compile(r"\{:from (\d+), :to (\d+), :amount (\d+)\}, :ledger (\d+)")
    for kind, _, _, line in operations(os.path.join(directory, "bank.edn")):
        if ":f :read" in line and kind == "ok":
            pairs = re.search(r":value \{(.*?)\}", line).group(1)
            reads.append({int(a): int(b) for a, b in (p.split() for p in pairs.split(", "))})
        elif ":f :transfer" in line:
            found = [int(x) for x in transfer.search(line).groups()]
            transfers[found[3]] = (kind, *found[:3])
    with open(os.path.join(directory, "ledger")) as file:
        ledger = {int(line) for line in file}
    with open(os.path.join(directory, "outcomes")) as file:
        outcomes = {int(entry): words for entry, words in (line.split() for line in file)}
    balances = {account: 100 for account in reads[-1]}
    for read in reads:
        if sum(read.values()) != 100 * len(read) or len(read) != len(balances):
            wrong.append(f"a snapshot adds up to {sum(read.values())}: {read}")
    for entry, (kind, source, target, amount) in transfers.items():
        there = entry in ledger
        if (kind == "ok" and not there) or (kind == "fail" and there):
            wrong.append(f"transfer {entry} ended with {kind}, in the ledger: {there}")
        said = outcomes.get(entry)
        if said in ("committed", "aborted") and there != (said == "committed"):
            wrong.append(f"transfer {entry} is {said} by GetOutcome, in the ledger: {there}")
        if there:
            balances[source] -= amount
            balances[target] += amount
    unasked = ledger - set(transfers)
    if unasked:
        wrong.append(f"ledger entries of no transfer: {sorted(unasked)[:5]}")
    if balances != reads[-1]:
        wrong.append(f"balances {reads[-1]} are not what the ledger adds up to: {balances}")
    unknown = sum(kind == "info" for kind, *_ in transfers.values())
    words = (f"bank: {len(reads)} snapshots, {len(transfers)} transfers, {unknown} unknown, of "
             f"which {sum(w in ('committed', 'aborted') for w in outcomes.values())} asked for")
    return words, wrong


def judge_history(directory, name):
    """The verdict of tests/history on one history: strictly serializable, or why not."""
    path = os.path.join(directory, f"{name}.edn")
    result = subprocess.run([HISTORY, path, "--workload", name], capture_output=True, text=True)
    said = (result.stdout + result.stderr).strip()
    words = ", ".join(said.splitlines()[:2])
    return words, [] if result.returncode == 0 else [f"{name}: {said}"]


def judge(directory):
    """Words for the report, and everything that is wrong."""
    report, wrong = [], []
    for words, found in [judge_bank(directory), *(judge_history(directory, n) for n in EDN)]:
        report.append(words)
        wrong += found
    return report, wrong
