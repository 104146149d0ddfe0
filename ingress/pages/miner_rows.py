"""The table of all miners: its columns, and how it is sorted and filtered. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from ingress.pages.choices import chosen
from loosh_pipeline.audit.miners import MinerLine

ASCENDING, DESCENDING = "asc", "desc"
ORDERS = (ASCENDING, DESCENDING)
BY_DEFAULT = "weight"
SHOWN: Mapping[str, str] = {
    "": "all",
    "weight": "with a weight",
    "flagged": "flagged (one source, or penalised)",
    "not_asked": "not asked",
}
"""Which miners may be asked for, and how that is called."""


@dataclass(frozen=True, slots=True)
class MinerRow:
    """A line, and its weights in the epochs up to this one, the oldest first, 0 where it had none."""

    line: MinerLine
    weights: tuple[float, ...]

    @property
    def change(self) -> float | None:
        """To the epoch before; None where there is none."""
        return self.weights[-1] - self.weights[-2] if len(self.weights) > 1 else None


@dataclass(frozen=True, slots=True)
class Column:
    """`value`: what it is sorted by, None last. `down`: whether the largest comes first when it is chosen."""

    title: str
    about: str
    value: Callable[[MinerRow], float | str | None]
    down: bool = True
    wide: bool = False
    number: bool = True


def _of(name: str) -> Callable[[MinerRow], float | None]:
    return lambda row: None if row.line.emission is None else getattr(row.line.emission, name)


COLUMNS: Mapping[str, Column] = {
    "uid": Column("uid", "its slot on the subnet", lambda row: row.line.uid, down=False),
    "hotkey": Column("miner", "its hotkey", lambda row: row.line.hotkey, down=False, number=False),
    "weight": Column("weight", "what was submitted for it, of all; its rank", lambda row: row.line.weight),
    "trend": Column(
        "trend", "its weights in the last epochs, and the change to the one before in points",
        lambda row: row.change, wide=True, number=False,
    ),
    "asked": Column("asked", "rounds in which it was asked", _of("asked"), wide=True),
    "answered": Column("answered", "asks that it answered", _of("answered"), wide=True),
    "unpaid": Column(
        "paid nothing", "asks that were paid nothing, by why", lambda row: row.line.unpaid, number=False
    ),
    "payout": Column(
        "mean payout", "of its settled pay over all asks, 0 for a failed one, newer ones count more", _of("mean_payout")
    ),
    "ramp": Column("ramp", "how much of full evidence its rounds are; of a new miner it grows", _of("ramp"), wide=True),
    "coverage": Column("coverage", "how much of the time it was there", _of("coverage"), wide=True),
    "emission": Column("emission", "mean payout times ramp times coverage", _of("emission"), wide=True),
    "rules": Column(
        "note", "rules of the policy that acted on it, or why it has no weight", lambda row: len(row.line.acts),
        number=False,
    ),
    "source": Column(
        "source", "miners with one letter count for one source, which is paid once",
        lambda row: row.line.group or None, down=False, number=False,
    ),
}  # fmt: skip
"""By the names by which an address asks for them."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for. Raises HTTPException 422 that says what is possible."""

    sort: str
    order: str
    show: str
    q: str

    @classmethod
    def of(cls, sort: str, order: str, show: str, q: str) -> Asked:
        sort = chosen("sort", sort or BY_DEFAULT, COLUMNS)
        order = chosen("order", order or (DESCENDING if COLUMNS[sort].down else ASCENDING), ORDERS)
        return cls(sort, order, chosen("show", show, SHOWN), q.strip())

    def rows(self, rows: Sequence[MinerRow]) -> list[MinerRow]:
        """Those that are asked for, in their order; equals by hotkey."""
        found = sorted((row for row in rows if self._wants(row.line)), key=lambda row: row.line.hotkey)
        value = COLUMNS[self.sort].value
        known = [row for row in found if value(row) is not None]
        known.sort(key=lambda row: value(row) or 0, reverse=self.order == DESCENDING)
        return known + [row for row in found if value(row) is None]

    def _wants(self, line: MinerLine) -> bool:
        kind = {"weight": line.weight > 0, "flagged": line.flagged, "not_asked": line.emission is None}
        if not kind.get(self.show, True):
            return False
        return not self.q or line.hotkey.startswith(self.q) or (self.q.isdigit() and str(line.uid) == self.q)


@dataclass(frozen=True, slots=True)
class Heading:
    """A column as its heading shows it: where a click leads, and how the table is sorted by it, empty if it is not."""

    name: str
    column: Column
    query: str
    sorted_: str


def headings(asked: Asked, epoch: int) -> list[Heading]:
    """A click sorts by a column, and turns the order of the one that it is sorted by."""
    kept = {"epoch": epoch, "show": asked.show, "q": asked.q}
    return [
        _heading(name, column, asked, {k: v for k, v in kept.items() if v != ""}) for name, column in COLUMNS.items()
    ]


def _heading(name: str, column: Column, asked: Asked, kept: Mapping[str, object]) -> Heading:
    first, other = (DESCENDING, ASCENDING) if column.down else (ASCENDING, DESCENDING)
    is_it = name == asked.sort
    order = other if is_it and asked.order == first else first
    words = {ASCENDING: "ascending", DESCENDING: "descending"}
    return Heading(name, column, urlencode({**kept, "sort": name, "order": order}), words[asked.order] if is_it else "")
