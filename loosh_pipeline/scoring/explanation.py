"""Why a miner was paid what it was paid in one round, as a value and as sentences for the one who runs it.

`explain.explain` makes it. The sentences are made of figures, hotkeys and fixed words alone, never of what a miner
wrote.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from loosh_pipeline.domain import ChallengeId, Hotkey, Outcome
from loosh_pipeline.scoring.admission import (
    ELAPSED_NEGATIVE,
    ELAPSED_NOT_FINITE,
    EMBEDDING_NOT_FINITE,
    EMBEDDING_ZERO,
    NO_AGREEMENT,
    NOT_EMBEDDED,
    OFF_TOPIC,
)
from loosh_pipeline.scoring.network.profile import NetworkProfile
from loosh_pipeline.scoring.network.removals import IRRELEVANT, LOW_QUALITY, MINOR_CLUSTER, OUTDONE, OUTLIER
from loosh_pipeline.scoring.pairs import PairHistory
from loosh_pipeline.scoring.result import Measure, RoundMeasure, Score
from loosh_pipeline.scoring.text import TEST_MODE
from loosh_pipeline.scoring.window import SettledScore

SHOWN_PEERS = 3
SHOWN_COPIES = 3

REASONS: Mapping[str, str] = {
    Outcome.EMPTY: "the answer had no words",
    Outcome.TIMEOUT: "no answer came in time",
    Outcome.UNREACHABLE: "the miner could not be reached",
    Outcome.REFUSED: "the miner refused the request",
    Outcome.RATE_LIMITED: "the miner said that it was asked too often",
    Outcome.UNAVAILABLE: "the miner said that it was not available",
    Outcome.HANDSHAKE_FAILED: "no encrypted session could be agreed on",
    Outcome.UNDECRYPTABLE: "the answer could not be decrypted",
    Outcome.MALFORMED: "the answer was not of the form asked for",
    Outcome.TOO_LARGE: "the answer was larger than is read",
    Outcome.BAD_ADDRESS: "the miner serves no usable address",
    NOT_EMBEDDED: "the answer has no vectors to compare",
    EMBEDDING_NOT_FINITE: "the answer's vectors are not numbers",
    EMBEDDING_ZERO: "the answer's vectors have no direction",
    ELAPSED_NOT_FINITE: "its time is not a number",
    ELAPSED_NEGATIVE: "its time is negative",
    OFF_TOPIC: "the answer is not about the question",
    TEST_MODE: "the miner said that it was in test mode",
    NO_AGREEMENT: "the answer agrees with none of the peers",
    "not_measurable": "its vectors or its time cannot be used",
}
REMOVED: Mapping[str, str] = {
    LOW_QUALITY: "its quality was too low",
    OUTLIER: "it was unlike its nearest peers",
    OUTDONE: "those unlike it were better",
    MINOR_CLUSTER: "most answers formed another group",
    TEST_MODE: "it said it was in test mode",
    IRRELEVANT: "it was not about the question",
}


@dataclass(frozen=True, slots=True)
class Gate:
    """A figure with a threshold. `pays`: whether failing it costs the pay; None where it was not measured."""

    name: str
    value: float | None
    threshold: float
    margin: float | None
    pays: bool


@dataclass(frozen=True, slots=True)
class View:
    """One of meaning, coverage and wording: what the peers find in the answer, and in the others on average."""

    name: str
    value: float
    average: float
    weight: float
    """Its part in agreement; the three sum to 1."""

    @property
    def shortfall(self) -> float:
        return self.average - self.value


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer whose vote counted: its weight, its part of all the votes heard, and how like the answer is to its own."""

    hotkey: Hotkey
    weight: float
    part: float
    meaning: float
    coverage: float
    """How much of what the peer says the answer says too, before length is taken into account."""
    wording: float


@dataclass(frozen=True, slots=True)
class Copy:
    """Someone the answer is taken to have its words from, or to share a source with. Who was first is not known."""

    hotkey: Hotkey
    degree: float
    """In (0, 1]; at 1 the two count as one answer."""
    wording: float
    history: PairHistory | None
    """What the window says of the two; None without a settlement."""
    same_address: bool
    same_coldkey: bool


