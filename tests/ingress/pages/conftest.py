"""Homes of validators that set weights, for pages that show them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ingress.pages.page import LOADING
from loosh_pipeline.chain.records import SubmissionRow, SubmissionState
from loosh_pipeline.domain import Hotkey, WeightPlan
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.frames import metagraph_of
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.leases import Leases
from loosh_pipeline.store.submissions import LEASE, Submissions
from loosh_pipeline.store.tables import Tables
from tests.audit.weighed import weighed_home


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages tell what is there at once, however long looking around takes a machine."""
    monkeypatch.setattr("ingress.outlook.WITHIN_S", 60.0)


@pytest.fixture(autouse=True)
def loaded() -> None:
    """What is loaded beside pages is there, so that they are whole."""
    LOADING.begin()
    while not LOADING.is_over():
        time.sleep(0.05)


@pytest.fixture(scope="session")
def weighed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("weighed-pages") / "home"
    with weighed_home(home):
        pass
    return home


@pytest.fixture
def home(weighed: Path, own_home: Path) -> Path:
    """The data directory of this test, with what a validator left that set weights."""
    shutil.copytree(weighed, own_home, dirs_exist_ok=True)
    return own_home


def submitted(
    settings: Settings,
    shares: Mapping[str, float] | None = None,
    state: str = "observed",
    *,
    hotkey: Hotkey | None = None,
    **facts: Any,
) -> SubmissionRow:
    """One more epoch in the ledger, made of the same proposal; `shares`: weights by hotkey, else those of the last."""
    inbox, tables = Inbox.open(settings.inbox_url), Tables(settings.tables_root)
    ledger = Submissions(inbox.engine)
    last, subnet = ledger.newest(1)[0], tables.latest("metagraph")
    assert subnet is not None
    now = last.created_at + timedelta(minutes=1)
    plan = last.plan if shares is None else _with(last.plan, shares)
    with Leases(inbox.engine).held(LEASE, "test", timedelta(minutes=5), lambda: datetime.now(UTC)) as lease:
        row = ledger.plan(lease, plan, metagraph_of(subnet), hotkey or last.hotkey, now)
        block = None if state in ("planned", "refused", "expired") else 77
        known = {"included_block": block, "extrinsic_hash": "0x" + "ab" * 32, "dies_at": 90} | facts
        reason = known.pop("reason", "as it was submitted")
        row = ledger.move(lease, row, SubmissionState(state), reason, now, **known)
    inbox.engine.dispose()
    return row


def _with(plan: WeightPlan, shares: Mapping[str, float]) -> WeightPlan:
    uids = {hotkey: uid for uid, hotkey in plan.hotkeys.items()}
    weights = {uids[Hotkey(hotkey)]: share for hotkey, share in shares.items()}
    return replace(plan, weights=weights, hotkeys={uid: plan.hotkeys[uid] for uid in weights})
