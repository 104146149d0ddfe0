"""A validator that evaluated some challenges and set weights, made once for all tests that only read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

from loosh_pipeline.domain import Hotkey, NetworkView, Outcome
from loosh_pipeline.settings import Settings, get_settings
from tests.homes import living_in
from tests.world import World

COPIED = (
    "Sunlight holds all colours at once. On its way down through the air, small molecules scatter short waves of blue "
    "light far more strongly than long waves of red light. So wherever you look up, away from the sun, it is the "
    "scattered blue light that reaches your eyes during the day, and the sky appears blue to you and to everybody else."
)
HOSTILE = (
    "The sky is blue during the day because air scatters blue light more. <script>alert(1)</script> "
    "\x1b[31mred\x1b[0m \u202egnp.exe <img src=x onerror=alert(2)> [bold]rich[/bold]"
)
ANSWERS: Mapping[str, str | Outcome] = {
    "hotkey-1": "The sky is blue during the day because air scatters blue light far more than it scatters red light.",
    "hotkey-2": "During the day the sky is blue: molecules of air scatter short waves of light, and blue is short.",
    "hotkey-3": COPIED,
    "hotkey-4": Outcome.TIMEOUT,
    "hotkey-5": COPIED,
    "hotkey-66": HOSTILE,
    "hotkey-67": "Quarterly figures of the fishing fleet are printed on green paper in November.",
}
ROUNDS = 8
SUSPECTED = Hotkey("hotkey-3")


@contextmanager
def weighed_home(home: Path, **environment: str) -> Iterator[Settings]:
    """The settings of one whose copier is suspected, in a directory of its own; they hold meanwhile."""
    given = {"WEIGHTS_MIN_EVIDENCE_ROUNDS": "1", "WEIGHTS_MAX_SHARE": "0.4"}
    with living_in(home, **{**given, **environment}):
        with dg.DagsterInstance.ephemeral() as instance:
            _weigh(World(instance, ANSWERS))
        yield get_settings()


def _weigh(world: World) -> None:
    world.refresh_metagraph()
    world.refresh_availability()
    now = datetime.now(UTC)
    world.store.save_network_view(NetworkView(now - timedelta(minutes=5), frozenset(), {SUSPECTED: 0.5}, {}))
    for number in range(ROUNDS):
        world.evaluate(world.accept(f"c-{number}", f"Why is the sky blue during the day? Version {number}."))
    assert world.set_weights().success
    world.store.close()
