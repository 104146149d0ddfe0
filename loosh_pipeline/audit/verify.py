"""Is it true? A bundle's weights made once more from what it shows; nothing but the file is needed.

    python -m loosh_pipeline.audit.verify FILE [--json] [--root HEX]

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

from loosh_pipeline.audit.completeness import verify_chain, verify_complete
from loosh_pipeline.audit.file import Bundle, Level, read
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
from loosh_pipeline.audit.sealing import SEAL_FORMAT, part_roots, root_of, seal_bytes
from loosh_pipeline.audit.shown import verify_rounds, verify_shown
from loosh_pipeline.audit.soundness import check_sound
from loosh_pipeline.chain.weights import matches
from loosh_pipeline.domain import ObservedWeights
from loosh_pipeline.errors import CryptoError
from loosh_pipeline.hotkeys import parse_hotkey, verify_signature
from loosh_pipeline.plain import plain
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


def verify(
    path: Path, *, root: str | None = None, chain: ChainSaid | None = None, progress: Progress | None = None
) -> Report:
    """Verify a bundle; whatever is in the file, this returns a report.

    `root`: of a seal that was taken down before its sample was drawn, in hexadecimal.
    """
    findings = Findings()
    bundle: Bundle | None = None
    try:
        bundle = read(path)
        _verified(bundle, findings, root, chain or ChainSaid(), progress)
    except Altered as error:
        findings.mismatch("file", str(error))
    except (Unreadable, OSError) as error:
        findings.unverifiable("file", str(error))
    except (MemoryError, RecursionError):
        findings.unverifiable("file", "it takes more memory than there is")
    except Exception as error:  # a hostile file must find no way out of a verdict; its maker is told what it was
        findings.unverifiable("file", f"verifying it ended with {type(error).__name__}: {error}")
    return _report(bundle, findings)


def _verified(
    bundle: Bundle, findings: Findings, root: str | None, chain: ChainSaid, progress: Progress | None
) -> None:
    seal, content = bundle.manifest.seal.seal, bundle.content
    if not _signed(bundle, findings):
        return
    if seal.format != SEAL_FORMAT or seal.code_version != CODE_VERSION:
        said = f"it is sealed as {seal.format!r} by scoring code {seal.code_version}; this release has"
        findings.unverifiable("seal", f"{said} {SEAL_FORMAT!r} and {CODE_VERSION}; take release {seal.release}")
        return
    findings.other_release = "" if seal.release in ("", _own_release() or seal.release) else seal.release
    check_sound(content)
    _verify_seal(bundle, findings, root)
    verify_chain(content, findings)
    verify_complete(content, findings)
    profile = verify_terms(content, findings)
    if profile is None:
        return
    verify_scorers(content, profile, findings)
    verify_shown(bundle.manifest, content, findings)
    _verify_rounds(bundle, findings, progress)
    verify_emissions(content, profile, findings)
    verify_proposal(content, findings)
    verify_plan(content, findings)
    _verify_by_chain(bundle, chain, findings)
    findings.beyond += _beyond(bundle, root, chain)


def _signed(bundle: Bundle, findings: Findings) -> bool:
    """Whether seal and bundle are signed by the hotkey whose weights they are of."""
    signed = bundle.manifest.seal
    by = signed.seal.epoch.validator
    try:
        parse_hotkey(by)
    except CryptoError as error:
        findings.unverifiable("signatures", str(error))
        return False
    sound = True
    for what, said, signature in (
        ("bundle", bundle.signed, bundle.signature),
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
    said = f"root {seal.root} of block {seal.sealed_block}"
    findings.done("seal", How.RECOMPUTED, f"{said}, as was given" if root is not None else said)


def _verify_rounds(bundle: Bundle, findings: Findings, progress: Progress | None) -> None:
    content = bundle.content
    before = len(findings.problems)
    done = 0
    for done, _ in enumerate(verify_rounds(bundle.manifest, content, findings), start=1):
        if progress is not None:
            progress(done, len(content.rounds))
    rows = len(content.window.outcome)
    if done and len(findings.problems) == before:
        asked = int((content.window.columns.round < len(content.window.columns.challenges)).sum())
        said = f"{done} of {len(content.window.columns.challenges)} rounds from their vectors ({asked} rows in all)"
        findings.done("scores", How.RECOMPUTED, said)
    if done < len(content.window.columns.challenges):
        findings.done("scores of other rounds", How.STATED, f"{rows} rows, of which {done} rounds are shown whole")


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


def _beyond(bundle: Bundle, root: str | None, chain: ChainSaid) -> list[str]:
    """What this does not show, whatever the verdict."""
    manifest, content = bundle.manifest, bundle.content
    found = ["vectors were taken as they are: that they are embeddings of the texts takes the model to tell"]
    found.append("that the miners answered so, and at these times, is the validator's word; a miner knows its own")
    last = content.acceptances[-1].seq if content.acceptances else 0
    found.append(f"that the chain of challenges goes on to {last} and no further: compare with X-Challenge-Link")
    if content.contexts:
        found.append(f"{len(content.contexts)} scoring contexts: their rounds are not in the bundle")
    if manifest.redacted:
        found.append("texts are redacted: their digests are sealed, the words are bound by the bundle's signature only")
    if manifest.level is not Level.FULL:
        found.append(f"level {manifest.level}: of the other rounds only rows, which the seal binds")
    if manifest.sample is not None and chain.block_hash is None:
        found.append(f"the hash of block {manifest.sample.block} was not compared with the chain")
    if chain.weights is None:
        found.append("the weights were not compared with the chain's row")
    if root is None:
        found.append("the seal was not compared with one taken down before the sample was drawn")
    return found


def _report(bundle: Bundle | None, findings: Findings) -> Report:
    seal = None if bundle is None else bundle.manifest.seal.seal
    return Report(
        verdict=findings.verdict,
        level="" if bundle is None else bundle.manifest.level.value,
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify the file that is named, and tell the report."""
    parser = argparse.ArgumentParser(prog="python -m loosh_pipeline.audit.verify", description="Verify a bundle.")
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--json", action="store_true", help="one JSON value on stdout")
    parser.add_argument("--root", metavar="HEX", help="the root of the seal as it was taken down earlier")
    given = parser.parse_args(arguments)
    report = verify(given.file, root=given.root)
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
