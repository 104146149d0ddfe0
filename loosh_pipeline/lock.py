"""One validator a data directory: two would ask every miner twice and both set weights.

The lock is the kernel's. The processes of a supervised validator inherit it, so that it ends with the last of them:
when `loosh up` is killed, nobody else starts beside those that are still ending. Their environment tells them that they
belong to it; a `dagster dev` beside it sees the lock and only looks.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from loosh_pipeline.errors import ConfigError

SUPERVISED = "LOOSH_SUPERVISED"
"""Set for the processes that a supervisor with the lock has started."""
PROCESS = "LOOSH_PROCESS"
"""Which one of them a process is."""
FILE = "validator.lock"
TRY_FOR_S = 2.0
ENDED_WITHIN_S = 90.0
"""How long those are waited for whose `loosh up` was killed: a run may be waiting for its miners."""


@contextmanager
def validator_lock(home: Path, say: Callable[[str], object] = lambda _: None) -> Iterator[int]:
    """Hold a data directory; yields the descriptor that holds it, for the processes that belong to it.

    Raises ConfigError when another validator holds it, or when the directory cannot be written.
    """
    with _held(home, say) as file:
        with _writing(home):
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        yield file.fileno()


@contextmanager
def _held(home: Path, say: Callable[[str], object]) -> Iterator[IO[str]]:
    """The locked file of the directory that bears the name now: `loosh restore` puts another one in its place."""
    while True:
        with _lock_file(home) as file:
            _take(file, home, say)
            if _is_at(file, home / FILE):
                yield file
                return


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _lock_file(home: Path) -> IO[str]:
    with _writing(home):
        home.mkdir(parents=True, exist_ok=True)
        # Root may be restoring here for somebody else, whose link is not followed.
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        return open(os.open(home / FILE, flags, 0o644), "a+")


@contextmanager
def _writing(home: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"the data directory {home} cannot be written: {error.strerror}; {_remedy(error)}, or set LOOSH_HOME"
        ) from error


def _remedy(error: OSError) -> str:
    return "free space there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "make it writable"


def _take(file: IO[str], home: Path, say: Callable[[str], object]) -> None:
    deadline_s = time.monotonic() + TRY_FOR_S  # someone may be looking just now
    waiting = False
    while not _locked(file, fcntl.LOCK_EX):
        if not waiting and _was_killed(file):
            say(f"a validator was killed in {home}; waiting until its processes have ended")
            waiting, deadline_s = True, time.monotonic() + ENDED_WITHIN_S
        if time.monotonic() > deadline_s:
            whose = "processes of a validator that was killed still run" if waiting else "a validator runs"
            raise ConfigError(f"{whose} in {home} already; stop it, or set LOOSH_HOME for another one")
        time.sleep(0.1)


def _was_killed(file: IO[str]) -> bool:
    """Whether the process that took the lock is gone; False also when it did not say yet who it is."""
    file.seek(0)
    pid = file.read()
    if not pid:
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it lives, as another user
        return False
    return False


def only_looking(home: Path) -> str | None:
    """Why this process must start nothing here: a validator runs that it is no part of. None when it may."""
    if os.environ.get(SUPERVISED) or not runs_in(home):
        return None
    return f"a validator runs in {home} (`loosh up`); this Dagster only looks at what it does"


def runs_in(home: Path) -> bool:
    """Whether a validator, or a process of one that was killed, holds a data directory."""
    try:
        with (home / FILE).open() as file:
            return not _locked(file, fcntl.LOCK_SH)
    except (FileNotFoundError, NotADirectoryError, PermissionError):  # nobody who may not read it holds it
        return False


def _locked(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
