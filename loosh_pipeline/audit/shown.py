"""The rounds that a bundle shows whole: whether they are those that were drawn, and score as their rows say."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from loosh_pipeline.audit.comparing import FROM_VECTORS, apart
from loosh_pipeline.audit.completeness import ms_of
from loosh_pipeline.audit.content import Acceptance, Content
from loosh_pipeline.audit.file import Level, Manifest
from loosh_pipeline.audit.leaves import digests_of, round_digest
from loosh_pipeline.audit.refusals import Altered, Unreadable
from loosh_pipeline.audit.report import Findings, How
from loosh_pipeline.audit.sealing import SAMPLE_ROUNDS, drawn
from loosh_pipeline.audit.seen import Seen
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.embedding.round_vectors import RoundVectors, VectorKey, text_sha256, texts_of, unpack
from loosh_pipeline.errors import LooshError
from loosh_pipeline.paid import settles
from loosh_pipeline.prompts import evaluated_prompt
from loosh_pipeline.scoring.columns import WindowColumns, columns_of
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.profiles import PROFILES
from loosh_pipeline.scoring.result import RoundScores
from loosh_pipeline.scoring.score import score

HASH = re.compile(r"0x[0-9a-f]{64}", re.ASCII)
OF_ROWS = ("words", "elapsed_ms", "relevance", "baseline")
OF_PAIRS = ("similarity", "meaning", "coverage", "coverage_back", "wording", "evidence", "same_address", "same_coldkey")


def verify_shown(manifest: Manifest, content: Content, block_hash: str | None, findings: Findings) -> None:
    """Whether exactly those rounds are shown that the level asks for.

    `block_hash`: of the block that draws, from whoever verifies: what a bundle says of it can be tried until it suits.
    """
    challenges, shown = content.window.columns.challenges, set(content.rounds)
    expected = set(challenges) if manifest.level is Level.FULL else set[ChallengeId]()
    if manifest.level is Level.SAMPLE:
        expected = _drawn(manifest, challenges, block_hash, findings)
    if missing := sorted(expected - shown):
        findings.unverifiable("rounds", f"{missing[0]} is to be shown whole, and is missing ({len(missing)} such)")
    if more := sorted(shown - expected):
        findings.mismatch("sample", f"{more[0]} is shown, and was not to be ({len(more)} such)")
    digests = content.window.inputs_digest
    if unknown := sum(not each for each in digests):
        findings.unverifiable("rounds", f"of {unknown} rounds no digest says what they were scored from")


def _drawn(
    manifest: Manifest, challenges: tuple[ChallengeId, ...], block_hash: str | None, findings: Findings
) -> set[ChallengeId]:
    sample, seal = manifest.sample, manifest.seal.seal
    if sample is None:
        findings.unverifiable("sample", "the bundle does not say which block drew its sample")
        return set()
    if sample.block != seal.sample_block:
        said = f"drawn by block {sample.block}; the seal of block {seal.sealed_block} names {seal.sample_block}"
        findings.mismatch("sample", said)
    if not HASH.fullmatch(sample.block_hash):
        findings.unverifiable("sample", f"{sample.block_hash[:70]!r} is no hash of a block")
    least = min(SAMPLE_ROUNDS, len(challenges))
    if sample.rounds < least:
        findings.unverifiable(
            "sample", f"{sample.rounds} of {len(challenges)} rounds; at least {least} are to be drawn"
        )
    told = f"{sample.rounds} of {len(challenges)} rounds were drawn by block {sample.block}"
    if block_hash is None and sample.rounds < len(challenges):
        said = f"{told}, whose hash is the bundle's own word, and could be chosen to draw what suits"
        findings.unverifiable("sample", f"{said}: give it from any node (--block-hash, or loosh audit verify --chain)")
    else:
        findings.done("sample", How.RECOMPUTED, told)
    return set(drawn(seal.root, sample.block_hash, challenges, max(sample.rounds, 0)))


def verify_rounds(manifest: Manifest, content: Content, seen: Seen, findings: Findings) -> Iterator[ChallengeId]:
    """Score what is shown once more; yields each challenge when it is done."""
    accepted = {each.challenge_id: each for each in content.acceptances}
    places = {challenge: place for place, challenge in enumerate(content.window.columns.challenges)}
    for challenge_id in content.rounds:
        about = (challenge_id, places[challenge_id], accepted.get(challenge_id), manifest.redacted)
        try:
            round_ = _Shown(content, *about)
            seen.note(round_.inputs)
            for said in seen.odd_vectors(round_.inputs):
                findings.mismatch("rounds", f"{challenge_id}: {said}")
            for said in round_.problems():
                findings.mismatch("rounds", f"{challenge_id}: {said}")
            for said in round_.scored_otherwise():
                findings.differs("scores", f"{challenge_id}: {said}")
        except Altered as error:
            findings.mismatch("rounds", f"{challenge_id}: {error}")
        except Unreadable as error:
            findings.unverifiable("rounds", f"{challenge_id}: {error}")
        yield challenge_id
    if len(seen.read) == len(content.rounds):
        _verify_used(content, seen.contexts, findings)


def _verify_used(content: Content, used: Counter[str], findings: Findings) -> None:
    """No context lies there that nothing was compared with."""
    if unused := sorted(set(content.contexts) - used.keys()):
        findings.unverifiable("file", f"context {unused[0]} belongs to no round that is shown ({len(unused)} such)")


class _Shown:
    """One round that is shown whole."""

    def __init__(
        self, content: Content, challenge_id: ChallengeId, place: int, accepted: Acceptance | None, redacted: bool
    ) -> None:
        self._content, self._place, self._accepted, self._redacted = content, place, accepted, redacted
        self._id, self.inputs = challenge_id, content.rounds[challenge_id]
        self._profile = PROFILES[content.terms.profile]()

    def problems(self) -> Iterator[str]:
        """Where it is not what was sealed, or contradicts itself."""
        inputs, window = self.inputs, self._content.window
        if self._redacted is not (inputs.digests is not None) or self._redacted is not (inputs.request is None):
            raise Unreadable("it is redacted in part, or not as the bundle says")
        stated, found = window.inputs_digest[self._place], round_digest(inputs)
        if stated and stated != found:
            yield f"what it was scored from has digest {found[:12]}…, and {stated[:12]}… was sealed"
        if inputs.challenge_id != self._id or any(each.challenge_id != self._id for each in inputs.responses):
            yield f"it is of challenge {inputs.challenge_id}"
        if ms_of(inputs.received_at) != int(window.at_ms[self._place]):
            yield f"it came at {inputs.received_at}, and its rows are of another time"
        if self._accepted is not None and self._accepted.request_sha256 != digests_of(inputs).request:
            yield "the request is not the one that was accepted"
        if not self._redacted:
            yield from self._texts()

    def _texts(self) -> Iterator[str]:
        inputs, request = self.inputs, dict(self.inputs.request or {})
        try:
            prompt = evaluated_prompt(request.get("prompt"), request.get("messages"))
        except (AttributeError, TypeError) as error:
            raise Unreadable(f"the request cannot be understood: {error}") from error
        if request.get("id") != self._id or prompt != inputs.prompt:
            yield "the request has another id or prompt"
        texts = texts_of(inputs.prompt, inputs.responses)
        expected = tuple((row.hotkey, row.kind, row.position, text_sha256(row.text)) for row in texts)
        if expected != inputs.keys:
            yield "the vectors are not those of the texts"

    def scored_otherwise(self) -> Iterator[str]:
        """Where the rows are not what scoring comes to."""
        window, inputs = self._content.window, self.inputs
        scorer = self._content.scorers.get(window.version[self._place])
        if scorer is None or scorer.model_digest != inputs.model_digest:
            yield f"its vectors are of model {inputs.model_digest[:12]}…, and its scorer of another"
            return
        context = self._context()
        if isinstance(context, str):
            raise Unreadable(context)
        if self._redacted and not settles(self._profile):
            raise Unreadable("the network's method reads sentences, which a redacted round has not")
        try:
            keys = tuple(VectorKey(*key) for key in inputs.keys)
            stored = RoundVectors(self._id, keys, inputs.vectors, inputs.model_digest)
            round_ = unpack(stored, inputs.prompt, inputs.responses)
            result = score(round_, context, self._profile, inputs.model_digest)
        except (LooshError, ValueError, ArithmeticError) as error:
            yield f"it cannot be scored: {error}"
            return
        yield from self._compared(result)

    def _context(self) -> ScoringContext | str:
        """What it is compared with beyond itself, or why that cannot be had."""
        digest, dim = self.inputs.context_digest, self.inputs.vectors.shape[1]
        found = self._content.contexts.get(digest)
        if found is None:
            empty = ScoringContext.empty(dim)
            return empty if empty.digest == digest else f"its context {digest[:12]}… is missing"
        if self._redacted:
            return found
        own = ScoringContext.of(found.rounds, found.document_frequency, found.background)
        return found if own.digest == digest else f"its context {digest[:12]}… has digest {own.digest[:12]}…"

    def _compared(self, result: RoundScores) -> Iterator[str]:
        found, window = columns_of((result,)), self._content.window
        order = np.argsort(found.miner, kind="stable")
        rows = np.flatnonzero(window.columns.round == self._place)
        names = [window.columns.hotkeys[miner] for miner in window.columns.miner[rows].tolist()]
        scores = [result.scores[row] for row in order.tolist()]
        if names != [each.hotkey for each in scores]:
            yield "others were asked than its rows say"
            return
        if [window.outcome[row] for row in rows.tolist()] != [each.outcome.value for each in scores]:
            yield "the outcomes are others"
        stated: dict[str, Any] = {name: getattr(window.columns, name)[rows] for name in OF_ROWS}
        computed: dict[str, Any] = {name: getattr(found, name)[order] for name in OF_ROWS}
        stated |= {"payout": window.payout[rows]}
        computed |= {"payout": [each.payout for each in scores]}
        if not self._redacted:
            stated |= {"measured": window.measured[rows]}
            computed |= {"measured": [each.measure is not None for each in scores]}
        yield from _differing(stated, computed, names)
        if not settles(self._profile):
            return
        if window.left_out[self._place]:
            yield f"it is left out for want of pairs, and all {len(found.pairs.round)} come out of what is shown"
        else:
            yield from self._pairs_compared(found, window.columns)

    def _pairs_compared(self, found: WindowColumns, stated: WindowColumns) -> Iterator[str]:
        rows = np.flatnonzero(stated.pairs.round == self._place)
        of_pairs = found.pairs
        order = np.lexsort((of_pairs.second, of_pairs.first))
        ours = [(found.hotkeys[i], found.hotkeys[j]) for i, j in _places(of_pairs, order)]
        theirs = [(stated.hotkeys[i], stated.hotkeys[j]) for i, j in _places(stated.pairs, rows)]
        if ours != theirs:
            yield "others were compared than its pairs say"
            return
        values = {name: getattr(stated.pairs, name)[rows] for name in OF_PAIRS}
        computed = {name: getattr(of_pairs, name)[order] for name in OF_PAIRS}
        yield from _differing(values, computed, [f"{one} and {other}" for one, other in ours])


def _places(pairs: Any, rows: Any) -> Iterator[tuple[int, int]]:
    return zip(pairs.first[rows].tolist(), pairs.second[rows].tolist(), strict=True)


def _differing(stated: dict[str, Any], found: dict[str, Any], names: list[str]) -> Iterator[str]:
    for name, values in stated.items():
        for place in np.flatnonzero(apart(values, found[name], FROM_VECTORS)).tolist():
            before, after = float(values[place]), float(found[name][place])
            yield f"{name} of {names[place]} is {before!r}, and comes to {after!r}"
