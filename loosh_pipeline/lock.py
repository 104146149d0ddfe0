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
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from loosh_pipeline.errors import ServiceError

SUPERVISED = "LOOSH_SUPERVISED"
"""Set for the processes that a supervisor with the lock has started."""
PROCESS = "LOOSH_PROCESS"
"""Which one of them a process is."""
FILE = "validator.lock"
TRY_FOR_S = 2.0
STOPPED_WITHIN_S = 45.0
"""How long one is waited for that is stopping, which takes it 30 s at most; process managers kill it after 40 or 45."""
ENDED_WITHIN_S = 90.0
"""How long those are waited for whose `loosh up` was killed: a run may be waiting for its miners."""
STOPPING, KILLED = "is stopping", "was killed"
"""How a validator may be ending that holds a directory."""


@contextmanager
def validator_lock(home: Path, say: Callable[[str], object] = lambda _: None) -> Iterator[int]:
    """Hold a data directory; yields the descriptor that holds it, for the processes that belong to it.

    Raises ServiceError when another validator holds it and does not end, or when the directory cannot be written.
    Neither is a wrong setting: whoever looks after `loosh up` is to try again.
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
        raise ServiceError(
            f"the data directory {home} cannot be written: {error.strerror}; {_remedy(error)}, or set LOOSH_HOME"
        ) from error


def _remedy(error: OSError) -> str:
    return "free space there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "make it writable"


def note_stopping(held: int) -> None:
    """Let whoever starts next know that the one that holds the directory, by this descriptor, is about to end."""
    with suppress(OSError):  # on a full disk the next one does not wait, and is started again
        os.write(held, b" stopping")


def _take(file: IO[str], home: Path, say: Callable[[str], object]) -> None:
    waits_for, deadline_s = "", time.monotonic() + TRY_FOR_S  # someone may be looking just now
    while not _locked(file, fcntl.LOCK_EX):
        pid, ending = _holder(file)
        if ending and ending != waits_for:
            within_s = ENDED_WITHIN_S if ending == KILLED else STOPPED_WITHIN_S
            say(f"a validator (process {pid}) {ending} in {home}; waiting until its processes have ended")
            waits_for, deadline_s = ending, time.monotonic() + within_s
        if time.monotonic() > deadline_s:
            raise ServiceError(_still_held(pid, ending, home))
        time.sleep(0.1)


def _still_held(pid: int | None, ending: str, home: Path) -> str:
    todo = f"stop it, or set LOOSH_HOME for another one than {home}"
    if ending == KILLED:
        return f"processes of a validator that was killed (process {pid}) still run in {home} already; {todo}"
    who = "a validator" if pid is None else f"a validator (process {pid})"
    return f"{who} runs in {home} already{', and does not stop' if ending else ''}; {todo}"


def _holder(file: IO[str]) -> tuple[int | None, str]:
    """The process that took the lock, None when it did not say yet who it is; and how it is ending, if it is."""
    file.seek(0)
    pid, _, noted = file.read().partition(" ")
    if not pid.isdecimal():
        return None, ""
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return int(pid), KILLED
    except PermissionError:  # it lives, as another user
        pass
    return int(pid), STOPPING if noted.startswith("stopping") else ""


def held_by(home: Path) -> int | None:
    """The process of the validator that runs in a data directory, None where none runs or it cannot be told."""
    try:
        with (home / FILE).open() as file:
            return None if _locked(file, fcntl.LOCK_SH) else _holder(file)[0]
    except OSError:
        return None


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
    except OSError:  # nobody can hold what cannot be opened; who wants to, fails with the reason
        return False


def _locked(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
