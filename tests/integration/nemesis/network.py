"""Network namespaces: each node of a cluster on its own link of one switch, so that packets can be
lost, slowed and cut between any two of them.

Every namespace is held by a process of ours and goes with it: nothing is left behind, whatever
becomes of the test. Needs root and iproute2; cutting and losing need nftables, slowing needs a queue
discipline (netem, else tbf) that the kernel has.
"""
import ctypes
import os
import shutil
import subprocess
import time

import harness

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _call(*command, input=None):
    return subprocess.run(command, input=input, capture_output=True, text=True)


def _must(*command, input=None):
    result = _call(*command, input=input)
    if result.returncode != 0:
        raise OSError(f"{' '.join(command)}: {result.stderr.strip()}")


class Namespace:
    def __init__(self):
        self._holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"],
                                        stderr=subprocess.DEVNULL,
                                        preexec_fn=harness.die_with_parent)
        self.pid = str(self._holder.pid)
        path = f"/proc/{self.pid}/ns/net"
        end = time.monotonic() + 5
        while os.readlink(path) == os.readlink("/proc/self/ns/net"):
            if self._holder.poll() is not None or time.monotonic() > end:
                raise OSError("unshare --net does not work here")
            time.sleep(0.01)
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.must("ip", "link", "set", "lo", "up")

    def close(self):
        os.close(self._file)
        self._holder.kill()
        self._holder.wait()

    def enter(self):
        """In a child, before it runs its program."""
        harness.die_with_parent()
        if _libc.setns(self._file, CLONE_NEWNET) != 0:
            os._exit(126)

    def command(self, *command):
        return ["nsenter", "-t", self.pid, "-n", *command]

    def must(self, *command, input=None):
        _must(*self.command(*command), input=input)

    def can(self, *command, input=None):
        return _call(*self.command(*command), input=input).returncode == 0


class Namespaces:
    """As harness.Loopback, with a namespace for each node, one for the clients, one for the switch."""

    PORT, HTTP_PORT = 7400, 7480

    def __init__(self, nodes):
        self._hosts = []
        try:
            self._switch = Namespace()
            self._hosts = [Namespace() for _ in range(nodes + 1)]
            self._switch.must("ip", "link", "add", "switch", "type", "bridge")
            self._switch.must("ip", "link", "set", "switch", "up")
            for i, host in enumerate(self._hosts):
                self._plug(i, host)
        except BaseException:
            self.close()
            raise
        self._client = self._hosts[-1]
        self.addresses = [f"{self.ip(i)}:{self.PORT}" for i in range(nodes)]
        self.http = [f"{self.ip(i)}:{self.HTTP_PORT}" for i in range(nodes)]
        self.can_cut = shutil.which("nft") is not None and self._can_filter()
        self.slow_with = self._find_queue()

    def ip(self, host):
        return f"192.0.2.{host + 1}"  # TEST-NET-1: belongs to nobody

    def _plug(self, i, host):
        _must("ip", "link", "add", f"port{i}", "netns", self._switch.pid, "type", "veth", "peer",
              "name", "eth0", "netns", host.pid)
        self._switch.must("ip", "link", "set", f"port{i}", "master", "switch", "up")
        host.must("ip", "address", "add", f"{self.ip(i)}/24", "dev", "eth0")
        host.must("ip", "link", "set", "eth0", "up")

    def _can_filter(self):
        table = _table(["ip saddr 192.0.2.99 numgen random mod 100 < 5 drop"])
        return self._switch.can("nft", "-f", "-", input=table)

    def _find_queue(self):
        for queue in (["netem", "delay", "40ms", "20ms"],
                      ["tbf", "rate", "4mbit", "burst", "8kb", "latency", "200ms"]):
            if self._switch.can("tc", "qdisc", "add", "dev", "switch", "root", *queue):
                self._switch.must("tc", "qdisc", "del", "dev", "switch", "root")
                return queue
        return None

    def close(self):
        for host in [self._switch, *self._hosts]:
            host.close()

    def enter_node(self, node):
        self._hosts[node].enter()

    def enter_client(self):
        self._client.enter()

    # ---- faults: `drops` holds (from, to, percent), whole state at once -------------------------

    def drop(self, drops):
        """From now on exactly these packets get lost, where they arrive."""
        for to, host in enumerate(self._hosts):
            host.must("nft", "-f", "-", input=_table(
                [f"ip saddr {self.ip(source)} {_share(percent)} drop"
                 for source, target, percent in drops if target == to]))

    def slow(self, host):
        self._hosts[host].must("tc", "qdisc", "replace", "dev", "eth0", "root", *self.slow_with)

    def heal(self):
        if self.can_cut:
            self.drop([])
        for host in self._hosts:
            host.can("tc", "qdisc", "del", "dev", "eth0", "root")


def _table(rules):
    """nft's words for: these rules and no others."""
    chain = "\n".join(["type filter hook input priority 0", *rules])
    return f"""table inet nemesis
delete table inet nemesis
table inet nemesis {{
chain in {{
{chain}
}}
}}
"""


def _share(percent):
    return "" if percent >= 100 else f"numgen random mod 100 < {percent}"


def make(nodes):
    """Namespaces, or Loopback and the reason why."""
    if os.geteuid() != 0:
        return harness.Loopback(nodes), "not root"
    missing = [tool for tool in ("ip", "tc", "nsenter", "unshare") if not shutil.which(tool)]
    if missing:
        return harness.Loopback(nodes), f"no {', '.join(missing)}"
    try:
        return Namespaces(nodes), None
    except OSError as error:
        return harness.Loopback(nodes), str(error)
