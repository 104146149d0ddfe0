"""The ledger of submitted weights: on record before they are on their way, and what became of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Row, func, insert, select, true, update

from loosh_pipeline.chain.records import FAILED, OPEN, SubmissionRow, SubmissionState, plan_digest
from loosh_pipeline.domain import Block, Hotkey, Metagraph, Uid, WeightPlan
from loosh_pipeline.store.database import reading
from loosh_pipeline.store.leases import Lease, still_ours
from loosh_pipeline.store.schema import submissions

LEASE = "weights"
"""Name of the lease under which it is written."""


_TAKEN = submissions.c.included_block.is_not(None), submissions.c.state.not_in(FAILED)


class Submissions:
    """Every write names a lease, and raises `NotTheWriter` once somebody else has taken it over."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def plan(self, lease: Lease, plan: WeightPlan, subnet: Metagraph, hotkey: Hotkey, now: datetime) -> SubmissionRow:
        """Put a plan on record, before anything of it is signed."""
        values: dict[str, Any] = {
            "netuid": plan.netuid,
            "hotkey": hotkey,
            "genesis_hash": subnet.genesis_hash,
            "block": plan.block,
            "digest": plan_digest(plan),
            "plan": _as_json(plan),
            "state": SubmissionState.PLANNED,
            "reason": "",
            "commit_reveal": subnet.commit_reveal,
            "spec_version": subnet.spec_version,
            "reveal_period_epochs": subnet.reveal_period_epochs,
            "fence": lease.fence,
            "created_at": now,
            "changed_at": now,
            "seen_block": subnet.block,
            "seen_at": now,
        }
        with self._engine.begin() as connection:
            still_ours(connection, lease)
            row = connection.execute(insert(submissions).values(values).returning(*submissions.c)).one()
        return _row(row)

    def move(
        self, lease: Lease, row: SubmissionRow, state: SubmissionState, reason: str, now: datetime, **facts: Any
    ) -> SubmissionRow:
        """Record that a submission is in a state. `facts`: columns that are known now; None leaves one as it is."""
        known = {name: value for name, value in facts.items() if value is not None}
        changed = {"changed_at": now} if state is not row.state else {}
        values = {"state": state, "reason": reason, "fence": lease.fence, "seen_at": now, **changed, **known}
        statement = update(submissions).where(submissions.c.id == row.id).values(values).returning(*submissions.c)
        with self._engine.begin() as connection:
            still_ours(connection, lease)
            return _row(connection.execute(statement).one())

    def recent(
        self, netuid: int, hotkey: Hotkey, limit: int = 10, *, genesis_hash: str | None = None
    ) -> Sequence[SubmissionRow]:
        """What this hotkey submitted last to the chain with this block 0 (None: to any), and whatever is undecided of
        what it submitted before; newest first.

        Whoever decides by it names the chain: heights of one say nothing on another.
        """
        own = submissions.c.netuid == netuid, submissions.c.hotkey == hotkey, _of_chain(genesis_hash)
        newest_first = submissions.c.id.desc()
        last = select(submissions.c.id).where(*own).order_by(newest_first).limit(limit)
        undecided = select(submissions.c.id).where(*own, submissions.c.state.in_(OPEN))
        # By ids alone: years of plans are not to be read for the few that are wanted.
        chosen = submissions.c.id.in_(last) | submissions.c.id.in_(undecided)
        query = select(submissions).where(chosen).order_by(newest_first)
        with reading(self._engine) as connection:
            return [_row(row) for row in connection.execute(query)]

    def get(self, number: int) -> SubmissionRow | None:
        """One submission; None where there is none of this number."""
        return self._first(submissions.c.id == number)

    def newest(self, most: int) -> Sequence[SubmissionRow]:
        """What was submitted last from here, with whatever hotkey to whatever chain, newest first."""
        return self._newest(most)

    def newest_until(self, number: int, most: int) -> Sequence[SubmissionRow]:
        """What was submitted last up to this number, newest first."""
        return self._newest(most, submissions.c.id <= number)

    def newest_taken(self) -> SubmissionRow | None:
        """The newest of all that the chain took (`SubmissionRow.taken`)."""
        return self._first(*_TAKEN)

    def newest_of(self, netuid: int, hotkey: Hotkey, genesis_hash: str | None = None) -> SubmissionRow | None:
        """What this hotkey submitted last to the chain with this block 0 (None: to any)."""
        return self._first(submissions.c.netuid == netuid, submissions.c.hotkey == hotkey, _of_chain(genesis_hash))

    def taken_until(self, row: SubmissionRow, most: int) -> Sequence[SubmissionRow]:
        """What a chain took last of the one who signed this, up to this, newest first."""
        own = submissions.c.netuid == row.plan.netuid, submissions.c.hotkey == row.hotkey, _of_chain(row.genesis_hash)
        return self._newest(most, *own, submissions.c.id <= row.id, *_TAKEN)

    def _newest(self, most: int, *which: ColumnElement[bool]) -> list[SubmissionRow]:
        query = select(submissions).where(*which).order_by(submissions.c.id.desc()).limit(most)
        with reading(self._engine) as connection:
            return [_row(row) for row in connection.execute(query)]

    def _first(self, *which: ColumnElement[bool]) -> SubmissionRow | None:
        query = select(submissions).where(*which).order_by(submissions.c.id.desc()).limit(1)
        with reading(self._engine) as connection:
            row = connection.execute(query).first()
        return None if row is None else _row(row)

    def signers(self, netuid: int, genesis_hash: str | None = None) -> frozenset[Hotkey]:
        """Every hotkey that weights of this subnet were submitted with from here."""
        found: list[Hotkey] = []
        with reading(self._engine) as connection:
            # From one to the next, each found in the index: they are few, and what they submitted is much.
            while (hotkey := _next_signer(connection, netuid, found[-1:])) is not None:
                found.append(hotkey)
            return frozenset(each for each in found if _has_submitted(connection, netuid, each, genesis_hash))


