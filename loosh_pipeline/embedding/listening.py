"""The unix socket that an embedder listens on: its owner's alone, and one server's at a time."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loosh_pipeline.errors import ConfigError

BACKLOG = 512


@contextmanager
def unix_listener(path: Path) -> Iterator[socket.socket]:
    """A socket that listens at `path`, which is removed in the end. What a killed server left there is replaced.

    A lock file beside it, `PATH.lock`, tells a killed server from a living one. Raises ConfigError when one lives, when
    `path` is something else than a socket, or cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(path.name + ".lock").open("a")
    except OSError as error:
        raise ConfigError(f"cannot listen on the unix socket {path}: {error}") from error
    with lock, socket.socket(socket.AF_UNIX) as listener:
        _take(lock.fileno(), path)
        _remove_socket(path)
        _bind(listener, path)
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


def _take(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigError(f"an embedder listens on {path} already; stop it, or choose another path") from error


def _remove_socket(path: Path) -> None:
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise ConfigError(f"{path} is there and no socket; choose another path, or remove it")
    with socket.socket(socket.AF_UNIX) as caller:
        if caller.connect_ex(str(path)) == 0:
            raise ConfigError(f"another server listens on {path}; stop it, or choose another path")
    path.unlink()


def _bind(listener: socket.socket, path: Path) -> None:
    before = os.umask(0o177)  # from the first moment on, nobody else may connect
    try:
        listener.bind(str(path))
    except OSError as error:  # such as a path of more than 100 characters
        raise ConfigError(f"cannot listen on the unix socket {path}: {error}") from error
    finally:
        os.umask(before)
    listener.listen(BACKLOG)
