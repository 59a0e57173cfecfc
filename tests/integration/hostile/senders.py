"""Hostile clients that send: too much, too slowly, too often, and what is nothing."""
import os
import socket
import threading
import time

import grpc

from hostile.http2 import Http2

MIB = 1 << 20


class Senders:
    """Kinds of an Attack, each a method."""

    def never_sends(self):
        """Requests of nearly the largest size on many connections, and none of them whole."""
        while self.going():
            connections = [Http2(address, 65535) for address in self.addresses for _ in range(8)]
            left = {}
            for connection in connections:
                for _ in range(16):
                    stream = connection.call(b"/quorate.v1.Quorate/Execute", b"", 16 * MIB, end=False)
                    left[connection, stream] = 16 * MIB - 1000
                    self.did("requests")

            def step(connection):
                for stream in range(1, connection.next_stream, 2):
                    sent = connection.send_body(stream, left[connection, stream])
                    left[connection, stream] -= sent
                    self.did("MiB", sent / MIB)
            self.hold(connections, 12, step)

    def sends_slowly(self):
        """Requests that say how long they will be, and never are."""
        while self.going():
            connections = []
            for address in self.addresses * 6:
                connection = Http2(address, 65535)
                connections.append(connection)
                for _ in range(8):
                    connection.call(b"/quorate.v1.Quorate/Execute", b"x" * 4096, 16 * MIB, end=False)
            def step(connection):
                stream = self.rng.randrange(0, 8) * 2 + 1
                connection.socket.sendall(Http2.frame(0, 0, stream, b"y" * 100))
                self.did("frames")
            self.hold(connections, 10, step)

    def headers(self):
        """Headers without end, and calls that are only begun."""
        while self.going():
            connections = [Http2(address, 65535) for address in self.addresses for _ in range(4)]
            for number, connection in enumerate(connections):
                try:
                    if number % 2 == 0:
                        for _ in range(250):
                            connection.call(b"/quorate.v1.Quorate/Execute", b"", 1000, end=False)
                            self.did("calls")
                        continue
                    block = b"".join(Http2.header(b"x-%d" % i, b"v" * 100) for i in range(100))
                    connection.socket.sendall(Http2.frame(1, 0, 1, block))
                    for _ in range(200):
                        connection.socket.sendall(Http2.frame(9, 0, 1, block))
                        self.did("frames of headers")
                except OSError:
                    self.did("connections lost")
            self.hold(connections, 5)

    def write_all(self, values):
        """Transactions of that many large values, one after the other from each connection."""
        def run(number):
            channel, stub = self.stub()
            puts = [self.pb.Operation(put=self.txn.Write(key=b"large/%d/%d" % (number, key),
                                                         value=os.urandom(1000) * 1000))
                    for key in range(values)]
            with channel:
                while self.going():
                    try:
                        answer = stub.Execute(self.pb.ExecuteRequest(operations=puts), timeout=20)
                        self.did("refused" if answer.error.code else "transactions")
                        time.sleep(0.05 + answer.error.retry_after_ms / 1000)
                    except grpc.RpcError:
                        self.did("failed")
        threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def large_values(self):
        """Values of the largest size from many connections."""
        self.write_all(1)

    def large_writes(self):
        """Transactions of nearly the largest size."""
        self.write_all(14)

    def malformed(self):
        """Messages that are none, or too large, or wrong in every field, to every method."""
        methods = [f"/quorate.v1.Quorate/{m.name}"
                   for m in self.pb.DESCRIPTOR.services_by_name["Quorate"].methods if m.name != "Init"]
        methods += ["/quorate.v1.Node/Calls", "/quorate.v1.Node/Raft", "/quorate.v1.Node/Bulk"]
        while self.going():
            channel, _ = self.stub()
            with channel:
                for _ in range(100):
                    message = self.rng.choice([
                        os.urandom(self.rng.randrange(300)), b"", b"\x0a\xff\xff\xff\xff\x0f",
                        b"\x12\x08\x0a\x06" + b"k" * 6, b"\x12\x04\x1a\x02\x18\x01"])
                    if self.rng.random() < 0.01:
                        message = b"\x0a" + b"\xff" * (33 * MIB)
                    try:
                        self.did("calls")
                        list(channel.stream_stream(self.rng.choice(methods))(iter([message]),
                                                                            timeout=1))
                    except grpc.RpcError:
                        pass
                    if not self.going():
                        return
                    time.sleep(0.02)

    def garbage(self):
        """Bytes that are nothing, on every port."""
        while self.going():
            host, port = self.rng.choice(self.addresses + self.http).rsplit(":", 1)
            try:
                with socket.create_connection((host, int(port)), timeout=2) as s:
                    s.sendall(self.rng.choice([
                        os.urandom(self.rng.randrange(1, 5000)), b"GET / HTTP/1.1\r\n\r\n",
                        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + os.urandom(2000), b"\0" * 10]))
                    self.did("connections")
                    time.sleep(0.02)
            except OSError:
                pass
