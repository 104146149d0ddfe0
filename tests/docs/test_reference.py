"""docs/reference is made from the code, and is what the code says now."""

from __future__ import annotations

import re
from importlib import import_module
from pkgutil import iter_modules

import pytest
from fastapi.routing import APIRoute

import ingress.pages
from tests.docs.reference import HERE, pages
from tests.docs.reference_http import PAGES


@pytest.mark.parametrize("name", ["settings.md", "http.md", "cli.md"])
def test_the_reference_is_up_to_date(name: str) -> None:
    assert (HERE / name).read_text("utf-8") == pages()[name], "run `make reference`"


def test_nothing_else_lies_there() -> None:
    assert {path.name for path in HERE.iterdir()} == set(pages())


def test_every_page_is_listed_and_no_other() -> None:
    names = {"challenge_id": "ID", "hotkey": "HOTKEY", "miner": "HOTKEY"}
    modules = (import_module(f"ingress.pages.{each.name}") for each in iter_modules(ingress.pages.__path__))
    routes = (route for module in modules if hasattr(module, "router") for route in module.router.routes)
    paths = {
        re.sub(r"{(\w+)(:path)?}", lambda found: names[found[1]], route.path)
        for route in routes
        if isinstance(route, APIRoute) and "GET" in (route.methods or ())
    }
    assert paths - {"/heatmaps/ID.json"} == set(PAGES), "see PAGES in reference_http.py"
