"""What the Challenge API says of hotkeys: who validates, who is suspected, who is to be asked how often.

One odd entry must not cost the rest: it is dropped and counted. Numbers may be NaN in what Python servers send, so
these two bodies are read more leniently than any other.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.errors import CryptoError, WireError
from loosh_pipeline.wire.codec import decode_json
from loosh_pipeline.wire.crypto import parse_hotkey

MAX_PRIORITY_WEIGHT = 1e6
"""Weights are compared and summed; beyond this one it is no weight but an accident."""
ASSUMED_SYBIL_SCORE = 0.0
ASSUMED_PRIORITY_WEIGHT = 1.0


@dataclass(frozen=True, slots=True)
class ValidatorsSaid:
    """Who validates, and how many entries could not be understood."""

    hotkeys: frozenset[Hotkey] = frozenset()
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class ScoresSaid:
    """Sybil scores from 0 to 1 and weights of selection from 0, and how many figures were neither."""

    sybil_scores: Mapping[Hotkey, float] = field(default_factory=dict)
    priority_weights: Mapping[Hotkey, float] = field(default_factory=dict)
    dropped: int = 0


def parse_validators(body: bytes) -> ValidatorsSaid:
    """`[{"hotkey_ss58", "validator_permit", "metadata": {"admin_approved"}}]`: permit or approval makes a validator.

    Raises WireError when it is no list.
    """
    entries = decode_json(body, "validators", lenient_numbers=True)
    if not isinstance(entries, list):
        raise WireError("validators: the answer is not a list")
    found = [_validator(entry) for entry in entries]
    hotkeys = frozenset(hotkey for hotkey, validates in filter(None, found) if validates)
    return ValidatorsSaid(hotkeys, found.count(None))


def parse_sybil_scores(body: bytes, asked: Collection[Hotkey]) -> ScoresSaid:
    """`{"scores": {hotkey: {"sybil_score", "priority_weight"} | number | null}}`, of those that were asked about.

    Where one of the two is missing or null, a score is 0 and a weight is 1; null says nothing of a hotkey. Raises
    WireError when there is no object of scores.
    """
    answer = decode_json(body, "sybil scores", lenient_numbers=True)
    scores = answer.get("scores") if isinstance(answer, dict) else None
    if not isinstance(scores, dict):
        raise WireError("sybil scores: the answer holds no object `scores`")
    spoken_of = {hotkey: scores[hotkey] for hotkey in sorted(asked) if scores.get(hotkey) is not None}
    entries = {hotkey: e if isinstance(e, dict) else {"sybil_score": e} for hotkey, e in spoken_of.items()}
    sybil = {hotkey: _figure(entry, "sybil_score", ASSUMED_SYBIL_SCORE, 1.0) for hotkey, entry in entries.items()}
    weights = {
        hotkey: _figure(entry, "priority_weight", ASSUMED_PRIORITY_WEIGHT, MAX_PRIORITY_WEIGHT)
        for hotkey, entry in entries.items()
    }
    return ScoresSaid(
        {hotkey: value for hotkey, value in sybil.items() if value is not None},
        {hotkey: value for hotkey, value in weights.items() if value is not None},
        sum(value is None for value in (*sybil.values(), *weights.values())),
    )


def _validator(entry: Any) -> tuple[Hotkey, bool] | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("hotkey_ss58"), str):
        return None
    metadata = entry.get("metadata")
    approved = isinstance(metadata, dict) and metadata.get("admin_approved") is True
    try:
        return parse_hotkey(entry["hotkey_ss58"]), approved or entry.get("validator_permit") is True
    except CryptoError:
        return None


def _figure(entry: Mapping[str, Any], name: str, assumed: float, most: float) -> float | None:
    """A figure from 0 to `most`; None when it is anything else."""
    value = entry.get(name)
    if value is None:
        return assumed
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= most else None
