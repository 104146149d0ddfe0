"""The tables of one round as those of many: what differs from round to round differs in every copy, too.

Files of many tables are compressed together, so rounds that repeat each other would take next to nothing. A copy has
words, figures, digests and vectors of its own, drawn from its number, and is about as hard to compress as what it was
made of:

    words     each of more than three letters is another of the same length out of the template's answers, another one
              in every copy: answers of two copies share no sentence
    figures   are up to a tenth smaller, equal ones alike; those that several rounds of the template have stay
    digests   are others; the decimals in narratives, too
    vectors   have their axes in another order, and some turned round: each angle between two is as it was
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

WORD = re.compile(r"(\b[a-z]{4,}\b)")
DECIMALS = re.compile(r"(?<=\d\.)(\d+)")
WORDED = {"miner_responses": ("text",)}
FIGURED = {"narratives": ("text", "composed")}
DIGESTS = ("sha256", "text_sha256", "block_hash")
VECTOR = "vector"
SMALLEST = 0.9
SIGN = np.uint16(0x8000)
"""Of a float16."""


@dataclass(frozen=True, eq=False)
class Figures:
    """One column of figures: which of its cells are varied, and where each of those stands among the distinct ones."""

    values: NDArray[np.float64]
    cells: NDArray[np.intp]
    places: NDArray[np.intp]
    null: bool

    def of(self, name: str, distinct: NDArray[np.float64]) -> pl.Series:
        values = self.values.copy()
        values[self.cells] = distinct[self.places]
        return pl.Series(name, values, nan_to_null=self.null)


@dataclass(frozen=True, eq=False)
class Varying:
    """A table that is varied. `common`: of each column, figures that several rounds have."""

    asset: str
    frame: pl.DataFrame
    common: Mapping[str, frozenset[float]]
    words: Words

    @classmethod
    def all(cls, asset: str, frames: Sequence[pl.DataFrame]) -> list[Self]:
        """The tables of an asset, one a round."""
        common, texts = common_figures(frames), WORDED.get(asset, ())
        words = Words.of([text for frame in frames for name in texts for text in frame[name]])
        return [cls(asset, frame, common, words) for frame in frames]

    def copy(self, number: int) -> pl.DataFrame:
        """The table of another round; the same one for the same number."""
        draw = np.random.default_rng(number)
        varied = (
            *self._figures(draw),
            *self._texts(draw),
            *(self._digests(name, number) for name in DIGESTS if name in self.frame.columns),
            *self._vectors(draw),
        )
        # Put together by hand: `with_columns` plans a query, which takes longer than all of this.
        columns = {column.name: column for column in (*self.frame.get_columns(), *varied)}
        return pl.DataFrame(list(columns.values()))

    @cached_property
    def _distinct(self) -> tuple[NDArray[np.float64], Mapping[str, Figures]]:
        columns = {name: self.frame[name].to_numpy() for name, kind in self.frame.schema.items() if kind == pl.Float64}
        cells = {name: _varied(values, self.common[name]) for name, values in columns.items()}
        every = [columns[name][cells[name]] for name in columns]
        distinct, places = np.unique(np.concatenate([*every, np.empty(0)]), return_inverse=True)
        ends = np.cumsum([len(each) for each in every])
        parts = np.split(places, ends)[: len(columns)]
        return distinct, {
            name: Figures(columns[name], cells[name], part, self.frame[name].null_count() > 0)
            for name, part in zip(columns, parts, strict=True)
        }

    def _figures(self, draw: np.random.Generator) -> list[pl.Series]:
        distinct, columns = self._distinct
        others = distinct * draw.uniform(SMALLEST, 1.0, len(distinct))
        return [column.of(name, others) for name, column in columns.items()]

    @cached_property
    def _figured(self) -> Mapping[str, list[list[str]]]:
        return {name: [DECIMALS.split(text) for text in self.frame[name]] for name in FIGURED.get(self.asset, ())}

    def _texts(self, draw: np.random.Generator) -> list[pl.Series]:
        digits = "".join(map(str, draw.integers(0, 10, 1000)))
        worded = [pl.Series(name, self.words.another(self.frame[name], draw)) for name in WORDED.get(self.asset, ())]
        return worded + [
            pl.Series(name, [_other_decimals(pieces, digits) for pieces in texts])
            for name, texts in self._figured.items()
        ]

    def _digests(self, name: str, number: int) -> pl.Series:
        return pl.Series(name, [_another_digest(each, number) for each in self.frame[name]], dtype=pl.String)

    @cached_property
    def _axes(self) -> NDArray[np.uint16]:
        vectors: list[bytes] = self.frame[VECTOR].to_list()
        return np.frombuffer(b"".join(vectors), dtype=np.uint16).reshape(len(vectors), -1)

    def _vectors(self, draw: np.random.Generator) -> list[pl.Series]:
        if self.frame.schema.get(VECTOR) != pl.Binary or self.frame.is_empty():
            return []
        axes = self._axes.shape[1]
        turned = self._axes[:, draw.permutation(axes)] ^ (draw.integers(0, 2, axes).astype(np.uint16) * SIGN)
        return [pl.Series(VECTOR, [row.tobytes() for row in turned], dtype=pl.Binary)]


@dataclass(frozen=True, eq=False)
class Words:
    """The words of many texts, by length; and each text in pieces, of which every other one is such a word."""

    known: Sequence[str]
    groups: Sequence[NDArray[np.intp]]
    pieces: Mapping[str, tuple[NDArray[np.object_], NDArray[np.intp]]]

    @classmethod
    def of(cls, texts: Sequence[str]) -> Self:
        split = {text: WORD.split(text) for text in texts}
        known = sorted({word for pieces in split.values() for word in pieces[1::2]}, key=lambda word: (len(word), word))
        number = {word: place for place, word in enumerate(known)}
        lengths = np.array([len(word) for word in known])
        groups = [np.flatnonzero(lengths == length) for length in np.unique(lengths)]
        return cls(
            known,
            groups,
            {
                text: (np.array(pieces, dtype=object), np.array([number[each] for each in pieces[1::2]], dtype=np.intp))
                for text, pieces in split.items()
            },
        )

    def another(self, texts: pl.Series, draw: np.random.Generator) -> list[str]:
        """The texts with other words, the same one for the same."""
        others = np.array(self.known, dtype=object)
        for group in self.groups:
            others[group] = others[draw.permutation(group)]
        found = []
        for text in texts:
            pieces, words = self.pieces[text]
            said = pieces.copy()
            said[1::2] = others[words]
            found.append("".join(said))
        return found


def common_figures(frames: Sequence[pl.DataFrame]) -> Mapping[str, frozenset[float]]:
    """Of each column of figures, those that several of the tables have."""
    names = [name for name, kind in frames[0].schema.items() if kind == pl.Float64] if frames else []
    counts = {name: Counter(value for frame in frames for value in set(frame[name])) for name in names}
    return {name: frozenset(value for value, times in found.items() if times > 1) for name, found in counts.items()}


def _varied(values: NDArray[np.float64], common: frozenset[float]) -> NDArray[np.intp]:
    return np.array([at for at, value in enumerate(values) if value == value and value not in common], dtype=np.intp)


def _another_digest(digest: str | None, number: int) -> str | None:
    """As long and as random as the digest; none for none."""
    if not digest:
        return digest
    start = "0x" if digest.startswith("0x") else ""
    return start + hashlib.sha256(f"{number} {digest}".encode()).hexdigest()


def _other_decimals(pieces: Sequence[str], digits: str) -> str:
    """A text whose every other piece is decimals, with others in their place."""
    said, at = list(pieces), 0
    for place in range(1, len(said), 2):
        length = len(said[place])
        said[place] = (digits[at:] + digits)[:length]
        at = (at + length) % len(digits)
    return "".join(said)
