"""Seals, which anybody may take down."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from bittensor_core import Keypair

from loosh_pipeline.audit.canonical import canonical
from loosh_pipeline.audit.content import Epoch, PartRoot, Seal
from loosh_pipeline.audit.sealing import SEAL_FORMAT, SignedSeal, seal_bytes, signed
from loosh_pipeline.chain.records import plan_digest
from loosh_pipeline.domain import Block, Hotkey, Uid, WeightPlan
from loosh_pipeline.plain import plain, typed
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.leases import Leases
from loosh_pipeline.store.seals import KeptSeal, keep_seal
from loosh_pipeline.store.submissions import LEASE, Submissions
from loosh_pipeline.store.tables import Tables
from tests.builders import metagraph
from tests.ingress.conftest import Serve

SIGNER = Keypair.create_from_uri("//loosh-test//validator")
PLAN = WeightPlan(78, Block(100), {Uid(1): 1.0}, {Uid(1): Hotkey("hotkey-1")}, 0)
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def sealed(own_home: Path) -> SignedSeal:
    """A validator that set weights twice and sealed the first."""
    settings = get_settings()
    inbox, tables = Inbox.open(settings.inbox_url), Tables(settings.tables_root)
    ledger, own = Submissions(inbox.engine), Hotkey(SIGNER.ss58_address)
    with Leases(inbox.engine).held(LEASE, "run", timedelta(minutes=5), lambda: NOW) as lease:
        row, _ = (ledger.plan(lease, PLAN, metagraph(), own, NOW) for _ in range(2))
    epoch = Epoch(row.id, own, 78, "0x00", NOW, 100, plan_digest(PLAN))
    seal = Seal(SEAL_FORMAT, epoch, {"rounds": PartRoot("ab" * 32, 3)}, "cd" * 32, NOW, 100, 125, "9.9.9", 1)
    kept = KeptSeal(signed(seal, SIGNER))
    keep_seal(tables, row, kept)
    return kept.signed


def test_a_seal_is_served_whole_to_whoever_asks(sealed: SignedSeal, serve: Serve) -> None:
    answer = serve().get(f"/audit/seals/{sealed.seal.epoch.number}")
    assert answer.status_code == 200
    said = answer.json()
    assert said == plain(sealed)
    assert typed(SignedSeal, said) == sealed
    assert canonical(said["seal"]) == seal_bytes(sealed.seal)
    assert SIGNER.verify(canonical(said["seal"]), bytes.fromhex(said["signature"]))


def test_the_newest_are_listed(sealed: SignedSeal, serve: Serve) -> None:
    (shown,) = serve().get("/audit/seals").json()["seals"]
    assert (shown["number"], shown["root"], shown["sample_block"]) == (sealed.seal.epoch.number, "cd" * 32, 125)
    assert (shown["validator"], shown["netuid"]) == (SIGNER.ss58_address, 78)


@pytest.mark.parametrize("number", ["2", "3", "-1", "99999999999999999999999999"])
def test_what_has_no_seal_is_not_found(sealed: SignedSeal, serve: Serve, number: str) -> None:
    assert serve().get(f"/audit/seals/{number}").status_code == 404


def test_strangers_are_counted_as_everywhere(sealed: SignedSeal, serve: Serve) -> None:
    client = serve(intake_rate_per_address=0.1)
    answers = [client.get("/audit/seals").status_code for _ in range(3)]
    assert answers[0] == 200
    assert answers[-1] == 429
