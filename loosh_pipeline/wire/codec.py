"""Strict JSON and text codings for bytes that come from strangers.

What is decoded here can be encoded again, stored as UTF-8 and sent upstream: no NaN or infinity, no lone
surrogates, no nesting that a later encoder could not follow. Everything refused is a `WireError`.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from loosh_pipeline.errors import WireError

MAX_DEPTH = 64
"""Deepest nesting of arrays and objects accepted: tool schemas stay below 20."""

_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_HEX = re.compile(r"[0-9a-fA-F]*")


def decode_object(data: bytes, what: str, max_depth: int = MAX_DEPTH) -> dict[str, Any]:
    """The JSON object in `data`. Raises WireError that names `what` when it is anything else."""
    value = decode_json(data, what, max_depth)
    if not isinstance(value, dict):
        raise WireError(f"{what} is not a JSON object but {_kind(value)}")
    return value


def decode_json(data: bytes, what: str, max_depth: int = MAX_DEPTH, *, lenient_numbers: bool = False) -> Any:
    """Any JSON value in UTF-8 `data`; with `lenient_numbers` also NaN and infinities. Raises WireError."""
    parse_float: Callable[[str], float] = float if lenient_numbers else _finite
    parse_constant: Callable[[str], float] = float if lenient_numbers else _refuse_constant
    try:
        text = data.decode("utf-8")
        value = json.loads(text, parse_float=parse_float, parse_constant=parse_constant)
    except (ValueError, RecursionError) as error:
        raise WireError(f"{what} is not valid JSON: {_short(error)}") from error
    if _depth_exceeds(value, max_depth):
        raise WireError(f"{what} nests deeper than {max_depth} levels")
    if _SURROGATE_ESCAPE.search(text):
        _refuse_lone_surrogates(value, what)
    return value


def encode_json(value: Any) -> bytes:
    """`value` as JSON with Python's default separators. Raises WireError on NaN or a foreign type."""
    try:
        return json.dumps(value, allow_nan=False).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise WireError(f"cannot be written as JSON: {_short(error)}") from error


def decode_hex(text: str, length: int, what: str) -> bytes:
    """Exactly `length` bytes from hexadecimal `text`. Raises WireError."""
    if len(text) != 2 * length or not _HEX.fullmatch(text):
        raise WireError(f"{what} must be {2 * length} hexadecimal digits, not {len(text)} characters {text[:16]!r}")
    return bytes.fromhex(text)


def decode_base64(text: str, length: int, what: str) -> bytes:
    """Exactly `length` bytes from standard base64 `text`. Raises WireError."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise WireError(f"{what} is not base64: {_short(error)}") from error
    if len(data) != length:
        raise WireError(f"{what} must hold {length} bytes, not {len(data)}")
    return data


@dataclass(frozen=True, slots=True)
class Fields:
    """Typed access to the fields of one JSON object; every getter raises WireError that names the field.

    A field that is absent and a field that is null are the same to the `optional_` getters.
    """

    values: Mapping[str, Any]
    what: str

    def text(self, name: str, max_chars: int) -> str:
        value = self.values.get(name)
        if not isinstance(value, str):
            self._refuse(name, "a string")
        if len(value) > max_chars:
            raise WireError(f"{self.what}: {name} has {len(value)} characters; at most {max_chars} are accepted")
        return value

    def optional_text(self, name: str, max_chars: int) -> str | None:
        return None if self.values.get(name) is None else self.text(name, max_chars)

    def number(self, name: str) -> float:
        """A finite number as a double; an integer in JSON counts as the double of its value."""
        value = self.values.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._refuse(name, "a number")
        try:
            return float(value)
        except OverflowError as error:
            raise WireError(f"{self.what}: {name} is too large for a double") from error

    def count(self, name: str, maximum: int) -> int:
        """An integer from 0 to `maximum`; 0 when absent or null."""
        value = self.values.get(name)
        if value is None:
            return 0
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= maximum:
            self._refuse(name, f"an integer from 0 to {maximum}")
        return value

    def flag(self, name: str) -> bool:
        """Whether the field is there and true; anything but a boolean counts as false."""
        return self.values.get(name) is True

    def truthy(self, name: str) -> bool:
        """Whether the network takes the field for a yes: by Python's truth, so that 1 and any word count."""
        return bool(self.values.get(name))

    def optional_object(self, name: str) -> Mapping[str, Any] | None:
        value = self.values.get(name)
        if value is not None and not isinstance(value, dict):
            self._refuse(name, "an object or null")
        return value

    def optional_objects(self, name: str) -> tuple[Mapping[str, Any], ...] | None:
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self._refuse(name, "a list of objects or null")
        return tuple(value)

    def _refuse(self, name: str, wanted: str) -> NoReturn:
        found = _kind(self.values[name]) if name in self.values else "missing"
        raise WireError(f"{self.what}: {name} must be {wanted}; it is {found}")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:24]} is too large for a double")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _depth_exceeds(value: Any, limit: int) -> bool:
    """Breadth first and without recursion, so that the check cannot itself run out of stack."""
    level = [value]
    for _ in range(limit):
        level = [child for node in level for child in _children(node)]
        if not level:
            return False
    return True


def _children(node: Any) -> list[Any]:
    if isinstance(node, dict):
        return [child for child in node.values() if isinstance(child, dict | list)]
    if isinstance(node, list):
        return [child for child in node if isinstance(child, dict | list)]
    return []


def _refuse_lone_surrogates(value: Any, what: str) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise WireError(f"{what} holds a lone surrogate, which no UTF-8 text can") from error


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return "null" if value is None else names.get(type(value), type(value).__name__)


def _short(error: Exception) -> str:
    return str(error)[:120] or type(error).__name__
