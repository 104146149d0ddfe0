"""Who is there to be paid, whatever it earned."""

from __future__ import annotations

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.policy.filters import listed_validators, serving_miners
from loosh_pipeline.policy.inputs import Inputs
from loosh_pipeline.policy.sybil import suspected


def miners_of(inputs: Inputs) -> set[Hotkey]:
    """Registered, serving, neither this validator nor another."""
    listed = listed_validators(inputs.view, inputs.at)
    return {each.hotkey for each in serving_miners(inputs.subnet, inputs.own, listed)}


def payable(inputs: Inputs) -> set[Hotkey]:
    """Those of them that may be paid for want of anything better: without the suspected."""
    return miners_of(inputs) - suspected({} if inputs.view is None else inputs.view.sybil_scores)
