"""A process that is talked to in lines, each awaited until a deadline; whatever happens, it ends with the talk."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType

_NOTES_TAIL = 2000


class Conversation:
    """`with Conversation(command, environment) as process: process.say(line, 10.0); process.hear(10.0)`.

    On leaving, the process and whatever it started are killed, unless it has ended by itself.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        # What it writes to stderr goes to a file: nobody has to read a pipe for it to go on.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the conversation
        self._heard = b""
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=dict(environment),
            start_new_session=True,
        )

    def __enter__(self) -> Conversation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()

    def say(self, line: bytes, within_s: float) -> None:
        """Send a line. That nobody is left to read it shows when an answer is awaited. Raises `TimeoutError`."""
        until = time.monotonic() + within_s
        assert self._process.stdin is not None
        pipe = self._process.stdin.fileno()
        os.set_blocking(pipe, False)
        with selectors.DefaultSelector() as selector, suppress(BrokenPipeError):
            selector.register(pipe, selectors.EVENT_WRITE)
            while line:
                if not selector.select(max(0.0, until - time.monotonic())):
                    raise TimeoutError(f"nothing was read within {within_s:g} s")
                line = line[os.write(pipe, line) :]

    def hear(self, within_s: float) -> bytes:
        """The next line; what was left unfinished when the process has ended. Raises `TimeoutError`."""
        until = time.monotonic() + within_s
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._heard:
                if not selector.select(max(0.0, until - time.monotonic())):
                    raise TimeoutError(f"no answer within {within_s:g} s")
                received = os.read(self._process.stdout.fileno(), 65_536)
                if not received:
                    self._process.wait()
                    break
                self._heard += received
        line, _, self._heard = self._heard.partition(b"\n")
        return line

    @property
    def status(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll()

    def notes(self) -> str:
        """The end of what it wrote to stderr, from the beginning of a word on."""
        size = os.fstat(self._stderr.fileno()).st_size
        wanted = min(size, _NOTES_TAIL)
        text = os.pread(self._stderr.fileno(), wanted, size - wanted).decode(errors="replace")
        return (text if wanted == size else text.lstrip().partition(" ")[2]).strip()
