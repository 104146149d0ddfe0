"""What is left until a block, counted on from the newest that was seen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from loosh_pipeline.chain.countdown import LATE_S, Countdown, at_block
from loosh_pipeline.chain.readiness import due_since
from loosh_pipeline.domain import Mode
from tests.builders import metagraph, neuron

SEEN = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def left(passed_s: float, **facts: Any) -> Countdown:
    about = {"seen_at": SEEN.isoformat(), "due_at": (SEEN + timedelta(seconds=60)).isoformat(), "block_s": 12.0}
    return Countdown.of(about | facts, SEEN + timedelta(seconds=passed_s))


def test_it_goes_on_while_nobody_looks_at_the_chain() -> None:
    assert left(0) == Countdown(0.0, 60.0, None, 0)
    assert left(40) == Countdown(40.0, 20.0, None, 3)
    assert (left(70).due_s, left(70).late) == (-10.0, False)
    assert left(61 + LATE_S).late


def test_what_is_not_known_is_no_figure() -> None:
    assert Countdown.of({}, SEEN) == Countdown(None, None, None, 0)
    assert left(40, block_s=None).passed == 0
    assert at_block(200, 100, SEEN, None) is None
    assert at_block(90, 100, SEEN, 12.0) == SEEN - timedelta(minutes=2)


def test_a_clock_behind_that_of_the_chain_counts_nothing_twice() -> None:
    assert left(-30) == Countdown(0.0, 90.0, None, 0)


def test_since_when_weights_are_due() -> None:
    own = neuron(0, last_update=90, registered_block=5)
    subnet = metagraph((own,))
    assert due_since(subnet, own, 360, (), Mode.NORMAL) == 450
    assert due_since(subnet, own, 360, (), Mode.EMERGENCY) == 90 + subnet.weights_rate_limit_blocks
    never = neuron(0, last_update=5, registered_block=5)
    assert due_since(metagraph((never,)), never, 360, (), Mode.NORMAL) is None
