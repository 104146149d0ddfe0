"""Which of the challenges pushed lately a canary may be made after: those of which all that a miner sees can be told.

What differs from one challenge to the next must be made anew, and can be only where its form is known. A challenge with
anything else is passed over: better no canary than one that can be recognised.
"""

from __future__ import annotations

import json
import re
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from loosh_pipeline.prompts import message_text

NEAR_S = 24 * 3600.0
"""A number or text this near to the time of receipt, as a time, is one."""
MIN_SEEN = 2
"""How many challenges have to have the same value of a parameter: then it is of a few, and not drawn for each."""
MIN_ALIKE = 10
"""How many have to have a value in their timing data before it is known what it is."""
ENOUGH_TOKENS = 256
"""Of which an answer to a short question can be made."""
NO_CHOICE = (None, "auto", "none")
"""Values of `tool_choice` under which a miner answers in words."""
LEADING = ("system", "developer")
DATED = re.compile(r"\b(?:19|20)\d\d\b|\d{1,2}:\d{2}")
ISO = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:\.(\d+))?(?:Z|\+00:00)?", re.ASCII)
PARAMETERS = ("model", "temperature", "top_p", "max_tokens", "tools")

Pushed = tuple[Mapping[str, Any], datetime]
"""A request as it was stored, and when it came."""
Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Form:
    """How a time is written: the part of a second that one is, or `iso`; and how many decimals."""

    scale: float
    digits: int
    whole: bool = False
    iso: bool = False


@dataclass(frozen=True, eq=False)
class Template:
    """A challenge that a canary may be made after. `times`: where in its timing data times stand, and how."""

    request: Mapping[str, Any]
    received_at: datetime
    leading: tuple[Mapping[str, Any], ...]
    asked: tuple[Mapping[str, Any], ...]
    times: Mapping[Path, Form]

    @property
    def roles(self) -> tuple[str, ...] | None:
        """Who speaks after the instructions; None without messages."""
        return tuple(str(each["role"]) for each in self.asked) if self.request.get("messages") else None


class Unfit(Exception):
    """Why a challenge is no template, in words without anything of that challenge."""


def templates_of(pool: Sequence[Pushed]) -> tuple[list[Template], Counter[str]]:
    """Those that are fit, and how many are not, by the reason."""
    seen = {name: Counter(_said(_parameter(each, name)) for each, _ in pool) for name in PARAMETERS}
    leading = Counter(_said(_divided(each)[0]) for each, _ in pool)
    timing = _forms(pool)
    found, unfit = [], Counter[str]()
    for request, received_at in pool:
        try:
            _check_answerable(request)
            _check_id(request.get("correlation_id"))
            _check_parameters(request, seen)
            first, asked = _checked_messages(request, leading)
            found.append(Template(request, received_at, first, asked, _checked_times(request, timing)))
        except Unfit as reason:
            unfit[str(reason)] += 1
    return found, unfit