def _next_signer(connection: Connection, netuid: int, last: Sequence[Hotkey]) -> Hotkey | None:
    """The first hotkey in order that submitted anything, or the next after the last one."""
    query = select(func.min(submissions.c.hotkey)).where(submissions.c.netuid == netuid)
    for hotkey in last:
        query = query.where(submissions.c.hotkey > hotkey)
    found: str | None = connection.execute(query).scalar_one()
    return None if found is None else Hotkey(found)


def _has_submitted(connection: Connection, netuid: int, hotkey: Hotkey, genesis_hash: str | None) -> bool:
    own = submissions.c.netuid == netuid, submissions.c.hotkey == hotkey, _of_chain(genesis_hash)
    newest = select(submissions.c.id).where(*own).order_by(submissions.c.id.desc()).limit(1)
    return connection.execute(newest).first() is not None


def _of_chain(genesis_hash: str | None) -> ColumnElement[bool]:
    return true() if genesis_hash is None else submissions.c.genesis_hash == genesis_hash


def _as_json(plan: WeightPlan) -> dict[str, Any]:
    return {
        "version_key": plan.version_key,
        "weights": [[uid, plan.hotkeys[uid], weight] for uid, weight in plan.weights.items()],
        "dropped": dict(plan.dropped),
    }


def _plan(row: Mapping[str, Any]) -> WeightPlan:
    stored = row["plan"]
    return WeightPlan(
        netuid=row["netuid"],
        block=Block(row["block"]),
        weights={Uid(uid): weight for uid, _, weight in stored["weights"]},
        hotkeys={Uid(uid): Hotkey(hotkey) for uid, hotkey, _ in stored["weights"]},
        version_key=stored["version_key"],
        dropped={Hotkey(hotkey): reason for hotkey, reason in stored["dropped"].items()},
    )


def _row(row: Row[Any]) -> SubmissionRow:
    values = dict(row._mapping)
    plan = _plan(values)
    about = {name: value for name, value in values.items() if name not in ("netuid", "block", "digest", "plan")}
    return SubmissionRow(**about | {"plan": plan, "state": SubmissionState(row.state)})
