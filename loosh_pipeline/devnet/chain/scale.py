"""The few SCALE forms the node itself must read and write: compact integers, vectors of bytes and of numbers.

Everything typed goes through the runtime's metadata (`runtime.py`). Format: the SCALE codec specification.
"""

from __future__ import annotations

_BIG_INTEGER_MODE = 3


def compact(value: int) -> bytes:
    """`value` (0 or more, below 2**536) as a SCALE compact integer."""
    if value < 0:
        raise ValueError(f"a compact integer is not negative, got {value}")
    for mode, width in enumerate((1, 2, 4)):
        if value < 1 << (8 * width - 2):
            return (value << 2 | mode).to_bytes(width, "little")
    body = value.to_bytes((value.bit_length() + 7) // 8, "little")
    return bytes([(len(body) - 4) << 2 | _BIG_INTEGER_MODE]) + body


def read_compact(data: bytes, offset: int) -> tuple[int, int]:
    """The compact integer at `offset`, and the offset after it. Raises `ValueError` on truncated bytes."""
    head = data[offset : offset + 1]
    if not head:
        raise ValueError(f"bytes end at {len(data)}, where a compact integer should start ({offset})")
    mode = head[0] & 3
    if mode == _BIG_INTEGER_MODE:
        start, width = offset + 1, (head[0] >> 2) + 4
        return int.from_bytes(take(data, start, width), "little"), start + width
    width = 1 << mode
    return int.from_bytes(take(data, offset, width), "little") >> 2, offset + width


def take(data: bytes, offset: int, length: int) -> bytes:
    """Exactly `length` bytes at `offset`. Raises `ValueError` when there are fewer."""
    part = data[offset : offset + length]
    if len(part) != length:
        raise ValueError(f"{length} bytes wanted at {offset}, {len(part)} left")
    return part


def read_bytes(data: bytes, offset: int) -> tuple[bytes, int]:
    """The `Vec<u8>` at `offset`, and the offset after it."""
    length, start = read_compact(data, offset)
    return take(data, start, length), start + length


def vector(data: bytes) -> bytes:
    """`data` as a `Vec<u8>`."""
    return compact(len(data)) + data


def read_integer(data: bytes, offset: int, width: int) -> tuple[int, int]:
    """The unsigned integer of `width` bytes at `offset`, and the offset after it."""
    return int.from_bytes(take(data, offset, width), "little"), offset + width


def read_u16s(data: bytes, offset: int) -> tuple[list[int], int]:
    """The `Vec<u16>` at `offset`, and the offset after it."""
    count, start = read_compact(data, offset)
    body = take(data, start, 2 * count)
    return [int.from_bytes(body[at : at + 2], "little") for at in range(0, len(body), 2)], start + len(body)
