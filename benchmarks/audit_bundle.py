"""A bundle of a day's weights with all rounds, for `benchmarks.audit`, as `loosh audit export` makes it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from benchmarks.audit_home import OWN
from loosh_pipeline.audit.exporting import Wanted, export
from loosh_pipeline.audit.file import Level
from loosh_pipeline.audit.gathering import content_of
from loosh_pipeline.audit.sealing import seal_of, signed
from loosh_pipeline.domain import Block
from loosh_pipeline.release import RELEASE
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.accepted_range import to_remember
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.seals import KeptSeal
from loosh_pipeline.store.submissions import Submissions
from loosh_pipeline.store.tables import Tables


def bundle(settings: Settings) -> Path:
    """Seal the newest epoch and write it with all texts and vectors."""
    tables, inbox = Tables(settings.tables_root), Inbox.open(settings.inbox_url)
    (row,) = Submissions(inbox.engine).newest(1)
    content = content_of(tables, inbox.engine, row)
    block = Block(row.included_block or row.plan.block)
    seal = seal_of(content, sealed_at=datetime.now(UTC), sealed_block=block, release=RELEASE)
    kept = KeptSeal(signed(seal, OWN), to_remember(content.acceptances))
    path = settings.home / "epoch.loosh-audit"
    export(path, tables, inbox, row, kept, OWN, Wanted(Level.FULL))
    inbox.engine.dispose()
    return path
