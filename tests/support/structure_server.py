"""A server of structure files on loopback that can be told to behave badly."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

Behaviour = Callable[["Handler", bytes], None]


class Request(NamedTuple):
    """One that came in."""

    path: str
    headers: dict[str, str]
    time: float


class Handler(BaseHTTPRequestHandler):
    """One connection; the behaviours below are given it."""

    protocol_version = "HTTP/1.1"
    server: _Listener

    def do_GET(self) -> None:
        told = self.server.told
        with told.lock:
            told.requests.append(Request(self.path, dict(self.headers), time.monotonic()))
            told.in_flight += 1
            told.most_at_once = max(told.most_at_once, told.in_flight)
            planned = told.plan.get(self.path, [])
            behave = planned.pop(0) if planned else told.usual
        try:
            with suppress(ConnectionError):
                body = told.files.get(self.path)
                if body is None and behave is serve:
                    answer(404)(self, b"no such file")
                else:
                    behave(self, body or b"")
        finally:
            with told.lock:
                told.in_flight -= 1

    def begin(self, status: int = 200, **headers: object) -> None:
        """Status and headers; underscores in their names are dashes."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def wait_for_the_end(self) -> None:
        """Say nothing until the test is over."""
        self.close_connection = True
        self.server.told.over.wait(60)

    def log_message(self, *_: object) -> None: ...


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    told: StructureServer

    def handle_error(self, *_: object) -> None: ...  # clients that go away are expected


class StructureServer:
    """The server, as tests see it.

    Attributes
    ----------
    files : dict
        Path → content.
    plan : dict
        Path → behaviours, one for each of the next requests; then `usual`.
    """

    def __init__(self, scheme: str = "http") -> None:
        self._scheme = scheme
        self.files: dict[str, bytes] = {}
        self.plan: dict[str, list[Behaviour]] = {}
        self.usual: Behaviour = serve
        self.requests: list[Request] = []
        self.in_flight = self.most_at_once = 0
        self.lock, self.over = threading.Lock(), threading.Event()
        self.port = 0

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}"

    def paths(self) -> list[str]:
        return [request.path for request in self.requests]


@contextmanager
def structure_server(context: ssl.SSLContext | None = None) -> Iterator[StructureServer]:
    """A server until the block ends, encrypted if it is given a certificate."""
    told = StructureServer("http" if context is None else "https")
    listener = _Listener(("127.0.0.1", 0), Handler)
    if context is not None:
        # The handshake is left to the connection's own thread.
        listener.socket = context.wrap_socket(
            listener.socket, server_side=True, do_handshake_on_connect=False
        )
    listener.told, told.port = told, listener.server_address[1]
    thread = threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield told
    finally:
        told.over.set()
        listener.shutdown()
        listener.server_close()


# --- behaviours -------------------------------------------------------------------------------


def serve(handler: Handler, body: bytes) -> None:
    """As it should be."""
    handler.begin(Content_Length=len(body))
    handler.wfile.write(body)


def answer(status: int, content: bytes = b"on purpose", **headers: object) -> Behaviour:
    """Another status, or another content."""

    def behave(handler: Handler, _: bytes) -> None:
        handler.begin(status, Content_Length=len(content), **headers)
        handler.wfile.write(content)

    return behave


def redirect(target: str) -> Behaviour:
    return answer(302, Location=target)


def silent(handler: Handler, _: bytes) -> None:
    """Never an answer."""
    handler.wait_for_the_end()


def stall(handler: Handler, body: bytes) -> None:
    """Half of it, and then nothing."""
    handler.begin(Content_Length=len(body))
    handler.wfile.write(body[: len(body) // 2])
    handler.wfile.flush()
    handler.wait_for_the_end()


def cut(handler: Handler, body: bytes) -> None:
    """Half of what was announced, and then the end."""
    handler.begin(Content_Length=len(body))
    handler.wfile.write(body[: len(body) // 2])
    handler.close_connection = True


def half(handler: Handler, body: bytes) -> None:
    """Half of it, announced as the whole."""
    serve(handler, body[: len(body) // 2])


def without_length(handler: Handler, body: bytes) -> None:
    """The end of the connection is that of the file."""
    handler.begin(Connection="close")
    handler.wfile.write(body)
    handler.close_connection = True


def chunked(handler: Handler, body: bytes) -> None:
    handler.begin(Transfer_Encoding="chunked")
    for start in range(0, len(body), 10_000):
        piece = body[start : start + 10_000]
        handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
    handler.wfile.write(b"0\r\n\r\n")


def slowly(seconds: float) -> Behaviour:
    """As it should be, after a while."""

    def behave(handler: Handler, body: bytes) -> None:
        time.sleep(seconds)
        serve(handler, body)

    return behave


def _drip(handler: Handler, text: bytes) -> None:
    handler.close_connection = True
    for k in range(len(text)):
        handler.wfile.write(text[k : k + 1])
        handler.wfile.flush()
        if handler.server.told.over.wait(0.05):
            return


def drip_content(handler: Handler, body: bytes) -> None:
    handler.begin(Content_Length=len(body))
    _drip(handler, body)


def drip_headers(handler: Handler, _: bytes) -> None:
    _drip(handler, b"HTTP/1.1 200 OK\r\nX-Patience: " + b"x" * 5000)


def drip_chunk_size(handler: Handler, _: bytes) -> None:
    handler.begin(Transfer_Encoding="chunked")
    _drip(handler, b"1000; " + b"x" * 5000)


def endless(handler: Handler, _: bytes) -> None:
    """Bytes without end or length."""
    handler.begin(Connection="close")
    handler.close_connection = True
    while not handler.server.told.over.is_set():
        handler.wfile.write(b"\0" * 65536)
