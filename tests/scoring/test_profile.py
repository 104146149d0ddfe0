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


def test_every_parameter_the_model_and_the_code_change_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    default = RobustProfile()
    names = [field.name for field in dataclasses.fields(RobustProfile)]
    whole = {name for name in names if isinstance(getattr(default, name), int)}
    other = {name: getattr(default, name) + 1 if name in whole else getattr(default, name) * 0.99 for name in names}
    changed = {scorer_version(RobustProfile.from_mapping({name: value})) for name, value in other.items()}
    assert len(changed | {scorer_version(default)}) == len(names) + 1
    before = scorer_version(default)
    assert scorer_version(default, "another embedding model") != before
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
        ({"pair_low": 0.9}, r"pair_low \(0.9\) must be below pair_high"),
        ({"track_passes": 1.5}, "track_passes is 1.5; it counts something"),
        ({"blatant_high": 0.5}, "must be below blatant_high"),
        ({"identical_low": 1.0}, "must be below identical_high"),
        ({"restated_high": 0.0}, "must be below restated_high"),
        ({"evidence_full_words": 0.0}, "must be above 0"),
        ({"meaning_weight": 0.0, "coverage_weight": 0.0, "wording_weight": 0.0}, "all 0"),
    ],
)
def test_a_value_out_of_range_is_refused(parameters: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RobustProfile.from_mapping(parameters)
