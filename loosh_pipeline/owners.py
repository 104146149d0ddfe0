"""Whose a path is, and what to do for who may not use it: rarely to take it from its owner."""

from __future__ import annotations

import os
import pwd
from pathlib import Path


def user_named(uid: int) -> str:
    """The name of a user; `uid N` for one that this machine has no name for."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def barrier(path: Path) -> Path:
    """The path, or where this user cannot see so far, the nearest one above it that can be seen."""
    path = Path(os.path.abspath(path))  # without following links: one may be what is wrong
    return next((each for each in (path, *path.parents) if os.path.lexists(each)), Path("/"))


def when_denied(path: Path) -> str:
    """What to do about a path that this user may not use."""
    at = barrier(path)
    owner, own = at.lstat().st_uid, os.geteuid()
    if owner == own:
        return f"let its owner use it: `chmod u+rwX {at}`"
    if owner == 0:
        return f"{at} is root's: have root give {path} to {user_named(own)}, or set another path"
    return f"run it as {user_named(owner)}, whose {at} is"
