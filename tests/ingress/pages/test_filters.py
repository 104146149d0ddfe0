"""Values are written one way wherever they stand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ingress.pages.filters import ago, at, brief, coded, count, figure, lasted, percent, whole, words

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s ago"), (59, "59 s ago"), (60, "1 min ago"), (5400, "2 h ago"), (172_800, "2 d ago"), (-90, "in 2 min")],
)
def test_how_long_ago(seconds: float, said: str) -> None:
    written = ago(NOW - timedelta(seconds=seconds), NOW)
    assert f">{said}</time>" in written
    assert "data-ago" in written


def test_a_moment_has_its_year_but_where_many_of_this_year_stand_in_a_table() -> None:
    assert ">2026-01-02 12:00:00</time>" in at(NOW)
    assert ">01-02 12:00:00</time>" in brief(NOW, NOW)
    assert 'title="2026-01-02 12:00:00 UTC"' in brief(NOW, NOW)
    assert ">2025-01-02 12:00:00</time>" in brief(NOW - timedelta(days=365), NOW)


@pytest.mark.parametrize(("value", "said"), [(-0.004, "0.00"), (-0.006, "-0.01"), (-0.0, "0.00"), (0.004, "0.00")])
def test_no_figure_is_less_than_nothing_and_nothing(value: float, said: str) -> None:
    assert figure(value, 2) == said


def test_what_the_chain_holds_is_said_so() -> None:
    assert words("observed") == "on the chain"


def test_nothing_is_a_dash() -> None:
    assert {ago(None), at(None), brief(None), lasted(None), percent(None), figure(None), count(None)} == {"–"}


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.25, "250 ms"), (4.2, "4.2 s"), (185, "3 min 5 s"), (8040, "2 h 14 min"), (442_800, "5 d 3 h")],
)
def test_durations(seconds: float, said: str) -> None:
    assert lasted(seconds) == said


def test_an_id_is_cut_and_told_in_full_where_the_pointer_rests() -> None:
    assert whole("short<") == "short&lt;"
    assert whole('"' * 20, 4) == f'<span title="{"&#34;" * 20}">{"&#34;" * 4}…</span>'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("run `a <b>` & `c`", "run <code>a &lt;b&gt;</code> &amp; <code>c</code>"),
        ("one ` <b>", "one ` &lt;b&gt;"),
        ("", ""),
    ],
)
def test_code_in_a_sentence(text: str, said: str) -> None:
    assert coded(text) == said


def test_figures_and_codes() -> None:
    assert (count(4880), percent(0.1234, 1), figure(0.5, 2), words("no_answer")) == (
        *("4,880", "12.3 %", "0.50"),
        "no answer",
    )
