"""Named byte strings in one file: a zip archive that any tool opens, with exactly one form for the same entries.

Entries are stored as they are, one after the other, without times, attributes, comments or gaps. So a small file holds
nothing large, no entry is there twice, and there is no byte that could be altered without notice.
"""

from __future__ import annotations

import os
import struct
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from loosh_pipeline.audit.refusals import Unreadable

MOST_BYTES = 2**32 - 2**20
MOST_ENTRIES = 65_000
MOST_NAME = 120
_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_VERSION, _1980 = 20, 33


@dataclass(frozen=True, slots=True)
class Entry:
    """Where an entry lies: `at` is the place of its header in the file."""

    name: str
    at: int
    size: int
    crc: int

    @property
    def header(self) -> bytes:
        name = self.name.encode("ascii")
        sizes = (self.crc, self.size, self.size, len(name), 0)
        return _LOCAL.pack(b"PK\3\4", _VERSION, 0, 0, 0, _1980, *sizes) + name

    @property
    def listed(self) -> bytes:
        name = self.name.encode("ascii")
        sizes = (self.crc, self.size, self.size, len(name), 0, 0, 0, 0, 0, self.at)
        return _CENTRAL.pack(b"PK\1\2", _VERSION, _VERSION, 0, 0, 0, _1980, *sizes) + name

    @property
    def data_at(self) -> int:
        return self.at + _LOCAL.size + len(self.name)

    @property
    def end(self) -> int:
        return self.data_at + self.size


def write_container(path: Path, entries: Iterable[tuple[str, bytes]]) -> None:
    """Write entries in their order, whole or not at all; what was there before is replaced.

    Raises ValueError for more than the format holds.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            written: list[Entry] = []
            for name, data in entries:
                entry = Entry(name, file.tell(), len(data), zlib.crc32(data))
                if entry.end > MOST_BYTES or len(written) >= MOST_ENTRIES:
                    raise ValueError(f"a bundle holds {MOST_BYTES >> 30} GiB and {MOST_ENTRIES} entries; take a sample")
                file.write(entry.header + data)
                written.append(entry)
            file.write(_tail(written))
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _tail(entries: list[Entry]) -> bytes:
    listed = b"".join(each.listed for each in entries)
    start = entries[-1].end if entries else 0
    return listed + _END.pack(b"PK\5\6", 0, 0, len(entries), len(entries), len(listed), start, 0)


class Container(Mapping[str, bytes]):
    """The entries of such a file, in order, read when they are asked for.

    Raises Unreadable for a file of any other form, OSError where it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._entries = path, {each.name: each for each in _entries(path)}

    def __getitem__(self, name: str) -> bytes:
        entry = self._entries[name]
        with self._path.open("rb") as file:
            file.seek(entry.data_at)
            data = file.read(entry.size)
        if len(data) != entry.size or zlib.crc32(data) != entry.crc:
            raise Unreadable(f"{name} has another checksum than the archive says")
        return data

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def size_of(self, name: str) -> int:
        return self._entries[name].size


def _entries(path: Path) -> list[Entry]:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if not _END.size <= size <= MOST_BYTES + MOST_ENTRIES * (_CENTRAL.size + MOST_NAME):
            raise Unreadable(f"a file of {size} bytes is no bundle; one has at most {MOST_BYTES >> 30} GiB")
        file.seek(size - _END.size)
        signature, *_, count, listed, start, _ = _END.unpack(file.read(_END.size))
        if signature != b"PK\5\6" or count > MOST_ENTRIES or start + listed + _END.size != size:
            raise Unreadable("it is no zip archive of the form that a bundle has")
        file.seek(start)
        tail = file.read(listed + _END.size)
        entries = list(_listed(tail[:listed], count))
        if _tail(entries) != tail or len({each.name for each in entries}) != len(entries):
            raise Unreadable("its archive is not written as a bundle's is: entries twice, packed, reordered or padded")
        at = 0
        for each in entries:
            file.seek(each.at)
            if each.at != at or file.read(each.data_at - each.at) != each.header:
                raise Unreadable(f"the archive does not hold {each.name} where it says")
            at = each.end
    return entries


def _listed(listed: bytes, count: int) -> Iterator[Entry]:
    """Entries as the archive's list names them; whether that is all it says is seen by writing it again."""
    at = 0
    for _ in range(count):
        if at + _CENTRAL.size > len(listed):
            raise Unreadable("the archive's list of entries is cut off")
        fields = _CENTRAL.unpack_from(listed, at)
        crc, size, length, start = fields[7], fields[9], fields[10], fields[-1]
        name = listed[at + _CENTRAL.size : at + _CENTRAL.size + length]
        if not name.isascii() or len(name) > MOST_NAME:
            raise Unreadable(f"the archive names an entry {name[:40]!r}")
        yield Entry(name.decode("ascii"), start, size, crc)
        at += _CENTRAL.size + length
