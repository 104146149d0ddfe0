"""Caps hold after everything is one whole again, and joining an entity lifts nobody."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.policy.caps import entity_cap, entity_limit, filled, max_share

UNHURRIED = settings(deadline=None, max_examples=80)

TOLERANCE = 1e-9
AMOUNTS = st.floats(1e-6, 1.0) | st.just(0.0)
GROUPS = st.sampled_from("ABCDEFGHIJ")


@st.composite
def earnings(draw: st.DrawFn, fewest: int = 1) -> tuple[dict[Hotkey, float], dict[Hotkey, Hotkey]]:
    """Shares that sum to anything above 0, and the entity of each."""
    amounts = draw(st.lists(AMOUNTS, min_size=fewest, max_size=30).filter(any))
    hotkeys = [Hotkey(f"h{i:02d}") for i in range(len(amounts))]
    entities = {hotkey: Hotkey(draw(GROUPS)) for hotkey in hotkeys}
    return dict(zip(hotkeys, amounts, strict=True)), entities


def totals(shares: dict[Hotkey, float], entities: dict[Hotkey, Hotkey]) -> dict[Hotkey, float]:
    return {e: math.fsum(s for h, s in shares.items() if entities[h] == e) for e in set(entities.values())}


@UNHURRIED
@given(earnings(), st.floats(0.01, 1.0), st.floats(0.01, 1.0))
def test_caps_hold_and_all_is_one_whole(case, cap: float, most: float) -> None:
    shares, entities = case
    ruled = max_share(entity_cap(shares, entities, cap).shares, entities, cap, most)
    after = dict(ruled.shares)
    earning = [h for h, share in shares.items() if share > 0]
    limit, member = entity_limit(shares, entities, cap), max(most, 1 / len(earning))
    assert abs(math.fsum(after.values()) - 1) <= TOLERANCE
    assert all(after[h] <= member + TOLERANCE for h in after)
    assert {h for h, share in after.items() if share > 0} == set(earning), "who has nothing gets nothing"
    sizes = totals(dict.fromkeys(earning, 1.0), {h: entities[h] for h in earning})
    if math.fsum(min(limit, size * member) for size in sizes.values()) >= 1 + TOLERANCE:
        assert all(total <= limit + TOLERANCE for total in totals(after, entities).values())


@UNHURRIED
@given(earnings(), st.floats(0.01, 1.0), st.floats(0.01, 1.0))
def test_below_the_limits_shares_keep_their_proportions(case, cap: float, most: float) -> None:
    shares, entities = case
    member = max(most, 1 / sum(share > 0 for share in shares.values()))
    limit = entity_limit(shares, entities, cap)
    after = filled(shares, entities, member, limit)
    held = totals(after, entities)
    free = [h for h, s in after.items() if 0 < s < member - TOLERANCE and held[entities[h]] < limit - TOLERANCE]
    factors = [after[h] / shares[h] for h in free]
    assert all(math.isclose(factor, factors[0], rel_tol=1e-6) for factor in factors)


@UNHURRIED
@given(earnings(), st.floats(0.05, 1.0), st.randoms(use_true_random=False))
def test_the_order_changes_no_bit(case, cap: float, random) -> None:
    shares, entities = case
    items = list(shares.items())
    random.shuffle(items)
    assert dict(entity_cap(dict(items), entities, cap).shares) == dict(entity_cap(shares, entities, cap).shares)


@UNHURRIED
@given(st.lists(st.floats(1e-3, 1.0), min_size=10, max_size=24), st.data())
def test_nobodys_share_rises_by_joining_an_entity(amounts: list[float], data: st.DataObject) -> None:
    """From nine entities on, where the cap hangs on nobody's number (docs/weights.md)."""
    hotkeys = [Hotkey(f"h{i:02d}") for i in range(len(amounts))]
    shares = dict(zip(hotkeys, amounts, strict=True))
    entities = {h: Hotkey(f"e{i if i < 10 else data.draw(st.integers(0, 8))}") for i, h in enumerate(hotkeys)}
    joins = hotkeys[9]
    into = entities[hotkeys[data.draw(st.integers(0, 8))]]
    before = entity_cap(shares, entities, 0.25).shares
    after = entity_cap(shares, {**entities, joins: into}, 0.25).shares
    assert after[joins] <= before[joins] + TOLERANCE
    assert all(after[h] <= before[h] + TOLERANCE for h in hotkeys if entities[h] == into)


def test_a_cap_of_entities_gives_way_where_members_cannot_hold_all() -> None:
    """Thirteen of one owner and seven alone, none above 5 %: twenty times 5 % is all there is."""
    names = [Hotkey(f"h{i:02d}") for i in range(20)]
    entities = {h: Hotkey("ring") if i < 13 else h for i, h in enumerate(names)}
    after = filled(dict.fromkeys(names, 1.0), entities, 0.05, 0.25)
    assert all(math.isclose(share, 0.05) for share in after.values())
