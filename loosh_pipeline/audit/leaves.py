"""What a seal is made over: every part of a bundle's content as leaves, one for whatever can be altered alone.

    challenges   one for every accepted challenge, with what became of it
    rounds       one for every round of the window: its rows and pairs, and the digest of what it was scored from
    looks        one for every look at all miners
    documents    one each: epoch, terms, inputs, proposal, plan, subnet, scorers

Numbers of rows go in as little-endian bytes, every NaN alike; all else as canonical JSON. A round's rows go in by
hotkey, whatever their order.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from loosh_pipeline.audit.canonical import canonical, digest_of, request_digest
from loosh_pipeline.audit.content import Content, Digests, RoundInputs, Window
from loosh_pipeline.domain import Response
from loosh_pipeline.plain import plain, said_at
from loosh_pipeline.presence import Looks
from loosh_pipeline.scoring.signals import Floats, Ints

PARTS = ("challenges", "documents", "looks", "rounds")
DOCUMENTS = ("epoch", "terms", "inputs", "proposal", "plan", "subnet", "scorers", "link_before")
ROW_NUMBERS = ("words", "elapsed_ms", "relevance", "baseline")
PAIR_NUMBERS = ("similarity", "meaning", "coverage", "coverage_back", "wording", "evidence")
PAIR_FLAGS = ("same_address", "same_coldkey")


def text_digest(text: str) -> str:
    """sha256 of a text; a lone surrogate counts as what it is."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def digests_of(inputs: RoundInputs) -> Digests:
    """The digests of a round's texts. Raises ValueError for a round that was redacted and does not say them."""
    if inputs.digests is not None:
        return inputs.digests
    if inputs.request is None:
        raise ValueError(f"challenge {inputs.challenge_id} has neither its request nor the digest of it")
    return Digests(
        request=request_digest(inputs.request),
        prompt=text_digest(inputs.prompt),
        texts=tuple(text_digest(each.text) for each in inputs.responses),
        tool_calls=tuple(_loosely(each.tool_calls) for each in inputs.responses),
    )


def round_digest(inputs: RoundInputs) -> str:
    """Of everything that a round was scored from, in hexadecimal; the same whether its texts are shown or redacted.

    Whatever a miner sent, it has one: numbers that are not finite are said as texts.
    """
    said = digests_of(inputs)
    asked = zip(inputs.responses, said.texts, said.tool_calls, strict=True)
    vectors = np.ascontiguousarray(inputs.vectors.astype("<f2"))
    return digest_of(
        {
            "format": "loosh-round/1",
            "challenge_id": inputs.challenge_id,
            "received_at": said_at(inputs.received_at),
            "request": said.request,
            "prompt": said.prompt,
            "responses": sorted((_response(*each) for each in asked), key=lambda each: str(each["hotkey"])),
            "keys": [list(key) for key in inputs.keys],
            "vectors": hashlib.sha256(vectors.tobytes()).hexdigest(),
            "shape": list(vectors.shape),
            "model": inputs.model_digest,
            "context": inputs.context_digest,
        }
    )


def _response(response: Response, text: str, tool_calls: str) -> dict[str, Any]:
    said = {name: getattr(response, name) for name in _OF_RESPONSE}
    said |= {name: _number(said[name]) for name in ("elapsed_ms", "handshake_ms")}
    return said | {"outcome": response.outcome.value, "usage": plain(response.usage), "text": text, "calls": tool_calls}


_OF_RESPONSE = (
    *("challenge_id", "hotkey", "coldkey", "uid", "ip", "port", "detail", "elapsed_ms", "handshake_ms"),
    *("finish_reason", "sha256"),
)


def _number(value: float | None) -> float | str | None:
    return value if value is None or math.isfinite(value) else repr(float(value))


def _loosely(value: Any) -> str:
    """Of what a miner says, which may hold numbers that canonical JSON does not; empty for nothing."""
    if value is None:
        return ""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")).hexdigest()


def leaves_of(content: Content) -> Mapping[str, Sequence[bytes]]:
    """The leaves of every part of `PARTS`."""
    return {
        "challenges": [canonical(plain(each)) for each in content.acceptances],
        "documents": [canonical([name, plain(getattr(content, name))]) for name in DOCUMENTS],
        "looks": list(look_leaves(content.looks)),
        "rounds": list(round_leaves(content.window)),
    }


def look_leaves(looks: Looks) -> Iterator[bytes]:
    """One leaf for every look, the oldest first: when, whom it found, and whom it did not."""
    order = np.lexsort((looks.miner, looks.at_ms))
    starts = np.flatnonzero(np.diff(looks.at_ms[order], prepend=-1))
    for rows in np.split(order, starts[1:]) if len(order) else []:
        found: dict[bool, list[str]] = {True: [], False: []}
        for miner, available in zip(looks.miner[rows].tolist(), looks.available[rows].tolist(), strict=True):
            found[available].append(looks.hotkeys[miner])
        yield canonical([int(looks.at_ms[rows[0]]), found[True], found[False]])


def round_leaves(window: Window) -> Iterator[bytes]:
    """One leaf for every round, by challenge."""
    columns, pairs = window.columns, window.columns.pairs
    rows = np.lexsort((columns.miner, columns.round))
    of_pair = np.lexsort((pairs.second, pairs.first, pairs.round))
    row_bytes, pair_bytes = _rows_said(window, rows), _pairs_said(window, of_pair)
    row_at = np.searchsorted(columns.round[rows], np.arange(len(columns.challenges) + 1)).tolist()
    pair_at = np.searchsorted(pairs.round[of_pair], np.arange(len(columns.challenges) + 1)).tolist()
    names = [columns.hotkeys[miner] for miner in columns.miner[rows].tolist()]
    outcomes = [window.outcome[row] for row in rows.tolist()]
    firsts, seconds = (_named(columns.hotkeys, each[of_pair]) for each in (pairs.first, pairs.second))
    for i, challenge_id in enumerate(columns.challenges):
        own, met = slice(row_at[i], row_at[i + 1]), slice(pair_at[i], pair_at[i + 1])
        about = [challenge_id, int(window.at_ms[i]), window.version[i], bool(window.left_out[i])]
        said = [*about, window.inputs_digest[i], names[own], outcomes[own], firsts[met], seconds[met]]
        yield canonical(said) + b"\0" + row_bytes[own].tobytes() + pair_bytes[met].tobytes()


def _named(hotkeys: Sequence[str], places: Ints) -> list[str]:
    """Empty for a place that is none."""
    return [hotkeys[place] if place >= 0 else "" for place in places.tolist()]


def _rows_said(window: Window, rows: Ints) -> Floats:
    """(m, 8) the numbers and flags of rows, little-endian."""
    columns = window.columns
    flags = columns.compared, window.answered, window.measured
    numbers = [getattr(columns, name) for name in ROW_NUMBERS]
    return _said([*numbers, window.payout, *flags], rows)


def _pairs_said(window: Window, rows: Ints) -> Floats:
    """(p, 8) of pairs."""
    return _said([getattr(window.columns.pairs, name) for name in (*PAIR_NUMBERS, *PAIR_FLAGS)], rows)


def _said(values: Sequence[Any], rows: Ints) -> Floats:
    said = np.stack([np.asarray(each, dtype="<f8")[rows] for each in values], axis=1)
    said[np.isnan(said)] = np.float64("nan")
    return said
