"""As much of HTTP/2 as it takes to be rude."""
import select
import socket


class Http2:
    """As much of HTTP/2 as it takes to be rude: a connection that opens no window."""

    def __init__(self, address, window=0):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=5)
        self.next_stream = 1
        self.windows = {}
        self.answers = {}  # bytes, by stream
        self.ended = set()  # streams of which nothing more comes
        self.first_window = 65535
        self.rest = b""
        settings = b"\x00\x04" + window.to_bytes(4, "big")  # INITIAL_WINDOW_SIZE
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + self.frame(4, 0, 0, settings))

    @staticmethod
    def frame(kind, flags, stream, payload):
        return (len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") +
                payload)

    @staticmethod
    def header(name, value):
        return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value

    def call(self, method, message, length=None, end=True):
        """Sends a request; `length`: what it says of itself, if not the truth."""
        stream, self.next_stream = self.next_stream, self.next_stream + 2
        block = b"".join(self.header(*each) for each in (
            (b":method", b"POST"), (b":scheme", b"http"), (b":path", method), (b":authority", b"x"),
            (b"content-type", b"application/grpc"), (b"te", b"trailers")))
        length = len(message) if length is None else length
        data = b"\x00" + length.to_bytes(4, "big") + message
        self.socket.sendall(self.frame(1, 4, stream, block) +
                            self.frame(0, 1 if end else 0, stream, data))
        return stream

    def send_rest(self, stream, data):
        """Of a request."""
        self.socket.sendall(self.frame(0, 1, stream, data))

    def send_body(self, stream, count):
        """Of a request, as much of `count` bytes as the node has opened windows for."""
        windows = self.windows.setdefault(stream, self.first_window)
        count = min(count, windows, self.windows.get(0, 65535), 1 << 18)
        for at in range(0, max(count, 0), 16384):
            part = min(16384, count - at)
            self.socket.sendall(self.frame(0, 0, stream, b"z" * part))
            self.windows[stream] -= part
            self.windows[0] = self.windows.get(0, 65535) - part
        return max(count, 0)

    def answer_pings(self):
        """Stays alive, and takes what has come: nothing of an answer, if no window was opened."""
        if not select.select([self.socket], [], [], 0)[0]:
            return
        try:
            data = self.socket.recv(1 << 18)
            if not data:
                raise ConnectionError
            self.rest += data
            while len(self.rest) >= 9:
                length = int.from_bytes(self.rest[:3], "big")
                if len(self.rest) < 9 + length:
                    break
                kind, flags = self.rest[3], self.rest[4]
                stream = int.from_bytes(self.rest[5:9], "big")
                payload, self.rest = self.rest[9:9 + length], self.rest[9 + length:]
                if kind == 0:
                    self.answers[stream] = self.answers.get(stream, b"") + payload
                if kind == 3 or kind in (0, 1) and flags & 1:
                    self.ended.add(stream)
                if kind == 6 and not flags & 1:
                    self.socket.sendall(self.frame(6, 1, 0, payload))
                elif kind == 4 and not flags & 1:
                    for at in range(0, length, 6):
                        if payload[at:at + 2] == b"\x00\x04":
                            self.first_window = int.from_bytes(payload[at + 2:at + 6], "big")
                    self.socket.sendall(self.frame(4, 1, 0, b""))
                elif kind == 8:
                    opened = self.windows.get(stream, 65535 if stream == 0 else self.first_window)
                    self.windows[stream] = opened + int.from_bytes(payload, "big")
                elif kind == 7:
                    raise ConnectionError
        except socket.timeout:
            pass
