"""Bundles that `write` would not write: entries altered, and signed all the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from loosh_pipeline.audit.canonical import canonical
from loosh_pipeline.audit.container import Container, write_container
from loosh_pipeline.audit.file import MANIFEST, SIGNATURE, Listed, Manifest, manifest_bytes, read
from tests.audit.epochs import STRANGER, VALIDATOR

Change = Callable[[bytes], bytes]


def repacked(
    path: Path,
    changes: Mapping[str, Change | bytes | None] | None = None,
    manifest: Callable[[Manifest], Manifest] = lambda each: each,
    signer: Any = VALIDATOR,
) -> Path:
    """The file with these entries changed, added or (None) left out, listed and signed again by its validator."""
    stated, entries = read(path).manifest, dict(Container(path))
    del entries[MANIFEST], entries[SIGNATURE]
    for name, change in (changes or {}).items():
        if change is None:
            del entries[name]
        else:
            entries[name] = change if isinstance(change, bytes) else change(entries[name])
    listed = tuple(Listed(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in entries.items())
    said = manifest_bytes(manifest(replace(stated, entries=listed)))
    return signed_as(path, entries, said, signer)


def signed_as(path: Path, entries: Mapping[str, bytes], said: bytes, signer: Any = VALIDATOR) -> Path:
    """A file of these entries and this manifest."""
    signature = canonical({"signature": signer.sign(said).hex() if signer else ""})
    write_container(path, [*entries.items(), (MANIFEST, said), (SIGNATURE, signature)])
    return path


class Pretender:
    """Signs as somebody else."""

    ss58_address = VALIDATOR.ss58_address

    def sign(self, message: bytes) -> bytes:
        return bytes(STRANGER.sign(message))
