"""Is it true? A bundle's weights made once more from what it shows; nothing but the file is needed.

    python -m loosh_pipeline.audit.verify FILE [--root HEX] [--block-hash HEX] [--link SEQ:DIGEST …] [--least LEVEL]
                                               [--json] [--debug]

Imports numpy, scipy, scikit-learn, bittensor_core (for signatures) and the standard library, and nothing else. Exit
codes: 0 match, 1 mismatch, 2 unverifiable.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from loosh_pipeline.audit.acceptances import Link
from loosh_pipeline.audit.beyond import beyond
from loosh_pipeline.audit.completeness import verify_chain, verify_complete, verify_links, verify_times
from loosh_pipeline.audit.content import Seal
from loosh_pipeline.audit.file import Bundle, Level, Opened, open_bundle
from loosh_pipeline.audit.leaves import PARTS
from loosh_pipeline.audit.recount import (
    verify_emissions,
    verify_plan,
    verify_proposal,
    verify_scorers,
    verify_terms,
)
from loosh_pipeline.audit.refusals import Altered, Unreadable
from loosh_pipeline.audit.report import Findings, How, Report, told
from loosh_pipeline.audit.sealing import (
    SAMPLE_BLOCKS,
    SEAL_FORMAT,
    SEALED_WITHIN,
    SEALED_WITHIN_BLOCKS,
    part_roots,
    root_of,
    seal_bytes,
)
from loosh_pipeline.audit.seen import Seen
from loosh_pipeline.audit.shown import HASH, verify_rounds, verify_shown
from loosh_pipeline.audit.soundness import check_sound
from loosh_pipeline.chain.weights import matches
from loosh_pipeline.domain import ChallengeId, ObservedWeights
from loosh_pipeline.errors import CryptoError
from loosh_pipeline.hotkeys import parse_hotkey, verify_signature
from loosh_pipeline.plain import plain
from loosh_pipeline.scoring.columns import WindowColumns
from loosh_pipeline.scoring.profile import CODE_VERSION

Progress = Callable[[int, int], None]
"""Told how many of how many rounds were scored again."""


LEVELS = tuple(Level)
"""From what shows least to what shows all."""


@dataclass(frozen=True, slots=True)
class ChainSaid:
    """What whoever verifies read from the chain: the hash of the seal's `sample_block`, and the row of weights of the
    validator that the epoch led to; None for what was not read.
    """

    block_hash: str | None = None
    weights: ObservedWeights | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What whoever verifies knows from elsewhere.

    `root`: of a seal that was taken down before its sample was drawn, in hexadecimal. `links`: that senders of
    challenges were given. `least`: the level below which nothing is a match.
    """

    root: str | None = None
    chain: ChainSaid = ChainSaid()
    links: tuple[Link, ...] = ()
    least: Level = Level.ROWS


def verify(
    path: Path,
    *,
    root: str | None = None,
    chain: ChainSaid | None = None,
    links: Sequence[Link] = (),
    least: Level = Level.ROWS,
    progress: Progress | None = None,
    debug: bool = False,
) -> Report:
    """Verify a bundle; whatever is in the file, this returns a report. With `debug` it raises what goes wrong in here.

    All else as in `Known`.
    """
    findings, known = Findings(), Known(root, chain or ChainSaid(), tuple(links), least)
    opened: Opened | None = None
    try:
        opened = open_bundle(path)
        if _signed(opened, findings):
            _verified(opened.bundle(), findings, known, progress)
    except Altered as error:
        findings.mismatch("file", str(error))
    except (Unreadable, OSError) as error:
        findings.unverifiable("file", str(error))
    except (MemoryError, RecursionError):
        findings.unverifiable("file", "it takes more memory than there is")
    except Exception as error:  # a hostile file must find no way out of a verdict; its maker is told what it was
        if debug:
            raise
        said = f"verifying it ended with {type(error).__name__}: {error}"
        findings.unverifiable("verifier", f"{said}; this is a defect of the verifier (--debug shows where)")
    return _report(opened, findings)


