"""Windows on the pages, and what is noticed in them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Request, Response

DRAWN = """() => !document.querySelector('[data-load][aria-busy]') && [...document.querySelectorAll('.vega')].every(
  (place) => place.querySelector('svg') || !place.querySelector('script'))"""
"""Whether every chart is there, or says that it cannot be, and so is what is made while the page is seen."""
WITHIN_MS = 60_000


@dataclass(frozen=True, slots=True)
class Served:
    """Pages and where they are: an address without a slash at its end. `dagster`: whom they link to besides."""

    url: str
    dagster: str


@dataclass
class Visit:
    """One window, and everything in it that should not be."""

    page: Page
    served: Served
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(WITHIN_MS)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.problems.append(f"{self.path}: error: {error}"))
        self.page.on("request", self._asked)
        self.page.on("response", self._answered)
        self.page.on("requestfailed", self._failed)
        self.page.on("dialog", self._asked_the_user)

    def to(self, path: str) -> Page:
        """Go to a page, and wait until all of it is there."""
        self.page.goto(self.served.url + path, wait_until="load")
        self.drawn()
        return self.page

    def drawn(self) -> None:
        self.until(DRAWN)

    def until(self, holds: str) -> None:
        """Wait until a function says so in the page. It is asked from here: a page may not evaluate code by itself."""
        ends_s = time.monotonic() + WITHIN_MS / 1000
        while not self.page.evaluate(holds):
            assert time.monotonic() < ends_s, f"{self.path}: not within {WITHIN_MS} ms: {holds}"
            self.page.wait_for_timeout(50)

    @property
    def path(self) -> str:
        """Where the window is, from the root."""
        return self.page.url.removeprefix(self.served.url)

    def went_well(self) -> None:
        assert self.problems == [], "\n".join(self.problems)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(f"{self.path}: console {message.type}: {message.text[:500]}")

    def _asked(self, request: Request) -> None:
        if urlsplit(request.url).scheme in ("http", "https", "ws", "wss") and not request.url.startswith(
            f"{self.served.url}/"
        ):
            self.problems.append(f"{self.path}: asks {request.url[:200]}, which is not the ingress")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.problems.append(f"{self.path}: {response.url[:200]} was answered with {response.status}")

    def _failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # by going on to the next page
            self.problems.append(f"{self.path}: {request.url[:200]} failed: {request.failure}")

    def _asked_the_user(self, dialog: Dialog) -> None:
        self.problems.append(f"{self.path}: opens a dialog: {dialog.message[:200]}")
        dialog.dismiss()


@dataclass(frozen=True, slots=True)
class View:
    """How wide a window is, in CSS pixels, and in which colours; `script`: whether it runs any."""

    width: int = 1280
    scheme: str = "light"
    script: bool = True

    @contextmanager
    def visit(self, browser: Browser, served: Served) -> Iterator[Visit]:
        context = browser.new_context(
            viewport={"width": self.width, "height": 900},
            color_scheme=self.scheme,  # type: ignore[arg-type]
            java_script_enabled=self.script,
        )
        try:
            yield Visit(context.new_page(), served)
        finally:
            context.close()

    def __str__(self) -> str:
        return f"{self.width}-{self.scheme}"


VIEWS = tuple(View(width, scheme) for width in (1280, 390) for scheme in ("light", "dark"))
