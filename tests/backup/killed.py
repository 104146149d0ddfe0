"""`python -m tests.backup.killed restore|backup BACKUP HOME`: do it again and again, and be killed one step later each
time; a line of JSON says what each left. Steps are those that Python's audit hooks tell of files and directories.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from loosh_pipeline.backup.places import Places
from loosh_pipeline.backup.restoring import UNFINISHED, check_backup, restore_backup
from loosh_pipeline.backup.taking import take_backup
from loosh_pipeline.errors import StoreError
from tests.backup.conftest import NOW

STEPS = (
    "open",
    "os.rename",
    "os.mkdir",
    "os.link",
    "os.remove",
    "os.rmdir",
    "os.chmod",
    "shutil.rmtree",
    "os.truncate",
)
MOST = 500


def main(what: str, backup: Path, home: Path) -> None:
    kept = home.with_name("kept")
    shutil.copytree(home, kept)
    for number in range(MOST):
        root = home.with_name("trial")
        shutil.copytree(kept, root / "loosh")
        places = Places.usual(root / "loosh")
        if what == "restore":
            killed = _killed_at(number, lambda places=places: _restore(backup, places))
            told = _restored(backup, places)
        else:
            target = root / "new.tar"
            killed = _killed_at(number, lambda places=places, target=target: take_backup(places, target, NOW))
            told = {"whole": _whole(target) if target.exists() else None}
        print(json.dumps(told), flush=True)
        shutil.rmtree(root)
        if not killed:
            return
    raise SystemExit(f"it takes more than {MOST} steps")


def _restore(backup: Path, places: Places) -> None:
    restore_backup(backup, places, NOW, force=True, say=lambda _: None)


def _killed_at(number: int, do: Callable[[], object]) -> bool:
    if (pid := os.fork()) == 0:
        seen = 0

        def hook(event: str, _arguments: Any) -> None:
            nonlocal seen
            if event in STEPS:
                if seen == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                seen += 1

        sys.addaudithook(hook)
        do()
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit(f"it failed when it was to be killed at step {number}")
    return os.WIFSIGNALED(status)


def _restored(backup: Path, places: Places) -> dict[str, object]:
    challenges = _challenges(places.home)
    whole = [path for path in places.home.parent.iterdir() if path == places.home or not (path / UNFINISHED).exists()]
    others = [_challenges(path) for path in whole if (path / "validator.db").exists()]
    told = {"challenges": challenges, "tables": sorted(path.stem for path in places.home.rglob("c-*.parquet"))}
    told["old_is_kept"] = ["c-1", "c-2", "c-3"] in others
    for path in places.home.parent.iterdir():  # of the same second
        if "before-restore" in path.name:
            path.rename(path.with_name("older"))
    _restore(backup, places)
    left = [path.name for path in places.home.parent.iterdir() if not (path / "validator.db").exists()]
    return {**told, "again": _challenges(places.home) == ["c-1", "c-2"] and left == []}


def _challenges(home: Path) -> list[str]:
    with closing(sqlite3.connect(home / "validator.db")) as connection:
        return [row[0] for row in connection.execute("SELECT id FROM challenges ORDER BY id")]


def _whole(path: Path) -> bool:
    try:
        check_backup(path)
    except StoreError:
        return False
    return True


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
