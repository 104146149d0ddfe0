"""A Dagster webserver's GraphQL endpoint, scripted: real HTTP on loopback, shapes as Dagster answers them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

OPERATIONS = (
    "addDynamicPartition",
    "launchRun",
    "launchMultipleRuns",
    "runOrError",
    "runsOrError",
    "locationStatusesOrError",
    "logsForRun",
    "assetNodes",
    "assetOrError",
)
LAUNCHED = {"__typename": "LaunchRunSuccess", "run": {"runId": "run-1"}}

ANSWERS: dict[str, Any] = {
    "addDynamicPartition": {"__typename": "AddDynamicPartitionSuccess"},
    "launchRun": LAUNCHED,
    "runOrError": {"__typename": "Run", "status": "STARTED"},
    "runsOrError": {"__typename": "Runs", "results": [{"runId": "run-1"}]},
    "logsForRun": {"__typename": "EventConnection", "events": [], "cursor": "1", "hasMore": False},
    "assetNodes": [],
    "assetOrError": {"__typename": "Asset", "assetMaterializations": []},
    "locationStatusesOrError": {
        "__typename": "WorkspaceLocationStatusEntries",
        "entries": [{"name": "loosh_pipeline", "loadStatus": "LOADED"}],
    },
}
"""What a healthy webserver answers."""


def launched(count: int) -> dict[str, Any]:
    """What a webserver answers that launched so many runs."""
    results = [{"__typename": "LaunchRunSuccess", "run": {"runId": f"run-{number}"}} for number in range(1, count + 1)]
    return {"__typename": "LaunchMultipleRunsResult", "launchMultipleRunsResult": results}


class GraphQlServer:
    """Answers each operation from `answers`; `raw` replaces a whole answer by (status, body).

    A callable in `answers` is called first: it may wait. `asked` is the log of (operation, variables). A document that
    adds partitions as well is known by its launch, and all its partitions get the same answer; without another, several
    launches all succeed.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Any] = dict(ANSWERS)
        self.raw: dict[str, tuple[int, bytes]] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def operations(self) -> list[str]:
        return [operation for operation, _ in self.asked]

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, bytes]:
        query, variables = body["query"], body["variables"]
        *_, operation = (name for name in OPERATIONS if f"{name}(" in query or f"{name} {{" in query)
        self.asked.append((operation, variables))
        if path != "/graphql":
            return 404, b"{}"
        if operation in self.raw:
            return self.raw[operation]
        data = {operation: self._found(operation, variables)}
        for number in range(query.count(": addDynamicPartition(")):
            data[f"added{number}"] = self._found("addDynamicPartition", variables)
        for number in range(query.count(": runsOrError(")):
            data[f"run{number}"] = self._found("runsOrError", variables)
        return 200, json.dumps({"data": data}).encode()

    def _found(self, operation: str, variables: dict[str, Any]) -> Any:
        if operation == "launchMultipleRuns" and operation not in self.answers:
            return launched(len(variables["params"]))
        answer = self.answers[operation]
        return answer() if isinstance(answer, Callable) else answer  # type: ignore[arg-type]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(server: GraphQlServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, content = server.answer(self.path, body)
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except (BrokenPipeError, ConnectionResetError):
                return  # the client gave up waiting, as some tests want

        def log_message(self, format: str, *args: Any) -> None:
            return

    return Handler
