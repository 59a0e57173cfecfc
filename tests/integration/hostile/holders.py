"""Hostile clients that hold what others need: connections, sessions, locks."""
import socket
import time

import grpc


MIB = 1 << 20


class Holders:
    """Kinds of an Attack, each a method."""

    def many_connections(self):
        """Hundreds that say nothing, held and dropped again."""
        while self.going():
            held = []
            for _ in range(600):
                host, port = self.rng.choice(self.addresses).rsplit(":", 1)
                try:
                    held.append(socket.create_connection((host, int(port)), timeout=2))
                    self.did("connections")
                except OSError:
                    pass
                time.sleep(0.005)
            time.sleep(3)
            for s in held:
                s.close()

    def slow_pages(self):
        """Status pages that are asked for a byte at a time."""
        while self.going():
            held = []
            for _ in range(40):
                host, port = self.rng.choice(self.http).rsplit(":", 1)
                try:
                    held.append(socket.create_connection((host, int(port)), timeout=2))
                except OSError:
                    pass
            self.did("connections", len(held))
            for byte in b"GET /metrics HTTP":
                for s in list(held):
                    try:
                        s.sendall(bytes([byte]))
                    except OSError:
                        held.remove(s)
                time.sleep(0.3)
            for s in held:
                s.close()

    def hoards(self):
        """As many sessions as there are to be had, full, locked, and left alone."""
        while self.going():
            channel, stub = self.stub()
            with channel:
                try:
                    for number in range(400):
                        begun = stub.Begin(self.pb.BeginRequest(), timeout=5)
                        if begun.error.code != self.txn.OK:
                            time.sleep(begun.error.retry_after_ms / 1000)
                            break
                        stub.Write(self.pb.SessionWriteRequest(
                            session_id=begun.session_id,
                            writes=[self.txn.Write(key=b"hoard/%d" % number, value=b"x" * MIB)]),
                            timeout=5)
                        stub.Read(self.pb.SessionReadRequest(
                            session_id=begun.session_id, keys=[b"hoard/%d" % number],
                            for_update=True), timeout=5)
                        self.did("sessions")
                        if not self.going():
                            return
                        time.sleep(0.02)
                except grpc.RpcError:
                    pass
