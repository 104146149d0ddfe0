"""Weight calls end as on the real pallet: every check, and which of two comes first."""

from __future__ import annotations

from typing import Any

import pytest
from bittensor_core import Keypair
from hypothesis import given
from hypothesis import strategies as st

from loosh_pipeline.devnet.chain.commits import MAX_UNREVEALED_COMMITS, held_commits
from loosh_pipeline.devnet.chain.runtime import load_runtime
from loosh_pipeline.devnet.chain.weights import U16_MAX, max_upscale
from tests.devnet.chain_client import (
    IDLE,
    MINER,
    NETUID,
    OUTSIDER,
    VALIDATOR,
    commit_call,
    execute,
    new_chain,
    weights_call,
)


@pytest.mark.parametrize("function", ["set_weights", "set_mechanism_weights"])
def test_weights_are_stored_and_the_block_is_remembered(function: str) -> None:
    chain = new_chain()
    chain.tick(5)
    assert execute(chain, weights_call(function, weights=[200, 100])) == "ExtrinsicSuccess"
    state = chain.state()
    assert [tuple(entry) for entry in state.get("Weights", NETUID, 1)] == [(0, 65535), (2, 32768)]
    assert list(state.get("LastUpdate", NETUID)) == [0, 6, 0]
    assert chain.state(chain.block_at(5).hash).get("Weights", NETUID, 1) == []


@pytest.mark.parametrize(
    ("error", "keypair", "changes", "config"),
    [
        ("CommitRevealEnabled", VALIDATOR, {"weights": [1]}, {"commit_reveal": True}),
        ("CanNotSetRootNetworkWeights", VALIDATOR, {"weights": [1], "netuid": 0}, {"netuid": 0}),
        ("WeightVecNotEqualSize", VALIDATOR, {"weights": [1], "mecid": 1}, {}),
        ("CommitRevealEnabled", VALIDATOR, {"netuid": 5}, {}),  # the default, also of a subnet that is not there
        ("MechanismDoesNotExist", VALIDATOR, {"mecid": 1}, {}),
        ("UidsLengthExceedUidsInSubNet", OUTSIDER, {"dests": [0, 1, 2, 3], "weights": [1, 1, 1, 1]}, {}),
        ("HotKeyNotRegisteredInSubNet", OUTSIDER, {}, {"stake_threshold_tao": 10.0}),
        ("NotEnoughStakeToSetWeights", IDLE, {}, {"stake_threshold_tao": 10.0, "weights_version_key": 4}),
        ("IncorrectWeightVersionKey", IDLE, {"version_key": 3}, {"weights_version_key": 4}),
        ("NeuronNoValidatorPermit", IDLE, {"dests": [0, 0]}, {}),
        ("DuplicateUids", VALIDATOR, {"dests": [7, 7]}, {}),
        ("UidVecContainInvalidOne", VALIDATOR, {"dests": [0, 7]}, {"min_allowed_weights": 3}),
        ("WeightVecLengthIsLow", VALIDATOR, {"weights": [5, 0]}, {"min_allowed_weights": 2, "max_weights_limit": 1}),
        ("MaxWeightExceeded", VALIDATOR, {"weights": [5, 1]}, {"max_weights_limit": 40_000}),
    ],
)
def test_the_first_broken_rule_is_reported_and_nothing_changes(
    error: str, keypair: Keypair, changes: dict[str, Any], config: dict[str, Any]
) -> None:
    chain = new_chain(**config)
    assert execute(chain, weights_call(**changes), keypair) == error
    assert all(chain.state().get("Weights", chain.config.netuid, uid) == [] for uid in range(3))
    assert list(chain.state().get("LastUpdate", chain.config.netuid)) == [0, 0, 0]
    assert chain.next_nonce(keypair.ss58_address) == 1, "a failed call uses up its nonce"


def test_exceptions_to_the_rules() -> None:
    # the subnet owner's hotkey needs no permit, a weight on oneself neither permit nor length
    assert execute(new_chain(), weights_call(dests=[1, 2]), MINER) == "ExtrinsicSuccess"
    alone = weights_call(dests=[2], weights=[9])
    assert execute(new_chain(min_allowed_weights=3, max_weights_limit=1), alone, IDLE) == "ExtrinsicSuccess"
    # a subnet cannot ask for more weights than it has neurons; a newer version key is as good
    every = weights_call(dests=[0, 1, 2], weights=[1, 2, 3], version_key=9)
    assert execute(new_chain(min_allowed_weights=1024, weights_version_key=4), every) == "ExtrinsicSuccess"


