"""The viewer over HTTP, on this machine alone.

What a model wrote may be meant to do harm, and so may a page that is open in the same browser. Therefore: the socket is bound to
loopback; `Host` must name it, so that no foreign name can be bound to it; requests that another site makes are refused; everything is
asked for by number, so that no path comes from outside; the page may load nothing but the viewer's own files and may make no markup
out of text (`Content-Security-Policy`, Trusted Types); nothing can be written.
"""

import json
import re
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from ...errors import UserError
from .viewed import Viewed

HOST, PORT = "127.0.0.1", 7331
NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
TYPES = {
    "svg": "image/svg+xml",
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
}
SCRIPTS = ("source", "state", "masks", "text", "list", "stage", "conversation", "sample", "run", "main")
STATIC = ("index.html", "viewer.css", "icon.svg", *(f"{name}.js" for name in SCRIPTS))
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types chunks"
)
OTHER_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"
PLOT_POLICY = f"{OTHER_POLICY}; style-src 'unsafe-inline'"
"""Of what is no page, where it is opened by itself: nothing, or a plot's own styles and nothing else."""
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
ROUTES = re.compile(
    r"/(?:(runs)|(index|row|thumb|plot)/(\d{1,3})/(\d{1,9})|(image)/(\d{1,3})/(\d{1,9})/(\d{1,5})|(about)/(\d{1,3}))", re.ASCII
)


class Server(ThreadingHTTPServer):
    """Serves runs until it is closed."""

    daemon_threads = True

    def __init__(self, runs: Sequence[Viewed], port: int | None = None) -> None:
        """Takes the port; None takes 7331, or any that is free where that is not, and so does 0.

        Raises:
            UserError: the port is in use, or is none.
        """
        self.runs = runs
        tries = [PORT, 0] if port is None else [port]
        for number in tries:
            try:
                super().__init__((HOST, number), Handler)
                break
            except (OSError, OverflowError) as error:
                if number == tries[-1]:
                    raise UserError(
                        f"cannot open port {number} on {HOST}: {error}. Choose another with --port, or --port 0 for any that is free"
                    ) from error
        self.pages = {f"/{name}": static(name) for name in STATIC}
        self.pages["/"] = self.pages["/index.html"]

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_address[1]}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of a browser that went away."""


def static(name: str) -> bytes:
    """One of the page's own files."""
    return files(__package__).joinpath("static", name).read_bytes()


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD, from the same machine and the same page only."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "evalkit", ""

    def do_GET(self) -> None:
        """Answers a request."""
        if reason := self._refused():
            self._send(403, reason.encode(), "text/plain; charset=utf-8")
            return
        path = urlsplit(self.path).path
        if path in self.server.pages:
            self._send(200, self.server.pages[path], TYPES[path.rpartition(".")[2] if path != "/" else "html"])
            return
        found = ROUTES.fullmatch(path)
        if not found:
            self._send(404, b"no such page", "text/plain; charset=utf-8")
            return
        try:
            answer = self._answer(*[part for part in found.groups() if part is not None])
        except (UserError, IndexError) as error:
            answer = 404, f"{error}".encode("utf-8", "backslashreplace"), "text/plain; charset=utf-8"
        except Exception as error:  # noqa: BLE001 - whatever a task's own file raises, the page says it
            answer = 500, f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace"), "text/plain; charset=utf-8"
        self._send(*answer)

    do_HEAD = do_GET  # noqa: N815 - as http.server calls it

    def _refused(self) -> str:
        """Why a request is not answered; empty where it is."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        if host.rpartition(":")[0] not in NAMES and host not in NAMES:
            return f"expected this machine's own name as Host, got '{host}'. Open {self.server.url}"
        if origin is not None and origin != f"http://{host}":
            return "expected a request of the viewer's own page, got one of another site"
        opens = self.headers.get("Sec-Fetch-Mode") == "navigate" and self.headers.get("Sec-Fetch-Dest") == "document"
        if self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin") and not (opens and self.path == "/"):
            return "expected a request of the viewer's own page, got one of another site"
        return ""

    def _answer(self, what: str, *numbers: str) -> tuple[int, bytes, str]:
        if what == "runs":
            return self._json([run.brief() for run in self.server.runs])
        run, *rest = self.server.runs[int(numbers[0])], *map(int, numbers[1:])
        if what == "index":
            return 200, run.segment(*rest).encode(), "application/json"
        if what == "row":
            return self._json(run.detail(*rest))
        if what == "about":
            return self._json(run.about())
        if what == "plot":
            return 200, run.plot(*rest), "image/svg+xml"
        return 200, *(run.thumbnail(*rest) if what == "thumb" else run.picture(*rest))

    def _json(self, value: Any) -> tuple[int, bytes, str]:
        return 200, json.dumps(value, separators=(",", ":"), default=repr).encode(), "application/json"

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        headers = HEADERS | {"Content-Type": kind, "Content-Length": str(len(body))}
        headers["Content-Security-Policy"] = {TYPES["html"]: POLICY, TYPES["svg"]: PLOT_POLICY}.get(kind, OTHER_POLICY)
        headers["Cache-Control"] = "private, max-age=3600" if kind.startswith("image/") else "no-store"
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answers what is no proper request, in plain text."""
        self.close_connection = True
        self._send(code, (message or "no").encode(), "text/plain; charset=utf-8")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the one it replaces
        """Says nothing: the terminal shows the address, and errors are in the page."""
