"""Reading what strangers wrote: JSON that says everything once, and arrays of the kind that is expected."""

from __future__ import annotations

import json
import math
from collections import Counter
from io import BytesIO
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from loosh_pipeline.audit.refusals import Unreadable

MOST_JSON = 128 * 2**20
"""Bytes of one JSON entry: half a million accepted challenges."""
_SAID = 200


def read_json(name: str, data: bytes) -> Any:
    """The value of a JSON text. Raises Unreadable for a key that is there twice, a number that is not finite, what is
    too large or no JSON.
    """
    if len(data) > MOST_JSON:
        raise Unreadable(f"{name} has {len(data)} bytes; {MOST_JSON} are read")
    try:
        text = data.decode("ascii")
        return json.loads(text, object_pairs_hook=_once, parse_float=_finite, parse_constant=_no_constant)
    except RecursionError as error:
        raise Unreadable(f"{name} is nested too deep") from error
    except ValueError as error:
        raise Unreadable(f"{name} cannot be read: {str(error)[:_SAID]}") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        (name, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"{name[:40]!r} is said twice")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is no finite number")
    return value


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is no number")


def array_bytes(values: NDArray[Any], kind: str) -> bytes:
    """An array as `.npy` says it, of this type."""
    file = BytesIO()
    npy.write_array(file, np.ascontiguousarray(values, dtype=np.dtype(kind)), version=(1, 0), allow_pickle=False)
    return file.getvalue()


def read_array(name: str, data: bytes, kind: str, dims: int = 1) -> NDArray[Any]:
    """An array of this type and number of dimensions. Raises Unreadable for any other, or more or less of it."""
    file = BytesIO(data)
    try:
        version = npy.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"it is of version {version}")
        shape, fortran, dtype = npy.read_array_header_1_0(file)
    except Exception as error:  # numpy's reader raises what its parser of literals does
        raise Unreadable(f"{name} is no array: {str(error)[:_SAID]}") from error
    left = len(data) - file.tell()
    sound = all(type(each) is int and each >= 0 for each in shape)
    if dtype != np.dtype(kind) or dtype.hasobject or fortran or len(shape) != dims or not sound:
        raise Unreadable(f"{name} is {dtype.str} {str(shape)[:40]}; expected {kind} of {dims} dimensions")
    if math.prod(shape) * dtype.itemsize != left:
        raise Unreadable(f"{name} says {str(shape)[:40]}, and holds {left} bytes")
    if kind != "|b1":
        return np.frombuffer(data, dtype=dtype, offset=file.tell()).reshape(shape)
    flags = np.frombuffer(data, dtype=np.uint8, offset=file.tell()).reshape(shape)
    if (flags > 1).any():
        raise Unreadable(f"{name} holds flags that are neither 0 nor 1")
    return flags.astype(np.bool_)
