"""Files that are no bundle, or want more of whoever reads them than they are worth."""

from __future__ import annotations

import builtins
import io
import json
import stat
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loosh_pipeline.audit import container as container_module
from loosh_pipeline.audit.canonical import canonical
from loosh_pipeline.audit.container import Container, write_container
from loosh_pipeline.audit.content import Content
from loosh_pipeline.audit.file import MANIFEST, SIGNATURE, Level, read, write
from loosh_pipeline.audit.refusals import Altered, Unreadable
from loosh_pipeline.audit.report import Report, Verdict
from loosh_pipeline.audit.sealing import Sample
from loosh_pipeline.audit.strict import array_bytes, read_array, read_json
from loosh_pipeline.audit.verify import verify
from tests.audit.epochs import BLOCK_HASH, STRANGER, VALIDATOR, bundled, sealed
from tests.audit.forging import repacked, signed_as


def unread(path: Path) -> Report:
    """A report that says why, and no surprise."""
    report = verify(path)
    assert report.verdict is Verdict.UNVERIFIABLE
    assert [each.part for each in report.problems] == ["file"]
    assert "ended with" not in report.problems[0].said, report.problems
    return report


def pickled() -> bytes:
    class Evil:
        def __reduce__(self) -> Any:
            return exec, ("import builtins; builtins.UNPICKLED = True",)

    file = io.BytesIO()
    np.save(file, np.array([Evil()], dtype=object), allow_pickle=True)
    return file.getvalue()


def npy(shape: str, kind: str = "'<f8'", data: bytes = b"", fortran: bool = False) -> bytes:
    header = f"{{'descr': {kind}, 'fortran_order': {fortran}, 'shape': {shape}, }}"
    padded = header + " " * (117 - len(header)) + "\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode() + data


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("window/payout.npy", pickled()),
        ("window/payout.npy", npy("(1099511627776,)")),
        ("window/payout.npy", npy("(-1,)")),
        ("window/payout.npy", npy("(True,)", data=b"\0" * 8)),
        ("window/payout.npy", npy("(105,)", fortran=True, data=b"\0" * 840)),
        ("window/payout.npy", npy("(105,)", kind="'>f8'", data=b"\0" * 840)),
        ("window/payout.npy", npy("(105,)", kind="[('a', '<f8')]", data=b"\0" * 840)),
        ("window/payout.npy", npy("()", data=b"\0" * 8)),
        ("window/payout.npy", npy("(__import__('os').getpid(),)")),
        ("window/payout.npy", npy("(105,)", data=b"\0" * 839)),
        ("window/payout.npy", npy("(105,)", data=b"\0" * 841)),
        ("window/payout.npy", b"\x93NUMPY\x03\x00"),
        ("window/payout.npy", b""),
        ("window/answered.npy", npy("(105,)", kind="'|b1'", data=b"\2" * 105)),
        ("rounds/000000.npy", npy("(2, 2, 2)", kind="'<f2'", data=b"\0" * 16)),
        ("rounds/000000.npy", npy("(2, 2)", kind="'<f2'", data=b"\0" * 8)),
        ("documents/terms.json", b'{"profile":"robust","profile":"network"}'),
        ("documents/terms.json", b"[" * 100_000),
        ("documents/terms.json", b'{"profile":NaN}'),
        ("documents/terms.json", b"1e999"),
        ("documents/terms.json", b"9" * 5000),
        ("documents/terms.json", b"\xff\xfe"),
        ("documents/terms.json", '{"profile":"é"}'.encode()),
        ("documents/terms.json", b"null"),
        ("documents/proposal.json", b'{"made_at":"yesterday"}'),
        ("challenges.json", b"{}"),
        ("challenges.json", b"[1]"),
        ("documents/scorers.json", b"[]"),
        ("looks/hotkeys.json", b"[1]"),
        ("looks/hotkeys.json", b'["a","b"]'),
        ("window/names.json", b"{}"),
        ("rounds/999999.json", b"{}"),
        ("rounds/1.json", b"{}"),
        ("contexts/x.json", b'{"rounds":-1,"document_frequency":{}}'),
        ("contexts/x.json", b'{"rounds":1,"document_frequency":{"a":1.5}}'),
        ("contexts/x.npy", b""),
        ("notes.txt", b"believe me"),
        ("../../etc/passwd", b"root"),
    ],
)
def test_what_is_no_part_of_a_bundle_makes_it_unreadable(epoch: Content, path: Path, name: str, data: bytes) -> None:
    bundled(path, epoch)
    report = verify(repacked(path, {name: data}))
    assert report.verdict is Verdict.UNVERIFIABLE
    assert "ended with" not in report.problems[0].said, report.problems
    assert not hasattr(builtins, "UNPICKLED")


