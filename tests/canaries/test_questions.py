"""The file of canaries: read, or refused with the line and what is wrong with it."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from loosh_pipeline.canaries import questions
from loosh_pipeline.canaries.questions import Question, read_questions
from loosh_pipeline.canaries.rules import is_right
from loosh_pipeline.cli import app
from loosh_pipeline.doctor.choices import canaries
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.errors import ConfigError
from loosh_pipeline.requests import ChallengeRequest
from loosh_pipeline.running import check_canaries
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.arrivals import Arrival, commit_arrivals
from loosh_pipeline.store.canaries import CanaryMark
from loosh_pipeline.store.inbox import Inbox

GOOD = [
    {"prompt": "What is 17 × 23? The number alone.", "accepted": [{"number": 391}]},
    {"messages": [{"role": "user", "content": "Capital of France, one word?"}], "accepted": ["Paris"]},
]


def write(path: Path, *lines: Any) -> Path:
    path.write_text("\n".join(each if isinstance(each, str) else json.dumps(each) for each in lines), "utf-8")
    return path


def test_questions_are_read_in_order(tmp_path: Path) -> None:
    first, second = read_questions(write(tmp_path / "c.jsonl", GOOD[0], "", GOOD[1], ""))
    assert (first.prompt, first.messages, first.accepted) == (GOOD[0]["prompt"], None, ({"number": 391},))
    assert second.prompt is None
    assert second.messages is not None
    assert first.digest != second.digest


def test_the_digest_is_of_the_question_and_not_of_the_answers(tmp_path: Path) -> None:
    one, other = (read_questions(write(tmp_path / "c", GOOD[0] | {"accepted": [n]}))[0] for n in (391, 392))
    assert one.digest == other.digest


BAD: list[tuple[Any, str]] = [
    ("{", "line 2: Expecting"),
    ("[" * 100_000, "line 2: "),
    ([], "line 2: a line is a JSON object"),
    (GOOD[0], "line 2: this question stands there twice"),
    ({"prompt": "a", "accepted": [1], "answer": 1}, "line 2: a question has no answer"),
    ({"accepted": [1]}, "line 2: a question has either a prompt or messages"),
    ({"prompt": "a", "messages": [], "accepted": [1]}, "line 2: a question has either a prompt or messages"),
    ({"prompt": " ", "accepted": [1]}, "line 2: it cannot be asked: .*nothing to answer"),
    ({"prompt": 3, "accepted": [1]}, "line 2: it cannot be asked"),
    ({"messages": [{"role": "system", "content": "a"}], "accepted": [1]}, "line 2: it cannot be asked"),
    ({"messages": [{"role": "system", "content": "a"}, *GOOD[1]["messages"]], "accepted": [1]}, "line 2: messages are"),
    ({"messages": [*GOOD[1]["messages"], {"role": "assistant", "content": "b"}], "accepted": [1]}, "line 2: the last"),
    ({"prompt": "a"}, "line 2: accepted is a list of 1 to 50"),
    ({"prompt": "a", "accepted": []}, "line 2: accepted is a list of 1 to 50"),
    ({"prompt": "a", "accepted": [{"regex": "("}]}, "line 2: .* is no pattern"),
]


@pytest.mark.parametrize(("line", "said"), BAD)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, line: Any, said: str) -> None:
    path = write(tmp_path / "c.jsonl", GOOD[0], line)
    with pytest.raises(ConfigError, match=f"c.jsonl .CANARIES_FILE., {said}"):
        read_questions(path)


def test_a_file_that_is_missing_empty_not_text_or_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_questions(tmp_path / "none")
    with pytest.raises(ConfigError, match="has no question"):
        read_questions(write(tmp_path / "empty", "", " "))
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        read_questions(tmp_path / "bytes")
    monkeypatch.setattr(questions, "MOST_BYTES", 10)
    with pytest.raises(ConfigError, match="more than 10 bytes"):
        read_questions(write(tmp_path / "large", GOOD[0]))


BOOK = Path(__file__).parents[2] / "docs/operating/canaries.md"


def test_what_the_book_shows_can_be_used(tmp_path: Path) -> None:
    lines = re.findall(r'^\{"(?:prompt|messages)": .*\}$', BOOK.read_text("utf-8"), re.MULTILINE)
    first, second = read_questions(write(tmp_path / "c.jsonl", *lines))
    assert is_right("17 × 23 = 391", first.rules)
    assert is_right("Canberra", second.rules)
    assert not is_right("Sydney, Melbourne, Canberra", second.rules)


def test_a_file_that_cannot_be_used_is_told_by_doctor_and_before_a_start(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", GOOD[0], "{")
    wanted = Settings(canaries_file=path, canary_rate=0.1)
    assert (found := canaries(wanted)).verdict == "wrong"
    assert "line 2" in found.said
    with pytest.raises(ConfigError, match="line 2"):
        check_canaries(wanted)
    write(path, *GOOD)
    check_canaries(wanted)
    assert (canaries(wanted).verdict, canaries(Settings(canaries_file=path)).verdict) == ("ok", "look")
    assert canaries(Settings()).verdict == "ok"


def test_a_start_is_refused_in_a_line(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", "{")
    env = {"LOOSH_HOME": str(tmp_path), "CANARIES_FILE": str(path), "CANARY_RATE": "0.1"}
    refused = CliRunner().invoke(app, ["config", "check"], env=env, prog_name="loosh")
    assert (refused.exit_code, "line 1" in refused.stderr) == (2, True)


def test_doctor_says_how_many_are_left_and_that_none_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOSH_HOME", str(tmp_path / "home"))
    settings = Settings(canaries_file=write(tmp_path / "c.jsonl", *GOOD), canary_rate=0.1)
    inbox, now = Inbox.open(settings.inbox_url), datetime.now(UTC)
    first, second = read_questions(tmp_path / "c.jsonl")

    def put_in(name: str, question: Question | None = None, **fields: Any) -> None:
        request = ChallengeRequest(id=name, prompt="hi", **fields).stored(now)
        mark = None if question is None else CanaryMark(question.accepted, question.digest)
        commit_arrivals(inbox.engine, [Arrival(ChallengeId(name), request, now, canary=mark)])

    put_in("c-1", first)
    assert canaries(settings).said.endswith("1 are left")
    put_in("c-2", correlation_id="job-1")
    assert canaries(settings).verdict == "look"
    assert "1 × correlation_id" in canaries(settings).said
    put_in("c-3", second)
    assert canaries(settings).verdict == "look"
    assert "none is left" in canaries(settings).said
    inbox.engine.dispose()
