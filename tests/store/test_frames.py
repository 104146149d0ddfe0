"""What is written to a table comes back as it was."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loosh_pipeline.domain import (
    Block,
    Coldkey,
    Hotkey,
    Metagraph,
    Mode,
    NetworkView,
    OneSource,
    Outcome,
    Proposal,
    Response,
    RuleAct,
    Usage,
)
from loosh_pipeline.errors import StoreError
from loosh_pipeline.policy.inputs import Earned
from loosh_pipeline.store.frames import (
    answered_shares_of,
    earned_of,
    emissions_frame,
    emissions_of,
    metagraph_frame,
    metagraph_of,
    network_view_frame,
    network_view_of,
    policy_acts_frame,
    proposal_frame,
    proposal_of,
    responses_frame,
    responses_of,
    sources_frame,
)
from tests.builders import NOON, emission, metagraph, neuron, response

NEVER = 2**64 - 1
"""What the chain holds for a limit that never passes."""
TEXT = st.text(max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def through_a_file(frame: pl.DataFrame) -> pl.DataFrame:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    buffer.seek(0)
    return pl.read_parquet(buffer)


def stored(*responses: Response) -> pl.DataFrame:
    return through_a_file(responses_frame(responses, asked_at=NOON, metagraph_block=100))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"outcome": Outcome.TIMEOUT, "text": "", "elapsed_ms": None, "detail": "no answer in 60 s"},
        {"tool_calls": ({"function": {"name": "é", "arguments": '{"a": [1, null]}'}}, {"id": 2})},
        {"tool_calls": ()},
        {"usage": Usage(3, 4, 2**31 - 1), "finish_reason": "stop", "handshake_ms": 0.1, "sha256": "ab" * 32},
        {"text": "\u0000 \U0001f308 " + "x" * 100_000},
    ],
)
def test_a_response_comes_back(fields: dict[str, Any]) -> None:
    assert responses_of(stored(response(**fields))) == (response(**fields),)


@given(text=TEXT, calls=st.none() | st.lists(st.dictionaries(TEXT, JSON, max_size=3), max_size=2).map(tuple))
def test_any_response_comes_back(text: str, calls: tuple[dict[str, Any], ...] | None) -> None:
    asked = response(text=text, tool_calls=calls)
    assert responses_of(responses_frame([asked], asked_at=NOON, metagraph_block=1)) == (asked,)


def test_responses_keep_their_order_and_say_when_and_at_which_block() -> None:
    asked = [response(f"hotkey-{number}", outcome=outcome) for number, outcome in enumerate(Outcome)][::-1]
    frame = stored(*asked)
    assert responses_of(frame) == tuple(asked)
    assert frame["asked_at"].unique().to_list() == [NOON]
    assert frame["metagraph_block"].unique().to_list() == [100]


def test_a_round_nobody_was_asked_in_has_every_column() -> None:
    nobody = stored()
    assert responses_of(nobody) == ()
    assert nobody.schema == stored(response()).schema


@pytest.mark.parametrize(
    "subnet",
    [
        metagraph(),
        metagraph((neuron(0, ip=None, port=0, validator_permit=True, stake=1e9, last_update=9_000_000),)),
        metagraph(
            (neuron(last_update=NEVER),),
            block=NEVER,
            tempo_blocks=NEVER,
            activity_cutoff_blocks=NEVER,
            weights_rate_limit_blocks=NEVER,
            spec_version=2**32 - 1,
        ),
        metagraph(owner_hotkey=Hotkey("hotkey-9"), owner_coldkey=Coldkey("coldkey-9")),
        metagraph(weights_version_key=2**64 - 1, commit_reveal=True, taken_at=NOON + timedelta(milliseconds=7)),
    ],
)
def test_a_metagraph_comes_back(subnet: Metagraph) -> None:
    assert metagraph_of(through_a_file(metagraph_frame(subnet))) == subnet


def test_an_empty_metagraph_is_refused() -> None:
    with pytest.raises(StoreError, match="check NETUID"):
        metagraph_of(metagraph_frame(metagraph(())))


def test_emissions_come_back() -> None:
    earned = (emission("a", last_answered_at=NOON), emission("b", weight=0.0, emission=0.0, paid=0))
    frame = through_a_file(emissions_frame(earned, "robust", 7))
    assert emissions_of(frame) == earned
    assert frame.select("profile", "rounds").unique().rows() == [("robust", 7)]
    nobody = emissions_frame((), "robust", 0)
    known = through_a_file(emissions_frame(earned, "robust", 7, {earned[0].hotkey: 0.25}))
    assert answered_shares_of(known) == {earned[0].hotkey: 0.25}
    assert answered_shares_of(known.drop("answered_share")) == {}
    assert emissions_of(nobody) == ()
    assert nobody.schema == frame.schema


def test_what_was_earned_comes_back_with_its_sources_and_versions() -> None:
    pair = OneSource(Hotkey("a"), Hotkey("b"), rounds=12, degree=0.7, same_address=True, same_coldkey=False)
    rows = (emission("a", evidence=8.5, ramp=0.85, coverage=0.5, last_answered_at=NOON), emission("b"))
    about = {"made_at": NOON, "lookback_h": 48.0, "versions": {"v1": 5, "v2": 2}}
    frame = through_a_file(emissions_frame(rows, "robust", 7, **about))
    found = earned_of(frame, through_a_file(sources_frame([pair])))
    assert found == Earned(NOON, 48.0, 7, rows, (pair,), {"v1": 5, "v2": 2})
    assert earned_of(frame.clear(), sources_frame([])) == Earned()


def test_emissions_of_an_earlier_version_are_read() -> None:
    old = emissions_frame((emission("a"),), "robust", 7).select(
        "hotkey",
        "asked",
        "answered",
        "paid",
        "mean_payout",
        "emission",
        "weight",
        "last_answered_at",
        "profile",
        "rounds",
    )
    assert emissions_of(old) == (emission("a"),)
    assert earned_of(old, sources_frame([])) == Earned(rounds=7, emissions=(emission("a"),))


@pytest.mark.parametrize("shares", [{}, {Hotkey("a"): 0.25, Hotkey("b"): 0.75}])
def test_a_proposal_comes_back_also_one_for_nobody(shares: dict[Hotkey, float]) -> None:
    acts = (RuleAct("serving", Hotkey("c"), 0.5, 0.0, "serves nowhere"),)
    proposal = Proposal(NOON, Block(100), Mode.DEGRADED, "robust", "lookback", 7, shares, acts, ("change",))
    frame, about = through_a_file(proposal_frame(proposal)), through_a_file(policy_acts_frame(proposal))
    assert proposal_of(frame, about) == proposal
    with pytest.raises(StoreError, match="materialize weight_proposal again"):
        proposal_of(frame.clear(), about)


def test_the_largest_blocks_of_the_chain_are_kept() -> None:
    asked = responses_frame([response()], asked_at=NOON, metagraph_block=NEVER)
    assert asked["metagraph_block"].to_list() == [NEVER]


def test_what_the_network_said_of_hotkeys_comes_back() -> None:
    view = NetworkView(
        taken_at=NOON,
        validators=frozenset({Hotkey("v-1"), Hotkey("v-2")}),
        sybil_scores={Hotkey("m-1"): 0.0, Hotkey("v-1"): 0.5},
        priority_weights={Hotkey("m-2"): 0.25},
    )
    assert network_view_of(through_a_file(network_view_frame(view))) == view


def test_a_network_that_said_nothing_is_no_view() -> None:
    assert network_view_of(network_view_frame(NetworkView(NOON, frozenset(), {}, {}))) is None
