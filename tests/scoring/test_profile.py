from __future__ import annotations

import dataclasses

import pytest

from loosh_pipeline.scoring import profile as module
from loosh_pipeline.scoring.profile import RobustProfile, scorer_version


def test_the_version_is_stable_and_short() -> None:
    version = scorer_version(RobustProfile())
    assert version == scorer_version(RobustProfile.from_mapping({}))
    assert len(version) == 12
    int(version, 16)


def test_equal_numbers_are_one_version() -> None:
    assert scorer_version(RobustProfile(power=4)) == scorer_version(RobustProfile(power=4.0))


def test_every_parameter_and_the_code_version_change_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    default = RobustProfile()
    names = [field.name for field in dataclasses.fields(RobustProfile)]
    changed = {scorer_version(RobustProfile.from_mapping({n: getattr(default, n) * 0.99})) for n in names}
    assert len(changed | {scorer_version(default)}) == len(names) + 1
    before = scorer_version(default)
    monkeypatch.setattr(module, "CODE_VERSION", module.CODE_VERSION + 1)
    assert scorer_version(default) != before


def test_an_unknown_parameter_is_named() -> None:
    with pytest.raises(ValueError, match=r"no parameter pwer; it has .*power"):
        RobustProfile.from_mapping({"pwer": 2.0})


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"power": float("nan")}, "power is nan"),
        ({"power": 0.0}, "must be above 0"),
        ({"speed": 1.0}, "below 1"),
        ({"speed": -0.1}, "cannot be negative"),
        ({"relevance_gate": "high"}, "relevance_gate is 'high'"),
        ({"prior_votes": True}, "prior_votes is True"),
        ({"copy_low": 0.9}, r"copy_low \(0.9\) must be below copy_high"),
        ({"blatant_high": 0.85}, "must be below blatant_high"),
        ({"meaning_weight": 0.0, "coverage_weight": 0.0, "wording_weight": 0.0}, "all 0"),
    ],
)
def test_a_value_out_of_range_is_refused(parameters: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RobustProfile.from_mapping(parameters)
