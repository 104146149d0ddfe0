"""How every process of a validator logs: to standard error, as LOG_FORMAT and LOG_LEVEL say, without secrets.

`loosh up` keeps these lines in files (`log_files`).
"""

from __future__ import annotations

import fcntl
import logging
import os
import sys
import threading
from types import TracebackType

from loosh_pipeline.lock import PROCESS
from loosh_pipeline.log_lines import JsonLines, Lines, TextLines
from loosh_pipeline.redaction import Redact, redactor
from loosh_pipeline.settings import Settings

STDERR = 2
CHATTY = (
    *("httpx", "httpx2", "httpcore", "httpcore2", "urllib3", "openai", "fsspec", "s3fs", "botocore"),
    *("alembic", "asyncio", "kombu", "amqp", "celery.worker.strategy"),
)
"""Loggers that tell of every request, file, migration or message."""


class _Pipe(logging.Handler):
    """Writes lines to a descriptor whole, though forked processes write to the same one."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._turn = _turn()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = f"{self.format(record)}\n".encode("utf-8", "backslashreplace")
            if self._turn is not None:
                fcntl.lockf(self._turn, fcntl.LOCK_EX)  # of a process, also where the file was inherited
            try:
                while line:
                    line = line[os.write(self._descriptor, line) :]
            finally:
                if self._turn is not None:
                    fcntl.lockf(self._turn, fcntl.LOCK_UN)
        except Exception:
            self.handleError(record)


def _turn() -> int | None:
    """A file in memory at which forked processes take turns: a full disk has no room for one. None where there is none
    (other systems than Linux): threads take turns all the same, and long lines of forked processes may mix.
    """
    try:
        return os.memfd_create("loosh-log")
    except (AttributeError, OSError):
        return None


def configure(settings: Settings, process: str, redact: Redact | None = None) -> None:
    """Have this process log in our form. `process` is its name where `loosh up` gave it none."""
    formatter = form(settings, os.environ.get(PROCESS, process), redact or redactor(settings))
    handler = _Pipe(STDERR)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    for each in list(root.handlers):
        root.removeHandler(each)
    root.addHandler(handler)
    root.setLevel(settings.log_level)
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(True)
    sys.excepthook = _last_words
    threading.excepthook = _end_of_thread


def form(settings: Settings, process: str, redact: Redact) -> Lines:
    """The formatter that LOG_FORMAT asks for."""
    return (JsonLines if settings.log_format == "json" else TextLines)(process, redact)


def _last_words(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger(__name__).critical("the process ends by an error", exc_info=(kind, error, trace))


def _end_of_thread(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is None or issubclass(ended.exc_type, SystemExit):
        return
    name = ended.thread.name if ended.thread is not None else "unknown"
    logging.getLogger(__name__).error(
        "the thread %s ends by an error", name, exc_info=(ended.exc_type, ended.exc_value, ended.exc_traceback)
    )
