"""What a bundle does not show, whatever the verdict: what it takes others to know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from loosh_pipeline.audit.completeness import BEFORE, SCORED, starts_within
from loosh_pipeline.audit.content import Content
from loosh_pipeline.audit.file import Bundle, Level
from loosh_pipeline.audit.seen import Seen


@dataclass(frozen=True, slots=True)
class Compared:
    """What was given and compared: the root of the seal, links by their numbers, the hash of the block that drew, and
    the row of weights on chain.
    """

    root: bool = False
    links: tuple[int, ...] = ()
    block_hash: bool = False
    weights: bool = False


def shows_all(bundle: Bundle) -> bool:
    """Whether every round of the window is shown whole."""
    return len(bundle.content.rounds) == len(bundle.content.window.columns.challenges)


def believed(bundle: Bundle, compared: Compared) -> str:
    """What may be believed of a bundle that is a match, in a sentence."""
    shown, of = len(bundle.content.rounds), len(bundle.content.window.columns.challenges)
    rounds = f"all {of} rounds" if shows_all(bundle) else f"{shown} of {of} rounds" if shown else "no round"
    which = " drawn" if bundle.manifest.level is Level.SAMPLE and not shows_all(bundle) else ""
    open_ = [
        *(() if compared.links else ("that no accepted challenge was left out (--link)",)),
        *(() if compared.root else ("that the seal is as it was first published (--root)",)),
        *(() if compared.weights else ("that the chain has these weights (loosh audit verify --chain)",)),
    ]
    said = f"these weights follow from rows that were signed, of which {rounds}{which} could be scored again"
    if compared.links:
        said += f"; the chain of challenges is what its senders were told up to link {max(compared.links)}"
    return said + ("; not compared, and so only said: " + ", ".join(open_) if open_ else "")


def beyond(bundle: Bundle, seen: Seen, compared: Compared) -> Iterator[str]:
    """A line for each that applies."""
    yield "vectors were taken as they are: that they are embeddings of the texts takes the model to tell"
    if seen.unremembered:
        yield f"{seen.unremembered} vectors were not compared with those of the same texts in other rounds: too many"
    yield "that the miners answered so, and at these times, is the validator's word; a miner knows its own"
    yield "so is who was asked in a round, and who sent the challenges: nothing shows that the validator did not"
    yield "so are the looks at miners: a look that was left out or altered is seen by nobody but the miner"
    yield from _of_chain(bundle.content, bool(compared.links))
    yield from _of_snapshot(bundle.content, seen)
    yield from _of_contexts(bundle, seen)
    yield from _of_level(bundle, compared)
    if not compared.weights:
        yield "the weights were not compared with the chain's row, nor extrinsic and block with the chain"


def _of_chain(content: Content, links: bool) -> Iterator[str]:
    if any(each.became not in ("", SCORED, BEFORE) for each in content.acceptances) or content.window.left_out.any():
        yield "what became of challenges that are not counted is its word: canary, waiting, failed, left out"
    if links or not content.acceptances:
        return
    last = content.acceptances[-1].seq
    yield (
        f"the chain of challenges was compared with no link that a sender was given: it could be made anew from 1 to "
        f"{last}, without what did not suit; compare any X-Challenge-Link (--link)"
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
    if held:
        rounds = f"all {held}" if held == seen.contexts.total() else f"{held} of {seen.contexts.total()}"
        many = len(bundle.content.contexts)
        which = "a scoring context" if many == 1 else f"{many} scoring contexts"
        yield (
            f"{rounds} rounds that were read were compared with {which}, made of rounds that are not in the bundle: "
            "which context, is the validator's word"
        )
    if bundle.manifest.redacted:
        yield (
            "texts are redacted: their digests are sealed; words, and words and background of contexts, are bound by "
            "the bundle's signature only"
        )


def _of_level(bundle: Bundle, compared: Compared) -> Iterator[str]:
    level, sample, seal = bundle.manifest.level, bundle.manifest.sample, bundle.manifest.seal.seal
    if level is Level.ROWS:
        yield "level rows: no round is shown, and what rows say is the validator's word, which the seal binds"
    elif not shows_all(bundle):
        yield f"level {level}: of the other rounds only rows, which the seal binds"
    if sample is not None and not shows_all(bundle) and not compared.block_hash:
        yield f"the hash of block {sample.block} was not compared with the chain"
    if not compared.root:
        drawn = level is Level.SAMPLE and not shows_all(bundle)
        why = "once it was known what is drawn" if drawn else "later, of other rows"
        yield (
            f"the seal was not compared with one taken down before block {seal.sample_block}, by which it must have "
            f"been out: another could have been made {why} (--root)"
        )
