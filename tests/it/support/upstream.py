"""A server whose paths say what it does. It prints the port that it listens on.

    /ws                 WebSocket: echoes every message
    /events             server-sent events: one at once, a further one for every request for /events/next
    /trailer            a body in chunks with a trailer `X-Sum: 6`
    /hints              103 with a Link field, then 200
    /progress           102, 103, 103, then 200
    /download?bytes=N   N bytes of a pattern
    /upload             reads the body; {"bytes": N, "crc32": C, "trailers": {..}}
    /echo               the request as JSON: {"line": .., "fields": [[name, value], ..], "body": ..}
    /truncate           promises 1000 bytes and closes after 10
    /reset              resets the connection instead of an answer
    /slow?ms=N          answers after N milliseconds
"""

import base64
import hashlib
import json
import queue
import socket
import struct
import threading
import time
import urllib.parse
import zlib

PATTERN = bytes(range(256)) * 4096  # 1 MiB
events = queue.Queue()


class Closed(Exception):
    pass


class Connection:
    def __init__(self, sock):
        self.sock = sock
        self.input = sock.makefile("rb", buffering=1 << 20)

    def send(self, data):
        self.sock.sendall(data)

    def line(self):
        line = self.input.readline(1 << 16)
        if not line.endswith(b"\r\n"):
            raise Closed
        return line[:-2].decode("latin-1")

    def fields(self):
        fields = []
        while line := self.line():
            name, _, value = line.partition(":")
            fields.append((name, value.strip()))
        return fields

    def exactly(self, count):
        data = self.input.read(count)
        if len(data) != count:
            raise Closed
        return data

    def pieces(self, fields):
        """The body in pieces; at its end the trailers are known."""
        self.trailers = []
        named = {name.lower(): value for name, value in fields}
        if named.get("transfer-encoding") == "chunked":
            while size := int(self.line(), 16):
                while size:
                    piece = self.exactly(min(size, 1 << 18))
                    size -= len(piece)
                    yield piece
                if self.line():
                    raise Closed
            self.trailers = self.fields()
        else:
            left = int(named.get("content-length", "0"))
            while left:
                piece = self.exactly(min(left, 1 << 18))
                left -= len(piece)
                yield piece

    def answer(self, body, fields=()):
        text = "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % len(body)
        text += "".join("%s: %s\r\n" % field for field in fields)
        self.send(text.encode("latin-1") + b"\r\n" + body)

    def serve(self):
        while True:
            line = self.line()
            fields = self.fields()
            url = urllib.parse.urlsplit(line.split(" ")[1])
            query = {name: values[0] for name, values in urllib.parse.parse_qs(url.query).items()}
            named = {name.lower(): value for name, value in fields}
            act = ACTS.get(url.path.rsplit("/", 1)[-1], echo)
            if named.get("expect", "").lower() == "100-continue":
                self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            if act(self, line, fields, named, query) == "close":
                return


def drain(connection, fields):
    for _ in connection.pieces(fields):
        pass


def websocket(connection, _line, _fields, named, _query):
    if named.get("upgrade", "").lower() != "websocket":
        connection.answer(b"no upgrade here\n")
        return None
    key = named["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
    connection.send(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept.encode() + b"\r\n\r\n"
    )
    while True:
        first, second = connection.exactly(2)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack(">H", connection.exactly(2))
        elif length == 127:
            (length,) = struct.unpack(">Q", connection.exactly(8))
        mask = connection.exactly(4)
        masked = connection.exactly(length)
        repeated = mask * (length // 4 + 1)
        payload = (
            int.from_bytes(masked, "big") ^ int.from_bytes(repeated[:length], "big")
        ).to_bytes(length, "big")
        if length < 126:
            head = struct.pack("BB", first, length)
        elif length < 1 << 16:
            head = struct.pack(">BBH", first, 126, length)
        else:
            head = struct.pack(">BBQ", first, 127, length)
        connection.send(head + payload)
        if first & 0x0F == 8:
            return "close"


def event_stream(connection, _line, fields, _named, _query):
    drain(connection, fields)
    connection.send(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    number = 0
    while True:
        event = b"data: %d\n\n" % number
        connection.send(b"%x\r\n%s\r\n" % (len(event), event))
        if not events.get(timeout=60):
            connection.send(b"0\r\n\r\n")
            return None
        number += 1


def next_event(connection, _line, fields, _named, query):
    drain(connection, fields)
    events.put(query.get("last") is None)
    connection.answer(b"")


def trailer(connection, _line, fields, _named, _query):
    drain(connection, fields)
    connection.send(
        b"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\none\r\n3\r\ntwo\r\n0\r\nX-Sum: 6\r\n\r\n"
    )


def hints(connection, _line, fields, _named, _query):
    drain(connection, fields)
    connection.send(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n")
    connection.answer(b"hinted\n")


def progress(connection, _line, fields, _named, _query):
    drain(connection, fields)
    connection.send(b"HTTP/1.1 102 Processing\r\n\r\n")
    connection.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
    connection.send(b"HTTP/1.1 103 Early Hints\r\nLink: </b.css>\r\n\r\n")
    connection.answer(b"done\n")


def download(connection, _line, fields, _named, query):
    drain(connection, fields)
    left = int(query["bytes"])
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % left)
    pattern = memoryview(PATTERN)
    while left:
        piece = pattern[: min(left, len(PATTERN))]
        connection.send(piece)
        left -= len(piece)


def upload(connection, _line, fields, _named, _query):
    count, crc = 0, 0
    for piece in connection.pieces(fields):
        count += len(piece)
        crc = zlib.crc32(piece, crc)
    told = {"bytes": count, "crc32": crc, "trailers": dict(connection.trailers)}
    connection.answer(json.dumps(told).encode())


def echo(connection, line, fields, _named, _query):
    body = b"".join(connection.pieces(fields)).decode("latin-1")
    told = {"line": line, "fields": fields, "body": body}
    connection.answer(json.dumps(told).encode(), [("Content-Type", "application/json")])


def truncate(connection, _line, fields, _named, _query):
    drain(connection, fields)
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n0123456789")
    return "close"


def reset(connection, _line, fields, _named, _query):
    drain(connection, fields)
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return "close"


def slow(connection, _line, fields, _named, query):
    drain(connection, fields)
    time.sleep(int(query["ms"]) / 1000)
    connection.answer(b"slow\n")


ACTS = {
    "ws": websocket,
    "events": event_stream,
    "next": next_event,
    "trailer": trailer,
    "hints": hints,
    "progress": progress,
    "download": download,
    "upload": upload,
    "echo": echo,
    "truncate": truncate,
    "reset": reset,
    "slow": slow,
}


def serve(sock):
    connection = Connection(sock)
    try:
        connection.serve()
    except (Closed, OSError, ValueError, queue.Empty):
        pass
    finally:
        connection.input.close()
        sock.close()


def main():
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    print("listening on port %d" % listener.getsockname()[1], flush=True)
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve, args=(sock,), daemon=True).start()


main()
