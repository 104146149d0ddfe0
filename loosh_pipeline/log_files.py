"""The files in which `loosh up` keeps what its processes say: one each, and one for all together.

What comes is kept line by line. A line that a process printed past its log (a crash, a native library) is put into the
same form, so that with LOG_FORMAT=json every line of every file is JSON; and no secret gets past here.
"""

from __future__ import annotations

import codecs
import json
import logging
import logging.handlers
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any

from loosh_pipeline.errors import ConfigError
from loosh_pipeline.log_lines import FATAL, OUTPUT, TRACEBACK, escaped, json_line, printed_line, stamp
from loosh_pipeline.redaction import NOTHING_KNOWN, Redact

LOG_BYTES = 10 * 1024 * 1024
LOG_FILES = 5
LINE_BYTES = 128 * 1024
"""More than any line of ours has."""
CARRIED_CHARS = 4096
"""How much of a part of a longer line is looked at again with the next part: a secret may be cut in two."""
JOINED_LINES = 500
"""Of a traceback, at most."""
MOST_A_SECOND = 2000
"""Lines of one process; what says more is broken, and would take a processor and push everything else out."""
OPENED_AGAIN_S = 10.0
"""After which a file that could not be opened or rotated is tried again."""
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
    """For its owner alone. Opened again when somebody else has rotated or removed it. Loses what a full disk does not
    take: the ingress says that it is full. What cannot be opened is said once, and tried again; a process must not
    stand still for that.
    """

    def __init__(self, path: Path, what: str, say: Say) -> None:
        super().__init__(path, "a", LOG_BYTES, LOG_FILES, "utf-8", delay=True, errors="replace")
        self._what, self._say = what, say
        self._said = False
        self._opened_from_s = self._rotated_from_s = float("-inf")

    def emit(self, record: logging.LogRecord) -> None:
        if self.stream is not None and self._is_another(self.stream):
            self.stream.close()
            self.stream = None
        if self.stream is None and time.monotonic() < self._opened_from_s:
            return
        super().emit(record)

    def _is_another(self, stream: TextIOWrapper) -> bool:
        """Whether what has our name is not what we write to: after logrotate, or another `loosh up` with this file."""
        try:
            named, ours = os.stat(self.baseFilename), os.fstat(stream.fileno())
        except OSError:
            return True
        return (named.st_dev, named.st_ino) != (ours.st_dev, ours.st_ino)

    def _open(self) -> TextIOWrapper:
        path = Path(self.baseFilename)
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = open(path, "a", encoding=self.encoding, errors=self.errors, opener=_for_its_owner)  # noqa: SIM115
        self._said = False
        return opened

    def shouldRollover(self, record: logging.LogRecord) -> bool:
        return bool(super().shouldRollover(record)) and time.monotonic() >= self._rotated_from_s

    def doRollover(self) -> None:
        """Where it cannot be rotated (its directory is another user's), it goes on."""
        try:
            super().doRollover()
        except OSError as error:
            self._rotated_from_s = time.monotonic() + OPENED_AGAIN_S
            self.stream = self._open()
            self._tell(f"{self._what} cannot be rotated, and grows: {error}")

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exception()
        if self.stream is None and isinstance(error, OSError):
            self._opened_from_s = time.monotonic() + OPENED_AGAIN_S
            self._tell(f"the output of {self._what} is kept nowhere: {error}")

    def _tell(self, text: str) -> None:
        if not self._said:
            self._said = True
            self._say(text)

    def close(self) -> None:
        with suppress(OSError):  # what it still held
            super().close()


