"""A sealed epoch as a bundle: what its seal was made over, and the rounds that are to be shown."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
from sqlalchemy import Engine

from loosh_pipeline.audit.content import Content, RoundInputs
from loosh_pipeline.audit.file import Level, Manifest, write
from loosh_pipeline.audit.gathering import Remembered, content_of
from loosh_pipeline.audit.leaves import round_digest
from loosh_pipeline.audit.redacting import Redaction
from loosh_pipeline.audit.sealing import Sample, SignedSeal, Signs, drawn, part_roots
from loosh_pipeline.chain.records import SubmissionRow
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.errors import StoreError
from loosh_pipeline.rescoring.rounds import StoredRound
from loosh_pipeline.rescoring.scoring import inputs_of
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.store.contexts import Contexts
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.score_tables import SCORES
from loosh_pipeline.store.seals import KeptSeal
from loosh_pipeline.store.tables import TableKey, Tables

KEY_BYTES = 32
SHOWN_FROM = {"challenge_id": pl.String, "context_digest": pl.String}

Progress = Callable[[], object]
"""Called for every round that is written."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """How much of the rounds is shown: of `SAMPLE` those that a block drew, of `ROWS` none, of `FULL` all."""

    level: Level
    sample: Sample | None = None
    redacted: bool = False


def sealed_content(tables: Tables, inbox: Engine, row: SubmissionRow, kept: KeptSeal) -> Content:
    """What a seal was made over, gathered again.

    Raises StoreError that names what is not any more what was sealed: then no bundle can be made that is true.
    """
    seal = kept.signed.seal
    remembered = Remembered(seal.epoch, seal.parts["challenges"].leaves, kept.became)
    content = content_of(tables, inbox, row, remembered)
    found = part_roots(content)
    if changed := sorted(name for name in seal.parts if found.get(name) != seal.parts[name]):
        raise StoreError(
            f"of submission {row.id}, {', '.join(changed)} are not what was sealed at {seal.sealed_at:%Y-%m-%d %H:%M}; "
            "stored rows were written over since (`replace` of a rescoring, or a restored backup)"
        )
    return content


def export(
    path: Path,
    tables: Tables,
    inbox: Inbox,
    row: SubmissionRow,
    kept: KeptSeal,
    signer: Signs,
    wanted: Wanted,
    progress: Progress = lambda: None,
) -> Manifest:
    """Write the bundle of a sealed submission.

    Raises StoreError where something of it is not there any more, or not what was sealed, and ScoringError for a text
    that cannot be redacted.
    """
    content = sealed_content(tables, inbox.engine, row, kept)
    shown = _shown(content, kept.signed, wanted)
    redaction = Redaction(secrets.token_bytes(KEY_BYTES)) if wanted.redacted else None
    rounds = ShownRounds(tables, inbox, content, shown, redaction, progress)
    contexts = rounds.contexts()
    if redaction is not None:
        contexts = {digest: redaction.context(each) for digest, each in contexts.items()}
    whole = replace(content, rounds=rounds, contexts=contexts)
    return write(path, whole, kept.signed, signer, wanted.level, sample=wanted.sample, redacted=wanted.redacted)


def _shown(content: Content, sealed: SignedSeal, wanted: Wanted) -> tuple[ChallengeId, ...]:
    challenges = content.window.columns.challenges
    if wanted.level is Level.SAMPLE:
        assert wanted.sample is not None
        return drawn(sealed.seal.root, wanted.sample.block_hash, challenges, wanted.sample.rounds)
    return challenges if wanted.level is Level.FULL else ()


class ShownRounds(Mapping[ChallengeId, RoundInputs]):
    """Rounds by challenge, each read when it is asked for: all of a day would not fit into memory."""

    def __init__(
        self,
        tables: Tables,
        inbox: Inbox,
        content: Content,
        shown: Sequence[ChallengeId],
        redaction: Redaction | None = None,
        progress: Progress = lambda: None,
    ) -> None:
        self._tables, self._inbox, self._redaction, self._progress = tables, inbox, redaction, progress
        columns = content.window.columns
        place = {challenge: i for i, challenge in enumerate(columns.challenges)}
        self._digests = {each: content.window.inputs_digest[place[each]] for each in shown}
        self._versions = {each: content.window.version[place[each]] for each in shown}
        self._day = {each: _utc(int(content.window.at_ms[place[each]])) for each in shown}
        self._contexts = self._context_digests()

    def __len__(self) -> int:
        return len(self._digests)

    def __iter__(self) -> Iterator[ChallengeId]:
        return iter(self._digests)

    def __getitem__(self, challenge: ChallengeId) -> RoundInputs:
        """Raises StoreError for a round that is not there any more, or not what was scored."""
        stored = self._stored(challenge)
        inputs = inputs_of(stored, self._contexts[challenge])
        if (sealed := self._digests[challenge]) and round_digest(inputs) != sealed:
            raise StoreError(f"what challenge {challenge} was scored from is not what lies in its tables now")
        self._progress()
        return inputs if self._redaction is None else self._redaction.round(inputs)

    def contexts(self) -> dict[str, ScoringContext]:
        """The contexts that these rounds were given, by digest. Raises StoreError for one that is gone."""
        found: dict[str, ScoringContext] = {}
        stored = Contexts(self._tables)
        for challenge, digest in self._contexts.items():
            if digest in found:
                continue
            vectors = self._tables.read("embeddings", self._key(challenge))
            dim = len(vectors["vector"][0]) // 2
            context = stored.at(self._inbox.get(challenge).received_at, vectors["model_digest"][0], dim)
            if context.digest != digest:
                raise StoreError(f"the scoring context {digest[:12]}… of challenge {challenge} is not there any more")
            found[digest] = context
        return found

    def _key(self, challenge: ChallengeId, version: str = "") -> TableKey:
        return TableKey.of(challenge, self._day[challenge], version)

    def _stored(self, challenge: ChallengeId) -> StoredRound:
        row, key = self._inbox.get(challenge), self._key(challenge)
        responses, vectors = (self._tables.read(asset, key) for asset in ("miner_responses", "embeddings"))
        return StoredRound(row.id, row.received_at, row.request, row.challenge().prompt, responses, vectors)

    def _context_digests(self) -> dict[ChallengeId, str]:
        """Of each round, from the rows of the version that counted, a day at a time."""
        files: dict[date, list[str]] = {}
        for challenge, version in self._versions.items():
            key = self._key(challenge, version)
            files.setdefault(key.day, []).append(key.file)
        said: dict[str, str] = {}
        for day, names in files.items():
            said |= dict(self._tables.read_files(SCORES, day, names, SHOWN_FROM).drop("file").unique().iter_rows())
        return {challenge: said[challenge] for challenge in self._digests}


def _utc(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
