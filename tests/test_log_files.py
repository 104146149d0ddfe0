"""What `loosh up` keeps of what its processes say, in files of their own and in a common one."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from loosh_pipeline import log_files
from loosh_pipeline.log_files import LogFiles, LogForm
from loosh_pipeline.redaction import Redactor

OURS = {"time": "2026-01-01T00:00:00.000+00:00", "level": "info", "process": "a", "logger": "l", "message": "m"}


@pytest.fixture
def said() -> list[str]:
    return []


def kept(directory: Path, output: bytes, form: LogForm, said: list[str], name: str = "a") -> list[str]:
    files = LogFiles(directory, said.append, form)
    files.keep(name, io.BytesIO(output))
    files.close()
    return (directory / f"{name}.log").read_text().splitlines()


def test_a_line_of_json_is_kept_and_any_other_is_made_one(tmp_path: Path, said: list[str]) -> None:
    output = f"{json.dumps(OURS)}\nSegmentation fault\n{{\n[1]\n\x1b[32mgreen\x1b[0m\n".encode() + b"\xff\n"
    lines = [json.loads(line) for line in kept(tmp_path, output, LogForm(as_json=True), said)]
    assert lines[0] == OURS
    assert [line["message"] for line in lines[1:]] == ["Segmentation fault", "{", "[1]", "green", "\ufffd"]
    assert {(line["process"], line["logger"], line["level"]) for line in lines[1:]} == {("a", "output", "info")}


def test_a_line_that_is_cut_is_json_in_both_halves(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_files, "LINE_BYTES", 64)
    lines = kept(tmp_path, json.dumps(OURS).encode() + b"\n", LogForm(as_json=True), said)
    assert len(lines) > 1
    assert "".join(json.loads(line)["message"] for line in lines) == json.dumps(OURS)


def test_text_is_kept_without_what_steers_a_terminal(tmp_path: Path, said: list[str]) -> None:
    assert kept(tmp_path, b"\x1b[31mred\x1b[0m\r\x07 x\n", LogForm(), said) == ["red\\r\\x07 x"]


@pytest.mark.parametrize("as_json", [False, True])
def test_no_secret_gets_past_the_files(tmp_path: Path, said: list[str], as_json: bool) -> None:
    form = LogForm(as_json=as_json, together=tmp_path / "all.log", redact=Redactor(["canary-key"]))
    said_so = json.dumps(OURS | {"message": "with canary-key"})
    kept(tmp_path, f"printed canary-key\n{said_so}\n".encode(), form, said)
    assert all("canary" not in path.read_text() for path in tmp_path.glob("*.log"))


@pytest.mark.parametrize("as_json", [False, True])
def test_the_common_file_says_whose_a_line_is(tmp_path: Path, said: list[str], as_json: bool) -> None:
    together = tmp_path / "logs" / "all.log"
    form = LogForm(as_json=as_json, together=together)
    for name in ("a", "b"):
        kept(tmp_path, b"hello\n", form, said, name)
    lines = together.read_text().splitlines()
    assert [json.loads(line)["process"] for line in lines] == ["a", "b"] if as_json else ["a | hello", "b | hello"]


def test_the_common_file_is_rotated(tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_files, "LOG_BYTES", 200)
    kept(tmp_path, b"0123456789\n" * 120, LogForm(together=tmp_path / "all.log"), said)
    assert len(list(tmp_path.glob("all.log*"))) == 1 + log_files.LOG_FILES
    assert all(path.stat().st_size <= 200 for path in tmp_path.glob("all.log*"))


def test_a_file_that_cannot_be_made_is_said_and_holds_nobody_up(tmp_path: Path, said: list[str]) -> None:
    (tmp_path / "file").write_text("")
    form = LogForm(together=tmp_path / "file" / "all.log")
    assert kept(tmp_path, b"hello\n", form, said) == ["hello"]
    assert len(said) == 1
    assert "LOG_FILE is kept nowhere" in said[0]


def test_what_loosh_up_says_itself_has_a_time_and_a_file(tmp_path: Path, said: list[str]) -> None:
    files = LogFiles(tmp_path, said.append)
    files.note("loosh-up", "embedder ended with code 1")
    assert (tmp_path / "loosh-up.log").read_text().split(" ", 1)[1] == "embedder ended with code 1\n"
