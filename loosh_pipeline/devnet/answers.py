"""What devnet miners know: a file of prompts and the answers of models of different quality.

JSON Lines, one answer a row: `{"instruction": prompt, "model": name, "output": answer}`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from loosh_pipeline.errors import DevnetError

SHIPPED_ANSWERS = Path(__file__).parent / "data" / "answers.jsonl"

_FIELDS = ("instruction", "model", "output")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class AnswerBook:
    """Answers by model and prompt. `models` runs from the best to the poorest."""

    prompts: tuple[str, ...]
    models: tuple[str, ...]
    _answers: Mapping[str, Mapping[str, str]]
    _words: Mapping[str, frozenset[str]]

    @classmethod
    def load(cls, path: Path = SHIPPED_ANSWERS, *, quality: Sequence[str] | None = None) -> Self:
        """Read a file. `quality` orders the models; without it, the best is the one that appears first.

        Raises DevnetError that names the line when a row is not as described or repeats another.
        """
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DevnetError(f"answer file {path} cannot be read: {error}") from error
        rows = [_parse_row(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]
        return cls.of_rows(rows, quality=quality)

    @classmethod
    def of_rows(cls, rows: Iterable[tuple[str, str, str]], *, quality: Sequence[str] | None = None) -> Self:
        """A book of (prompt, model, answer) rows."""
        prompts: dict[str, str] = {}
        answers: dict[str, dict[str, str]] = {}
        for prompt, model, answer in rows:
            key = normalised(prompt)
            prompts.setdefault(key, prompt)
            if key in answers.setdefault(model, {}):
                raise DevnetError(f"model {model!r} answers {prompt[:60]!r} twice; keep one of the rows")
            answers[model][key] = answer
        if not prompts:
            raise DevnetError("the answer file has no rows; give one row for each prompt and model")
        models = _ordered(tuple(answers), quality)
        return cls(tuple(prompts.values()), models, answers, {key: frozenset(key.split()) for key in prompts})

    def answer(self, model: str, prompt: str) -> str:
        """What `model` says to `prompt`.

        A miner knows only its file: to a prompt that is not in it, it gives the answer to the most similar
        prompt it knows (share of common words), which is usually off topic. Raises DevnetError for a model
        that is not in the book.
        """
        known = self._answers.get(model)
        if known is None:
            raise DevnetError(f"model {model!r} has no answers; the file knows {', '.join(self.models)}")
        key = normalised(prompt)
        return known[key] if key in known else known[self._nearest(key, known)]

    def _nearest(self, key: str, known: Mapping[str, str]) -> str:
        words = frozenset(key.split())

        def overlap(candidate: str) -> float:
            theirs = self._words[candidate]
            return len(words & theirs) / max(len(words | theirs), 1)

        return max(known, key=overlap)


def normalised(prompt: str) -> str:
    """The words of a prompt: case, spacing and punctuation make no difference."""
    return " ".join(_WORD.findall(prompt.casefold()))


def _parse_row(line: str, where: str) -> tuple[str, str, str]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DevnetError(f"{where} is not JSON: {error}") from error
    values = [row.get(name) if isinstance(row, dict) else None for name in _FIELDS]
    if not all(isinstance(value, str) and value.strip() for value in values):
        raise DevnetError(f"{where} must be an object with the texts {', '.join(_FIELDS)}")
    return str(values[0]), str(values[1]), str(values[2])


def _ordered(models: tuple[str, ...], quality: Sequence[str] | None) -> tuple[str, ...]:
    if quality is None:
        return models
    if set(quality) != set(models):
        raise DevnetError(f"quality names {', '.join(quality)}, but the file has {', '.join(models)}")
    return tuple(quality)
