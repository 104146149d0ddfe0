"""docs/reference is made from the code, and is what the code says now."""

from __future__ import annotations

import pytest

from tests.docs.reference import HERE, pages


@pytest.mark.parametrize("name", ["settings.md", "http.md", "cli.md"])
def test_the_reference_is_up_to_date(name: str) -> None:
    assert (HERE / name).read_text("utf-8") == pages()[name], "run `make reference`"


def test_nothing_else_lies_there() -> None:
    assert {path.name for path in HERE.iterdir()} == set(pages())
