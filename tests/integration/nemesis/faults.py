"""Faults by name. Each injects, holds, and heals; Session.suffer waits for the rest."""
import os
import random
import re
import shutil
import signal
import subprocess
import time

import harness
from session import Violation


class Fault:
    name = ""
    # Longest time without an acknowledged write in any one shard, beyond the time in which the
    # fault itself forbids it (`forbids` seconds, set by run).
    bound = 8

    def impossible(self, session):
        """Why it cannot be done here, or None."""
        return None

    def run(self, session, window):
        """Injects, holds, heals; a few words on what was done."""
        raise NotImplementedError


# ---- processes ----------------------------------------------------------------------------------


class KillLeader(Fault):
    """kill -9 of the node that leads most shards."""
    name = "kill-leader"

    def pick(self, session):
        return session.busiest()

    def run(self, session, window):
        node = self.pick(session)
        window.start = time.monotonic()
        session.cluster.kill(node)
        time.sleep(session.random.uniform(1, 4))
        session.cluster.start(node)
        return f"node {node}"


class KillRandom(KillLeader):
    name = "kill-random"

    def pick(self, session):
        return session.random.choice(list(session.nodes))


class KillAll(Fault):
    """kill -9 of all nodes at once."""
    name = "kill-all"

    def run(self, session, window):
        for node in session.nodes:
            session.signal(node, signal.SIGKILL)
        for node in session.nodes:
            session.cluster.kill(node)
        down = session.random.uniform(0, 2)
        time.sleep(down)
        for node in session.random.sample(list(session.nodes), len(session.nodes)):
            session.cluster.start(node)
        window.forbids = time.monotonic() - window.start
        return f"down for {down:.1f} s"


class Pause(Fault):
    """SIGSTOP, later SIGCONT: a process that thinks no time has passed."""
    name = "pause"

    def run(self, session, window):
        node = session.busiest()
        seconds = session.random.choice([0.5, 2, 5])
        window.start = time.monotonic()
        session.signal(node, signal.SIGSTOP)
        time.sleep(seconds)
        session.signal(node, signal.SIGCONT)
        return f"node {node}, {seconds} s"


class RollingRestart(Fault):
    """SIGTERM and start of one node after another: no client notices (judged from the histories)."""
    name = "rolling-restart"
    STOP_SECONDS = 5

    def run(self, session, window):
        slowest = 0
        for node in session.nodes:
            begin = time.monotonic()
            code = session.cluster.stop(node)
            slowest = max(slowest, time.monotonic() - begin)
            if code != 0:
                raise Violation(f"node {node} ended with {code} after SIGTERM")
            session.cluster.start(node)
            session.cluster.wait_healthy()
        if slowest > self.STOP_SECONDS:
            raise Violation(f"SIGTERM took {slowest:.1f} s")
        return f"slowest stop {slowest:.1f} s"


# ---- network ------------------------------------------------------------------------------------


class Network(Fault):
    def impossible(self, session):
        if session.no_network is not None:
            return f"no network namespaces: {session.no_network}"
        return None if session.network.can_cut else "nft does not work"

    def hold(self, session, low=2, high=6):
        time.sleep(session.random.uniform(low, high))
        session.network.heal()


class Partition(Network):
    """A minority with the busiest node is cut off from the other nodes; clients see both sides, or
    only the majority."""
    name = "partition"

    def run(self, session, window):
        minority = minority_with(session, session.busiest())
        rest = [n for n in session.nodes if n not in minority]
        clients = session.random.random() < 0.5
        far = rest + ([len(session.nodes)] if clients else [])
        window.start = time.monotonic()
        session.network.drop(both_ways(minority, far))
        self.hold(session)
        return f"nodes {minority}" + (" and from clients" if clients else "")


class OneWayPartition(Network):
    """One direction only: the busiest node is not heard, or hears nothing."""
    name = "one-way-partition"

    def run(self, session, window):
        node = session.busiest()
        others = [n for n in session.nodes if n != node]
        hears = session.random.random() < 0.5
        drops = [(node, o, 100) if hears else (o, node, 100) for o in others]
        window.start = time.monotonic()
        session.network.drop(drops)
        self.hold(session)
        return f"node {node} {'is not heard' if hears else 'hears nothing'}"


class BrokenPair(Network):
    """Two nodes do not hear each other; all others hear both."""
    name = "broken-pair"

    def run(self, session, window):
        node = session.busiest()
        other = session.random.choice([n for n in session.nodes if n != node])
        window.start = time.monotonic()
        session.network.drop(both_ways([node], [other]))
        self.hold(session)
        return f"nodes {node} and {other}"


class LossyLink(Network):
    """One node loses a share of all packets, both ways."""
    name = "lossy-link"
    bound = 15

    def run(self, session, window):
        node = session.busiest()
        others = [h for h in range(len(session.nodes) + 1) if h != node]
        percent = session.random.choice([5, 15, 30])
        window.start = time.monotonic()
        session.network.drop([(a, b, percent) for a, b, _ in both_ways([node], others)])
        self.hold(session)
        return f"node {node}, {percent} %"


class SlowLink(Network):
    """One node's link delays (netem) or is narrow and queues (tbf)."""
    name = "slow-link"
    bound = 15

    def impossible(self, session):
        if session.no_network is not None:
            return f"no network namespaces: {session.no_network}"
        return None if session.network.slow_with else "the kernel has neither netem nor tbf"

    def run(self, session, window):
        node = session.busiest()
        window.start = time.monotonic()
        session.network.slow(node)
        self.hold(session)
        return f"node {node}, {' '.join(session.network.slow_with)}"


