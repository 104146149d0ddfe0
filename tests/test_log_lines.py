"""Records as lines: what they hold, and that no stranger's text makes one of its own."""

from __future__ import annotations

import json
import logging
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loosh_pipeline.log_lines import (
    ERROR_CHARS,
    IDS,
    MESSAGE_CHARS,
    JsonLines,
    TextLines,
    escaped,
    process_is_about,
)
from loosh_pipeline.redaction import GONE, Redactor

SECRET = "canary-key"
FORGED = "x\r\n2026-01-01T00:00:00.000+00:00 ERROR loosh: all is lost\x1b[31m\u2028\u202e"


def record(message: str, *args: object, **changes: Any) -> logging.LogRecord:
    made = logging.LogRecord("loosh.test", logging.WARNING, "", 0, message, args, changes.pop("exc_info", None))
    made.created = 1_790_000_000.1234
    vars(made).update(changes)
    return made


def as_json(made: logging.LogRecord) -> dict[str, str]:
    line = JsonLines("worker", Redactor([SECRET])).format(made)
    assert "\n" not in line
    return json.loads(line)


def as_text(made: logging.LogRecord) -> str:
    return TextLines("worker", Redactor([SECRET])).format(made)


def failed(message: str) -> Any:
    try:
        raise ValueError(message)
    except ValueError:
        return sys.exc_info()


def test_a_json_line_says_when_who_and_what() -> None:
    assert as_json(record("%d of %d", 1, 2)) == {
        "time": "2026-09-21T14:13:20.123+00:00",
        "level": "warning",
        "process": "worker",
        "logger": "loosh.test",
        "message": "1 of 2",
    }


def test_a_text_line_says_the_same() -> None:
    said = as_text(record("%d of %d", 1, 2, challenge_id="c-1", run_id="r-1"))
    assert said == "2026-09-21T14:13:20.123+00:00 WARNING loosh.test: 1 of 2 [challenge_id=c-1 run_id=r-1]"


def test_threads_of_a_process_that_does_one_thing_name_it_too() -> None:
    said: list[dict[str, str]] = []
    process_is_about(run_id="r-1", challenge_id=None)
    try:
        thread = threading.Thread(target=lambda: said.append(as_json(record("x"))))
        thread.start()
        thread.join()
    finally:
        process_is_about()
    assert said[0]["run_id"] == "r-1"
    assert "challenge_id" not in said[0]
    assert "run_id" not in as_json(record("x"))


def test_what_dagster_notes_is_taken_over_without_its_prefix() -> None:
    error = SimpleNamespace(to_string=lambda: "ValueError: no\n  File x")
    meta = {
        "run_id": "r-2",
        "step_key": "embeddings",
        "job_tags": {"dagster/partition": "c-2", "loosh/attempt": "3"},
        "orig_message": "it failed",
        "dagster_event": SimpleNamespace(event_specific_data=SimpleNamespace(error=error)),
    }
    said = as_json(record("score_challenge - r-2 - 77 - it failed", dagster_meta=meta))
    assert said["message"] == "it failed"
    assert said["error"].startswith("ValueError: no")
    assert [said[name] for name in IDS] == ["c-2", "r-2", "3", "embeddings"]


@pytest.mark.parametrize("place", ["message", "argument", "error", "challenge"])
def test_a_strangers_text_makes_no_line_and_no_colour(place: str) -> None:
    made = record(
        FORGED if place == "message" else "said %s",
        *([] if place == "message" else [FORGED if place == "argument" else "y"]),
        exc_info=failed(FORGED) if place == "error" else None,
        **({"challenge_id": FORGED} if place == "challenge" else {}),
    )
    first, *rest = as_text(made).splitlines()
    assert all(line.startswith("    ") for line in rest)
    assert all(line.isprintable() for line in (first, *rest))
    assert set(as_json(made)) >= {"time", "level", "process", "logger", "message"}


def test_secrets_are_in_no_part_of_a_line() -> None:
    made = record("key %s", SECRET, exc_info=failed(f"Bearer {SECRET}"), challenge_id=SECRET)
    assert SECRET not in as_text(made)
    assert SECRET not in json.dumps(as_json(made))


@pytest.mark.parametrize("place", ["message", "error", "challenge_id"])
def test_no_half_of_a_secret_is_left_where_a_text_is_cut(place: str) -> None:
    for before in (190, 195, MESSAGE_CHARS - 5, MESSAGE_CHARS):
        text = "x" * before + SECRET
        made = record(
            text if place == "message" else "x",
            exc_info=failed(f"{SECRET}{'y' * (ERROR_CHARS - 5)}") if place == "error" else None,
            **({"challenge_id": text} if place == "challenge_id" else {}),
        )
        assert not any(SECRET[part : part + 5] in json.dumps(as_json(made)) for part in (0, 3, 5))


PARTS = (
    *("api_key", ": ", "=", '"', "'", "Authorization", "bearer ", "sk-", "://", "@", "?token=", GONE, SECRET, "canary"),
    *("\n", " ", "x" * 20, "https://hooks.slack.com/", "basic ", "]", "secret"),
)


@given(st.lists(st.sampled_from(PARTS), max_size=12).map("".join))
def test_taking_secrets_out_once_more_changes_nothing(text: str) -> None:
    redact = Redactor([SECRET, "secret", "message"])
    once = redact(text)
    assert SECRET not in once
    assert redact(once) == once


def test_a_traceback_is_one_string_of_which_the_end_is_kept() -> None:
    said = as_json(record("x", exc_info=failed("why " + "y" * 2 * ERROR_CHARS)))
    assert len(said["error"]) < ERROR_CHARS + 100
    assert said["error"].endswith("yyy")
    assert "ValueError: why" in as_json(record("x", exc_info=failed("why")))["error"]


def test_a_traceback_that_is_said_as_a_message_is_an_error() -> None:
    said = as_json(record("Traceback (most recent call last):\n  File x\nStoreError: the disk\n"))
    assert said["message"] == "StoreError: the disk"
    assert said["error"].startswith("Traceback")


def test_a_record_that_cannot_be_put_together_is_said_all_the_same() -> None:
    assert "do not fit" in as_json(record("%d", "x"))["message"]
    assert as_json(record("lone \ud800"))["message"] == "lone ?"


def test_what_is_printable_is_left_as_it_is() -> None:
    assert escaped("größer → 大") == "größer → 大"
    assert escaped("a\tb\\n") == "a\\tb\\n"
