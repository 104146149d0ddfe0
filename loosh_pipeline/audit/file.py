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
from loosh_pipeline.audit.context_entries import FOLDER as CONTEXTS
from loosh_pipeline.audit.entries import FIXED, Read, content_from, entries_of
from loosh_pipeline.audit.refusals import Altered, Unreadable
from loosh_pipeline.audit.sealing import Sample, SignedSeal, Signs
from loosh_pipeline.audit.strict import read_json
from loosh_pipeline.plain import plain, typed

FILE_FORMAT = "loosh-audit/1"
MANIFEST, SIGNATURE = "manifest.json", "signature.json"
MOST_MANIFEST = 16 * 2**20
MANIFEST_HEAD, MANIFEST_LINE = 64 * 2**10, 300
"""Bytes that a manifest may have, and how many of them for each entry that the file really has: anybody can write one,
and parsing it comes before its signature.
"""
MOST_ENTRY = 512 * 2**20


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


@dataclass(frozen=True, eq=False)
class Opened:
    """A bundle of which the manifest alone was read: who signed it is to be known before more is.

    `signed` and `signature`: as those of a Bundle.
    """

    manifest: Manifest
    signed: bytes
    signature: str
    _container: Container

    def bundle(self) -> Bundle:
        """All of it. Raises what `read` raises."""
        names = tuple(each.name for each in self.manifest.entries)
        content = content_from(names, self._entry())
        _check_expected(names, content)
        return Bundle(self.manifest, self.signed, self.signature, content)

    def _entry(self) -> Read:
        container, by_name = self._container, {each.name: each for each in self.manifest.entries}

        def entry(name: str) -> bytes:
            if name not in by_name:
                raise Unreadable(f"{name} is missing")
            size = container.size_of(name)
            if size != by_name[name].size:
                raise Altered(f"{name} has {size} bytes; the manifest says {by_name[name].size}")
            if size > MOST_ENTRY:
                raise Unreadable(f"{name} has {size} bytes; {MOST_ENTRY} are read")
            data = container[name]
            if hashlib.sha256(data).hexdigest() != by_name[name].sha256:
                raise Altered(f"{name} is not what the manifest says")
            return data

        return entry


def open_bundle(path: Path) -> Opened:
    """Read what a bundle says of itself, and nothing else. Raises what `read` raises."""
    container = Container(path)
    names = tuple(container)
    if names[-2:] != (MANIFEST, SIGNATURE):
        raise Unreadable("it does not end in a manifest and its signature")
    for name, most in ((MANIFEST, min(MOST_MANIFEST, MANIFEST_HEAD + len(names) * MANIFEST_LINE)), (SIGNATURE, 4096)):
        if container.size_of(name) > most:
            raise Unreadable(f"{name} has {container.size_of(name)} bytes; {most} are read of {len(names)} entries")
    said = container[MANIFEST]
    manifest, signature = _manifest(said), _signature(container[SIGNATURE])
    if tuple(each.name for each in manifest.entries) != names[:-2]:
        raise Altered("the file has other entries, or in another order, than its manifest says")
    return Opened(manifest, said, signature, container)


def read(path: Path) -> Bundle:
    """Read a bundle.

    Raises Unreadable for what is no bundle, of another format or too large; Altered for an entry that is not what the
    manifest says; OSError where it cannot be read.
    """
    return open_bundle(path).bundle()


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
    others = (name for name in names if not name.startswith(CONTEXTS))
    if strange := sorted(set(others) - rounds - set(FIXED)):
        raise Unreadable(f"{strange[0]} belongs to no bundle")
    if missing := sorted(rounds - set(names)):
        raise Unreadable(f"{missing[0]} is missing")
