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
    assert {(line["process"], line["logger"]) for line in lines[1:]} == {("a", "output")}
    assert [line["level"] for line in lines[1:]] == ["error", "info", "info", "info", "info"]


def test_a_line_that_is_cut_is_json_in_both_halves(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_files, "LINE_BYTES", 64)
    monkeypatch.setattr(log_files, "CARRIED_CHARS", 16)
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


def test_a_secret_in_two_parts_of_a_long_line_goes(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_files, "LINE_BYTES", 64)
    monkeypatch.setattr(log_files, "CARRIED_CHARS", 16)
    for before in range(50, 66):
        form = LogForm(redact=Redactor(["canary-key"]))
        output = "é".encode() + b"x" * before + b"canary-key and more" * 4 + b"\n"
        text = "".join(kept(tmp_path / str(before), output, form, said))
        assert text == "é" + "x" * before + "[secret] and more" * 4


@pytest.mark.parametrize(
    "message", ['api_key: "unclosed', 'x-api-key=\n"more', 'Authorization: "', "canary-key", "fine"]
)
def test_a_line_of_ours_stays_ours_whatever_it_says(tmp_path: Path, said: list[str], message: str) -> None:
    redact = Redactor(["canary-key", "message"])
    fields = OURS | {"level": "error", "message": message, "challenge_id": "c-1"}
    once, twice = json.dumps(fields), []
    for _ in range(2):
        (once,) = kept(tmp_path / str(len(twice)), f"{once}\n".encode(), LogForm(as_json=True, redact=redact), said)
        twice.append(once)
    line = json.loads(once)
    assert twice[0] == twice[1]
    assert {**line, "message": message} == fields
    assert "canary" not in line["message"]


def test_a_traceback_that_was_printed_is_one_line(tmp_path: Path, said: list[str]) -> None:
    printed = "Traceback (most recent call last):\n  File x\n    y\nValueError: no\nmore\n"
    printed += "Fatal Python error: Aborted\n\nCurrent thread 0x1 (most recent call first):\n  File z\nafter\n"
    lines = [json.loads(line) for line in kept(tmp_path, printed.encode(), LogForm(as_json=True), said)]
    assert [(line["level"], line["message"].splitlines()[0]) for line in lines] == [
        ("error", "ValueError: no"),
        ("info", "more"),
        ("error", "Fatal Python error: Aborted"),
        ("info", "after"),
    ]
    assert "  File x" in lines[0]["error"]
    assert "  File z" in lines[2]["message"]


def test_who_floods_is_bounded(tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_files, "MOST_A_SECOND", 3)
    monkeypatch.setattr(log_files.time, "monotonic", lambda: 1.0)
    assert kept(tmp_path, b"x\n" * 10, LogForm(), said) == ["x", "x", "x", "7 lines dropped"]


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


def test_what_somebody_else_rotated_or_removed_is_opened_again(tmp_path: Path, said: list[str]) -> None:
    together = tmp_path / "all.log"
    files = LogFiles(tmp_path / "logs", said.append, LogForm(together=together))
    files.keep("a", io.BytesIO(b"one\n"))
    together.rename(tmp_path / "all.log-20261126")
    files.keep("a", io.BytesIO(b"two\n"))
    together.unlink()
    files.keep("a", io.BytesIO(b"three\n"))
    files.close()
    assert together.read_text() == "a | three\n"


def test_two_writers_of_one_file_go_on_in_the_newest(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_files, "LOG_BYTES", 100)
    together = tmp_path / "all.log"
    first, second = (LogFiles(tmp_path / name, said.append, LogForm(together=together)) for name in ("1", "2"))
    for number in range(40):
        (first, second)[number % 3 == 0].keep("a", io.BytesIO(f"line {number}\n".encode()))
    assert "line 39" in together.read_text()
    assert all(path.stat().st_size <= 100 for path in tmp_path.glob("all.log*"))
    first.close()
    second.close()


def test_a_file_that_cannot_be_made_is_tried_again(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 0.0
    monkeypatch.setattr(log_files.time, "monotonic", lambda: now_s)
    (tmp_path / "dir").write_text("")
    files = LogFiles(tmp_path / "logs", said.append, LogForm(together=tmp_path / "dir" / "all.log"))
    files.keep("a", io.BytesIO(b"one\ntwo\n"))
    assert len(said) == 1
    (tmp_path / "dir").unlink()
    files.keep("a", io.BytesIO(b"three\n"))
    now_s = 11.0
    files.keep("a", io.BytesIO(b"four\n"))
    files.close()
    assert (tmp_path / "dir" / "all.log").read_text() == "a | four\n"


def test_a_file_that_cannot_be_rotated_grows(tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> None:
        raise PermissionError("not yours")

    monkeypatch.setattr(log_files, "LOG_BYTES", 20)
    monkeypatch.setattr(log_files.os, "rename", refuses)
    assert kept(tmp_path, b"0123456789\n" * 9, LogForm(), said) == ["0123456789"] * 9
    assert said == ["a cannot be rotated, and grows: not yours"]


def test_logs_are_for_their_owner(tmp_path: Path, said: list[str]) -> None:
    kept(tmp_path, b"hello\n", LogForm(together=tmp_path / "all.log"), said)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("*.log")} == {0o600}


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
