"""What the nodes' processes hold of the machine's memory."""
import threading

MIB = 1 << 20


def memory(process):
    """Bytes of its own, and of pages of files.

    Pages of a file (the store, the program) are the kernel's cache: it takes them back whenever
    somebody needs room, so they are no growth of the node. What the node allocated is.
    """
    with open(f"/proc/{process.pid}/status") as status:
        fields = dict(line.split(":", 1) for line in status)
    return tuple(int(fields[name].split()[0]) << 10 for name in ("RssAnon", "RssFile"))


class Watch:
    """The most that each node grew by since this was made."""

    def __init__(self, processes):
        self.processes = list(processes)
        self.before = [memory(p) for p in self.processes]
        self.most = list(self.before)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        while not self.stop.wait(0.2):
            for number, process in enumerate(self.processes):
                if process.poll() is None:
                    self.most[number] = tuple(map(max, self.most[number], memory(process)))

    def end(self):
        """(its own, pages of files) of each node."""
        self.stop.set()
        self.thread.join()
        return [tuple(most - before for most, before in zip(*both))
                for both in zip(self.most, self.before)]

    def left(self):
        """Of its own above before, now."""
        return [memory(p)[0] - before[0] for p, before in zip(self.processes, self.before)]
