"""The contexts of a bundle as entries, and back, each when it is asked for: one may be as large as all else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from loosh_pipeline.audit.canonical import canonical
from loosh_pipeline.audit.refusals import Unreadable
from loosh_pipeline.audit.strict import array_bytes, read_array, read_json
from loosh_pipeline.plain import typed
from loosh_pipeline.scoring.context import ScoringContext

FOLDER = "contexts/"
MOST_CONTEXTS = 64
MOST_BYTES = 16 * 2**20
"""Of the words of one, and of all that are kept at a time: some million words, where a day of essays has 50,000."""

Read = Callable[[str], bytes]


def context_entries(digest: str, context: ScoringContext) -> Iterator[tuple[str, bytes]]:
    """A context as entries."""
    counts = dict(context.document_frequency)
    yield f"contexts/{digest}.json", canonical({"rounds": context.rounds, "document_frequency": counts})
    if context.background is not None:
        yield f"contexts/{digest}.npy", array_bytes(context.background, "<f8")


class Contexts(Mapping[str, ScoringContext]):
    """Contexts by digest, read when they are asked for; as many are kept as `MOST_BYTES` hold.

    Raises Unreadable for entries that are no contexts, or too many.
    """

    def __init__(self, names: tuple[str, ...], read: Read) -> None:
        own = [name[len(FOLDER) :] for name in names if name.startswith(FOLDER)]
        self._digests = {name.removesuffix(".json"): False for name in own if name.endswith(".json")}
        for name in own:
            digest = name.removesuffix(".npy")
            if not name.endswith(".json") and digest not in self._digests:
                raise Unreadable(f"{FOLDER}{name} belongs to no bundle")
            if digest in self._digests:
                self._digests[digest] = True
        if len(self._digests) > MOST_CONTEXTS:
            raise Unreadable(f"{len(self._digests)} contexts; at most {MOST_CONTEXTS} are read")
        self._read = read
        self._kept: dict[str, tuple[int, ScoringContext]] = {}

    def __getitem__(self, digest: str) -> ScoringContext:
        if digest in self._kept:
            return self._kept[digest][1]
        size, found = _context(digest, self._digests[digest], self._read)
        while self._kept and size + sum(each for each, _ in self._kept.values()) > MOST_BYTES:
            del self._kept[next(iter(self._kept))]
        self._kept[digest] = size, found
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._digests)

    def __len__(self) -> int:
        return len(self._digests)


def _context(digest: str, has_background: bool, read: Read) -> tuple[int, ScoringContext]:
    """With the digest that it goes by; whether that is its own is seen by who verifies."""
    name, mean = f"{FOLDER}{digest}.json", f"{FOLDER}{digest}.npy"
    data = read(name)
    if len(data) > MOST_BYTES:
        raise Unreadable(f"{name} has {len(data)} bytes; {MOST_BYTES} are read")
    said = read_json(name, data)
    if not isinstance(said, dict) or said.keys() != {"rounds", "document_frequency"}:
        raise Unreadable(f"{name} does not say rounds and document_frequency")
    background = read_array(mean, read(mean), "<f8").astype(np.float64) if has_background else None
    try:
        counts = {word: typed(int, count) for word, count in typed(dict, said["document_frequency"]).items()}
        return len(data), ScoringContext(typed(int, said["rounds"]), counts, background, digest)
    except ValueError as error:
        raise Unreadable(f"{name} cannot be read: {str(error)[:200]}") from error
