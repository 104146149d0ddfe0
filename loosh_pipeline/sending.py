"""Generating challenges: prompts from a file or the built-in ones, pushed at a rate, and what came of it."""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from loosh_pipeline.errors import ConfigError
from loosh_pipeline.wire.messages import new_uuid
from loosh_pipeline.wire.pushing import Pushed, Sender, client

TIMEOUT_S = 30.0
PROMPT_NAMES = ("prompt", "instruction", "question")
"""Fields of a JSONL row that hold a prompt, the first that is there."""
KEPT = (
    "id",
    "messages",
    "tools",
    "tool_choice",
    "model",
    "max_tokens",
    "temperature",
    "top_p",
    "metadata",
    "correlation_id",
)
"""Fields of a JSONL row that are sent along."""

Progress = Callable[[Pushed], None]


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of all challenges. `accepted` holds their ids, `refused` counts by what was said.

    `links`: by id, of those that were answered with an X-Challenge-Link, accepted before too.
    """

    accepted: tuple[str, ...]
    refused: Mapping[tuple[int | None, str], int]
    latencies_ms: tuple[float, ...]
    seconds: float
    links: Mapping[str, str]

    @property
    def failed(self) -> int:
        return sum(self.refused.values())

    def to_dict(self) -> dict[str, Any]:
        by_status: Counter[str] = Counter()
        for (status, _), count in self.refused.items():
            by_status[str(status or "no answer")] += count
        return {
            "sent": len(self.accepted) + self.failed,
            "accepted": len(self.accepted),
            "ids": list(self.accepted),
            "links": dict(self.links),
            "refused": dict(by_status),
            "reasons": sorted({said for _, said in self.refused})[:20],
            "seconds": round(self.seconds, 3),
            "p50_ms": self.percentile_ms(0.5),
            "p99_ms": self.percentile_ms(0.99),
        }

    def percentile_ms(self, share: float) -> float | None:
        """A percentile of the time until an answer; None when there was none."""
        ordered = sorted(self.latencies_ms)
        if not ordered:
            return None
        if share == 0.5:
            return round(statistics.median(ordered), 3)
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)


def read_prompts(path: Path) -> list[dict[str, Any]]:
    """Challenges: one a line, plain text, or JSON objects in a file named .jsonl or .ndjson.

    Raises ConfigError that names the line, also for JSON in a file of another name, which would be asked as it stands.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the file of prompts {path} cannot be read: {error}") from error
    rows = path.suffix.lower() in (".jsonl", ".ndjson")
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    found = [(_row if rows else _plain)(line, f"{path}:{number}") for number, line in numbered]
    if not found:
        raise ConfigError(f"the file of prompts {path} has none; write one a line")
    return found


def _plain(line: str, where: str) -> dict[str, Any]:
    if line.lstrip().startswith(('{"', "[{")):
        raise ConfigError(f"{where} looks like JSON; a file of JSON rows, one a line, is named .jsonl")
    return {"prompt": line.strip()}


def _row(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is not JSON: {str(error)[:120]}") from error
    if not isinstance(row, dict):
        raise ConfigError(f"{where} is not a JSON object but {type(row).__name__}")
    challenge = {name: row[name] for name in KEPT if row.get(name) is not None}
    prompt = next((row[name] for name in PROMPT_NAMES if isinstance(row.get(name), str) and row[name].strip()), None)
    if prompt is not None:
        challenge["prompt"] = prompt
    elif "messages" not in challenge:
        raise ConfigError(f"{where} has nothing to ask; give it one of {', '.join(PROMPT_NAMES)} or messages")
    return challenge


def challenges(
    prompts: Sequence[Mapping[str, Any]], count: int | None, parameters: Mapping[str, Any], *, hexadecimal: bool = False
) -> Iterator[dict[str, Any]]:
    """As many challenges as asked for, or one a prompt.

    One whose prompt has no id, or is used again, gets its own: a UUID, or 64 hexadecimal digits.
    """
    wanted = len(prompts) if count is None else count
    for number, prompt in enumerate(itertools.islice(itertools.cycle(prompts), wanted)):
        own = {"id": secrets.token_hex(32) if hexadecimal else new_uuid()}
        yield {**parameters, **own, **prompt} if number < len(prompts) else {**parameters, **prompt, **own}


async def push_all(
    wanted: Iterable[Mapping[str, Any]],
    sender: Sender,
    rate_per_s: float,
    *,
    timeout_s: float = TIMEOUT_S,
    progress: Progress | None = None,
) -> list[tuple[str, Pushed]]:
    """Push challenges evenly at `rate_per_s`; the id of each and what was said, in the order of sending.

    A challenge is sent when its time has come, whether or not earlier ones were answered, as a network of requesters
    would. Raises ConfigError for a rate that is not above zero, and never for what the receiver does.
    """
    if not rate_per_s > 0:
        raise ConfigError(f"{rate_per_s} challenges a second cannot be pushed; give a rate above zero")
    tasks: list[tuple[str, asyncio.Task[Pushed]]] = []
    async with client(timeout_s) as http, asyncio.TaskGroup() as group:
        started_s = time.monotonic()
        for number, challenge in enumerate(wanted):
            await asyncio.sleep(max(0.0, started_s + number / rate_per_s - time.monotonic()))
            tasks.append((str(challenge["id"]), group.create_task(_push(http, sender, challenge, progress))))
    return [(challenge_id, task.result()) for challenge_id, task in tasks]


async def _push(
    http: httpx.AsyncClient, sender: Sender, challenge: Mapping[str, Any], progress: Progress | None
) -> Pushed:
    pushed = await sender.send(http, challenge)
    if progress is not None:
        progress(pushed)
    return pushed


def summarised(pushed: Sequence[tuple[str, Pushed]], seconds: float) -> Summary:
    """What came of all challenges together."""
    accepted = tuple(challenge_id for challenge_id, said in pushed if said.status == httpx.codes.CREATED)
    refused = Counter((said.status, said.said) for _, said in pushed if said.status != httpx.codes.CREATED)
    answered = tuple(said.elapsed_ms for _, said in pushed if said.status is not None)
    links = {challenge_id: said.link for challenge_id, said in pushed if said.link}
    return Summary(accepted, refused, answered, seconds, links)
