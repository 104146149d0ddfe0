"""A validator's home of months for `benchmarks.pages`: a hundred thousand challenges, 256 miners, weights all along.

The product's own assets evaluate some rounds of 256 miners and set weights, in this process and in a Dagster that lasts
as long; the chain and the miners are scripted (`tests.world`). `benchmarks.history` makes months of these. Then
weights are set once more by the product, over all rounds of the last day: the newest epoch is a real one, down to the
receipts of its miners. Some challenges wait, and a few of any age were given up.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from unittest.mock import patch

import dagster as dg
from sqlalchemy import update

from benchmarks.audit_home import address_of
from benchmarks.history import Template, draw_pictures, generate
from benchmarks.past import Past
from loosh_pipeline.chain.fake import FakeChain
from loosh_pipeline.devnet.answers import AnswerBook
from loosh_pipeline.devnet.essays import essay
from loosh_pipeline.devnet.stored_rounds import MINERS, hotkey_of
from loosh_pipeline.domain import Block, ChallengeId, ChallengeState, Hotkey, Outcome, Uid
from loosh_pipeline.settings import Settings, get_settings
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.schema import challenges
from tests.world import World

MADE = "made.json"
WAITING = 40
GIVEN_UP = 25
PICTURES = 500
"""Of the newest challenges: a page shows one at a time."""
COPIERS = (Uid(11), Uid(12))
"""They answer with each other's words."""
LATE_ONE_IN = 12
REASON = "Failure: the embedder did not answer within 60 s\n  caused by ReadTimeout: POST http://127.0.0.1:8003/v1/embeddings"
GIVEN = {"WEIGHTS_MIN_EVIDENCE_ROUNDS": "1", "SCORING_PROFILES": "robust,network", "MIN_MINERS": "3"}


@dataclass(frozen=True, slots=True)
class Size:
    """`rounds`: that are really evaluated, of which all are made. `vectors_days`: days with vectors."""

    challenges: int
    per_day: float
    rounds: int
    vectors_days: float


@dataclass(frozen=True, slots=True)
class Made:
    """A home, and what it is of. `epochs`: how often weights were set."""

    settings: Settings
    past: Past
    epochs: int


class Essays(dict[str, str | Outcome]):
    """What each of the miners answers a prompt, written when it is asked."""

    def __init__(self, prompt: str) -> None:
        super().__init__(dict.fromkeys((hotkey_of(uid) for uid in range(MINERS)), ""))
        self._prompt = prompt
        self._uids = {hotkey_of(uid): uid for uid in range(MINERS)}

    def __getitem__(self, hotkey: str) -> str | Outcome:
        uid = COPIERS[0] if self._uids[Hotkey(hotkey)] in COPIERS else self._uids[Hotkey(hotkey)]
        draw = Random(f"{self._prompt} {uid}")
        return Outcome.TIMEOUT if draw.randrange(LATE_ONE_IN) == 0 else essay(self._prompt, draw)


@contextmanager
def in_memory() -> Iterator[dg.DagsterInstance]:
    """A Dagster for as long as the block lasts, that does not say each step."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with dg.DagsterInstance.ephemeral() as instance:
            yield instance
    finally:
        logging.disable(before)


@contextmanager
def settings_of(home: Path, **changes: str) -> Iterator[Settings]:
    """The product's settings for a home, for as long as the block lasts; nothing of the machine's own."""
    others = {name.upper() for name in Settings.model_fields}
    kept = {name: value for name, value in os.environ.items() if name.upper() not in others}
    given = kept | GIVEN | {"LOOSH_HOME": str(home)} | changes
    with patch.dict(os.environ, given, clear=True), patch.dict(Settings.model_config, {"env_file": None}):
        get_settings.cache_clear()
        yield get_settings()
    get_settings.cache_clear()


def read_back(root: Path) -> Made | None:
    """What was made there before; None where nothing was."""
    if not (root / MADE).exists():
        return None
    said = json.loads((root / MADE).read_text())
    past = Past(said["challenges"], said["per_day"], datetime.fromisoformat(said["until"]))
    with settings_of(root / "home") as settings:
        return Made(settings, past, said["epochs"])


def make(root: Path, size: Size, now: datetime) -> Made:
    """Evaluate, multiply, and set weights by what there is then."""
    past, home = Past(size.challenges, size.per_day, now), root / "home"
    with settings_of(root / "template"), in_memory() as instance:
        template = evaluated(instance, root / "template", size.rounds)
    with settings_of(home) as settings:
        generate(template, home, past, vectors_days=size.vectors_days)
        draw_pictures(template, home, past, max(0, size.challenges - PICTURES))
        with in_memory() as instance:
            epochs = weigh(instance)
        leave_unsettled(settings, past)
    about = {"challenges": size.challenges, "per_day": size.per_day, "until": now.isoformat(), "epochs": epochs}
    (root / MADE).write_text(json.dumps(about))
    return Made(settings, past, epochs)


def evaluated(instance: dg.DagsterInstance, home: Path, rounds: int) -> Template:
    """Some rounds under every profile, and weights by them."""
    prompts = AnswerBook.load().prompts
    world = world_of(instance, Block(1_000))
    world.refresh_availability()
    for number in range(rounds):
        prompt = prompts[number % len(prompts)]
        world.miners.answers = Essays(prompt)
        world.evaluate(world.accept(f"measured-{number:06d}", prompt))
    world.set_weights()
    world.store.close()
    return Template.of(home)


def weigh(instance: dg.DagsterInstance) -> int:
    """Set weights once more by the rounds of the last day; returns the number of that epoch."""
    world = world_of(instance, Block(1_000_000))
    world.refresh_availability()
    world.set_weights()
    (row,) = world.store.weight_ledger.recent(get_settings().netuid, world.chain.hotkey, 1)
    world.store.close()
    return row.id


def world_of(instance: dg.DagsterInstance, block: Block) -> World:
    """All miners with an address and a coldkey of their own; the subnet has been looked at."""
    world = World(instance, Essays(""))
    there = world.chain.metagraph
    neurons = tuple(
        replace(each, ip=address_of(each.uid - 1)) if each.hotkey != world.chain.hotkey else each
        for each in there.neurons
    )
    world.chain = FakeChain(replace(there, neurons=neurons, block=block), world.chain.hotkey)
    world.refresh_metagraph()
    return world


def leave_unsettled(settings: Settings, past: Past) -> None:
    """Challenges that wait for their scores, and some of any age that were given up."""
    inbox, now = Inbox.open(settings.inbox_url), datetime.now(UTC)
    for number in range(WAITING):
        accept(inbox, f"waiting-{number:06d}", now - timedelta(seconds=WAITING - number))
    failed = [f"failed-{number:06d}" for number in range(GIVEN_UP)]
    for number, each in enumerate(failed):
        accept(inbox, each, past.began + (past.until - past.began) * number / GIVEN_UP)
    given_up: Mapping[str, object] = {"state": ChallengeState.FAILED, "failure": REASON, "next_run_at": None}
    with inbox.engine.begin() as connection:
        connection.execute(update(challenges).where(challenges.c.id.in_(failed)).values(given_up))
    inbox.engine.dispose()


def accept(inbox: Inbox, name: str, at: datetime) -> None:
    """What the ingress does."""
    inbox.accept(ChallengeId(name), {"id": name, "prompt": f"What became of {name}, and why?"}, at)
