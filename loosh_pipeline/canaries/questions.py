"""The file of canaries: JSON Lines, a question each.

{"prompt": "What is 17 × 23? Give the number alone.", "accepted": [{"number": 391}]}
{"messages": [{"role": "user", "content": "Capital of France, in one word?"}], "accepted": ["Paris"]}
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loosh_pipeline.audit.canonical import digest_of
from loosh_pipeline.canaries.rules import Rule, rule_of
from loosh_pipeline.errors import ConfigError
from loosh_pipeline.requests import ChallengeRequest

log = logging.getLogger(__name__)

KNOWN = frozenset({"prompt", "messages", "accepted"})
MOST_BYTES = 16 * 1024 * 1024
MOST_RULES = 50
TURNS = ("user", "assistant")


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, as a prompt or as chat messages, and what is taken for right.

    `accepted`: as the file says it, which is kept with each canary. `digest`: of the question, without the answers.
    """

    prompt: str | None
    messages: tuple[Mapping[str, Any], ...] | None
    accepted: tuple[Any, ...]
    rules: tuple[Rule, ...]
    digest: str


def read_questions(path: Path) -> tuple[Question, ...]:
    """The questions of a file, in order. Raises ConfigError that names the line and what is wrong with it."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ConfigError(f"{path} (CANARIES_FILE) has more than {MOST_BYTES} bytes; divide it, and use one part")
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"{path} (CANARIES_FILE) cannot be read: {said}; set it right, or leave it empty") from error
    found: dict[str, Question] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            question = question_of(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{path} (CANARIES_FILE), line {number}: {_first_line(error)}; set it right") from error
        if question.digest in found:
            raise ConfigError(f"{path} (CANARIES_FILE), line {number}: this question stands there twice; drop one")
        found[question.digest] = question
    if not found:
        raise ConfigError(f"{path} (CANARIES_FILE) has no question; docs/operating/canaries.md says how to write one")
    return tuple(found.values())


class QuestionFile:
    """A file of questions that is read again when it has changed; one that cannot be used then changes nothing.

    Raises ConfigError for one that cannot be used at first. `questions` may be asked from any thread.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found = self._stamp(), read_questions(path)

    def questions(self) -> tuple[Question, ...]:
        stamp, found = self._stamp(), self._found
        if stamp != found[0]:
            try:
                self._found = stamp, read_questions(self._path)
            except ConfigError as error:
                log.warning("the questions stay as they were: %s", error)
                self._found = stamp, found[1]
        return self._found[1]

    def _stamp(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def question_of(given: Any) -> Question:
    """Raises ValueError that says what is wrong with it."""
    if not isinstance(given, Mapping):
        raise ValueError("a line is a JSON object with prompt or messages, and accepted")
    if unknown := sorted(given.keys() - KNOWN):
        raise ValueError(f"a question has no {', '.join(unknown)}; it has prompt or messages, and accepted")
    prompt, messages = given.get("prompt"), given.get("messages")
    if (prompt is None) == (messages is None):
        raise ValueError("a question has either a prompt or messages")
    _askable(prompt, messages)
    accepted = given.get("accepted")
    if not isinstance(accepted, list) or not 1 <= len(accepted) <= MOST_RULES:
        raise ValueError(f"accepted is a list of 1 to {MOST_RULES} rules, such as [42] or [{{'exact': 'Paris'}}]")
    digest = digest_of({"prompt": prompt, "messages": messages})
    of_messages = None if messages is None else tuple(messages)
    return Question(prompt, of_messages, tuple(accepted), rules_of(accepted), digest)


def _askable(prompt: Any, messages: Any) -> None:
    """Raises ValueError for what could not be pushed either."""
    try:
        ChallengeRequest.model_validate({"id": "canary", "prompt": prompt, "messages": messages})
    except ValueError as error:
        raise ValueError(f"it cannot be asked: {_first_line(error)}") from error
    for each in messages or ():
        if each.keys() != {"role", "content"} or each["role"] not in TURNS or not isinstance(each["content"], str):
            raise ValueError("messages are texts of user and assistant; instructions are those of what is pushed")
    if messages and messages[-1]["role"] != "user":
        raise ValueError("the last message is the user's, who asks")


def rules_of(accepted: Sequence[Any]) -> tuple[Rule, ...]:
    """Rules as they are kept with a canary. Raises ValueError."""
    return tuple(rule_of(each) for each in accepted)