def test_the_rate_limit_counts_blocks_since_the_last_weights() -> None:
    chain = new_chain(rate_limit_blocks=5)
    assert execute(chain, weights_call()) == "ExtrinsicSuccess"
    chain.tick(3)
    assert execute(chain, weights_call()) == "SettingWeightsTooFast"
    assert execute(chain, weights_call()) == "ExtrinsicSuccess"


def test_other_calls_are_filtered() -> None:
    remark = bytes(load_runtime().compose_call("System", "remark", {"remark": b"hello"}))
    assert execute(new_chain(), remark) == "CallFiltered"


def test_both_calls_commit() -> None:
    chain = new_chain(commit_reveal=True, rate_limit_blocks=0)
    for function in ("commit_timelocked_weights", "commit_timelocked_mechanism_weights"):
        assert execute(chain, commit_call(function, commit=function.encode())) == "ExtrinsicSuccess"
    held = held_commits(chain.state(), NETUID, 0)
    assert [commit.ciphertext.decode() for commit in held] == [
        "commit_timelocked_weights",
        "commit_timelocked_mechanism_weights",
    ]


def test_commits_are_kept_sealed_and_count_as_an_update() -> None:
    chain = new_chain(commit_reveal=True, rate_limit_blocks=0, tempo_blocks=1000)
    sealed = [b"\xff\x00one", b"text", b"0xab"]
    for commit in sealed:
        assert execute(chain, commit_call(commit=commit, reveal_round=77), IDLE) == "ExtrinsicSuccess"
    state = chain.state()
    commits = state.get("TimelockedWeightCommits", NETUID, 0)
    assert [(hotkey, block, reveal) for hotkey, block, _, reveal in commits] == [
        (IDLE.ss58_address, block, 77) for block in (1, 2, 3)
    ]
    key = state.runtime.key(state.runtime.item("SubtensorModule", "TimelockedWeightCommits"), [NETUID, 0])
    raw = chain.raw(key)
    assert raw is not None
    assert all(bytes([len(commit) << 2]) + commit in raw for commit in sealed)
    assert list(state.get("LastUpdate", NETUID)) == [0, 0, 3]


@pytest.mark.parametrize(
    ("error", "keypair", "changes", "config"),
    [
        ("MechanismDoesNotExist", OUTSIDER, {"netuid": 5}, {}),
        ("CommitRevealDisabled", OUTSIDER, {"commit_reveal_version": 3}, {"commit_reveal": False}),
        ("IncorrectCommitRevealVersion", OUTSIDER, {"commit_reveal_version": 3}, {}),
        ("HotKeyNotRegisteredInSubNet", OUTSIDER, {}, {}),
    ],
)
def test_a_commit_that_breaks_a_rule(
    error: str, keypair: Keypair, changes: dict[str, Any], config: dict[str, Any]
) -> None:
    assert execute(new_chain(**({"commit_reveal": True} | config)), commit_call(**changes), keypair) == error


def test_commits_are_limited_in_rate_and_number() -> None:
    chain = new_chain(commit_reveal=True, rate_limit_blocks=5)
    assert execute(chain, commit_call()) == "ExtrinsicSuccess"
    assert execute(chain, commit_call()) == "CommittingWeightsTooFast"
    chain = new_chain(commit_reveal=True, rate_limit_blocks=0, tempo_blocks=1000)
    outcomes = [execute(chain, commit_call()) for _ in range(MAX_UNREVEALED_COMMITS + 1)]
    assert outcomes == ["ExtrinsicSuccess"] * MAX_UNREVEALED_COMMITS + ["TooManyUnrevealedCommits"]


@given(st.lists(st.integers(0, U16_MAX), max_size=20))
def test_upscaling_keeps_proportions(values: list[int]) -> None:
    row = max_upscale(values)
    top = max(values, default=0)
    assert max(row, default=0) == (U16_MAX if top else 0)
    assert all(abs(new * top - old * U16_MAX) <= top / 2 for old, new in zip(values, row, strict=True))
