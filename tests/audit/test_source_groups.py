"""Groups of miners that count for one source."""

from __future__ import annotations

from loosh_pipeline.audit.source_groups import groups_of
from loosh_pipeline.domain import Hotkey, OneSource


def pair(first: str, second: str, degree: float = 0.9) -> OneSource:
    return OneSource(Hotkey(first), Hotkey(second), 10, degree, same_address=False, same_coldkey=False)


def test_who_is_joined_through_others_is_of_one_group_and_the_heaviest_is_a() -> None:
    found = groups_of([pair("a", "b"), pair("x", "y", 0.7), pair("b", "c", 0.6)], {Hotkey("y"): 0.5, Hotkey("a"): 0.1})
    assert [(each.name, each.members, each.degree) for each in found] == [
        ("A", ("x", "y"), 0.7),
        ("B", ("a", "b", "c"), 0.9),
    ]


def test_likeness_that_is_not_taken_for_one_source_makes_no_group() -> None:
    assert groups_of([pair("a", "b", 0.4)], {}) == ()


def test_names_go_on_after_z() -> None:
    found = groups_of([pair(f"a{n:02}", f"b{n:02}") for n in range(28)], {})
    assert [each.name for each in found][24:] == ["Y", "Z", "AA", "AB"]