def _said(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _parameter(request: Mapping[str, Any], name: str) -> Any:
    value = request.get(name)
    return (request.get("metadata") or {}).get("model") if name == "model" and not value else value


def _check_answerable(request: Mapping[str, Any]) -> None:
    tokens = request.get("max_tokens")
    if tokens is not None and tokens < ENOUGH_TOKENS:
        raise Unfit(f"max_tokens is below {ENOUGH_TOKENS}")
    if request.get("tool_choice") not in NO_CHOICE:
        raise Unfit("tool_choice asks for a tool")


def _check_id(given: str | None) -> None:
    if given is not None and not is_uuid4(given):
        raise Unfit("correlation_id is no UUID of version 4")


def is_uuid4(given: str) -> bool:
    """Whether a text is a random UUID in one of the spellings that a new one can be given."""
    try:
        new = uuid.UUID(given)
    except ValueError:
        return False
    return new.version == 4 and given in {str(new), new.hex, str(new).upper(), new.hex.upper()}


def _check_parameters(request: Mapping[str, Any], seen: Mapping[str, Counter[str]]) -> None:
    for name in PARAMETERS:
        value = _parameter(request, name)
        if value is not None and seen[name][_said(value)] < MIN_SEEN:
            raise Unfit(f"{name} is of one challenge alone")


def _divided(request: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Its messages: the instructions before all others, and the others."""
    messages = list(request.get("messages") or ())
    count = next((i for i, each in enumerate(messages) if each.get("role") not in LEADING), len(messages))
    return messages[:count], messages[count:]


def _checked_messages(
    request: Mapping[str, Any], seen: Counter[str]
) -> tuple[tuple[Mapping[str, Any], ...], tuple[Mapping[str, Any], ...]]:
    leading, asked = _divided(request)
    if not request.get("messages"):
        return (), ()
    if leading and (seen[_said(leading)] < MIN_SEEN or any(DATED.search(_said(each)) for each in leading)):
        raise Unfit("its instructions are of one challenge alone, or name a time")
    if not all(_is_plain(each) for each in asked) or not asked or asked[-1]["role"] != "user":
        raise Unfit("its messages hold more than texts of user and assistant")
    prompt = request.get("prompt")
    if prompt and prompt.strip() and prompt != message_text(asked[-1]["content"]):
        raise Unfit("its prompt says other than its last message")
    return tuple(leading), tuple(asked)


def _is_plain(message: Mapping[str, Any]) -> bool:
    content = message.get("content")
    if message.keys() != {"role", "content"} or message["role"] not in ("user", "assistant"):
        return False
    if isinstance(content, list):
        return len(content) == 1 and isinstance(content[0], Mapping) and content[0].keys() == {"type", "text"}
    return isinstance(content, str)


def _timed(request: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    found = (request.get("metadata") or {}).get("timing_data")
    return leaves(found) if isinstance(found, Mapping) else iter(())  # nothing else is sent


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value of nested objects, with where it stands; a list is one value."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from leaves(each, (*path, str(name)))
    else:
        yield path, value


def _forms(pool: Sequence[Pushed]) -> Mapping[Path, Form | None]:
    """What stands at each place of the timing data: a time, as it is written, or None for what never changes.

    A place that is missing here is of neither kind.
    """
    values: dict[Path, list[tuple[Any, datetime]]] = {}
    for request, received_at in pool:
        for path, value in _timed(request):
            values.setdefault(path, []).append((value, received_at))
    found: dict[Path, Form | None] = {}
    for path, given in values.items():
        if len(given) < MIN_ALIKE:
            continue
        if len({_said(value) for value, _ in given}) == 1:
            found[path] = None
        elif (form := _form(given)) is not None:
            found[path] = form
    return found


def _form(given: Sequence[tuple[Any, datetime]]) -> Form | None:
    """How all of some values are written, if all are times alike; None otherwise."""
    forms = [form for value, at in given if (form := _form_of(value, at)) is not None]
    kinds = {(form.scale, form.whole, form.iso) for form in forms}
    if len(forms) < len(given) or len(kinds) != 1:
        return None
    if forms[0].iso and len({form.digits for form in forms}) != 1:
        return None
    return max(forms, key=lambda form: form.digits)


def _form_of(value: Any, at: datetime) -> Form | None:
    if isinstance(value, str):
        match = ISO.fullmatch(value)
        digits = len(match[1] or "") if match else -1
        return Form(1.0, digits, iso=True) if digits in (0, 3, 6) and _is_near(value, at) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    scales = (1.0, 1e3, 1e6) if isinstance(value, int) else (1.0, 1e3)
    # Compared without division: a whole number may be larger than any float.
    scale = next((s for s in scales if abs(value) < 1e18 and abs(value - at.timestamp() * s) < NEAR_S * s), None)
    if scale is None:
        return None
    fraction = repr(value).partition(".")[2]
    return Form(scale, 0 if fraction == "0" else len(fraction), whole=isinstance(value, int))


def _is_near(text: str, at: datetime) -> bool:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return False
    return abs((time if time.tzinfo else time.replace(tzinfo=UTC)) - at).total_seconds() < NEAR_S


def _checked_times(request: Mapping[str, Any], forms: Mapping[Path, Form | None]) -> Mapping[Path, Form]:
    found: dict[Path, Form] = {}
    for path, _ in _timed(request):
        if path not in forms:
            raise Unfit(f"timing_data.{'.'.join(path)[:100]} is no time of a known form, and differs or is seldom")
        if (form := forms[path]) is not None:
            found[path] = form
    return found
