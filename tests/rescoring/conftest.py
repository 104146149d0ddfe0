"""An empty store, and some rounds to put into it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from loosh_pipeline.devnet.stored_rounds import Sample, samples
from loosh_pipeline.embedding.fake import HashingEmbedder
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.tables import Tables


@pytest.fixture(autouse=True)
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture(scope="module")
def drawn() -> list[Sample]:
    return samples(HashingEmbedder(), 2, asked=3)


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return Tables(str(tmp_path / "tables"))


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    inbox = Inbox.open(f"sqlite:///{tmp_path}/inbox.db")
    yield inbox
    inbox.engine.dispose()
