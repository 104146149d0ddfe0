"""What a bundle does not show, whatever the verdict: what it takes others to know."""

from __future__ import annotations

from collections.abc import Iterator

from loosh_pipeline.audit.completeness import starts_within
from loosh_pipeline.audit.content import Content
from loosh_pipeline.audit.file import Bundle, Level
from loosh_pipeline.audit.seen import Seen


def beyond(bundle: Bundle, seen: Seen, *, root: bool, links: bool, block_hash: bool, weights: bool) -> Iterator[str]:
    """A line for each. `root`, `links`, `block_hash`, `weights`: whether they were given and compared."""
    yield "vectors were taken as they are: that they are embeddings of the texts takes the model to tell"
    if seen.unremembered:
        yield f"{seen.unremembered} vectors were not compared with those of the same texts in other rounds: too many"
    yield "that the miners answered so, and at these times, is the validator's word; a miner knows its own"
    yield "so is who was asked in a round, and who sent the challenges: nothing shows that the validator did not"
    yield "so are the looks at miners: a look that was left out or altered is seen by nobody but the miner"
    yield from _of_chain(bundle.content, links)
    yield from _of_snapshot(bundle.content, seen)
    yield from _of_contexts(bundle, seen)
    yield from _of_level(bundle, root, block_hash)
    if not weights:
        yield "the weights were not compared with the chain's row, nor extrinsic and block with the chain"


def _of_chain(content: Content, links: bool) -> Iterator[str]:
    yield "what became of challenges that are not counted is its word: canary, waiting, failed, left out"
    if links or not content.acceptances:
        return
    last = content.acceptances[-1].seq
    yield (
        f"the chain of challenges was compared with no link that a sender was given: it could be made anew from 1 to "
        f"{last}, without what did not suit; compare any X-Challenge-Link (--link SEQ:DIGEST)"
    )
    if starts_within(content):
        yield "the chain starts with link 1 within the window: that nothing came before is the validator's word"


def _of_snapshot(content: Content, seen: Seen) -> Iterator[str]:
    blocks = sorted({content.inputs.subnet.block, content.subnet.block})
    named = " and ".join(str(each) for each in blocks)
    yield (
        f"the snapshots were not compared with the chain at block {named}: who is registered, serves, validates, and "
        "when the validator set weights last, by which the mode is told"
    )
    if seen.moved:
        said = f"{len(seen.moved)} of {seen.asked} responses have another uid or coldkey than the proposal's snapshot"
        yield f"{said}, such as {seen.moved[0]}"


def _of_contexts(bundle: Bundle, seen: Seen) -> Iterator[str]:
    held = sum(seen.contexts[digest] for digest in bundle.content.contexts)
    shown = sum(seen.contexts.values())
    if shown:
        yield (
            f"{held} of {shown} shown rounds were compared with {len(bundle.content.contexts)} scoring contexts, whose "
            f"rounds are not in the bundle, and {shown - held} with none: which one is the validator's word"
        )
    if bundle.manifest.redacted:
        yield (
            "texts are redacted: their digests are sealed; words, and words and background of contexts, are bound by "
            "the bundle's signature only"
        )


def _of_level(bundle: Bundle, root: bool, block_hash: bool) -> Iterator[str]:
    level, sample, seal = bundle.manifest.level, bundle.manifest.sample, bundle.manifest.seal.seal
    if level is Level.ROWS:
        yield "level rows: no round is shown, and what rows say is the validator's word, which the seal binds"
    elif level is not Level.FULL:
        yield f"level {level}: of the other rounds only rows, which the seal binds"
    if sample is not None and not block_hash:
        yield f"the hash of block {sample.block} was not compared with the chain"
    if not root:
        yield (
            f"the seal was not compared with one taken down before block {seal.sample_block}, by which it must have "
            "been out: another could have been made once it was known what is drawn (--root)"
        )
