"""What verifying a bundle found, for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from loosh_pipeline.audit.content import Epoch

MOST_PROBLEMS = 10
"""Of one part; of more, their number is told."""
SAID_CHARS = 300


class Verdict(StrEnum):
    """What a bundle is worth. Only `match` says that the weights follow from what it shows."""

    MATCH = "match"
    MISMATCH = "mismatch"
    UNVERIFIABLE = "unverifiable"

    @property
    def exit_code(self) -> int:
        return {"match": 0, "mismatch": 1, "unverifiable": 2}[self.value]


class How(StrEnum):
    """What was done about a part: worked out again from what lies below it; held against something else that was
    signed; or only read, as the validator states it.
    """

    RECOMPUTED = "recomputed"
    COMPARED = "compared"
    STATED = "as stated"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the epoch and what was done about it."""

    name: str
    how: How
    said: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Why it is no match: in which part, and what, with the values."""

    part: str
    verdict: Verdict
    said: str


@dataclass(frozen=True, slots=True)
class Report:
    """`parts`: in the order of the work; one with problems may be missing. `beyond`: what this does not show, and why.
    `believe`: what may be believed now, in a sentence.

    `epoch`: None where it could not be read.
    """

    verdict: Verdict
    level: str
    epoch: Epoch | None
    root: str
    release: str
    parts: tuple[Part, ...]
    problems: tuple[Problem, ...]
    beyond: tuple[str, ...]
    believe: str

    @property
    def exit_code(self) -> int:
        return self.verdict.exit_code


@dataclass(slots=True)
class Findings:
    """What is found while verifying. `other_release`: the program that made the bundle, where it is not this one. It is
    told with every figure that comes out otherwise, and excuses none: whether two releases score alike is said by the
    scoring code's version, which is compared before.
    """

    other_release: str = ""
    parts: list[Part] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    beyond: list[str] = field(default_factory=list)
    believe: str = ""
    _counts: dict[tuple[str, Verdict], int] = field(default_factory=dict)

    def done(self, name: str, how: How, said: str) -> None:
        self.parts.append(Part(name, how, _short(said)))

    def mismatch(self, part: str, said: str) -> None:
        """Something differs from what was signed, or contradicts it."""
        self._add(part, Verdict.MISMATCH, said)

    def unverifiable(self, part: str, said: str) -> None:
        """Something is missing, or cannot be told."""
        self._add(part, Verdict.UNVERIFIABLE, said)

    def differs(self, part: str, said: str) -> None:
        """A figure comes out otherwise."""
        if self.other_release:
            said = f"{said}; it says that release {self.other_release} made it, verify it with that too"
        self._add(part, Verdict.MISMATCH, said)

    def _add(self, part: str, verdict: Verdict, said: str) -> None:
        count = self._counts[part, verdict] = self._counts.get((part, verdict), 0) + 1
        if count <= MOST_PROBLEMS:
            self.problems.append(Problem(part, verdict, _short(said)))

    @property
    def found(self) -> int:
        """How many problems so far."""
        return sum(self._counts.values())

    def all_parts(self) -> tuple[Part, ...]:
        """What was done; that something was worked out or compared is not said of a part that has problems."""
        odd = {part for part, _ in self._counts}
        return tuple(each for each in self.parts if each.how is How.STATED or each.name not in odd)

    @property
    def verdict(self) -> Verdict:
        """The worst of all: what differs counts before what cannot be told."""
        found = {verdict for _, verdict in self._counts}
        return next((each for each in (Verdict.MISMATCH, Verdict.UNVERIFIABLE) if each in found), Verdict.MATCH)

    def all_problems(self) -> tuple[Problem, ...]:
        """Those that were kept, and how many more there are."""
        more = [
            Problem(part, verdict, f"and {count - MOST_PROBLEMS} more of {part}")
            for (part, verdict), count in self._counts.items()
            if count > MOST_PROBLEMS
        ]
        return (*self.problems, *more)


def _short(said: str) -> str:
    """In one line of characters that a terminal shows as they are: a hostile bundle says what it likes."""
    plainly = "".join(char if char.isprintable() else "?" for char in said)
    return plainly if len(plainly) <= SAID_CHARS else f"{plainly[:SAID_CHARS]}…"


def told(report: Report) -> str:
    """A report for people."""
    lines = [f"{report.verdict}: {_about(report)}"]
    if report.parts:
        lines.append("")
    lines += [f"  {each.how:<10}  {each.name}: {each.said}" for each in report.parts]
    if report.problems:
        lines += ["", "why it is no match:"]
        lines += [f"  {each.verdict:<12}  {each.part}: {each.said}" for each in report.problems]
    if report.beyond:
        lines += ["", "what this does not show:", *(f"  {each}" for each in report.beyond)]
    lines += ["", f"to be believed now: {report.believe}"]
    return "\n".join(lines)


def _about(report: Report) -> str:
    epoch = report.epoch
    if epoch is None:
        return "the bundle could not be read"
    whose = f"weights {epoch.number} of {_short(epoch.validator)} on subnet {epoch.netuid}"
    return f"{whose}, set {epoch.submitted_at:%Y-%m-%d %H:%M:%S} UTC at block {epoch.block}; level {report.level}"