@pytest.mark.parametrize(
    "said",
    [
        b"{}",
        b'{"challenge_id":1}',
        b"[]",
    ],
)
def test_a_round_that_is_none_is_named(epoch: Content, path: Path, said: bytes) -> None:
    bundled(path, epoch)
    report = verify(repacked(path, {"rounds/000003.json": said}))
    assert report.verdict is Verdict.UNVERIFIABLE
    assert any("challenge-0003" in each.said for each in report.problems)


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said.replace(b'"tool_calls":null', b'"tool_calls":"{}"', 1),
        lambda said: said.replace(b'"outcome":"answered"', b'"outcome":"bribed"', 1),
        lambda said: said.replace(b'"uid":1', b'"uid":true', 1),
        lambda said: said.replace(b'"keys":[[', b'"keys":[[],[', 1),
        lambda said: said.replace(b'"prompt":"Why', b'"prompt":"Who', 1),
        lambda said: said.replace(b'"messages"', b'"message"', 1).replace(
            b'"prompt":"Why', b'"messages":7,"prompt":"Why', 1
        ),
        lambda said: said.replace(b'"digests":null', b'"digests":{}', 1),
    ],
)
def test_a_round_altered_within_is_named(epoch: Content, path: Path, change: Callable[[bytes], bytes]) -> None:
    bundled(path, epoch)
    report = verify(repacked(path, {"rounds/000003.json": change}))
    assert report.verdict is not Verdict.MATCH
    assert any("challenge-0003" in each.said or "000003" in each.said for each in report.problems)
    assert not any("ended with" in each.said for each in report.problems)


@pytest.mark.parametrize("name", ["documents/plan.json", "window/payout.npy", "rounds/000000.npy", "challenges.json"])
def test_what_is_missing_makes_it_unreadable(epoch: Content, path: Path, name: str) -> None:
    bundled(path, epoch)
    assert f"{name} is missing" in unread(repacked(path, {name: None})).problems[0].said


def entries_of(path: Path) -> dict[str, bytes]:
    return dict(Container(path))


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said | {"format": "loosh-audit/2"},
        lambda said: said | {"format": None},
        lambda said: said | {"level": "most"},
        lambda said: said | {"more": 1},
        lambda said: {},
        lambda said: [],
        lambda said: said | {"entries": [*said["entries"], said["entries"][0]]},
    ],
)
def test_a_manifest_of_another_kind_is_named(epoch: Content, path: Path, change: Callable[[Any], Any]) -> None:
    entries = entries_of(bundled(path, epoch, Level.ROWS))
    said = change(json.loads(entries.pop(MANIFEST)))
    del entries[SIGNATURE]
    report = verify(signed_as(path, entries, canonical(said)))
    assert report.verdict is not Verdict.MATCH
    assert [each.part for each in report.problems] == ["file"]


def test_a_manifest_in_another_form_is_no_manifest(epoch: Content, path: Path) -> None:
    entries = entries_of(bundled(path, epoch, Level.ROWS))
    said = json.dumps(json.loads(entries.pop(MANIFEST)), indent=1).encode()
    del entries[SIGNATURE]
    assert "canonical" in unread(signed_as(path, entries, said)).problems[0].said


@pytest.mark.parametrize(
    "signature",
    [b"{}", b'{"signature":1}', b'{"signature": "00"}', b'{"signature":"00","by":"me"}', b"[]", b"x"],
)
def test_a_signature_in_another_form_is_none(epoch: Content, path: Path, signature: bytes) -> None:
    entries = entries_of(bundled(path, epoch, Level.ROWS))
    write_container(path, [*(each for each in entries.items() if each[0] != SIGNATURE), (SIGNATURE, signature)])
    unread(path)


def test_a_signature_in_capitals_is_none(epoch: Content, path: Path) -> None:
    entries = entries_of(bundled(path, epoch, Level.ROWS))
    said = json.loads(entries[SIGNATURE])
    entries[SIGNATURE] = canonical({"signature": said["signature"].upper()})
    write_container(path, entries.items())
    assert verify(path).verdict is Verdict.MISMATCH


