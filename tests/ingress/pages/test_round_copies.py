"""Which answers are copies of which: by the round itself, and by what other rounds of its window show."""

from __future__ import annotations

from itertools import combinations
from time import process_time

from ingress.pages.round_copies import alikes, groups_of, with_window
from loosh_pipeline.domain import Hotkey
from loosh_pipeline.store.settled import SettledAnswer, SettledRound
from tests.builders import NOON, pair, round_scores, score

NAMES = {Hotkey(f"h-{uid}"): f"uid {uid}" for uid in range(1, 12)}


def test_groups_are_named_by_uid_with_how_alike_they_are() -> None:
    rows = (
        score("h-10", copies=("h-11",)),
        score("h-11", copies=("h-10",)),
        score("h-9"),
        score("h-3", copies=("h-1", "h-2")),
        score("h-1", copies=("h-3",)),
        score("h-2", copies=("h-3",)),
    )
    pairs = (pair("h-1", "h-3", wording=0.9), pair("h-2", "h-3", wording=0.8), pair("h-1", "h-2", wording=0.95))
    found = groups_of(round_scores(rows, pairs=pairs), NAMES)
    assert found is not None
    assert [(each.letter, each.names, each.least, each.most) for each in found] == [
        ("A", ("uid 1", "uid 2", "uid 3"), 0.8, 0.95),
        ("B", ("uid 10", "uid 11"), None, None),
    ]


def test_the_networks_method_looks_for_none() -> None:
    assert groups_of(round_scores((score("h-1"),), profile="network"), NAMES) is None
    assert groups_of(None, NAMES) is None


def test_who_is_alike_is_found_once_for_all_of_a_large_group() -> None:
    hotkeys = [Hotkey(f"h-{n:03d}") for n in range(256)]
    rows = [score(each, copies=tuple(other for other in hotkeys if other != each)) for each in hotkeys]
    pairs = tuple(pair(one, other, wording=0.9) for one, other in combinations(hotkeys, 2))
    alone = round_scores(tuple(rows), pairs=pairs)
    settled = {each: SettledAnswer(0.1, 0.1, 1.0, tuple(hotkeys)) for each in hotkeys}
    began = process_time()
    together = with_window(alone, SettledRound(NOON, settled))
    found = alikes(hotkeys[:128], together, alone, {})
    assert process_time() - began < 2.0
    assert {len(each) for each in found.values()} <= {255, 256}


def test_other_rounds_show_who_is_of_one_source() -> None:
    alone = round_scores((score("h-1"), score("h-2")), pairs=(pair("h-1", "h-2", wording=0.5, same_coldkey=True),))
    settled = {
        Hotkey(one): SettledAnswer(0.5, 0.5, 1.0, (Hotkey(other), Hotkey("h-9")))
        for one, other in (("h-1", "h-2"), ("h-2", "h-1"))
    }
    together = with_window(alone, SettledRound(NOON, settled))
    assert groups_of(alone, NAMES) == ()
    (group,) = groups_of(together, NAMES) or ()
    assert group.names == ("uid 1", "uid 2")
    (other,) = alikes([Hotkey("h-1")], together, alone, NAMES)[Hotkey("h-1")]
    assert (other.name, other.wording, other.shared, other.by_window) == ("uid 2", 0.5, "coldkey", True)
