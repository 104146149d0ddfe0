"""A chat server on loopback that does what a test scripts: it speaks HTTP over sockets, and keeps what it was sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LEFT_S = 5.0
"""How long a scripted hang lasts at most, should a test fail to end it."""


@dataclass(frozen=True)
class Reply:
    """What is answered to one request. `hang`: nothing, until the server is closed; `slow`: a byte at a time."""

    status: int = 200
    body: bytes | dict[str, Any] = b""
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    slow: bool = False


def said(text: str | None, **fields: Any) -> Reply:
    """A chat completion that says `text`; fields override those of the completion."""
    message = {"role": "assistant", "content": text}
    completion = {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "served-model",
        "choices": [{"index": 0, "message": message, "finish_reason": fields.pop("finish_reason", "stop")}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
    }
    return Reply(body=completion | fields)


def refused(status: int, message: str = "no", headers: dict[str, str] | None = None, **fields: Any) -> Reply:
    """An error as OpenAI, vLLM and Ollama write it."""
    return Reply(status, {"error": {"message": message, **fields}}, headers or {})


@dataclass(frozen=True)
class Asked:
    """One request as it arrived; `path` with its query."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


class ChatServer(ThreadingHTTPServer):
    """Answers its script's replies one after the other, the last one for good."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: list[Reply] = [said("A calm round.")]
        self.models: Reply = Reply(body={"object": "list", "data": [{"id": "served-model", "object": "model"}]})
        self.asked: list[Asked] = []
        self.closing = threading.Event()

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def url(self) -> str:
        return f"{self.root}/v1"

    @property
    def completions(self) -> list[Asked]:
        return [asked for asked in self.asked if asked.method == "POST"]

    def next_reply(self) -> Reply:
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever is asked may hang up: that is what is tested."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ChatServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(Asked("POST", self.path, self._lower(), body))
        self._answer(self.server.next_reply())

    def do_GET(self) -> None:
        self.server.asked.append(Asked("GET", self.path, self._lower(), None))
        self._answer(self.server.models)

    def _lower(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers.items()}

    def _answer(self, reply: Reply) -> None:
        if reply.hang:
            self.server.closing.wait(LEFT_S)
            self.close_connection = True
            return
        content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not reply.slow:
            self.wfile.write(content)
        for byte in content if reply.slow else b"":
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            if self.server.closing.wait(0.02):
                return

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""


@contextmanager
def chat_server() -> Iterator[ChatServer]:
    with ChatServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join(LEFT_S)
