"""Roots, leaves and samples: that no two contents have one root, and that nobody chooses what is drawn."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import replace
from math import comb

import numpy as np
import pytest
from bittensor_core import verify as signed_by
from hypothesis import given
from hypothesis import strategies as st

from loosh_pipeline.audit.content import Content
from loosh_pipeline.audit.leaves import PARTS, leaves_of, round_digest
from loosh_pipeline.audit.merkle import merkle_root
from loosh_pipeline.audit.sealing import SignedSeal, drawn, found_with, part_roots, seal_bytes, signed
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.plain import plain, typed
from tests.audit.epochs import STRANGER, VALIDATOR, sealed
from tests.scoring.rounds import examples

LEAVES = st.lists(st.binary(max_size=3), max_size=9)


def plainly(part: str, leaves: list[bytes]) -> bytes:
    """As RFC 6962 says it: split at the largest power of two below the number of leaves."""
    name = part.encode() + b"\0"
    if not leaves:
        return hashlib.sha256(b"\2" + name).digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + name + leaves[0]).digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + plainly(part, leaves[:split]) + plainly(part, leaves[split:])).digest()


@examples(200)
@given(LEAVES)
def test_a_root_is_that_of_the_tree_split_from_above(leaves: list[bytes]) -> None:
    assert merkle_root("looks", leaves) == plainly("looks", leaves).hex()


@examples(200)
@given(LEAVES, LEAVES)
def test_two_lists_have_two_roots(one: list[bytes], other: list[bytes]) -> None:
    assert (merkle_root("x", one) == merkle_root("x", other)) is (one == other)
    assert merkle_root("x", one) != merkle_root("y", one)


def test_the_last_leaf_twice_is_another_list() -> None:
    assert merkle_root("x", [b"a", b"b", b"c"]) != merkle_root("x", [b"a", b"b", b"c", b"c"])


def test_a_node_is_no_leaf() -> None:
    leaves = [hashlib.sha256(b"\0x\0" + each).digest() for each in (b"a", b"b")]
    assert merkle_root("x", [b"a", b"b"]) != merkle_root("x", [b"".join(leaves)])


def test_each_part_has_its_leaves(epoch: Content) -> None:
    found = {name: len(each) for name, each in leaves_of(epoch).items()}
    assert found == {
        "challenges": len(epoch.acceptances),
        "documents": 8,
        "looks": 12,
        "rounds": len(epoch.window.columns.challenges),
    }
    assert {name: each.leaves for name, each in part_roots(epoch).items()} == found
    assert sorted(found) == sorted(PARTS)


def test_every_nan_is_the_same_and_every_other_bit_counts(epoch: Content) -> None:
    columns = epoch.window.columns
    odd = columns.relevance.copy()
    odd[np.isnan(odd)] = np.uint64(0x7FF8_0000_0000_0001).view(np.float64)
    same = replace(epoch, window=replace(epoch.window, columns=replace(columns, relevance=odd)))
    assert part_roots(same) == part_roots(epoch)
    odd = columns.relevance.copy()
    odd.view(np.uint64)[2] ^= 1
    other = replace(epoch, window=replace(epoch.window, columns=replace(columns, relevance=odd)))
    assert part_roots(other)["rounds"] != part_roots(epoch)["rounds"]


def test_rows_in_any_order_have_one_root(epoch: Content) -> None:
    columns, window, order = epoch.window.columns, epoch.window, np.arange(len(epoch.window.columns.miner))[::-1]
    names = ("round", "miner", "compared", "words", "elapsed_ms", "relevance", "baseline")
    turned = replace(
        window,
        columns=replace(columns, **{name: getattr(columns, name)[order] for name in names}),
        outcome=window.outcome[::-1],
        **{name: getattr(window, name)[order] for name in ("answered", "measured", "payout")},
    )
    assert part_roots(replace(epoch, window=turned)) == part_roots(epoch)


def test_sealing_reads_no_round_and_no_context(epoch: Content) -> None:
    assert sealed(replace(epoch, rounds={}, contexts={})).seal == sealed(epoch).seal


def test_a_seal_is_signed_and_comes_back_from_json(epoch: Content) -> None:
    seal = sealed(epoch)
    found = typed(SignedSeal, json.loads(json.dumps(plain(seal))))
    assert found == seal
    assert signed_by(seal_bytes(found.seal), bytes.fromhex(found.signature), VALIDATOR.ss58_address, 1)
    with pytest.raises(ValueError, match="would sign"):
        signed(seal.seal, STRANGER)


def test_every_field_of_a_response_is_in_the_digest_of_its_round(epoch: Content) -> None:
    inputs = epoch.rounds[ChallengeId("challenge-0001")]
    first, *others = inputs.responses
    changed = {
        **{"hotkey": "x", "coldkey": "x", "uid": 99, "ip": "x", "port": 1, "outcome": others[0].outcome, "detail": "x"},
        **{"text": "x", "elapsed_ms": 1.0, "handshake_ms": None, "finish_reason": "x", "tool_calls": ({},)},
        **{"usage": replace(first.usage, total_tokens=3), "sha256": "x", "challenge_id": "x"},
    }
    assert changed.keys() == {each for each in type(first).__dataclass_fields__}
    del changed["outcome"]  # all of the others answered too
    digests = [round_digest(replace(inputs, responses=(replace(first, **{k: v}), *others))) for k, v in changed.items()]
    assert len({round_digest(inputs), *digests}) == len(changed) + 1
    assert round_digest(replace(inputs, responses=(*others, first))) == round_digest(inputs)


CHALLENGES = [ChallengeId(f"c{i:02}") for i in range(20)]


def test_a_sample_hangs_on_root_and_block_and_nothing_else() -> None:
    first = drawn("root", "0xAB", CHALLENGES, 5)
    assert first == drawn("root", "0xab", reversed(CHALLENGES), 5)
    assert len(set(first)) == 5
    assert first == tuple(sorted(first))
    assert len({first, drawn("other", "0xab", CHALLENGES, 5), drawn("root", "0xac", CHALLENGES, 5)}) == 3
    assert drawn("root", "0xab", CHALLENGES, 99) == tuple(CHALLENGES)
    assert drawn("root", "0xab", [], 5) == drawn("root", "0xab", CHALLENGES, 0) == ()


def test_a_sample_favours_nobody() -> None:
    counts = Counter(each for i in range(2000) for each in drawn(f"{i}", "0x", CHALLENGES, 5))
    assert len(counts) == len(CHALLENGES)
    assert max(abs(count - 500) for count in counts.values()) < 5 * 19.4  # five standard deviations


@pytest.mark.parametrize(("rounds", "shown"), [(20, 5), (100, 50), (500, 50), (1000, 0), (7, 7)])
def test_what_a_sample_finds_is_what_counting_says(rounds: int, shown: int) -> None:
    altered = max(1, -(-rounds // 20))
    missed = comb(rounds - altered, shown) / comb(rounds, shown)
    assert found_with(rounds, shown) == pytest.approx(1 - missed)


def test_as_many_as_are_drawn_find_one_in_twenty() -> None:
    assert found_with(10_000, 50) == pytest.approx(0.92, abs=0.01)
    assert found_with(0, 0) == 1.0