def _verified(bundle: Bundle, findings: Findings, known: Known, progress: Progress | None) -> None:
    seal, content = bundle.manifest.seal.seal, bundle.content
    if seal.format != SEAL_FORMAT or seal.code_version != CODE_VERSION:
        said = f"it is sealed as {seal.format!r} by scoring code {seal.code_version}; this release has"
        findings.unverifiable("seal", f"{said} {SEAL_FORMAT!r} and {CODE_VERSION}; take release {seal.release}")
        return
    findings.other_release = "" if seal.release in ("", _own_release() or seal.release) else seal.release
    check_sound(content)
    _verify_level(bundle.manifest.level, known.least, findings)
    _verify_seal(bundle, findings, known.root)
    verify_chain(content, findings)
    verify_times(content, seal.sealed_at, findings)
    verify_links(content, known.links, findings)
    verify_complete(content, bool(known.links), findings)
    profile = verify_terms(content, findings)
    if profile is None:
        return
    verify_scorers(content, profile, findings)
    verify_shown(bundle.manifest, content, known.chain.block_hash, findings)
    seen = Seen(content.inputs.subnet)
    _verify_rounds(bundle, seen, findings, progress)
    verify_emissions(content, profile, findings)
    verify_proposal(content, findings)
    verify_plan(content, findings)
    _verify_by_chain(bundle, known.chain, findings)
    compared = {"root": known.root is not None, "links": bool(known.links)}
    of_chain = {"block_hash": known.chain.block_hash is not None, "weights": known.chain.weights is not None}
    findings.beyond += beyond(bundle, seen, **compared, **of_chain)


def _verify_level(level: Level, least: Level, findings: Findings) -> None:
    if LEVELS.index(level) < LEVELS.index(least):
        findings.unverifiable("level", f"it is of level {level}, and {least} was asked for")


def _signed(opened: Opened, findings: Findings) -> bool:
    """Whether seal and bundle are signed by the hotkey whose weights they are of."""
    signed = opened.manifest.seal
    by = signed.seal.epoch.validator
    try:
        parse_hotkey(by)
    except CryptoError as error:
        findings.unverifiable("signatures", str(error))
        return False
    sound = True
    for what, said, signature in (
        ("bundle", opened.signed, opened.signature),
        ("seal", seal_bytes(signed.seal), signed.signature),
    ):
        try:
            verify_signature(said, _plainly(signature), by)
        except (CryptoError, ValueError) as error:
            sound = False
            if signature:
                findings.mismatch("signatures", f"the {what} is not signed by {by}: {error}")
            else:
                findings.unverifiable("signatures", f"the {what} is not signed")
    if sound:
        findings.done("signatures", How.RECOMPUTED, f"seal and bundle are signed by {by}")
    return sound


def _plainly(signature: str) -> bytes:
    """Raises ValueError for a signature that is said in another way than lower-case hexadecimal."""
    found = bytes.fromhex(signature)
    if found.hex() != signature:
        raise ValueError("it is not in plain hexadecimal")
    return found


def _verify_seal(bundle: Bundle, findings: Findings, root: str | None) -> None:
    seal, content = bundle.manifest.seal.seal, bundle.content
    if content.epoch != seal.epoch:
        findings.mismatch("seal", f"it is of epoch {seal.epoch.number}, and the content of {content.epoch.number}")
    found = part_roots(content)
    if seal.parts.keys() != set(PARTS) or root_of(seal.parts) != seal.root:
        findings.mismatch("seal", "its root is not over its parts")
    for name in PARTS:
        if name in seal.parts and seal.parts[name] != found[name]:
            said = f"{found[name].leaves} leaves with root {found[name].root[:12]}"
            stated = seal.parts[name]
            findings.mismatch(name, f"{said}; {stated.leaves} with root {stated.root[:12]} were sealed")
    if root is not None and root.lower().removeprefix("0x") != seal.root:
        findings.mismatch("seal", f"its root is {seal.root}, and {root} was given")
    if seal.sealed_at < seal.epoch.submitted_at or seal.sealed_block < seal.epoch.block:
        findings.mismatch("seal", f"it was made at block {seal.sealed_block}, before its weights")
    _verify_prompt(seal, findings)
    said = f"root {seal.root} of block {seal.sealed_block}, to be out before block {seal.sample_block}"
    findings.done("seal", How.RECOMPUTED, f"{said}, as was given" if root is not None else said)


def _verify_prompt(seal: Seal, findings: Findings) -> None:
    """Whether it was made soon after its weights, and names the block that the format has draw."""
    if seal.sample_block != seal.sealed_block + SAMPLE_BLOCKS:
        said = f"it names block {seal.sample_block} to draw, and {SAMPLE_BLOCKS} after {seal.sealed_block} draws"
        findings.mismatch("sample", said)
    late, blocks = seal.sealed_at - seal.epoch.submitted_at, seal.sealed_block - seal.epoch.block
    if late > SEALED_WITHIN or blocks > SEALED_WITHIN_BLOCKS:
        said = f"it was made {late} and {blocks} blocks after its weights"
        findings.unverifiable("seal", f"{said}; within {SEALED_WITHIN} and {SEALED_WITHIN_BLOCKS} nobody can try many")


