"""Every page that links lead to, from the first one on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from html.parser import HTMLParser
from urllib.parse import parse_qsl, unquote, urldefrag, urljoin, urlsplit

import httpx

from tests.browser.views import Served

BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
MOST_OF_A_KIND = 12
"""Of pages that differ by what they are of alone; all challenges are one kind."""
FEW_OF_A_KIND = 1
"""Of what takes seconds to make."""
NOT_OURS = ("/docs", "/redoc", "/openapi.json", "/static-offline-docs")
"""The page of the API is FastAPI's own."""


@dataclass
class Document(HTMLParser):
    """What of a page's markup is looked at. `hrefs`: of links; `sources`: of whatever else it loads."""

    hrefs: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    ids: Counter[str] = field(default_factory=Counter)
    inline: list[str] = field(default_factory=list)
    headings: int = 0
    title: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self._in = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self._in = tag
        self.headings += tag == "h1"
        if "id" in given:
            self.ids[given["id"]] += 1
        if tag == "a" and "href" in given:
            self.hrefs.append(given["href"])
        elif tag in ("link", "script", "img", "iframe", "object", "embed"):
            self.sources += [given[name] for name in ("href", "src", "data") if given.get(name)]
        self.inline += [f"<{tag} {name}>" for name in given if name.startswith("on") or name == "style"]
        if tag == "style" or (tag == "script" and "src" not in given and given.get("type") != "application/json"):
            self.inline.append(f"<{tag}>")

    def handle_data(self, data: str) -> None:
        if self._in == "title":
            self.title += data

    def handle_endtag(self, tag: str) -> None:
        self._in = ""


@dataclass(frozen=True)
class Found:
    """An answer of the ingress. `origin`: the page that led to it."""

    path: str
    origin: str
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def is_page(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/html") and not self.path.startswith(NOT_OURS)

    @cached_property
    def document(self) -> Document:
        document = Document()
        document.feed(self.text)
        document.close()
        return document


@dataclass(frozen=True)
class Site:
    """Everything that was found. `others`: addresses elsewhere, with a page that links to them."""

    found: Mapping[str, Found]
    others: Mapping[str, str]

    def pages(self, of: Callable[[str], bool] = lambda _: True) -> list[Found]:
        return [each for each in self.found.values() if each.is_page and of(each.path)]

    def samples(self, most: int) -> list[str]:
        """The paths of so many pages of each kind."""
        kinds: Counter[str] = Counter()
        return [each.path for each in self.pages() if _counted(kinds, kind_of(each.path)) <= most]


def crawl(served: Served) -> Site:
    """Follow every link, of one kind not all."""
    found: dict[str, Found] = {}
    others: dict[str, str] = {}
    kinds: Counter[str] = Counter()
    queue = [("/", "")]
    seen = {"/"}
    with httpx.Client(base_url=served.url, headers=BROWSER, timeout=60.0, trust_env=False) as http:
        for path, origin in _growing(queue):
            if _counted(kinds, kind_of(path)) > (FEW_OF_A_KIND if "receipt" in path else MOST_OF_A_KIND):
                continue
            answer = http.get(path)
            found[path] = page = Found(path, origin, answer.status_code, answer.headers, answer.text)
            if not page.is_page:
                continue
            for href in [*page.document.hrefs, *page.document.sources]:
                target = urldefrag(urljoin(served.url + path, href))[0]
                if not target.startswith(f"{served.url}/"):
                    others.setdefault(target, path)
                elif (next_path := target.removeprefix(served.url)) not in seen:
                    seen.add(next_path)
                    queue.append((next_path, path))
    return Site(found, others)


def kind_of(path: str) -> str:
    """Pages of one kind are made by one template, and asked for by the same names."""
    url = urlsplit(path)
    first, _, rest = url.path.removeprefix("/").partition("/")
    part = rest.partition("/")[2]
    names = "&".join(name for name, _ in parse_qsl(url.query, keep_blank_values=True))
    return f"{first}{'/…' if rest else ''}{'/' if part else ''}{part}?{names}"


def id_of(path: str) -> str | None:
    """The challenge that a page of a round is of."""
    before, _, said = urlsplit(path).path.partition("/rounds/")
    return unquote(said) if said and not before else None


def _counted(kinds: Counter[str], kind: str) -> int:
    kinds[kind] += 1
    return kinds[kind]


def _growing(queue: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Also what is appended meanwhile."""
    place = 0
    while place < len(queue):
        yield queue[place]
        place += 1
