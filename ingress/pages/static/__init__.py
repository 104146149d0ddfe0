"""Styles, script and Vega: served by this machine alone, under names that change with what they hold."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from ingress.vega import vega_mark
from loosh_pipeline.audit.templates import TEMPLATES

FOLDER = Path(__file__).parent
KINDS = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
FILES = {
    "page.css": TEMPLATES / "page.css",  # which receipts carry with them, too
    **{name: FOLDER / name for name in ("pages.css", "pages.js", "charts.js", "mark.svg")},
}
VEGA = "vega.js"


@lru_cache(maxsize=16)
def content(name: str) -> bytes:
    """Raises KeyError for what is no file of the pages, and Vega, which `ingress/vega.py` has."""
    if name not in FILES:
        raise KeyError(name)
    return FILES[name].read_bytes()


@lru_cache(maxsize=16)
def static_path(name: str) -> str:
    """Where it is found from the root of the ingress; a browser may keep it for good."""
    return f"static/{_mark(name)}/{name}"


def _mark(name: str) -> str:
    if name == VEGA:
        return vega_mark()
    return hashlib.sha256(content(name)).hexdigest()[:12]
