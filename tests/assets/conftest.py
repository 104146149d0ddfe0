from __future__ import annotations

import pytest

from tests.world import World


@pytest.fixture
def world(own_home: object) -> World:
    return World()
