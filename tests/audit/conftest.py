"""One honest epoch, made once: contents are values, which no test can alter."""

from __future__ import annotations

from pathlib import Path

import pytest

from loosh_pipeline.audit.content import Content
from tests.audit.epochs import Size, honest


@pytest.fixture(scope="session")
def epoch() -> Content:
    return honest()


@pytest.fixture(scope="session")
def wide() -> Content:
    """Of so many rounds that a few may be missing."""
    return honest(Size(rounds=60, miners=4, words=25))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "7.loosh-audit"
