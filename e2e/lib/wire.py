"""HTTP/1.1, WebSocket and IPC by hand, so that a suite may break every rule. Everything that is read has a deadline and a bound."""

import base64
import json
import os
import select
import socket
import struct
import time
from urllib.parse import urlsplit

from check import setting

TARGET = urlsplit(setting("RPC_URL"))
ADDRESS = (TARGET.hostname, TARGET.port or 80)
HOST = f"{TARGET.hostname}:{ADDRESS[1]}"
IPC_PATH = os.environ.get("IPC_PATH")
LIMIT = 20.0  # seconds for every answer: less than the thirty after which the node gives up a client that says no more
MAX_ANSWER = 64 * 1024 * 1024  # no answer may be larger


class Connection:
    """A TCP connection with a deadline for everything that is read."""

    def __init__(self, limit=LIMIT):
        self.socket = socket.create_connection(ADDRESS, timeout=LIMIT)
        self.end = time.monotonic() + limit
        self.buffer = b""
        self.closed = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        """Sends; stops once the server has something to say or has closed. Returns whether all was sent."""
        view = memoryview(data)
        while view:
            left = self.end - time.monotonic()
            assert left > 0, "the server neither reads nor answers"
            readable, writable, _ = select.select([self.socket], [self.socket], [], left)
            if readable:
                return False
            if writable:
                try:
                    view = view[self.socket.send(view[: 1 << 16]) :]
                except (BrokenPipeError, ConnectionResetError):
                    return False
        return True

    def fill(self):
        """Reads more; False at the end of the stream."""
        left = self.end - time.monotonic()
        assert left > 0, f"no complete answer in time, got {self.buffer[:100]!r}"
        self.socket.settimeout(left)
        try:
            data = self.socket.recv(1 << 20)
        except TimeoutError:
            raise AssertionError(f"no complete answer in time, got {self.buffer[:100]!r}") from None
        except ConnectionResetError:
            data = b""
        self.buffer += data
        self.closed = not data
        assert len(self.buffer) <= MAX_ANSWER, "an unbounded answer"
        return bool(data)

    def until(self, mark):
        """Everything up to `mark`, which is dropped; None if the stream ends before it."""
        while mark not in self.buffer:
            if not self.fill():
                return None
        found, self.buffer = self.buffer.split(mark, 1)
        return found

    def exactly(self, count):
        """`count` bytes; None if the stream ends before."""
        while len(self.buffer) < count:
            if not self.fill():
                return None
        found, self.buffer = self.buffer[:count], self.buffer[count:]
        return found

    def response(self):
        """`(status, headers, body)`, or None if the server closed without one."""
        head = self.until(b"\r\n\r\n")
        if head is None:
            return None
        first, *lines = head.split(b"\r\n")
        status = int(first.split()[1])
        if status == 100:
            return self.response()
        headers = {name.strip().lower().decode(): value.strip().decode() for name, _, value in (line.partition(b":") for line in lines)}
        if "chunked" in headers.get("transfer-encoding", ""):
            body = b""
            while True:
                size = self.until(b"\r\n")
                assert size is not None, "the answer breaks off"
                chunk = self.exactly(int(size.split(b";")[0], 16) + 2)
                assert chunk is not None, "the answer breaks off"
                if chunk == b"\r\n":
                    break
                body += chunk[:-2]
        elif status in (101, 204, 304):
            body = b""
        elif "content-length" in headers:
            body = self.exactly(int(headers["content-length"]))
            assert body is not None, "the answer breaks off"
        else:
            while self.fill():
                pass
            body, self.buffer = self.buffer, b""
        return status, headers, body

    def ended(self):
        """Whether the server closes the connection in time."""
        while self.fill():
            self.buffer = b""
        return True


def http(body, *more, method="POST", host=HOST, kind="application/json", length=None):
    """The bytes of a request."""
    length = len(body) if length is None else length
    head = [f"{method} / HTTP/1.1", f"Host: {host}", f"Content-Type: {kind}", f"Content-Length: {length}", *more]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def chunked(chunks):
    """A request whose body is given as it goes over the wire."""
    head = f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head.encode() + chunks


class Socket(Connection):
    """A WebSocket client that may break every rule."""

    def __init__(self, version="13", with_key=True):
        super().__init__()
        lines = ["GET / HTTP/1.1", f"Host: {HOST}", "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Version: {version}"]
        if with_key:
            lines.append(f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}")
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n")
        answer = self.response()
        self.status = answer[0] if answer else None

    def frame(self, payload, opcode=1, final=True, mask=True, length=None, reserved=0):
        """Sends one frame, with a length that may lie."""
        length = len(payload) if length is None else length
        first = (0x80 if final else 0) | reserved << 4 | opcode
        bit = 0x80 if mask else 0
        if length < 126:
            head = struct.pack("!BB", first, bit | length)
        elif length < 1 << 16:
            head = struct.pack("!BBH", first, bit | 126, length)
        else:
            head = struct.pack("!BBQ", first, bit | 127, length)
        if not mask:
            return self.send(head + payload)
        key = os.urandom(4)
        whole = (len(payload) + 3) // 4 * 4
        masked = int.from_bytes(payload.ljust(whole, b"\0"), "big") ^ int.from_bytes(key * (whole // 4), "big")
        return self.send(head + key + masked.to_bytes(whole, "big")[: len(payload)])

    def message(self):
        """`(opcode, payload)` of the next frame but pings; None if the server closed the connection."""
        head = self.exactly(2)
        if head is None:
            return None
        opcode, length = head[0] & 0x0F, head[1] & 0x7F
        if length > 125:
            size = 2 if length == 126 else 8
            length = int.from_bytes(self.exactly(size) or b"", "big")
        payload = self.exactly(length) if length else b""
        return self.message() if opcode == 9 else (opcode, payload)

    def ask(self, text):
        """Sends text; the parsed answer, notifications aside."""
        self.frame(text.encode() if isinstance(text, str) else text)
        while True:
            got = self.message()
            assert got is not None and got[0] in (1, 2), f"closed instead of an answer: {got}"
            answer = json.loads(got[1])
            if "method" not in answer:
                return answer


class Pipe(Connection):
    """A connection to the Unix socket."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(LIMIT)
        self.socket.connect(IPC_PATH)
        self.end = time.monotonic() + LIMIT
        self.buffer = b""
        self.closed = False

    def answer(self):
        """The next JSON value; None if the node closed the connection."""
        while True:
            text = self.buffer.decode(errors="replace").lstrip()
            if text:
                try:
                    value, end = json.JSONDecoder().raw_decode(text)
                    self.buffer = text[end:].encode()
                    return value
                except ValueError:
                    pass
            if not self.fill():
                return None