class LogFiles:
    """Keeps lines of named processes in `directory/NAME.log`, rotated. What cannot be kept is said once.

    One for a whole `loosh up`: the common file has one writer.
    """

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
        """Keep every line of a process until it says no more; of what floods, so many lines a second."""
        file = self._opened(self.path(name), name)
        with output:
            texts = self._texts(output)
            for text in _bounded(_joined(texts) if self._form.as_json else texts):
                self._write(file, name, text)
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

    def _texts(self, output: IO[bytes]) -> Iterator[str]:
        """Lines; one that is too long in parts."""
        decoder, held = codecs.getincrementaldecoder("utf-8")("replace"), ""
        for part in iter(lambda: output.readline(LINE_BYTES), b""):
            whole = part.endswith(b"\n")
            text = held + decoder.decode(part, final=whole)
            if whole:
                held = ""
                yield text.rstrip("\n")
            else:
                text = self._form.redact(text)
                held = text[-CARRIED_CHARS:]
                if len(text) > CARRIED_CHARS:
                    yield text[:-CARRIED_CHARS]
        if held:
            yield held

    def _write(self, file: logging.Handler, name: str, text: str) -> None:
        line = self._line(name, text)
        _emit(file, line)
        if self._form.together is not None:
            with self._lock:
                if self._together is None:
                    self._together = self._opened(self._form.together, "LOG_FILE")
                together = self._together
            _emit(together, line if self._form.as_json else f"{name} | {line}")

    def _line(self, name: str, text: str) -> str:
        text = COLOUR.sub("", text)
        if not self._form.as_json:
            return escaped(self._form.redact(text))
        said = _ours(text)
        if said is None:
            return printed_line(name, self._form.redact(text))
        redacted = _without(self._form.redact, said)
        return text if redacted == said else json_line(redacted)

    def _opened(self, path: Path, what: str) -> logging.Handler:
        return _LogFile(path, what, self._say)


def check_log_file(path: Path) -> None:
    """Raises ConfigError where LOG_FILE cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(_for_its_owner(str(path), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK))
    except OSError as error:
        raise ConfigError(f"LOG_FILE cannot be written: {error}; name a file that this user may write to") from error


def _for_its_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _emit(file: logging.Handler, line: str) -> None:
    file.handle(logging.LogRecord(OUTPUT, logging.INFO, "", 0, "%s", (line,), None))


def _bounded(texts: Iterable[str]) -> Iterator[str]:
    began_s, count = float("-inf"), 0
    for text in texts:
        now_s = time.monotonic()
        if now_s - began_s >= 1.0:
            if count > MOST_A_SECOND:
                yield f"{count - MOST_A_SECOND} lines dropped"
            began_s, count = now_s, 0
        count += 1
        if count <= MOST_A_SECOND:
            yield text
    if count > MOST_A_SECOND:
        yield f"{count - MOST_A_SECOND} lines dropped"


def _joined(lines: Iterable[str]) -> Iterator[str]:
    """Lines, of which those of a traceback that was printed are one."""
    held: list[str] = []
    for line in lines:
        if held:
            ours = _ours(line) is not None
            if not ours and len(held) < JOINED_LINES and _goes_on(line):
                held.append(line)
                continue
            ends = not ours and held[0].startswith(TRACEBACK)  # what was raised
            yield "\n".join([*held, line] if ends else held)
            held = []
            if ends:
                continue
        if line.startswith((TRACEBACK, FATAL)):
            held = [line]
        else:
            yield line
    if held:
        yield "\n".join(held)


def _goes_on(line: str) -> bool:
    return not line or line[0].isspace() or line.startswith(("Current thread ", "Thread ", "Extension modules: "))


def _without(redact: Redact, said: Any) -> Any:
    """The values of a JSON object without secrets: names of fields stay, whatever a secret is."""
    if isinstance(said, str):
        return redact(said)
    if isinstance(said, dict):
        return {name: _without(redact, value) for name, value in said.items()}
    return [_without(redact, each) for each in said] if isinstance(said, list) else said


def _ours(text: str) -> dict[str, Any] | None:
    """What a line says that is a JSON object with what every line has."""
    if not text.startswith("{"):
        return None
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return None
    ours = isinstance(said, dict) and all(isinstance(said.get(name), str) for name in REQUIRED)
    return said if ours else None