def _verify_rounds(bundle: Bundle, seen: Seen, findings: Findings, progress: Progress | None) -> None:
    content = bundle.content
    columns, rows = content.window.columns, len(content.window.outcome)
    before, shown = len(findings.problems), list[ChallengeId]()
    for challenge_id in verify_rounds(bundle.manifest, content, seen, findings):
        shown.append(challenge_id)
        if progress is not None:
            progress(len(shown), len(content.rounds))
    done, asked = len(shown), _rows_of(columns, shown)
    if done and len(findings.problems) == before:
        said = f"{done} of {len(columns.challenges)} rounds from their vectors ({asked} of {rows} rows)"
        if bundle.manifest.redacted:
            findings.done("scores", How.COMPARED, f"{said}, and from words that stand for texts, as stated")
        else:
            findings.done("scores", How.RECOMPUTED, said)
    if done:
        moved = f", {len(seen.moved)} of another uid or coldkey than the snapshot's" if seen.moved else ""
        findings.done("who was asked", How.COMPARED, f"{seen.asked} responses of {done} rounds{moved}")
    if done < len(columns.challenges):
        which = "of other rounds than those shown" if done else "of no round that is shown"
        findings.done("scores of other rounds", How.STATED, f"{rows - asked} rows {which}")


def _rows_of(columns: WindowColumns, challenges: Sequence[ChallengeId]) -> int:
    """How many were asked in these rounds."""
    places = {challenge: place for place, challenge in enumerate(columns.challenges)}
    return int(np.isin(columns.round, [places[each] for each in challenges]).sum())


def _verify_by_chain(bundle: Bundle, chain: ChainSaid, findings: Findings) -> None:
    sample, content = bundle.manifest.sample, bundle.content
    if sample is not None and chain.block_hash is not None:
        if chain.block_hash.lower() != sample.block_hash.lower():
            said = f"block {sample.block} has the hash {chain.block_hash}, and {sample.block_hash} drew the sample"
            findings.mismatch("sample", said)
        findings.done("hash of the sample's block", How.COMPARED, chain.block_hash)
    if chain.weights is not None:
        if chain.weights.hotkey != content.epoch.validator or not matches(content.plan, chain.weights):
            said = f"the row of {chain.weights.hotkey} at block {chain.weights.block} is not what this epoch set"
            findings.mismatch("chain", said)
        findings.done("weights on chain", How.COMPARED, f"the row at block {chain.weights.block}")


def _report(opened: Opened | None, findings: Findings) -> Report:
    seal = None if opened is None else opened.manifest.seal.seal
    return Report(
        verdict=findings.verdict,
        level="" if opened is None else opened.manifest.level.value,
        epoch=None if seal is None else seal.epoch,
        root="" if seal is None else seal.root,
        release="" if seal is None else seal.release,
        parts=tuple(findings.parts),
        problems=findings.all_problems(),
        beyond=tuple(findings.beyond),
    )


def _own_release() -> str | None:
    """None where the program runs from its source alone."""
    try:
        return version("loosh-pipeline")
    except PackageNotFoundError:
        return None


def read_hash(text: str) -> str:
    """The hash of a block as somebody gives it. Raises ValueError for what is none."""
    found = text.lower() if text.lower().startswith("0x") else f"0x{text.lower()}"
    if not HASH.fullmatch(found):
        raise ValueError(f"{text[:70]!r} is no hash of a block: 64 hexadecimal digits")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify the file that is named, and tell the report."""
    parser = argparse.ArgumentParser(prog="python -m loosh_pipeline.audit.verify", description="Verify a bundle.")
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--json", action="store_true", help="one JSON value on stdout")
    parser.add_argument("--root", metavar="HEX", help="the root of the seal as it was taken down earlier")
    parser.add_argument("--block-hash", type=read_hash, metavar="HEX", help="of the block that draws the sample")
    parser.add_argument(
        "--link",
        type=Link.read,
        action="append",
        default=[],
        metavar="SEQ:DIGEST",
        help="an X-Challenge-Link; repeat it",
    )
    parser.add_argument("--least", type=Level, choices=LEVELS, default=Level.ROWS, help="no match below this level")
    parser.add_argument("--debug", action="store_true", help="raise what goes wrong in the verifier itself")
    given = parser.parse_args(arguments)
    about = {"root": given.root, "links": given.link, "least": given.least, "debug": given.debug}
    report = verify(given.file, chain=ChainSaid(given.block_hash), **about)
    _print(json.dumps(plain(report)) if given.json else told(report))
    return report.exit_code


def _print(said: str) -> None:
    """Whoever reads may have seen enough, or show no more than ASCII: neither is a verdict."""
    encoding = sys.stdout.encoding or "ascii"
    try:
        print(said.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
