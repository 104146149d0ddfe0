"""Archives that a stranger made: refused in a line, by `--check` as by restoring, whatever they hold."""

from __future__ import annotations

import errno
import io
import json
import lzma
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from loosh_pipeline.backup import archive, bounds, writing
from loosh_pipeline.backup.places import Places
from loosh_pipeline.backup.restoring import check_backup
from loosh_pipeline.errors import StoreError
from tests.backup.test_restoring import digests, renamed, restore, rewrite


def repeated(path: Path) -> None:
    """A name twice; the sums name it twice too."""
    with tarfile.open(path) as tar:
        members = [(info, tar.extractfile(info).read()) for info in tar.getmembers()]  # type: ignore[union-attr]
    with tarfile.open(path, "w") as tar:
        for info, content in (members[0], *members):
            tar.addfile(info, io.BytesIO(content))


def with_headers(type_: bytes, size: int, content: bytes = b"") -> Callable[[Path], None]:
    """A header of tar's own before everything else."""

    def spoil(path: Path) -> None:
        info = tarfile.TarInfo("h")
        info.type, info.size = type_, size
        padding = b"\0" * (-len(content) % tarfile.BLOCKSIZE)
        path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + content + padding + path.read_bytes())

    return spoil


def pax(**fields: str) -> Callable[[Path], None]:
    """Extended fields for the first file."""
    content = b""
    for name, value in fields.items():
        line = f" {name.replace('__', '.')}={value}\n".encode()
        content += b"%d" % (len(line) + 2 + (len(line) + 2 > 99)) + line
    return with_headers(tarfile.XHDTYPE, len(content), content)


def endless_sums(path: Path) -> None:
    rewrite(path, lambda info, content: (info, b"x" * 50_000_000 if info.name == "SHA256SUMS" else content))


def manifest_with(**changed: object) -> Callable[[Path], None]:
    def change(info: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
        if info.name == "manifest.json":
            content = json.dumps(json.loads(content) | changed).encode()
        return info, content

    return lambda path: rewrite(path, change)


def packed(path: Path) -> None:
    """As xz, whose dictionary is as large as it says."""
    path.write_bytes(lzma.compress(path.read_bytes()))


LONG = "x" * 300_000
HOSTILE: list[tuple[Callable[[Path], None], str]] = [
    (repeated, "validator.db is in it twice"),
    (renamed("tables/a.parquet/b.parquet"), "does not belong into one"),
    (renamed(f"tables/{'x' * 250}.parquet"), "x… does not belong into one"),
    (renamed(f"tables/{'a/' * 600}b.parquet"), "a… does not belong into one"),
    (renamed("tables/\x1b[2J.parquet"), r"tables/\\x1b\[2J.parquet' does not belong into one"),
    (endless_sums, ": SHA256SUMS is not what was backed up"),
    (with_headers(tarfile.XHDTYPE, 2**32), "it has a header that states 4,294,967,296 bytes"),
    (with_headers(tarfile.GNUTYPE_LONGNAME, 2**32), "it has a header that states 4,294,967,296 bytes"),
    (with_headers(tarfile.GNUTYPE_LONGLINK, 2**32), "it has headers that no backup has"),
    (with_headers(tarfile.XGLTYPE, 2**32), "it has headers that no backup has"),
    (with_headers(tarfile.GNUTYPE_SPARSE, 512), "it has headers that no backup has"),
    (pax(GNU__sparse__map="x,y"), "it has sparse files"),
    (pax(GNU__sparse__size="x"), "it has sparse files"),
    (pax(GNU__sparse__major="1", GNU__sparse__minor="0"), "it has sparse files"),
    (pax(size="-1"), "is no whole backup"),
    (manifest_with(revisions={"evil": "0001"}), "of another release: revisions.evil"),
    (manifest_with(revisions={LONG: "0001"}), "of another release: revisions.x{,120}…"),
    (manifest_with(version="1\x1b[2J"), "of another release: version"),
    (manifest_with(rows={"challenges": 2**63}), "of another release: rows.challenges"),
    (manifest_with(elsewhere=[LONG]), "of another release: elsewhere"),
    (packed, "is no whole backup"),
]


@pytest.mark.parametrize(("spoil", "said"), HOSTILE)
def test_archives_of_strangers_are_refused_in_a_short_line_by_check_and_restore_alike(
    backup: Path, places: Places, tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(backup)
    before = digests(places.home)
    for use in (check_backup, lambda path: restore(path, places, force=True)):
        with pytest.raises(StoreError, match=said) as refused:
            use(backup)
        line = str(refused.value).replace(str(backup), "")
        assert (len(line) < 400, line.isprintable()) == (True, True)
    assert digests(places.home) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.tar", "loosh"]


BOUNDED = """
import resource, sys
from pathlib import Path
from loosh_pipeline.backup.restoring import check_backup
from loosh_pipeline.errors import StoreError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    check_backup(Path(sys.argv[1]))
except StoreError:
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize("spoil", [endless_sums, with_headers(tarfile.XHDTYPE, 100_000_000, b"1" * 100_000_000)])
def test_what_is_endless_is_not_held_in_memory(backup: Path, spoil: Callable[[Path], None]) -> None:
    spoil(backup)
    command = [sys.executable, "-c", BOUNDED, str(backup)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert int(ended.stdout) < 16


def test_a_disk_is_not_filled_to_its_end(backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever sizes an archive states: what it unpacks to counts."""
    with tarfile.open(tmp_path / "b.tar.gz", mode="w:gz") as tar:
        info = tarfile.TarInfo("tables/a/zeros.parquet")
        info.size = 4 * writing.LOOK_AFTER_BYTES
        tar.addfile(info, io.BytesIO(bytes(info.size)))
    looks: list[object] = []

    def look(folder: object) -> None:
        looks.append(folder)
        if len(looks) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writing, "require_reserve", look)
    with pytest.raises(StoreError, match="was left as it is: No space left on device"):
        restore(tmp_path / "b.tar.gz", Places.usual(tmp_path / "n"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.tar", "b.tar.gz", "loosh"]


def test_many_names_do_not_fill_the_disk_for_temporary_files(backup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "LOOK_AFTER_FILES", 3)
    monkeypatch.setattr(bounds, "RESERVE_BYTES", 2**62)
    with pytest.raises(StoreError, match=rf"to its end: No space left on device \({tempfile.gettempdir()}\)"):
        check_backup(backup)


def test_some_room_is_left_on_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bounds.require_reserve(str(tmp_path))
    monkeypatch.setattr(bounds, "RESERVE_BYTES", 2**62)
    with pytest.raises(OSError, match="No space left"):
        bounds.require_reserve(str(tmp_path))
