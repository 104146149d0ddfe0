"""A bundle as one file: `*.loosh-audit`.

The entries of `entries` in a container of exactly one form, then two more: `manifest.json`, canonical JSON that says
the seal, the level and the sha256 of every entry before it, and `signature.json`, the signature over it by the
validator's hotkey. What an entry holds is `.npy` without objects, or JSON.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from loosh_pipeline.audit.canonical import canonical
from loosh_pipeline.audit.container import Container, write_container
from loosh_pipeline.audit.content import Content
from loosh_pipeline.audit.entries import FIXED, content_from, entries_of
from loosh_pipeline.audit.refusals import Altered, Unreadable
from loosh_pipeline.audit.sealing import Sample, SignedSeal, Signs
from loosh_pipeline.audit.strict import read_json
from loosh_pipeline.plain import plain, typed

FILE_FORMAT = "loosh-audit/1"
MANIFEST, SIGNATURE = "manifest.json", "signature.json"


class Level(StrEnum):
    """How much of the rounds a bundle shows: score rows alone, a drawn sample whole, or all of them whole."""

    ROWS = "rows"
    SAMPLE = "sample"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry of a bundle as its manifest lists it."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle says of itself. `entries`: all but itself and its signature, in order.

    `redacted`: texts are words that stand for the originals. `sample`: of the level that has one.
    """

    format: str
    seal: SignedSeal
    level: Level
    redacted: bool
    sample: Sample | None
    entries: tuple[Listed, ...]


@dataclass(frozen=True, eq=False)
class Bundle:
    """A bundle as it was read: entries are those of the manifest, and nothing else of it is verified.

    `signed`: the bytes that `signature` is to be over, by the hotkey that the seal names. The rounds of `content` are
    read, and raise Unreadable and Altered, when they are asked for.
    """

    manifest: Manifest
    signed: bytes
    signature: str
    content: Content


def write(
    path: Path,
    content: Content,
    seal: SignedSeal,
    signer: Signs,
    level: Level,
    *,
    sample: Sample | None = None,
    redacted: bool = False,
) -> Manifest:
    """Write a bundle, whole or not at all; `content.rounds` may be lazy, and is read a round at a time.

    Raises ValueError for the key of another, a sample without its level or for more than the format holds, OSError
    where it cannot be written.
    """
    if signer.ss58_address != seal.seal.epoch.validator:
        raise ValueError(f"the seal is of {seal.seal.epoch.validator}, and {signer.ss58_address} would sign the bundle")
    if (sample is None) is (level is Level.SAMPLE):
        raise ValueError(f"a bundle of level {level} has {'a' if level is Level.SAMPLE else 'no'} sample")
    listed: list[Listed] = []

    def entries() -> Iterator[tuple[str, bytes]]:
        for name, data in entries_of(content):
            listed.append(Listed(name, len(data), hashlib.sha256(data).hexdigest()))
            yield name, data
        said = manifest_bytes(Manifest(FILE_FORMAT, seal, level, redacted, sample, tuple(listed)))
        yield MANIFEST, said
        yield SIGNATURE, canonical({"signature": signer.sign(said).hex()})

    write_container(path, entries())
    return Manifest(FILE_FORMAT, seal, level, redacted, sample, tuple(listed))


def manifest_bytes(manifest: Manifest) -> bytes:
    """What is signed of a bundle."""
    return canonical(plain(manifest))


def read(path: Path) -> Bundle:
    """Read a bundle.

    Raises Unreadable for what is no bundle, of another format or too large; Altered for an entry that is not what the
    manifest says; OSError where it cannot be read.
    """
    container = Container(path)
    if tuple(container)[-2:] != (MANIFEST, SIGNATURE):
        raise Unreadable("it does not end in a manifest and its signature")
    said = container[MANIFEST]
    manifest, signature = _manifest(said), _signature(container[SIGNATURE])
    by_name = {each.name: each for each in manifest.entries}
    names = tuple(each.name for each in manifest.entries)
    if names != tuple(container)[:-2]:
        raise Altered("the file has other entries, or in another order, than its manifest says")

    def entry(name: str) -> bytes:
        if name not in by_name:
            raise Unreadable(f"{name} is missing")
        if container.size_of(name) != by_name[name].size:
            raise Altered(f"{name} has {container.size_of(name)} bytes; the manifest says {by_name[name].size}")
        data = container[name]
        if hashlib.sha256(data).hexdigest() != by_name[name].sha256:
            raise Altered(f"{name} is not what the manifest says")
        return data

    content = content_from(names, entry)
    _check_expected(names, content)
    return Bundle(manifest, said, signature, content)


def _signature(said: bytes) -> str:
    given = read_json(SIGNATURE, said)
    found = given.get("signature") if isinstance(given, dict) else None
    if not isinstance(found, str) or canonical({"signature": found}) != said:
        raise Unreadable(f"{SIGNATURE} holds no signature in canonical form")
    return found


def _manifest(said: bytes) -> Manifest:
    given = read_json(MANIFEST, said)
    if not isinstance(given, dict) or given.get("format") != FILE_FORMAT:
        found = given.get("format") if isinstance(given, dict) else None
        raise Unreadable(f"it is of format {str(found)[:40]!r}; this release reads {FILE_FORMAT!r}")
    try:
        manifest = typed(Manifest, given)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise Unreadable(f"{MANIFEST} cannot be read: {str(error)[:200]}") from error
    if manifest_bytes(manifest) != said:
        raise Unreadable(f"{MANIFEST} is not in canonical form")
    return manifest


def _check_expected(names: tuple[str, ...], content: Content) -> None:
    """Nothing lies in a bundle that nobody reads."""
    shown = sorted(content.rounds)
    places = {challenge: place for place, challenge in enumerate(content.window.columns.challenges)}
    rounds = {f"rounds/{places[each]:06}.{kind}" for each in shown for kind in ("json", "npy")}
    contexts = {f"contexts/{digest}.json" for digest in content.contexts}
    contexts |= {f"contexts/{digest}.npy" for digest, each in content.contexts.items() if each.background is not None}
    free = {name for name in names if name.startswith(("rounds/", "contexts/"))}
    if strange := sorted(free - rounds - contexts) + sorted(set(names) - free - set(FIXED)):
        raise Unreadable(f"{strange[0]} belongs to no bundle")
    if missing := sorted((rounds | contexts) - set(names)):
        raise Unreadable(f"{missing[0]} is missing")
