"""Several endpoints: what failed costs its share once, a stale one has failed, and nothing is sent twice."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from loosh_pipeline.chain.messages import Operation
from loosh_pipeline.chain.process import READ_WITHIN_S, ProcessChain
from loosh_pipeline.chain.weights import matches, plan_weights
from loosh_pipeline.domain import Block, Metagraph, SignedExtrinsic, Submission, Uid, WeightPlan
from loosh_pipeline.errors import (
    ChainError,
    ChainRefusal,
    ChainTimeout,
    ConfigError,
    NotSubmitted,
    StaleChain,
    WrongChain,
)
from loosh_pipeline.settings import Settings
from tests.builders import metagraph
from tests.chain.conftest import ServedChain

PLAN = WeightPlan(78, Block(1), {Uid(2): 1.0}, {}, 0)


@pytest.fixture(scope="module")
def served(serve_devnet: Callable[..., Any]) -> Iterator[ServedChain]:
    with serve_devnet(block_time_s=0.05, rate_limit_blocks=0) as served:
        yield served


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


@pytest.fixture
def silent(listener: socket.socket) -> str:
    return f"ws://127.0.0.1:{listener.getsockname()[1]}"


def was_called(listener: socket.socket) -> bool:
    """Whether anybody has come since it was asked last."""
    came = False
    while True:
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return came
        came = True


@pytest.fixture
def refusing() -> str:
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        return f"ws://127.0.0.1:{closed_soon.getsockname()[1]}"


@pytest.mark.slow
def test_a_silent_first_endpoint_costs_its_share_once_w_10(
    served: ServedChain, listener: socket.socket, silent: str, tmp_path: Any
) -> None:
    settings = served.settings(
        subtensor_address=silent, subtensor_fallbacks=(served.endpoint,), chain_timeout_s=10.0, loosh_home=tmp_path
    )
    started = time.monotonic()
    assert ProcessChain(settings).snapshot(78).netuid == 78
    assert 5.0 <= time.monotonic() - started < 10.0
    assert was_called(listener)
    assert ProcessChain(settings).snapshot(78).netuid == 78
    assert not was_called(listener), "another process remembers it"


def test_what_was_not_sent_is_sent_at_the_next_endpoint_once(served: ServedChain, refusing: str) -> None:
    chain = ProcessChain(served.settings(subtensor_address=refusing, subtensor_fallbacks=(served.endpoint,)))
    signed: list[SignedExtrinsic] = []
    subnet = chain.snapshot(78)
    plan = plan_weights({subnet.neurons[2].hotkey: 1.0}, subnet, chain.identity())
    submission = chain.submit_weights(plan, signed.append)
    assert submission.success, submission.error
    assert [each.hash for each in signed] == [submission.extrinsic_hash]
    assert matches(plan, chain.observe(78, chain.identity()))


class Scripted(ProcessChain):
    """Endpoints that answer as they are told to."""

    def __init__(self, settings: Settings, script: dict[str, Any]) -> None:
        super().__init__(settings)
        self.script = script
        self.asked: list[tuple[str, float]] = []

    def _ask(self, operation: Operation, request: Any, share_s: float, before_sending: Any) -> Any:
        self.asked.append((request.endpoint, share_s))
        said = self.script[request.endpoint]
        if isinstance(said, Exception):
            raise said
        return said


def scripted(a: Any, b: Any, c: Any) -> Scripted:
    settings = Settings(subtensor_address="ws://a", subtensor_fallbacks=("ws://b", "ws://c", "ws://a"))
    return Scripted(settings, {"ws://a": a, "ws://b": b, "ws://c": c})


SEEN: Metagraph = metagraph()
DONE = Submission(True, Block(2), "0x1", False)


def test_every_endpoint_has_its_share_and_all_together_less_than_a_tick() -> None:
    chain = scripted(ChainTimeout("a"), StaleChain("b"), SEEN)
    assert chain.snapshot(78) == SEEN
    assert [each for each, _ in chain.asked] == ["ws://a", "ws://b", "ws://c"]
    first, second, third = (share_s for _, share_s in chain.asked)
    assert first == pytest.approx(READ_WITHIN_S / 3, abs=0.5)
    assert second == pytest.approx(READ_WITHIN_S / 2, abs=0.5), "who fails at once leaves time to the others"
    assert third == pytest.approx(READ_WITHIN_S, abs=0.5)
    assert READ_WITHIN_S < 50, "Dagster cuts a tick off at 60 s"
    chain.asked.clear()
    chain.snapshot(78)
    assert [each for each, _ in chain.asked] == ["ws://c"]


@pytest.mark.parametrize("not_sent", [NotSubmitted("refused"), StaleChain("old"), WrongChain("another")])
def test_a_submission_goes_on_while_nothing_was_sent(not_sent: ChainError) -> None:
    chain = scripted(not_sent, DONE, DONE)
    assert chain.submit_weights(PLAN) == DONE
    assert [each for each, _ in chain.asked] == ["ws://a", "ws://b"]


@pytest.mark.parametrize("unknown", [ChainTimeout("whether it was included is unknown"), ChainError("lost")])
def test_and_never_after_that_w_25(unknown: ChainError) -> None:
    chain = scripted(unknown, DONE, DONE)
    with pytest.raises(ChainError, match=str(unknown)):
        chain.submit_weights(PLAN)
    assert [each for each, _ in chain.asked] == ["ws://a"]


@pytest.mark.parametrize(
    ("failures", "kind"),
    [
        ((StaleChain("old a"), StaleChain("old b"), StaleChain("old c")), StaleChain),
        ((ChainTimeout("late a"), StaleChain("old b"), ChainTimeout("late c")), ChainError),
    ],
)
def test_when_none_serves_every_reason_is_told(failures: tuple[ChainError, ...], kind: type[ChainError]) -> None:
    with pytest.raises(ChainError, match="none of 3 endpoints served: ") as caught:
        scripted(*failures).snapshot(78)
    assert type(caught.value) is kind
    assert all(str(failure) in str(caught.value) for failure in failures)


@pytest.mark.parametrize("refusal", [ConfigError("no hotkey"), ChainRefusal("subnet 78 does not exist")])
def test_what_no_endpoint_can_help_is_told_at_once_and_is_no_endpoints_fault(refusal: Exception) -> None:
    chain = scripted(refusal, SEEN, SEEN)
    for operation in (lambda: chain.snapshot(78), lambda: chain.submit_weights(PLAN)):
        with pytest.raises(type(refusal), match=str(refusal)):
            operation()
    assert [each for each, _ in chain.asked] == ["ws://a", "ws://a"]
