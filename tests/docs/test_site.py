"""The site builds without a broken link, and a browser finds all that it needs on the machine that serves it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.chromium import NONE, QUIET, chromium
from tests.docs.site import build, served

pytestmark = pytest.mark.slow

CHROMIUM = chromium()
LOADED = re.compile(r"<(?:script|link|img|iframe)\b[^>]*?\b(?:src|href)=[\"']?((?:https?:)?//[^\"'\s>]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build(folder)
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> list[str]:
    return ["/" + str(path.relative_to(site)).removesuffix("index.html") for path in sorted(site.rglob("index.html"))]


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    found = {path.name: LOADED.findall(path.read_text("utf-8")) for path in site.rglob("*.html")}
    assert len(found) > 1
    assert {name: addresses for name, addresses in found.items() if addresses} == {}
    for path in site.rglob("*.css"):
        assert re.findall(r"url\([\"']?https?:", path.read_text("utf-8")) == [], path


def test_it_holds_what_is_read_and_not_what_makes_it(site: Path, pages: list[str]) -> None:
    assert len(pages) > 35
    assert list(site.rglob("*.py")) == []
    assert (site / "sample.loosh-audit").is_file()
    assert len(json.loads((site / "search/search_index.json").read_text("utf-8"))["docs"]) > 200


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with served(site) as address:
        yield address


@pytest.mark.skipif(not CHROMIUM, reason=NONE)
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_every_page(address: str, pages: list[str], width: int, scheme: str) -> None:
    from playwright.sync_api import sync_playwright

    wrong: list[str] = []
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET) as browser:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
        page = context.new_page()
        page.on("console", lambda said: wrong.append(f"{page.url}: {said.text}") if said.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(f"{page.url}: {error}"))
        page.on("request", lambda asked: wrong.append(asked.url) if _is_elsewhere(asked.url, address) else None)
        page.on("response", lambda got: wrong.append(f"{got.status} {got.url}") if got.status >= 400 else None)
        for path in pages:
            page.goto(address + path)
            if (wide := page.evaluate("document.documentElement.scrollWidth - innerWidth")) > 0:
                wrong.append(f"{path} is {wide} px too wide")
        dark = page.evaluate("document.body.dataset.mdColorScheme") == "slate"
        page.goto(address + "/")
        page.evaluate("document.querySelector('[data-md-toggle=search]').click()")
        page.fill(".md-search__input", "half-life")
        page.wait_for_selector(".md-search-result__link")
    assert wrong == []
    assert dark == (scheme == "dark")


def _is_elsewhere(url: str, address: str) -> bool:
    return urlsplit(url).scheme in ("http", "https", "ws", "wss") and not url.startswith(address + "/")
