"""Where a test imports from and to."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from loosh_pipeline.moving.importing import Places, Report, import_validator
from tests.moving.kept import NOW, Import


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(str(tmp_path / "home" / "tables"), f"sqlite:///{tmp_path}/home/users.db")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "validator.db"


@pytest.fixture
def run(places: Places, database: Path) -> Import:
    def imported(path: Path = database, users: Path | None = None, now: datetime = NOW, **how: Any) -> Report:
        return import_validator(path, users, places, now, **how)

    return imported
