"""`python -m tests.faults.table < lines`: put the recovery times of `make faults` into docs/reliability.md."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

DOC = Path(__file__).parents[2] / "docs" / "reliability.md"
ROW = re.compile(r"^(\| `([a-z-]+)` \|.*\|)[^|]*\|$", re.MULTILINE)


def filled(text: str, found: dict[str, str]) -> str:
    """The document with the last cell of each fault's row replaced; rows without a line stay as they are.

    Raises KeyError for a fault without a row.
    """
    if missing := found.keys() - {row[2] for row in ROW.finditer(text)}:
        raise KeyError(f"no row for {', '.join(sorted(missing))}")
    return ROW.sub(lambda row: f"{row[1]} {found[row[2]]} |" if row[2] in found else row[0], text)


def main() -> None:
    lines = [json.loads(line) for line in sys.stdin]
    found = {line["fault"]: str(line.get("recovery_s", line.get("skipped", "failed"))) for line in lines}
    DOC.write_text(filled(DOC.read_text("utf-8"), found), "utf-8")


if __name__ == "__main__":
    main()
