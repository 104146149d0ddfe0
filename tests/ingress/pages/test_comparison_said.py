"""What is behind the worth of two miners' answers, in a sentence and in means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from ingress.pages.comparison_said import behind, figures
from loosh_pipeline.audit.worth import MEASURED, WIDEST, Worths, compared_worths

AT = datetime(2026, 5, 4, tzinfo=UTC)
ALIKE: dict[str, Any] = dict.fromkeys(("payout", "agreement", "share", *MEASURED), 0.5) | {"relevance_gate": 0.3}


def worths(mine: dict[str, Any], theirs: dict[str, Any], rounds: int = 8) -> Worths:
    """The same figures in every round, but for the pay of the first, which is furthest apart with the last."""
    row = ALIKE | mine | {f"{name}_theirs": value for name, value in (ALIKE | theirs).items()}
    rows = [row | {"challenge_id": f"c-{k}", "received_at": AT + timedelta(minutes=k)} for k in range(rounds)]
    for k, each in enumerate(rows):
        each["payout"] = row["payout_theirs"] + k / 10
    both = pl.DataFrame(rows)
    return compared_worths(both, both)


def test_off_topic_answers_are_told_before_all_else() -> None:
    said = behind(worths({"relevance": 0.1, "agreement": 0.0}, {}))
    assert said == "Its answers were off topic in 8 of 8 rounds, those of the other in 0."


def test_agreement_is_told_with_what_makes_it_lower_and_nothing_that_makes_it_higher() -> None:
    said = behind(worths({"agreement": 0.25, "meaning": 0.125, "coverage": 0.25, "wording": 0.9}, {}))
    assert said.startswith("Behind it is agreement (0.250, of the other 0.500), over the 8 rounds that both answered")
    assert said.endswith("most apart is meaning (0.125, of the other 0.500).")
    assert "most apart" not in behind(worths({"agreement": 0.25, "wording": 0.9}, {}))


def test_who_shares_alone_is_told_so() -> None:
    assert behind(worths({"share": 0.25}, {}, 1)).startswith(
        "Behind it is share (0.250, of the other 0.500), in the round that both answered"
    )
    assert "alike in agreement" in behind(worths({}, {}))


def test_means_are_of_rounds_in_which_both_are_measured() -> None:
    found = worths({"elapsed_ms": None}, {"words": 20})
    assert found.mean("elapsed_ms").mine is None
    said = {each.figure.title: (each.mine, each.theirs) for each in figures(found)}
    assert "seconds" not in said
    assert said["words"] == (0.5, 20.0)


def test_the_rounds_with_the_widest_gap_come_first() -> None:
    assert [each.challenge_id for each in worths({}, {}).widest] == [f"c-{k}" for k in range(7, 7 - WIDEST, -1)]