class Change(StrEnum):
    """What a `WhatIf` changes, everything else left as it was."""

    NOT_A_COPY = "not_a_copy"
    """It shares no pay with one copy. What copies say of it stays unheard, as no one knows how it would else read."""
    NO_COPIES = "no_copies"
    RELEVANT = "relevant"
    MEDIAN_TIME = "median_time"
    MEANING = "meaning"
    COVERAGE = "coverage"
    WORDING = "wording"
    ALL_VIEWS = "all_views"
    ANSWERED = "answered"
    """Not a change of the answer: what the answers that were scored earned on average."""
    IN_CONSENSUS = "in_consensus"
    AVERAGE_TIME = "average_time"


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The payout after one change. `assumed`: the figure it would have had; `peer`: with whom it shares no pay."""

    change: Change
    payout: float
    assumed: float | None = None
    peer: Hotkey | None = None


@dataclass(frozen=True, slots=True)
class EmissionParts:
    """Factors of a payout of the network's existing method: their product is the emission."""

    time_share: float
    consensus_score: float
    consensus_factor: float
    top_factor: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that led to one payout.

    `row` is the stored row, with every signal and what the network's existing method found. `payout` is what counts:
    settled where a settlement was given, and then so are `agreement` … `peers`. `what_ifs` are payouts found by
    judging the round again. Figures are None, and tuples empty, where the profile or the answer has none.
    """

    challenge_id: ChallengeId
    hotkey: Hotkey
    profile: str
    row: Score
    round_measure: RoundMeasure | None
    settled: SettledScore | None
    payout: float
    rank: int
    """1 for the largest payout of the round; equals share one."""
    asked: int
    gates: tuple[Gate, ...]
    reason: str
    """Why it was paid nothing, as in the row, or as found within the window; empty when it was scored."""
    agreement: float | None = None
    score: float = 0.0
    typical_score: float = 0.0
    share: float = 0.0
    votes: float = 0.0
    vote_weight: float = 0.0
    speed_factor: float = 1.0
    median_elapsed_ms: float | None = None
    typical_relevance: float | None = None
    views: tuple[View, ...] = ()
    peers: tuple[Peer, ...] = ()
    """The loudest first."""
    copies: tuple[Copy, ...] = ()
    """The surest first."""
    emission: EmissionParts | None = None
    what_ifs: tuple[WhatIf, ...] = ()

    def text(self) -> str:
        """At most 25 lines of plain sentences; other hotkeys are cut to their first 8 characters."""
        return "\n".join([*_pay_lines(self), *_finding_lines(self), *_network_lines(self), *_change_lines(self)])


def short(hotkey: Hotkey) -> str:
    """The first 8 characters of a hotkey, as every text here names a peer."""
    return f"{hotkey[:8]}…" if len(hotkey) > 9 else hotkey


def _pay_lines(of: Explanation) -> Iterator[str]:
    unit = "" if of.profile == NetworkProfile.name else " 1 is what an average independent answer earns."
    rank = f"rank {of.rank} of {of.asked} asked"
    yield f"Challenge {of.challenge_id}: {of.hotkey} was paid {of.payout:.2f}, {rank}.{unit}"
    if of.settled:
        yield f"This is the settled pay, given the other rounds; the round by itself paid {of.row.payout:.2f}."
    if of.reason:
        yield f"It was paid nothing because {REASONS.get(of.reason, of.reason.replace('_', ' '))}."


def _finding_lines(of: Explanation) -> Iterator[str]:
    yield from (_gate_line(gate, of) for gate in of.gates if gate.name == "relevance" and gate.value is not None)
    yield from _view_lines(of)
    yield from _score_lines(of)
    yield from _vote_lines(of)
    yield from _copy_lines(of)


def _gate_line(gate: Gate, of: Explanation) -> str:
    margin = gate.margin or 0.0
    verdict = "passed" if margin >= 0 else "failed"
    lowered = ", lowered by its record in other rounds," if of.settled and _lowered(gate, of.row) else ""
    return (
        f"Relevance {gate.value:.2f}, its likeness to the question, {verdict} the gate of {gate.threshold:.2f}"
        f"{lowered} by {abs(margin):.2f}{_typical(of)}."
    )


def _lowered(gate: Gate, row: Score) -> bool:
    return row.relevance_gate is not None and gate.threshold < row.relevance_gate


def _typical(of: Explanation) -> str:
    return "" if of.typical_relevance is None else f"; the others typically had {of.typical_relevance:.2f}"


MEANS = {
    "meaning": "how far it means what the peers mean, beyond the question",
    "coverage": "how much of what the peers say it says too, at equal length",
    "wording": "how far it uses the peers' words",
}


def _view_lines(of: Explanation) -> Iterator[str]:
    for view in of.views:
        side = "below" if view.shortfall > 0 else "above"
        yield (
            f"{view.name.capitalize()} {view.value:.2f}, {MEANS[view.name]}: "
            f"{abs(view.shortfall):.2f} {side} the others' average of {view.average:.2f}."
        )


def _score_lines(of: Explanation) -> Iterator[str]:
    if of.agreement is None:
        return
    baseline = of.row.baseline or 0.0
    yield (
        f"Agreement {of.agreement:.2f} sums these up, less a part of its likeness to answers of other questions "
        f"({baseline:.2f})."
    )
    if of.reason:
        return
    yield (
        f"Its score, agreement raised to a power times speed, was {of.score:.4g}; "
        f"a score of {of.typical_score:.4g} earns 1."
    )
    if of.row.elapsed_ms is not None and of.median_elapsed_ms is not None:
        yield (
            f"It took {_seconds(of.row.elapsed_ms)}, the median was {_seconds(of.median_elapsed_ms)}: "
            f"speed changed the score by {of.speed_factor - 1:+.1%}."
        )


def _vote_lines(of: Explanation) -> Iterator[str]:
    if of.agreement is None:
        return
    if of.peers:
        named = ", ".join(f"{short(peer.hotkey)} ({peer.part:.0%})" for peer in of.peers[:SHOWN_PEERS])
        yield f"Votes of {len(of.peers)} peers counted, {of.votes:.2f} in all; most of it from {named}."
    else:
        yield "No independent peer's vote counted, so its agreement is a neutral figure."
    trust = f", with a factor of {of.settled.trust:.2f} for its record in other rounds" if of.settled else ""
    yield f"Its own vote on the others weighed {of.vote_weight:.2f}{trust}."


def _copy_lines(of: Explanation) -> Iterator[str]:
    for copy in of.copies[:SHOWN_COPIES]:
        history = ""
        if copy.history and copy.history.rounds > 1 and copy.history.wording is not None:
            history = f", {copy.history.wording:.2f} on average over {copy.history.rounds} rounds"
        shared = [name for name, same in (("address", copy.same_address), ("coldkey", copy.same_coldkey)) if same]
        place = f" They share {' and '.join(shared)}." if shared else ""
        yield (
            f"It is taken for one source with {short(copy.hotkey)} to {copy.degree:.0%}: "
            f"their wording is {copy.wording:.2f} alike{history}.{place}"
        )
    if len(of.copies) > SHOWN_COPIES:
        yield f"The same holds, less surely, for {len(of.copies) - SHOWN_COPIES} more."
    if of.copies and not of.reason:
        yield f"One source is paid once, so its part of the pay is {of.share:.0%}. Who was first is not known."


def _network_lines(of: Explanation) -> Iterator[str]:
    found = of.row.measure
    if found is None:
        return
    pays = of.profile == NetworkProfile.name
    consensus = (
        "in consensus"
        if found.in_consensus
        else (f"out of consensus because {REMOVED.get(found.removed_by, 'it was the only answer')}")
    )
    quality = (
        "" if found.quality is None else f"quality {found.quality:.2f} (threshold {found.quality_threshold:.2f}), "
    )
    yield f"The network's existing method found it: {quality}{consensus}{'' if pays else _would_pay(found)}."
    signals = _signals(found)
    if signals:
        yield f"Its signals, each from 0 to 1: {signals}."
    if of.emission:
        part = of.emission
        yield (
            f"Pay = time share {part.time_share:.3f} (1 less its part of all the time taken) · consensus score "
            f"{part.consensus_score:.3f} · {part.consensus_factor:.2f} (for consensus) · {part.top_factor:.3f} (for "
            "the best composite)."
        )
    elif pays and of.round_measure and of.round_measure.consensus_score <= 0:
        yield "Fewer than two answers were good enough to agree, so the consensus score is 0 and nobody was paid."


def _would_pay(found: Measure) -> str:
    return f"; it does not pay here, and would have paid {found.emission:.2f}"


def _signals(found: Measure) -> str:
    named = {
        "relevance": found.signal_relevance,
        "coherence": found.signal_coherence,
        "coverage": found.signal_coverage,
        "complexity": found.signal_complexity,
        "density": found.signal_density,
        "specificity": found.signal_specificity,
        "composite": found.composite,
    }
    return ", ".join(f"{name} {value:.2f}" for name, value in named.items() if value is not None)


def _change_lines(of: Explanation) -> Iterator[str]:
    yield "What would have changed it, everything else left as it was:"
    shown = [each for each in of.what_ifs if each.change is not Change.NOT_A_COPY][:4]
    singles = [each for each in of.what_ifs if each.change is Change.NOT_A_COPY][:SHOWN_COPIES]
    for each in (*singles, *shown):
        yield f"- {_change(each, of)}"
    if of.views and not any(view.shortfall > 0 for view in of.views):
        yield "- Meaning, coverage and wording are all at the others' average or above."
    elif not of.what_ifs:
        yield "- Nothing that can be computed from this round."


def _change(each: WhatIf, of: Explanation) -> str:
    assumed = each.assumed or 0.0
    # adding 0 turns the -0 of a small loss into 0
    change = f"{each.payout:.2f} ({round(each.payout - of.payout, 2) + 0.0:+.2f})"
    return {
        Change.NOT_A_COPY: f"sharing no pay with {short(each.peer or of.hotkey)}: {change}.",
        Change.NO_COPIES: f"sharing no pay with any of these: {change}.",
        Change.RELEVANT: f"with a relevance of {assumed:.2f}, just enough to pass the gate: {change}.",
        Change.MEDIAN_TIME: f"in the median time of {_seconds(assumed)}: {change}.",
        Change.ALL_VIEWS: f"with meaning, coverage and wording at least at the others' average: {change}.",
        Change.ANSWERED: f"an answer: those that were scored earned {each.payout:.2f} on average.",
        Change.IN_CONSENSUS: f"in consensus, at the same consensus score: {change}.",
        Change.AVERAGE_TIME: f"in the average time, a time share of {assumed:.3f}: {change}.",
    }.get(each.change, f"with {each.change}, its farthest below, at the others' average of {assumed:.2f}: {change}.")


def _seconds(milliseconds: float) -> str:
    return f"{milliseconds / 1000:.2f} s"
