"""Typed values as what JSON can say, and back by their types: for records that are kept and checked by others.

Dataclasses become objects, and so do mappings, with keys that are texts or whole numbers; tuples become lists, frozen
sets sorted lists, times texts in UTC with microseconds, enums their values. Numbers come back bit for bit: a float is
told from an integer by its type alone. No framework: a verifier reads the same records with nothing installed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def plain(value: Any) -> Any:
    """A value as JSON says it. Raises ValueError for a number that is not finite and a naive time."""
    kind: Any = type(value)
    if kind in _AS_THEY_ARE or (kind is float and math.isfinite(value)):  # most values of a long record
        return value
    if (names := _names(kind)) is not None:
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return said_at(value)
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in sorted(value.items())}
    if isinstance(value, frozenset | set):
        return sorted(plain(each) for each in value)
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is no number that can be put on record")
    return value


_AS_THEY_ARE = frozenset({str, int, bool, NoneType})


@cache
def _names(kind: type) -> tuple[str, ...] | None:
    """Those of a dataclass's fields; None for another type."""
    return tuple(each.name for each in fields(kind)) if is_dataclass(kind) else None


def said_at(at: datetime) -> str:
    """A time as text: UTC, to the microsecond. Raises ValueError for a naive one."""
    if at.tzinfo is None:
        raise ValueError(f"{at!r} is naive; pass an aware UTC datetime")
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def at_said(text: str) -> datetime:
    """The inverse of `said_at`. Raises ValueError for a text that is no aware time."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text!r} does not say its time zone")
    return at.astimezone(UTC)


def typed(kind: type[T], value: Any) -> T:
    """The value of a type that `plain` made this of; what is missing has its default.

    Raises ValueError that names what is of another kind, missing or unknown.
    """
    found: T = _typed(kind, value, kind.__name__)
    return found


def _typed(kind: Any, value: Any, where: str) -> Any:
    while isinstance(kind, NewType):
        kind = kind.__supertype__
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _optional(args, value, where)
    if kind is Any:
        return value
    if is_dataclass(kind):
        return _object(kind, value, where)
    if origin is tuple:
        return _sequence(args, value, where)
    if origin is frozenset:
        return frozenset(_sequence((args[0], ...), value, where))
    if origin is not None and issubclass(origin, Mapping):
        given = _of(dict, value, where).items()
        return {_key(args[0], key, where): _typed(args[1], each, f"{where}.{key}") for key, each in given}
    return _single(kind, value, where)


def _key(kind: Any, key: str, where: str) -> Any:
    """A key of an object: a text, or a whole number as `str` says it."""
    while isinstance(kind, NewType):
        kind = kind.__supertype__
    if kind is not int:
        return key
    if not key.isdecimal() or str(int(key)) != key:
        raise ValueError(f"{where} has the key {key[:60]!r}; expected a whole number")
    return int(key)


def _optional(args: tuple[Any, ...], value: Any, where: str) -> Any:
    others = [each for each in args if each is not NoneType]
    if len(others) != 1 or len(others) == len(args):
        raise TypeError(f"{where} is of several types, {args}; only that and None can be told apart")
    return None if value is None else _typed(others[0], value, where)


def _object(kind: Any, value: Any, where: str) -> Any:
    given, known = _of(dict, value, where), {each.name: each for each in fields(kind)}
    if unknown := sorted(given.keys() - known.keys()):
        raise ValueError(f"{where} has no {', '.join(unknown)}")
    needed = (n for n, each in known.items() if each.default is MISSING and each.default_factory is MISSING)
    if missing := sorted(set(needed) - given.keys()):
        raise ValueError(f"{where} lacks {', '.join(missing)}")
    hints = _hints(kind)
    return kind(**{name: _typed(hints[name], each, f"{where}.{name}") for name, each in given.items()})


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _sequence(args: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    given = _of(list, value, where)
    kinds = [args[0]] * len(given) if args[-1] is Ellipsis else list(args)
    if len(kinds) != len(given):
        raise ValueError(f"{where} has {len(given)} entries; expected {len(kinds)}")
    return tuple(_typed(kind, each, f"{where}[{i}]") for i, (kind, each) in enumerate(zip(kinds, given, strict=True)))


def _single(kind: Any, value: Any, where: str) -> Any:
    if kind is datetime:
        try:
            return at_said(_of(str, value, where))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
    if issubclass(kind, Enum):
        return kind(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return _of(kind, value, where)


def _of(kind: type, value: Any, where: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{where} is {str(value)[:60]!r}; expected {kind.__name__}")
    return value
