"""One round of a bundle as JSON and an array of vectors, and back."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from typing import Any

from loosh_pipeline.audit.canonical import canonical
from loosh_pipeline.audit.content import Digests, RoundInputs
from loosh_pipeline.audit.refusals import Unreadable
from loosh_pipeline.audit.strict import array_bytes, read_array, read_json
from loosh_pipeline.domain import ChallengeId, Hotkey, Response
from loosh_pipeline.plain import at_said, plain, said_at, typed

VECTORS = "<f2"
_NUMBERS = ("elapsed_ms", "handshake_ms")
_FIELDS = {each.name for each in fields(RoundInputs)} - {"vectors"}


def round_bytes(inputs: RoundInputs) -> tuple[bytes, bytes]:
    """A round as JSON, and its vectors."""
    said = {
        "challenge_id": inputs.challenge_id,
        "received_at": said_at(inputs.received_at),
        "request": inputs.request,
        "prompt": inputs.prompt,
        "responses": [_response_said(each) for each in inputs.responses],
        "keys": [list(key) for key in inputs.keys],
        "model_digest": inputs.model_digest,
        "context_digest": inputs.context_digest,
        "digests": None if inputs.digests is None else plain(inputs.digests),
    }
    return canonical(said), array_bytes(inputs.vectors, VECTORS)


def _response_said(response: Response) -> dict[str, Any]:
    """Numbers that are not finite as texts, and tool calls as JSON in a text: a miner may say NaN in them."""
    calls = None if response.tool_calls is None else json.dumps(response.tool_calls, sort_keys=True)
    odd: dict[str, Any] = {name: repr(value) for name in _NUMBERS if _odd(value := getattr(response, name))}
    none: dict[str, Any] = dict.fromkeys(("tool_calls", *odd))
    said: dict[str, Any] = plain(replace(response, **none))
    return said | odd | {"tool_calls": calls}


def _odd(value: float | None) -> bool:
    return value is not None and not math.isfinite(value)


def read_round(name: str, said: bytes, vectors: bytes) -> RoundInputs:
    """The inverse. Raises Unreadable for what is no round."""
    given = read_json(name, said)
    if not isinstance(given, dict) or given.keys() != _FIELDS:
        raise Unreadable(f"{name} does not say {', '.join(sorted(_FIELDS))}")
    try:
        found = RoundInputs(
            challenge_id=ChallengeId(typed(str, given["challenge_id"])),
            received_at=at_said(typed(str, given["received_at"])),
            request=None if given["request"] is None else typed(dict, given["request"]),
            prompt=typed(str, given["prompt"]),
            responses=tuple(_response(each) for each in typed(list, given["responses"])),
            keys=tuple(_key(each) for each in typed(list, given["keys"])),
            vectors=read_array(name, vectors, VECTORS, dims=2),
            model_digest=typed(str, given["model_digest"]),
            context_digest=typed(str, given["context_digest"]),
            digests=None if given["digests"] is None else typed(Digests, given["digests"]),
        )
    except (ValueError, TypeError, OverflowError) as error:
        raise Unreadable(f"{name} cannot be read: {str(error)[:200]}") from error
    _check_counts(name, found)
    return found


def _check_counts(name: str, found: RoundInputs) -> None:
    if len(found.keys) != len(found.vectors):
        raise Unreadable(f"{name} has {len(found.keys)} keys and {len(found.vectors)} vectors")
    said, asked = found.digests, len(found.responses)
    if said is not None and not len(said.texts) == len(said.tool_calls) == asked:
        raise Unreadable(f"{name} has other digests than its {asked} responses")


def _response(given: Any) -> Response:
    said = dict(typed(dict, given))
    calls = said.pop("tool_calls", None)
    odd: dict[str, Any] = {each: float(said[each]) for each in _NUMBERS if said.get(each) in ("nan", "inf", "-inf")}
    found = typed(Response, said | dict.fromkeys(odd))
    read = None if calls is None else typed(list, json.loads(typed(str, calls)))
    return replace(found, **odd, tool_calls=None if read is None else tuple(read))


def _key(given: Any) -> tuple[Hotkey, str, int, str]:
    hotkey, kind, position, text_sha256 = typed(list, given)
    return Hotkey(typed(str, hotkey)), typed(str, kind), typed(int, position), typed(str, text_sha256)