def both_ways(some, others):
    return [(a, b, 100) for a in some for b in others] + [(b, a, 100) for a in some for b in others]


def minority_with(session, node):
    """The busiest node and as many more as leave the rest a majority."""
    others = [n for n in session.nodes if n != node]
    more = session.random.randrange(len(session.nodes) - session.majority())
    return sorted([node, *session.random.sample(others, more)])


# ---- disks --------------------------------------------------------------------------------------


class FullDisk(Fault):
    """The disk of one node fills up behind its back, and is emptied. It hands its shards over to the
    others, which have room; reads and writes go on."""
    name = "full-disk"
    NODE = 0
    DISK = 1 << 30
    MIN_FREE = 256 << 20  # the node's default

    def impossible(self, session):
        return session.no_disk

    def run(self, session, window):
        directory = session.cluster.data(self.NODE)
        ballast = os.path.join(directory, "ballast")
        left = session.random.choice([self.MIN_FREE // 2, 8 << 20])
        free = os.statvfs(directory)
        with open(ballast, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - left)
        handed_over = self._hands_over(session)
        time.sleep(session.random.uniform(2, 4))
        session.check_alive()
        os.unlink(ballast)
        return f"node {self.NODE}, {left >> 20} MiB left, {handed_over}"

    def _hands_over(self, session):
        """The node says that it has no room, and leads nothing; reads go on everywhere."""
        address = session.cluster.addresses[self.NODE]

        def done():
            nodes = session.cluster.json("nodes", "--timeout", "5s")["nodes"]
            node = next(n for n in nodes if n["address"] == address)
            return node["answers"] and not node["accepts_writes"] and node["leads"] == 0

        harness.wait_for("a node without room that leads nothing", done, 15)
        for shard in range(session.shards):
            read = session.cluster.quorate("get", f"s{shard:02}/probe/{shard}", "--timeout", "5s")
            if read.returncode != harness.DONE:
                raise Violation(f"a full disk kept a read of shard {shard} from an answer: {read}")
        return "leads nothing"


def small_disk(directory, size=FullDisk.DISK):
    """Mounts a disk of its own at `directory` (a loop device, else tmpfs); why not, or None."""
    if os.geteuid() != 0:
        return "not root"
    image = directory + ".image"
    os.makedirs(directory)
    with open(image, "wb") as file:
        file.truncate(size)
    tries = []
    if shutil.which("mkfs.ext4"):
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
        tries.append(["mount", "-o", "loop", image, directory])
    tries.append(["mount", "-t", "tmpfs", "-o", f"size={size}", "quorate", directory])
    for command in tries:
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode == 0:
            return None
    return result.stderr.strip()


class Damage(Fault):
    """Bytes of one stopped node's files change; it comes back and is repaired by its peers."""

    def files(self, data):
        raise NotImplementedError

    def repaired(self, log):
        return not quarantined(log)

    def run(self, session, window):
        node = session.random.choice(list(session.nodes))
        window.start = time.monotonic()
        session.cluster.kill(node)
        before = len(session.cluster.log(node))
        detail = damage(session.random, self.files(session.cluster.data(node)))
        time.sleep(session.random.uniform(0.2, 1))
        session.cluster.start(node)
        harness.wait_for("the node", lambda: "node: serving" in session.cluster.log(node)[before:])
        # Until then the group must not lose another replica.
        harness.wait_for("repair by the peers",
                         lambda: self.repaired(session.cluster.log(node)[before:]))
        fetched = session.cluster.log(node)[before:].count("out of quarantine")
        return f"node {node}, {detail}; {fetched} replicas fetched"


class DamageWal(Damage):
    name = "damage-wal"
    bound = 10

    def files(self, data):
        return [os.path.join(data, "wal", f) for f in sorted(os.listdir(os.path.join(data, "wal")))
                if f.startswith("wal-")]


class DamageStore(Damage):
    name = "damage-store"
    bound = 10

    def files(self, data):
        return [os.path.join(data, "store", "data.mdb")]

    def repaired(self, log):
        """A damaged leaf is found when it is read, at the latest by the scrubber."""
        return "all pages are read and sound" in log and not quarantined(log)


def quarantined(log):
    """The groups that wait for a snapshot, by the log of a node since its start."""
    return (set(re.findall(r"raft group (\d+): replica is quarantined", log)) -
            set(re.findall(r"raft group (\d+): out of quarantine", log)))


def damage(dice: random.Random, files, places=1):
    """Overwrites up to 64 random bytes at a random used place of one of `files`."""
    path = dice.choice(files)
    used = used_bytes(path)
    done = []
    with open(path, "r+b") as file:
        for _ in range(places):
            at = dice.randrange(used)
            length = min(dice.choice([1, 8, 64]), used - at)
            file.seek(at)
            old = file.read(length)
            file.seek(at)
            file.write(bytes(b ^ dice.randrange(1, 256) for b in old))
            done.append(f"{length} at {at}")
        os.fsync(file.fileno())
    return f"{os.path.basename(path)} ({used >> 10} KiB used): {', '.join(done[:3])}"


def used_bytes(path):
    """Up to the last byte that is not zero: segments are filled with zeros ahead."""
    with open(path, "rb") as file:
        return max(len(file.read().rstrip(b"\0")), 4096)


KINDS = [KillLeader(), KillRandom(), KillAll(), Pause(), RollingRestart(), Partition(),
         OneWayPartition(), BrokenPair(), LossyLink(), SlowLink(), FullDisk(), DamageWal(),
         DamageStore()]
