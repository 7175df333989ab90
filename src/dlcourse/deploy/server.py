"""The demo's page by the standard library's HTTP server: for this machine, nothing stored, nothing from elsewhere."""

import errno
import json
import logging
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any

from dlcourse.core.errors import InputError
from dlcourse.deploy.playground import Playground

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
MOST = 20_000_000  # bytes of an upload
DRAINED = 1 << 30  # bytes of a refused upload that are read and dropped: browsers hear no answer before they have sent
TRIED = 20  # ports, from the one that is asked for on
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class RefusedError(Exception):
    """A request that is answered by a status and a sentence alone."""

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Server(ThreadingHTTPServer):
    """Serves one playground. address: where a browser finds it."""

    def __init__(self, playground: Playground, port: int) -> None:
        super().__init__((HOST, port), Handler)
        self.playground, self.lock = playground, Lock()
        names = [f"{name}:{self.server_port}" for name in (HOST, "localhost")]
        # another site's page may have a browser send requests, by a name of its own that leads here, too
        self.hosts, self.origins = names, [f"http://{name}" for name in names]
        self.address = f"http://{names[0]}/"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"  # one connection for all strokes
    disable_nagle_algorithm = True
    timeout = 60  # seconds that a client may be silent

    def do_GET(self) -> None:
        page = Path(__file__).with_name("demo.html")
        routes: dict[str, Callable[[], tuple[str, bytes]]] = {
            "/": lambda: ("text/html; charset=utf-8", page.read_bytes()),
            "/about": lambda: as_json(self.server.playground.about),
        }
        self.respond(routes)

    def do_POST(self) -> None:
        playground = self.server.playground
        routes: dict[str, Callable[[], tuple[str, bytes]]] = {
            "/drawing": lambda: as_json(playground.answer(self.upload(), drawn=True)),
            "/photo": lambda: as_json(playground.answer(self.upload(), drawn=False)),
            "/page": lambda: as_json(playground.read_page(self.upload())),
        }
        self.respond(routes)

    def respond(self, routes: dict[str, Callable[[], tuple[str, bytes]]]) -> None:
        """Answer with what the path's route gives, or with a status and a sentence."""
        status = HTTPStatus.OK
        try:
            self.check_sender()
            if self.path not in routes:
                raise RefusedError(HTTPStatus.NOT_FOUND, "there is nothing of that name here")
            kind, body = routes[self.path]()
        except (RefusedError, InputError) as error:
            status = error.status if isinstance(error, RefusedError) else HTTPStatus.UNPROCESSABLE_ENTITY
            kind, body = as_json({"error": str(error)})
        except Exception as error:
            log.exception("%s", error)
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            kind, body = as_json({"error": "that went wrong: the terminal says why"})
        self.send_response(status)
        for name, value in (HEADERS | {"Content-Type": kind, "Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        if status != HTTPStatus.OK:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def check_sender(self) -> None:
        """Refuse what no page of this server has sent. A command such as curl sends no Origin."""
        if self.headers.get("Host") not in self.server.hosts:
            raise RefusedError(HTTPStatus.FORBIDDEN, f"this is {self.server.address}, by no other name")
        if self.headers.get("Origin", self.server.origins[0]) not in self.server.origins:
            raise RefusedError(HTTPStatus.FORBIDDEN, "another site's page has no business here")

    def upload(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "say how long the picture is (Content-Length)")
        if int(length) > MOST:
            left = min(int(length), DRAINED)
            while left > 0 and (got := len(self.rfile.read(min(left, 1 << 20)))):
                left -= got
            size = f"{int(length) / 1e6:.0f} MB"
            raise RefusedError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"this file has {size}: a picture may have {MOST // 1_000_000} MB"
            )
        return self.rfile.read(int(length))

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a line for each stroke helps nobody."""


def as_json(value: Any) -> tuple[str, bytes]:
    return "application/json", json.dumps(value).encode()


def open_server(playground: Playground, port: int) -> Server:
    """A server at a port, or at the next one that is free, which is said. Raises InputError where none is."""
    for tried in range(port, min(port + TRIED, 65536)):
        try:
            server = Server(playground, tried)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            continue
        if tried != port:
            log.warning("port %d is taken: %d instead", port, tried)
        return server
    raise InputError(f"port={port}: neither that port nor the next {TRIED - 1} are free")
