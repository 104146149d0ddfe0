"""Log records as lines: one line of text or one JSON object each, in which nobody can forge another one.

A JSON line holds `time` (UTC), `level`, `process`, `logger` and `message`; `challenge_id`, `run_id`, `attempt` and
`step` where they are known; and `error`, a traceback, where there is one.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from loosh_pipeline.orchestrator import PARTITION_TAG
from loosh_pipeline.redaction import Redact
from loosh_pipeline.run_tags import ATTEMPT_TAG

MESSAGE_CHARS = 4000
ERROR_CHARS = 8000
ID_CHARS = 200
TRACEBACK = "Traceback (most recent call last):"
FATAL = "Fatal Python error: "
LAST_WORDS = (TRACEBACK, FATAL, "Killed", "Segmentation fault", "Aborted", "Bus error", "terminate called")
"""How lines begin that a process which ends by force leaves behind."""
OUTPUT = "output"
"""Logger of what a process printed."""
IDS = ("challenge_id", "run_id", "attempt", "step")

_process_about: dict[str, str] = {}


def process_is_about(**ids: object) -> None:
    """What all threads of this process log is about this challenge, run or attempt, until it is said again; without
    arguments, about nothing.
    """
    _process_about.clear()
    _process_about.update({name: str(value) for name, value in ids.items() if value is not None})


class Lines(logging.Formatter):
    """What all formats have in common: what a record says, without secrets."""

    def __init__(self, process: str, redact: Redact) -> None:
        super().__init__()
        self._process = process
        self._redact = redact

    def fields(self, record: logging.LogRecord) -> dict[str, str]:
        """What a record says, by name; those that are unknown are missing."""
        message, error = _message(record), self._error(record)
        if message.startswith(TRACEBACK):  # as uvicorn says why it does not start
            message, error = message.rstrip().rpartition("\n")[2], message
        said = {
            "time": stamp(record.created),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": without(self._redact, message, partial(shortened, most=MESSAGE_CHARS)),
            **{name: without(self._redact, value, _as_id) for name, value in _ids(record).items()},
        }
        if error:
            said["error"] = without(self._redact, error, partial(_end_of, most=ERROR_CHARS))
        return said

    def _error(self, record: logging.LogRecord) -> str:
        texts = [self.formatException(record.exc_info)] if record.exc_info and record.exc_info[0] else []
        event = _dagster(record).get("dagster_event")
        error = getattr(getattr(event, "event_specific_data", None), "error", None)
        if error is not None:
            texts.append(error.to_string())
        if record.stack_info:
            texts.append(record.stack_info)
        return "\n".join(texts)


def without(redact: Redact, text: str, cut: Callable[[str], str]) -> str:
    """`text` without secrets, then cut: half a secret would not be known. What the cut left is looked at again, so that
    whoever does so later finds nothing.
    """
    whole = redact(text)
    short = cut(whole)
    return whole if short == whole else redact(short)


class JsonLines(Lines):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        return json_line(self.fields(record))


class TextLines(Lines):
    """One line a record; those of a traceback follow, indented, so that none looks like a record of its own."""

    def format(self, record: logging.LogRecord) -> str:
        said = self.fields(record)
        ids = "".join(f" {name}={escaped(said[name])}" for name in IDS if name in said)
        head = f"{said['time']} {said['level'].upper()} {said['logger']}: {escaped(said['message'])}"
        error = [f"    {escaped(line)}" for line in said.get("error", "").splitlines()]
        return "\n".join([f"{head}{f' [{ids[1:]}]' if ids else ''}", *error])


def json_line(fields: Mapping[str, str]) -> str:
    """As one line that any reader of JSON takes; half a character, which some refuse, is a question mark."""
    return json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace").decode()


def printed_line(process: str, text: str) -> str:
    """What a process printed past its log, in the same form; its last words are an error."""
    level = "error" if text.startswith(LAST_WORDS) else "info"
    said = {"time": stamp(time.time()), "level": level, "process": process, "logger": OUTPUT, "message": text}
    if text.startswith(TRACEBACK):
        said |= {"message": text.rstrip().rpartition("\n")[2], "error": text}
    return json_line(said)


def stamp(at_s: float) -> str:
    """Seconds since 1970 as ISO 8601 in UTC, with milliseconds."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds")


def escaped(text: str) -> str:
    """`text` in one line: control characters, line ends of every kind and what turns the direction are written out."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"


def _end_of(text: str, most: int) -> str:
    """What matters in a traceback stands at its end."""
    return text if len(text) <= most else f"({len(text)} characters) …{text[-most:]}"


def _message(record: logging.LogRecord) -> str:
    meta = _dagster(record)
    try:
        return str(meta.get("orig_message") or record.getMessage())
    except (TypeError, ValueError) as error:
        return f"{record.msg} (and its arguments, which do not fit: {error})"


def _ids(record: logging.LogRecord) -> dict[str, str]:
    """What a record is about: what it says itself, else what is being done."""
    known: dict[str, Any] = dict(_process_about)
    meta = _dagster(record)
    tags = meta.get("job_tags") or {}
    said = {
        "run_id": meta.get("run_id"),
        "step": meta.get("step_key"),
        "challenge_id": tags.get(PARTITION_TAG),
        "attempt": tags.get(ATTEMPT_TAG),
    }
    known |= {name: value for name, value in said.items() if value is not None}
    known |= {name: value for name in IDS if (value := getattr(record, name, None)) is not None}
    return {name: str(known[name]) for name in IDS if name in known}


def _as_id(text: str) -> str:
    return escaped(shortened(text, ID_CHARS))


def _dagster(record: logging.LogRecord) -> Mapping[str, Any]:
    """What Dagster notes at a record that was logged in a run."""
    meta = getattr(record, "dagster_meta", None)
    return meta if isinstance(meta, Mapping) else {}
