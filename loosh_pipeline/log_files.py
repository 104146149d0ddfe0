"""The files in which `loosh up` keeps what its processes say: one each, and one for all together.

What comes is kept line by line. A line that a process printed past its log (a crash, a native library) is put into the
same form, so that with LOG_FORMAT=json every line of every file is JSON; and no secret gets past here.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from loosh_pipeline.log_lines import OUTPUT, escaped, printed_line, stamp
from loosh_pipeline.redaction import NOTHING_KNOWN, Redact

LOG_BYTES = 10 * 1024 * 1024
LOG_FILES = 5
LINE_BYTES = 128 * 1024
"""More than any line of ours has."""
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
REQUIRED = ("time", "level", "process", "logger", "message")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class LogForm:
    """How lines are kept. `together`: a file for those of all processes."""

    as_json: bool = False
    together: Path | None = None
    redact: Redact = NOTHING_KNOWN


class _LogFile(logging.handlers.RotatingFileHandler):
    """Loses what a full disk does not take: the ingress says that it is full."""

    def handleError(self, record: logging.LogRecord) -> None:
        return

    def close(self) -> None:
        with suppress(OSError):  # what it still held
            super().close()


class LogFiles:
    """Keeps lines of named processes in `directory/NAME.log`, rotated. What cannot be kept is said once."""

    def __init__(self, directory: Path, say: Say, form: LogForm | None = None) -> None:
        self._directory = directory
        self._say = say
        self._form = form or LogForm()
        self._lock = threading.Lock()
        self._together: logging.Handler | None = None

    def path(self, name: str) -> Path:
        return self._directory / f"{name}.log"

    def tail(self, name: str, lines: int = 25) -> str:
        path = self.path(name)
        return "\n".join(path.read_text("utf-8", "replace").splitlines()[-lines:]) if path.exists() else "(no output)"

    def keep(self, name: str, output: IO[bytes]) -> None:
        """Keep every line of a process until it says no more."""
        file = self._opened(self.path(name), name)
        with output:
            for line in iter(lambda: output.readline(LINE_BYTES), b""):
                self._write(file, name, line.decode("utf-8", "replace").rstrip("\n"))
        file.close()

    def note(self, name: str, text: str) -> None:
        """Keep a line of our own process."""
        file = self._opened(self.path(name), name)
        self._write(file, name, text if self._form.as_json else f"{stamp(time.time())} {text}")
        file.close()

    def close(self) -> None:
        with self._lock:
            if self._together is not None:
                self._together.close()
                self._together = None

    def _write(self, file: logging.Handler, name: str, text: str) -> None:
        line = self._line(name, text)
        _emit(file, line)
        if self._form.together is not None:
            with self._lock:
                if self._together is None:
                    self._together = self._opened(self._form.together, "LOG_FILE")
            _emit(self._together, line if self._form.as_json else f"{name} | {line}")

    def _line(self, name: str, text: str) -> str:
        text = self._form.redact(COLOUR.sub("", text))
        if not self._form.as_json:
            return escaped(text)
        if _is_ours(text):
            return text
        return printed_line(name, text)

    def _opened(self, path: Path, what: str) -> logging.Handler:
        """Where lines go: nowhere, when the disk takes nothing; a process must not stand still for that."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return _LogFile(path, maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8", errors="replace")
        except OSError as error:
            self._say(f"the output of {what} is kept nowhere: {error}")
            return logging.NullHandler()


def _emit(file: logging.Handler, line: str) -> None:
    file.handle(logging.LogRecord(OUTPUT, logging.INFO, "", 0, "%s", (line,), None))


def _is_ours(text: str) -> bool:
    """Whether a line is a JSON object with what every line has."""
    if not text.startswith("{"):
        return False
    try:
        said = json.loads(text)
    except ValueError:
        return False
    return isinstance(said, dict) and all(isinstance(said.get(name), str) for name in REQUIRED)
