"""Bundles out of a validator's store, verified as a stranger does."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from loosh_pipeline.audit.content import RoundInputs
from loosh_pipeline.audit.exporting import ShownRounds, Wanted, export
from loosh_pipeline.audit.file import Level, read
from loosh_pipeline.audit.gathering import content_of
from loosh_pipeline.audit.leaves import round_digest
from loosh_pipeline.audit.redacting import Redaction
from loosh_pipeline.audit.report import Verdict
from loosh_pipeline.audit.sealing import SAMPLE_ROUNDS, Sample
from loosh_pipeline.audit.verify import verify
from loosh_pipeline.domain import Block, ChallengeId
from loosh_pipeline.errors import ScoringError, StoreError
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.function_words import FUNCTION_WORDS
from loosh_pipeline.scoring.text import MAX_CHARS, words
from loosh_pipeline.store.score_tables import SCORES
from loosh_pipeline.store.seals import KeptSeal, seal_of_submission
from tests.audit.store.conftest import ROUNDS
from tests.builders import response
from tests.world import World, newest_submission


def kept_seal(world: World) -> KeptSeal:
    found = seal_of_submission(world.store.tables, newest_submission(world))
    assert found is not None
    return found


def exported(world: World, path: Path, wanted: Wanted) -> Path:
    store = world.store
    export(path, store.tables, store.inbox, newest_submission(world), kept_seal(world), world.signer, wanted)
    return path


def sample(world: World, rounds: int = SAMPLE_ROUNDS) -> Sample:
    seal = kept_seal(world).signed.seal
    world.chain.advance(seal.sample_block - world.chain.metagraph.block)
    drew = world.chain.block_hash(Block(seal.sample_block))
    assert drew is not None
    return Sample(seal.sample_block, drew, rounds)


def test_a_bundle_of_what_was_set_matches_at_every_level_redacted_or_not(addressed: World, tmp_path: Path) -> None:
    for level, redacted in product(Level, (False, True)):
        drew = sample(addressed) if level is Level.SAMPLE else None
        path = exported(addressed, tmp_path / "e.loosh-audit", Wanted(level, drew, redacted))
        report = verify(path, root=kept_seal(addressed).signed.seal.root)
        assert report.verdict is Verdict.MATCH, (level, redacted, report.problems)
        assert (report.level, report.epoch) == (level, kept_seal(addressed).signed.seal.epoch)
        assert len(read(path).content.rounds) == (0 if level is Level.ROWS else ROUNDS)


def test_nothing_that_was_said_is_in_a_redacted_bundle(addressed: World, tmp_path: Path) -> None:
    path = exported(addressed, tmp_path / "e.loosh-audit", Wanted(Level.FULL, None, redacted=True))
    whole = exported(addressed, tmp_path / "whole.loosh-audit", Wanted(Level.FULL))
    for word in (b"scatter", b"daylight", b"journey", b"molecules"):
        assert word not in path.read_bytes()
    assert b"scatter" in whole.read_bytes()
    assert [each.name for each in read(path).manifest.entries] == [each.name for each in read(whole).manifest.entries]


def test_names_are_others_in_each_bundle(addressed: World, tmp_path: Path) -> None:
    texts = []
    for name in ("one", "two"):
        bundle = read(exported(addressed, tmp_path / name, Wanted(Level.FULL, None, redacted=True)))
        texts.append(bundle.content.rounds[ChallengeId("c-0")].responses[0].text)
    assert texts[0] != texts[1]
    assert len(texts[0].split()) == len(texts[1].split())


def inputs(world: World, challenge: str = "c-0") -> RoundInputs:
    content = content_of(world.store.tables, world.store.inbox.engine, newest_submission(world))
    return ShownRounds(world.store.tables, world.store.inbox, content, [ChallengeId(challenge)])[ChallengeId(challenge)]


def test_a_redacted_round_has_the_digest_of_the_whole_one_and_as_many_words(addressed: World) -> None:
    whole = inputs(addressed)
    redacted = Redaction(b"k" * 32).round(whole)
    assert round_digest(redacted) == round_digest(whole)
    assert redacted.request is None
    for one, other in zip(whole.responses, redacted.responses, strict=True):
        assert len(words(one.text)) == len(words(other.text))
        assert set(words(one.text)) & set(words(other.text)) <= FUNCTION_WORDS


def test_context_words_have_the_names_of_texts() -> None:
    redaction = Redaction(b"k" * 32)
    context = ScoringContext.of(30, {"sky": 7, "the": 30, "日": 2}, None)
    named = redaction.context(context)
    assert named.document_frequency == {redaction.name("sky"): 7, "the": 30, redaction.name("日"): 2}
    assert words(redaction.text("Sky 日, the SKY!")) == sorted(
        [redaction.name("sky")] * 2 + [redaction.name("日"), "the"]
    )
    assert named.digest == context.digest


def test_what_says_of_itself_that_it_is_no_answer_still_does() -> None:
    assert Redaction(b"k").text("[TEST MODE] hello").startswith("[TEST MODE] ")


def test_an_answer_that_is_too_long_under_other_names_is_named(addressed: World) -> None:
    long = response("hotkey-9", text="z q " * (MAX_CHARS // 4))
    round_ = inputs(addressed)
    with pytest.raises(ScoringError, match=r"challenge c-0 cannot be redacted: the answer of hotkey-9"):
        Redaction(b"k").round(replace(round_, responses=(*round_.responses, long)))


def test_rows_that_were_written_over_since_the_seal_are_told(addressed: World, tmp_path: Path) -> None:
    key = addressed.scores_key(ChallengeId("c-1"))
    rows = addressed.store.tables.read(SCORES, key)
    addressed.store.tables.write(SCORES, key, rows.with_columns(words=rows["words"] + 1))
    with pytest.raises(StoreError, match="rounds are not what was sealed"):
        exported(addressed, tmp_path / "e", Wanted(Level.ROWS))
    assert not (tmp_path / "e").exists()


def test_what_a_round_was_scored_from_must_be_what_lies_there(addressed: World, tmp_path: Path) -> None:
    key = addressed.partition(ChallengeId("c-1")).key
    answers = addressed.store.tables.read("miner_responses", key)
    addressed.store.tables.write("miner_responses", key, answers.with_columns(elapsed_ms=answers["elapsed_ms"] + 1))
    with pytest.raises(StoreError, match="what challenge c-1 was scored from is not what lies in its tables"):
        exported(addressed, tmp_path / "e", Wanted(Level.FULL))
    assert not (tmp_path / "e").exists()
