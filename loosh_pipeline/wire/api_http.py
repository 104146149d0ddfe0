"""One request to the Challenge API and its bounded answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

from loosh_pipeline.errors import WireError
from loosh_pipeline.redaction import Redactor
from loosh_pipeline.wire.bodies import read_body
from loosh_pipeline.wire.headers import API_KEY_HEADER
from loosh_pipeline.wire.text import is_web_page, printable

MAX_ANSWER_BYTES = 64 * 1024
"""Cap on answers of which only the status counts, and on those of a handshake."""

_MAX_SAID_CHARS = 120


@dataclass(frozen=True, slots=True)
class Reply:
    """`key`: the API key that was sent along, which a server may say back."""

    status: int
    headers: httpx.Headers
    body: bytes
    key: str = field(default="", repr=False)

    def said(self) -> str:
        """The status and what came with a refusal, fit for a log and an operator's page."""
        text = self.body[: 4 * _MAX_SAID_CHARS].decode("utf-8", "replace") if self.status >= 300 else ""
        if is_web_page(text):
            return f"a web page (HTTP {self.status})"
        text = " ".join(text.split())
        return f"HTTP {self.status}" + (f": {printable(Redactor([self.key])(text))}" if text else "")


async def send(
    http: httpx.AsyncClient,
    method: str,
    path: str,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    whole_up_to: int | None = None,
) -> Reply:
    """Raises what httpx does.

    A body that is too long or compressed is not read, as the status says what happened; with `whole_up_to` bytes that
    of a success is needed, and raises WireError.
    """
    async with http.stream(method, path, content=content, headers=headers) as response:
        try:
            body = await read_body(response, whole_up_to or MAX_ANSWER_BYTES)
        except WireError:
            if whole_up_to and response.is_success:
                raise
            body = b""
        return Reply(response.status_code, response.headers, body, http.headers.get(API_KEY_HEADER, ""))
