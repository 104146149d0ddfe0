"""One validator a data directory: two would ask every miner twice and both set weights.

The lock is the kernel's and ends with the process that holds it. The processes of a supervised validator are told
so by their environment; a `dagster dev` beside it sees the lock and only looks.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from loosh_pipeline.errors import ConfigError

SUPERVISED = "LOOSH_SUPERVISED"
"""Set for the processes that a supervisor with the lock has started."""
FILE = "validator.lock"
TRY_FOR_S = 2.0


@contextmanager
def validator_lock(home: Path) -> Iterator[None]:
    """Hold a data directory. Raises ConfigError when another validator does."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / FILE).open("a") as file:
        deadline_s = time.monotonic() + TRY_FOR_S  # someone may be looking just now
        while not _locked(file, fcntl.LOCK_EX):
            if time.monotonic() > deadline_s:
                raise ConfigError(f"a validator runs in {home} already; stop it, or set LOOSH_HOME for another one")
            time.sleep(0.1)
        yield


def only_looking(home: Path) -> str | None:
    """Why this process must start nothing here: a validator runs that it is no part of. None when it may."""
    path = home / FILE
    if os.environ.get(SUPERVISED) or not path.exists():
        return None
    with path.open() as file:
        if _locked(file, fcntl.LOCK_SH):
            return None
    return f"a validator runs in {home} (`loosh up`); this Dagster only looks at what it does"


def _locked(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
