"""Who may see the pages from elsewhere: whoever knows PAGES_TOKEN or the API key, or signed in with one of them."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping

from pydantic import SecretStr
from starlette.requests import cookie_parser

COOKIE = "loosh_pages"
COOKIE_S = 30 * 86_400
"""A browser that signed in need not do so again for this long, unless the token is changed."""


class Viewers:
    """Tokens, and cookies that are made of them: no list is kept, so every ingress knows those of the others.

    `clock` gives unix seconds.
    """

    def __init__(self, *tokens: SecretStr | None, clock: Callable[[], float] = time.time) -> None:
        self._tokens = [token.get_secret_value().encode() for token in tokens if token is not None]
        self._clock = clock

    @property
    def any(self) -> bool:
        """Whether there is a token to sign in with."""
        return bool(self._tokens)

    def knows(self, token: str | bytes | None) -> bool:
        """Whether this is one of the tokens; `bytes`, as they were sent."""
        given = token if isinstance(token, bytes) else (token or "").encode("utf-8", "surrogatepass")
        return any([hmac.compare_digest(given, each) for each in self._tokens])  # a list: all are compared

    def cookie(self, token: str) -> str:
        """What a browser that knows a token is given: until when it holds, sealed with that token."""
        until = str(int(self._clock()) + COOKIE_S)
        return f"{until}.{_seal(token.encode(), until)}"

    def signed_in(self, headers: Mapping[str, str]) -> bool:
        """Whether the cookie of a request was given out here, by a token that still holds, and is not too old."""
        # As browsers send them: whatever else is served on this host may have set cookies that are hard to read.
        until, _, seal = cookie_parser(headers.get("cookie", "")).get(COOKIE, "").partition(".")
        if not (until.isascii() and until.isdigit() and len(until) < 16) or int(until) < self._clock():
            return False
        return any([hmac.compare_digest(seal.encode(), _seal(each, until).encode()) for each in self._tokens])


def _seal(token: bytes, until: str) -> str:
    return hmac.new(b"loosh pages " + token, until.encode(), hashlib.sha256).hexdigest()
