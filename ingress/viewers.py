"""Who may see the pages from elsewhere: whoever knows PAGES_TOKEN, or signed in with it."""

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
    """A token, and cookies that are made of it: no list is kept, so every ingress knows those of the others.

    Whoever gets hold of a cookie can try tokens on it for as long as they like: so no key that may do more than see
    pages makes any, and the token is no short one. `clock` gives unix seconds.
    """

    def __init__(self, token: SecretStr | None, clock: Callable[[], float] = time.time) -> None:
        self._token = None if token is None else token.get_secret_value().encode()
        self._clock = clock

    @property
    def any(self) -> bool:
        """Whether there is a token to sign in with."""
        return self._token is not None

    def knows(self, token: str | bytes | None) -> bool:
        """Whether this is the token; `bytes`, as they were sent."""
        given = token if isinstance(token, bytes) else (token or "").encode("utf-8", "surrogatepass")
        return self._token is not None and hmac.compare_digest(given, self._token)

    def cookie(self) -> str:
        """What a browser that knows the token is given: until when it holds, sealed with that. Raises ValueError where
        there is none.
        """
        if self._token is None:
            raise ValueError("there is no token to make a cookie of")
        until = str(int(self._clock()) + COOKIE_S)
        return f"{until}.{_seal(self._token, until)}"

    def signed_in(self, headers: Mapping[str, str]) -> bool:
        """Whether the cookie of a request was given out here, of the token that holds, and is not too old."""
        # As browsers send them: whatever else is served on this host may have set cookies that are hard to read.
        until, _, seal = cookie_parser(headers.get("cookie", "")).get(COOKIE, "").partition(".")
        if not (until.isascii() and until.isdigit() and len(until) < 16) or int(until) < self._clock():
            return False
        return self._token is not None and hmac.compare_digest(seal.encode(), _seal(self._token, until).encode())


def _seal(token: bytes, until: str) -> str:
    return hmac.new(b"loosh pages " + token, until.encode(), hashlib.sha256).hexdigest()
