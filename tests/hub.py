"""A hub to fetch from, on this machine: repositories of files over a real socket, with the answers that the real one
gives, and the troubles that a network makes."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = 1024  # bytes from which a file is kept by its sha256
PIECE = 2**18


@dataclass
class Trouble:
    """What goes wrong, and for how many answers with bytes in them."""

    cut_after: int | None = None  # bytes of an answer, then the connection is closed
    cuts: int = 1
    stall_after: int | None = None  # bytes of an answer, then nothing comes until `go_on`
    damaged: bool = False
    status: int = 0  # of every answer
    refused: str = ""  # a token that is needed
    gated: bool = False
    go_on: threading.Event = field(default_factory=threading.Event)


class StandIn:
    """`url` is what HF_ENDPOINT is set to; `asked` has every request: method, path, range."""

    def __init__(self, files: dict[str, bytes]) -> None:
        """`files`: owner/name/path -> content."""
        self.files, self.trouble = files, Trouble()
        self.asked: list[tuple[str, str, str]] = []
        self.stalled = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *args: _Answer(self, *args))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def bytes_asked(self) -> list[str]:
        """The ranges of all downloads, in turn; "" for whole files."""
        return [wanted for method, path, wanted in self.asked if method == "GET" and "/resolve/" in path]

    def close(self) -> None:
        self.trouble.go_on.set()
        self._server.shutdown()
        self._server.server_close()


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, hub: StandIn, *args) -> None:
        self.hub = hub
        super().__init__(*args)

    def log_message(self, format: str, *args) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes = b"") -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append((self.command, path, self.headers.get("Range") or ""))
        if not self._refused():
            if path.startswith("/api/models/"):
                self._describe(path.removeprefix("/api/models/"), body)
            else:
                self._resolve(path.removeprefix("/"))

    def _refused(self) -> bool:
        trouble = self.hub.trouble
        if trouble.status:
            self._say(trouble.status, b"<html>welcome to our hotel</html>")
        elif trouble.gated and not self.headers.get("Authorization"):
            self._say(401, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "it is gated"})
        elif trouble.refused and self.headers.get("Authorization") != f"Bearer {trouble.refused}":
            given = bool(self.headers.get("Authorization"))
            message = "Invalid credentials in Authorization header" if given else "Invalid username or password."
            self._say(401, b"{}", {"X-Error-Message": message})
        else:
            return False
        return True

    def _describe(self, words: str, body: bytes) -> None:
        for what in ("/tree/main", "/paths-info/main"):
            repo, found, inside = words.partition(what)
            if not found:
                continue
            if not any(file.startswith(repo + "/") for file in self.hub.files):
                self._say(401, b"{}", {"X-Error-Message": "Invalid username or password."})
                return
            if what == "/tree/main":
                wanted = inside.strip("/") + "/"
                names = [file for file in self.hub.files if file.startswith(f"{repo}/{wanted}")]
                if not names:
                    self._say(404, b"{}", {"X-Error-Code": "EntryNotFound"})
                    return
            else:
                asked = parse_qs(body.decode())["paths"]
                names = [f"{repo}/{path}" for path in asked if f"{repo}/{path}" in self.hub.files]
            self._say(200, json.dumps([self._entry(name, repo) for name in names]).encode())
            return
        self._say(404, b"{}")

    def _entry(self, name: str, repo: str) -> dict[str, object]:
        content = self.hub.files[name]
        entry: dict[str, object] = {"type": "file", "path": name.removeprefix(repo + "/"), "size": len(content)}
        entry["oid"] = git_digest(content)
        if len(content) >= LARGE:
            entry["lfs"] = {"oid": digest(content), "size": len(content), "pointerSize": 130}
        return entry

    def _resolve(self, path: str) -> None:
        repo, _, name = path.partition("/resolve/main/")
        content = self.hub.files.get(f"{repo}/{name}")
        if content is None:
            self._say(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        etag = digest(content) if len(content) >= LARGE else git_digest(content)
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"', "X-Linked-Etag": f'"{etag}"'}
        headers["X-Linked-Size"] = str(len(content))
        if self.hub.trouble.damaged:
            content = bytes([content[0] ^ 1]) + content[1:]
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._say(206 if start else 200, content[start:], headers)

    def _say(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self._send(body)

    def _send(self, body: bytes) -> None:
        trouble, sent = self.hub.trouble, 0
        try:
            while sent < len(body):
                if trouble.cut_after is not None and sent >= trouble.cut_after and trouble.cuts > 0:
                    trouble.cuts -= 1
                    self.close_connection = True
                    self.connection.close()
                    return
                if trouble.stall_after is not None and sent >= trouble.stall_after:
                    self.hub.stalled.set()
                    trouble.go_on.wait()
                self.wfile.write(body[sent : sent + PIECE])
                sent += PIECE
        except OSError:  # whoever asked has gone
            self.close_connection = True


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_digest(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
