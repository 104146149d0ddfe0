"""Is it true? A bundle's weights made once more from what it shows; nothing but the file is needed.

    python -m loosh_pipeline.audit.verify FILE [--root HEX] [--block-hash HEX] [--link SEQ:DIGEST:SIGNATURE …]
                                               [--least LEVEL] [--json] [--debug]

Imports numpy, scipy, scikit-learn, bittensor_core (for signatures) and the standard library, and nothing else. Exit
codes: 0 match, 1 mismatch, 2 unverifiable; 64 for wrong usage, and for a file that cannot be read.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from loosh_pipeline.audit.acceptances import Told
from loosh_pipeline.audit.beyond import Compared, believed, beyond, shows_all
from loosh_pipeline.audit.completeness import verify_chain, verify_complete, verify_times
from loosh_pipeline.audit.content import Seal
from loosh_pipeline.audit.file import Bundle, Level, Opened, open_bundle
from loosh_pipeline.audit.given import LEVELS, read_file, read_hash, read_level, read_link, read_root
from loosh_pipeline.audit.leaves import PARTS
from loosh_pipeline.audit.links_told import verify_links
from loosh_pipeline.audit.recount import (
    verify_emissions,
    verify_plan,
    verify_proposal,
    verify_scorers,
    verify_terms,
)
from loosh_pipeline.audit.refusals import NOT_TRIED, Altered, Unreadable
from loosh_pipeline.audit.report import Findings, How, Report, Verdict, told
from loosh_pipeline.audit.sealing import (
    SAMPLE_BLOCKS,
    SEAL_FORMAT,
    SEALED_WITHIN,
    SEALED_WITHIN_BLOCKS,
    found_with,
    part_roots,
    root_of,
    seal_bytes,
)
from loosh_pipeline.audit.seen import Seen
from loosh_pipeline.audit.shown import verify_rounds, verify_shown
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
    links: tuple[Told, ...] = ()
    least: Level = Level.ROWS


def verify(
    path: Path,
    *,
    root: str | None = None,
    chain: ChainSaid | None = None,
    links: Sequence[Told] = (),
    least: Level = Level.ROWS,
    progress: Progress | None = None,
    debug: bool = False,
) -> Report:
    """Verify a bundle; whatever is in the file, this returns a report. With `debug` it raises what goes wrong in here.

    All else as in `Known`. Raises ValueError for a root that is none.
    """
    root = None if root is None else read_root(root)
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
    compared = Compared(
        root=known.root is not None,
        links=tuple(each.link.seq for each in known.links),
        block_hash=known.chain.block_hash is not None,
        weights=known.chain.weights is not None,
    )
    findings.beyond += beyond(bundle, seen, compared)
    findings.believe = believed(bundle, compared)


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
        findings.done("signatures", How.RECOMPUTED, f"the seal and the list of what the file holds are signed by {by}")
    return sound


def _plainly(signature: str) -> bytes:
    """Raises ValueError for a signature that is said in another way than lower-case hexadecimal."""
    found = bytes.fromhex(signature)
    if found.hex() != signature:
        raise ValueError("it is not in plain hexadecimal")
    return found


def _verify_seal(bundle: Bundle, findings: Findings, root: str | None) -> None:
    seal, content, before = bundle.manifest.seal.seal, bundle.content, findings.found
    if content.epoch != seal.epoch:
        findings.mismatch("seal", f"it is of epoch {seal.epoch.number}, and the content of {content.epoch.number}")
    found = part_roots(content)
    if seal.parts.keys() != set(PARTS) or root_of(seal.parts) != seal.root:
        findings.mismatch("seal", "its root is not over its parts")
    for name in PARTS:
        if name in seal.parts and seal.parts[name] != found[name]:
            said = f"{found[name].leaves} leaves with root {found[name].root[:12]}…"
            stated = seal.parts[name]
            findings.mismatch(name, f"{said}; {stated.leaves} with root {stated.root[:12]}… were sealed")
    if root is not None and root != seal.root:
        findings.mismatch("seal", f"its root is {seal.root}, and {root} was given")
    if seal.sealed_at < seal.epoch.submitted_at or seal.sealed_block < seal.epoch.block:
        findings.mismatch("seal", f"it was made at block {seal.sealed_block}, before its weights")
    _verify_prompt(seal, findings)
    if findings.found > before:
        return
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
    before = findings.found
    for at, _ in enumerate(verify_rounds(bundle.manifest, content, seen, findings), 1):
        if progress is not None:
            progress(at, len(content.rounds))
    done, asked = len(seen.read), _rows_of(columns, list(content.rounds))
    if done and findings.found == before:
        said = f"{done} of {len(columns.challenges)} rounds from their vectors ({asked} of {rows} rows)"
        if bundle.manifest.level is Level.SAMPLE and not shows_all(bundle):
            chance = math.floor(100 * found_with(len(columns.challenges), done))
            said += f"; were one in twenty altered, so many that are drawn find it with {chance}%"
        if bundle.manifest.redacted:
            findings.done("scores", How.COMPARED, f"{said}, and from words that stand for texts, as stated")
        else:
            findings.done("scores", How.RECOMPUTED, said)
    if done:
        moved = f", {len(seen.moved)} of another uid or coldkey than the snapshot's" if seen.moved else ""
        findings.done("who was asked", How.COMPARED, f"{seen.asked} responses of {done} rounds that were read{moved}")
    if len(content.rounds) < len(columns.challenges):
        which = "of other rounds than those shown" if content.rounds else "of no round that is shown"
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
        else:
            findings.done("hash of the sample's block", How.COMPARED, chain.block_hash)
    if chain.weights is not None:
        if chain.weights.hotkey != content.epoch.validator or not matches(content.plan, chain.weights):
            said = f"the row of {chain.weights.hotkey} at block {chain.weights.block} is not what this epoch set"
            findings.mismatch("chain", said)
        else:
            findings.done("weights on chain", How.COMPARED, f"the row at block {chain.weights.block}")


def _report(opened: Opened | None, findings: Findings) -> Report:
    seal = None if opened is None else opened.manifest.seal.seal
    return Report(
        verdict=findings.verdict,
        level="" if opened is None else opened.manifest.level.value,
        epoch=None if seal is None else seal.epoch,
        root="" if seal is None else seal.root,
        release="" if seal is None else seal.release,
        parts=findings.all_parts(),
        problems=findings.all_problems(),
        beyond=tuple(findings.beyond),
        believe=_believe(findings),
    )


def _believe(findings: Findings) -> str:
    if findings.verdict is Verdict.MISMATCH:
        return "nothing: something differs from what was signed, or from what was given to compare with"
    if findings.verdict is Verdict.UNVERIFIABLE:
        return "nothing yet: nothing differs, and what is told above is missing, damaged or cannot be checked"
    return findings.believe


def _own_release() -> str | None:
    """None where the program runs from its source alone."""
    try:
        return version("loosh-pipeline")
    except PackageNotFoundError:
        return None


class _Parser(argparse.ArgumentParser):
    """Wrong usage is no verdict, and so does not end with the code of one."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(NOT_TRIED, f"{self.prog}: error: {message}\n")


def _of(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """For argparse, which tells what is wrong with a value only where it is raised so."""

    def reading(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return reading


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m loosh_pipeline.audit.verify", description="Verify a bundle.")
    parser.add_argument("file", type=_of(read_file), metavar="FILE")
    parser.add_argument("--json", action="store_true", help="one JSON value on stdout")
    about = "the root of the seal as it was taken down earlier, 64 hexadecimal digits"
    parser.add_argument("--root", type=_of(read_root), metavar="HEX", help=about)
    parser.add_argument("--block-hash", type=_of(read_hash), metavar="HEX", help="of the block that draws the sample")
    about = "an X-Challenge-Link as its sender got it, with or without its signature; repeat it"
    link: dict[str, Any] = {"type": _of(read_link), "metavar": "SEQ:DIGEST:SIGNATURE", "help": about}
    parser.add_argument("--link", action="append", default=[], **link)
    about = f"no match below this level: {', '.join(LEVELS)}"
    parser.add_argument("--least", type=_of(read_level), metavar="LEVEL", default=Level.ROWS, help=about)
    parser.add_argument("--debug", action="store_true", help="raise what goes wrong in the verifier itself")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify the file that is named, and tell the report."""
    given = _parser().parse_args(arguments)
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
