"""What the page of `pruned_history` says, and that the end is noted."""

from __future__ import annotations

import pytest

from loosh_pipeline.orchestrator import CHALLENGES
from loosh_pipeline.retention import pruning
from loosh_pipeline.settings import get_settings
from tests.world import World, metadata_of


def test_what_it_did_and_what_is_left_is_on_its_page(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.refresh_metagraph()
    for key in ("c-1", "c-2"):
        world.evaluate(world.accept(key))
    world.instance.add_dynamic_partitions(CHALLENGES, [f"of-nobody-{number}" for number in range(100)])
    monkeypatch.setenv("RETAIN_CHALLENGES", "100")
    get_settings.cache_clear()
    monkeypatch.setattr(pruning._Slice, "runs", lambda _: False)
    said = metadata_of(world.keep_small(), "pruned_history")
    assert (said["challenges"], said["runs"], said["kept_challenges"], said["finished"]) == (1, 1, 101, False)
    assert world.store.inbox.pruned_at() is None
    monkeypatch.undo()
    said = metadata_of(world.keep_small(), "pruned_history")
    assert (said["challenges"], said["left"], said["finished"]) == (0, 0, True)
    assert world.store.inbox.pruned_at() is not None
