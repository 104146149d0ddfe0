"""Pages tell what is there at once, however long looking around takes a machine."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingress.outlook.WITHIN_S", 60.0)