def test_an_entry_that_is_not_the_listed_one_is_altered(epoch: Content, path: Path) -> None:
    entries = entries_of(bundled(path, epoch, Level.ROWS))
    name = "challenges.json"
    write_container(path, [(each, data[::-1] if each == name else data) for each, data in entries.items()])
    with pytest.raises(Altered, match=name):
        read(path)
    assert verify(path).verdict is Verdict.MISMATCH
    write_container(path, [(each, b"" if each == name else data) for each, data in entries.items()])
    assert verify(path).verdict is Verdict.MISMATCH
    first, second, *others = entries.items()
    write_container(path, [second, first, *others])
    assert verify(path).verdict is Verdict.MISMATCH


def zipped(path: Path, entries: dict[str, bytes], **how: Any) -> Path:
    with zipfile.ZipFile(path, "w", **how) as file:
        for name, data in entries.items():
            file.writestr(name, data)
    return path


def test_any_tool_opens_a_bundle_and_none_writes_one(epoch: Content, path: Path) -> None:
    entries = entries_of(bundled(path, epoch))
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
        assert {each: file.read(each) for each in file.namelist()} == entries
    unread(zipped(path, entries))
    unread(zipped(path, entries, compression=zipfile.ZIP_DEFLATED))


def test_an_entry_twice_is_refused(epoch: Content, path: Path) -> None:
    """Which of them a reader takes is up to the reader: so nothing with two is read."""
    entries = list(entries_of(bundled(path, epoch, Level.ROWS)).items())
    write_container(path, [*entries[:-2], entries[0], *entries[-2:]])
    assert "twice" in unread(path).problems[0].said


def test_a_gap_an_overlap_or_a_wrong_place_is_refused(epoch: Content, path: Path) -> None:
    whole = bundled(path, epoch, Level.ROWS).read_bytes()
    at = whole.rindex(b"PK\1\2")
    path.write_bytes(whole[:at] + b"\0" * 8 + whole[at:])
    unread(path)
    first = whole.index(b"PK\1\2")
    path.write_bytes(whole[: first + 42] + b"\1" + whole[first + 43 :])  # where the first entry is to lie
    unread(path)


def test_nothing_small_unfolds_to_something_large(tmp_path: Path) -> None:
    bomb = zipped(tmp_path / "bomb", {"manifest.json": b"0" * 50_000_000}, compression=zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 100_000
    unread(bomb)


def test_what_is_no_file_is_no_bundle(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        unread(path)


def test_a_bundle_is_written_whole_or_not_at_all(epoch: Content, path: Path) -> None:
    before = bundled(path, epoch, Level.ROWS).read_bytes()

    class Broken(dict[Any, Any]):
        def __getitem__(self, name: Any) -> Any:
            raise OSError("the store is gone")

    seal = sealed(epoch)
    with pytest.raises(OSError, match="gone"):
        write(path, replace(epoch, rounds=Broken(epoch.rounds)), seal, VALIDATOR, Level.FULL)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_what_a_bundle_does_not_hold_is_refused_when_it_is_written(
    epoch: Content, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal = sealed(epoch)
    with pytest.raises(ValueError, match="would sign"):
        write(path, epoch, seal, STRANGER, Level.FULL)
    with pytest.raises(ValueError, match="no sample"):
        write(path, epoch, seal, VALIDATOR, Level.FULL, sample=Sample(1, BLOCK_HASH, 1))
    with pytest.raises(ValueError, match="a sample"):
        write(path, epoch, seal, VALIDATOR, Level.SAMPLE)
    monkeypatch.setattr(container_module, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="take a sample"):
        write(path, epoch, seal, VALIDATOR, Level.FULL)
    assert not path.exists()


def test_json_says_everything_once() -> None:
    assert read_json("x", b'{"a":[1,2.5,null,true,"\\u00e9"]}') == {"a": [1, 2.5, None, True, "é"]}
    for said in (b'{"a":1,"a":1}', b'[{"b":{"a":1,"a":2}}]', b"Infinity", b"-Infinity", b"[1e400]", b"", b"{} {}"):
        with pytest.raises(Unreadable, match="x cannot be read"):
            read_json("x", said)


@pytest.mark.parametrize(("kind", "values"), [("<f8", [1.5, np.nan]), ("<i8", [1, -2]), ("|b1", [True, False])])
def test_an_array_comes_back_bit_for_bit(kind: str, values: list[Any]) -> None:
    data = array_bytes(np.array(values), kind)
    assert read_array("x", data, kind).tobytes() == np.array(values, dtype=kind).tobytes()
    assert np.load(io.BytesIO(data)).tolist() == pytest.approx(values, nan_ok=True)
