"""Whether a content is of the form that a bundle has: what follows may then take it as it is.

Nothing here says that it is true. Rows stand in one order only, so that nobody says one thing in two ways.
"""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np

from loosh_pipeline.audit.content import Content, Window
from loosh_pipeline.audit.refusals import Unreadable
from loosh_pipeline.domain import Hotkey, Metagraph, Outcome
from loosh_pipeline.errors import CryptoError
from loosh_pipeline.hotkeys import parse_hotkey
from loosh_pipeline.presence import Looks
from loosh_pipeline.scoring.pairs import PairColumns
from loosh_pipeline.scoring.signals import Ints

MOST_HOTKEYS = 20_000
MOST_NEURONS = 4096
MOST_SEEN = 20_000_000
"""Miners times looks: a week of looks, one every two minutes, at all of 4,000."""
LAST_MS = 253_402_300_799_999
"""The end of the year 9999."""
DIGEST = re.compile(r"([0-9a-f]{64})?", re.ASCII)
"""Of what a round was scored from; empty where that was not known."""


def check_sound(content: Content) -> None:
    """Raises Unreadable that names what is wrong."""
    _check_window(content.window)
    _check_pairs(content.window.columns.pairs, content.window)
    _check_looks(content.looks)
    for subnet in (content.subnet, content.inputs.subnet):
        _check_subnet(subnet)
    if content.epoch.validator != _hotkey(content.epoch.validator):
        raise Unreadable(f"the validator {content.epoch.validator} is no hotkey")


def _check_window(window: Window) -> None:
    columns = window.columns
    rounds, rows = len(columns.challenges), len(columns.round)
    _check_names("challenges of the window", columns.challenges, 2**24)
    _check_hotkeys("hotkeys of the window", columns.hotkeys)
    for name in ("miner", "compared", "words", "elapsed_ms", "relevance", "baseline"):
        _check_length(f"window/{name}", len(getattr(columns, name)), rows)
    for name in ("answered", "measured", "payout", "outcome"):
        _check_length(f"window/{name}", len(getattr(window, name)), rows)
    for name in ("at_ms", "version", "left_out", "inputs_digest"):
        _check_length(f"window/{name}", len(getattr(window, name)), rounds)
    _check_places("window/round", columns.round, rounds, used=True)
    _check_places("window/miner", columns.miner, len(columns.hotkeys), used=True)
    keys = columns.round * max(1, len(columns.hotkeys)) + columns.miner
    _check("window rows stand by challenge and hotkey, each once", bool((np.diff(keys) > 0).all()))
    _check_times("window/at_ms", window.at_ms)
    _check("payouts are finite and not negative", bool(np.isfinite(window.payout).all() and (window.payout >= 0).all()))
    _check("compared answers have a relevance", bool((columns.compared == ~np.isnan(columns.relevance)).all()))
    for name in ("words", "elapsed_ms", "relevance", "baseline"):
        values = getattr(columns, name)
        _check(f"{name} are numbers or none", not bool(np.isinf(values).any()))
        if name in ("words", "relevance"):
            _check(f"{name} of compared answers are finite", bool(np.isfinite(values[columns.compared]).all()))
    _check("no answer took less than no time", not bool((columns.elapsed_ms < 0).any()))
    _check("digests of rounds are sha256", all(map(DIGEST.fullmatch, window.inputs_digest)))
    known = {each.value for each in Outcome}
    _check("outcomes are known", all(each in known for each in window.outcome))
    answered = np.array([each == Outcome.ANSWERED for each in window.outcome], dtype=np.bool_)
    _check("who answered has that outcome", bool((answered == window.answered).all()))


def _check_pairs(pairs: PairColumns, window: Window) -> None:
    hotkeys = len(window.columns.hotkeys)
    for name in ("first", "second", "similarity", "meaning", "coverage", "coverage_back", "wording", "evidence"):
        _check_length(f"pairs/{name}", len(getattr(pairs, name)), len(pairs.round))
    for name in ("same_address", "same_coldkey"):
        _check_length(f"pairs/{name}", len(getattr(pairs, name)), len(pairs.round))
    _check_places("pairs/round", pairs.round, len(window.columns.challenges))
    for name in ("first", "second"):
        values = getattr(pairs, name)
        _check(f"pairs/{name} are miners", bool(((values >= -1) & (values < hotkeys)).all()))
    keys = (pairs.round * (hotkeys + 1) + pairs.first + 1) * (hotkeys + 1) + pairs.second + 1
    _check("pairs stand by challenge, first and second", bool((np.diff(keys) >= 0).all()))
    for name in ("similarity", "meaning", "coverage", "coverage_back", "wording", "evidence"):
        _check(f"pairs/{name} are finite", bool(np.isfinite(getattr(pairs, name)).all()))


def _check_looks(looks: Looks) -> None:
    _check_hotkeys("hotkeys of looks", looks.hotkeys)
    for name in ("at_ms", "available"):
        _check_length(f"looks/{name}", len(getattr(looks, name)), len(looks.miner))
    _check_places("looks/miner", looks.miner, len(looks.hotkeys), used=True)
    _check_times("looks/at_ms", looks.at_ms)
    same = np.diff(looks.at_ms) == 0
    ordered = (np.diff(looks.at_ms) >= 0) & (~same | (np.diff(looks.miner) > 0))
    _check("looks stand by time and hotkey, each once", bool(ordered.all()))
    seen = len(looks.hotkeys) * len(np.unique(looks.at_ms))
    _check(f"{seen} times a miner and a look are at most {MOST_SEEN}", seen <= MOST_SEEN)


def _check_subnet(subnet: Metagraph) -> None:
    hotkeys, uids = [each.hotkey for each in subnet.neurons], {each.uid for each in subnet.neurons}
    _check(f"{len(hotkeys)} neurons are at most {MOST_NEURONS}", len(hotkeys) <= MOST_NEURONS)
    _check("neurons have a uid and a hotkey of their own", len(uids) == len(set(hotkeys)) == len(hotkeys))
    for each in hotkeys:
        _hotkey(each)


def _check_hotkeys(what: str, hotkeys: tuple[Hotkey, ...]) -> None:
    _check_names(what, hotkeys, MOST_HOTKEYS)
    for each in hotkeys:
        _hotkey(each)


def _hotkey(text: str) -> Hotkey:
    """Raises Unreadable for what only looks like one."""
    try:
        return parse_hotkey(text)
    except CryptoError as error:
        raise Unreadable(str(error)) from error


def _check_names(what: str, names: tuple[str, ...], most: int) -> None:
    _check(f"{len(names)} {what} are at most {most}", len(names) <= most)
    _check(f"{what} are sorted, each once", all(one < two for one, two in pairwise(names)))


def _check_length(what: str, found: int, expected: int) -> None:
    _check(f"{what} has {found} entries, and {expected} are needed", found == expected)


def _check_places(what: str, places: Ints, count: int, *, used: bool = False) -> None:
    _check(f"{what} are places among {count}", bool(((places >= 0) & (places < count)).all()))
    if used:
        _check(f"{what} has all of {count}", len(np.unique(places)) == count)


def _check_times(what: str, at_ms: Ints) -> None:
    _check(f"{what} are times", bool(((at_ms >= 0) & (at_ms <= LAST_MS)).all()))


def _check(what: str, holds: bool) -> None:
    if not holds:
        raise Unreadable(f"it does not hold that {what}")
