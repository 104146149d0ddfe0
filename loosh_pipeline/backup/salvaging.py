"""`python -m loosh_pipeline.backup.salvaging OLD NEW`: tables of one directory that another lacks, copied there.

Parts of two directories have the same names and hold other tables, so files cannot be copied. This goes by tables; none
that is there already is replaced. Killed, it goes on where it was when it is called again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from loosh_pipeline.store.tables import Tables
from loosh_pipeline.store.window_cache import CACHE


def copy_missing(old: Tables, new: Tables) -> int:
    """How many tables were copied. Raises StoreError that names one which cannot be read."""
    copied = 0
    for asset in (each for each in old.assets() if each != CACHE):
        for day in old.days(asset):
            there = {each.name for each in new.files(asset, day)}
            for key, frame in old.each(asset, day):
                if key.file not in there:
                    copied += not new.write_once(asset, key, frame).existed
    return copied


def main(arguments: Sequence[str]) -> None:
    old, new = map(Path, arguments)
    for each in (old, new):
        if not each.is_dir():
            raise SystemExit(f"there is no directory {each}; name that of the tables")
    print(f"{copy_missing(Tables(str(old)), Tables(str(new)))} tables were copied")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: python -m loosh_pipeline.backup.salvaging OLD NEW")
    main(sys.argv[1:])
