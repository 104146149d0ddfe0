"""What is gathered over all rounds that are shown whole: what one of them alone cannot tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from loosh_pipeline.audit.content import RoundInputs
from loosh_pipeline.domain import ChallengeId, Metagraph

UNIT = 1e-2
"""How far the length of a vector may be from 1; rounding to float16 makes it 1e-4."""
ALIKE = 1e-2
"""How far two vectors of one text and model may be apart that were made at different times."""
MOST_REMEMBERED = 192 * 2**20
"""Bytes of vectors that are kept to be compared with those of later rounds."""


class Seen:
    """Rounds that could be read, vectors by model and text, contexts that were named, and who was asked as what."""

    def __init__(self, subnet: Metagraph) -> None:
        self.contexts: Counter[str] = Counter()
        self.asked = 0
        self.read: list[ChallengeId] = []
        self.moved: list[str] = []
        self.unremembered = 0
        self._subnet = subnet.by_hotkey()
        self._vectors: dict[tuple[str, str], NDArray[np.float16]] = {}
        self._bytes = 0

    def note(self, inputs: RoundInputs) -> None:
        """Which context it names, and whether responses are of the uids and coldkeys of the snapshot."""
        self.read.append(inputs.challenge_id)
        self.contexts[inputs.context_digest] += 1
        self.asked += len(inputs.responses)
        for each in inputs.responses:
            neuron = self._subnet.get(each.hotkey)
            if neuron is None or (neuron.uid, neuron.coldkey) != (each.uid, each.coldkey):
                self.moved.append(f"{each.hotkey} (uid {each.uid}) in {inputs.challenge_id}")

    def odd_vectors(self, inputs: RoundInputs) -> Iterator[str]:
        """Where vectors cannot be what a model made of these texts."""
        wide = inputs.vectors.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            lengths = np.linalg.norm(wide, axis=1)
        if not (np.abs(lengths - 1.0) < UNIT).all():
            yield f"a vector has length {lengths[~(np.abs(lengths - 1.0) < UNIT)][0]:g}; every text's has length 1"
            return
        within: dict[str, int] = {}
        for row, (_, kind, _, text) in enumerate(inputs.keys):
            first = within.setdefault(text, row)
            if first != row and inputs.vectors[first].tobytes() != inputs.vectors[row].tobytes():
                yield f"two vectors of one text ({kind}, sha256 {text[:12]}…) differ"
            elif first == row and not self._as_before((inputs.model_digest, text), inputs.vectors[row]):
                yield f"the vector of a text ({kind}, sha256 {text[:12]}…) is another than in an earlier round"

    def _as_before(self, key: tuple[str, str], vector: NDArray[np.float16]) -> bool:
        if (before := self._vectors.get(key)) is not None:
            same_shape = before.shape == vector.shape
            return same_shape and float(np.linalg.norm(before.astype(float) - vector.astype(float))) < ALIKE
        if self._bytes + vector.nbytes > MOST_REMEMBERED:
            self.unremembered += 1
        else:
            self._vectors[key], self._bytes = vector.copy(), self._bytes + vector.nbytes
        return True
