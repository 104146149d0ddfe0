"""What the page of `pruned_history` says, and that the end is noted."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta

import pytest

from assets.pruned_history import LEASE, LEASE_LENGTH
from loosh_pipeline.orchestrator import CHALLENGES
from loosh_pipeline.retention import pruning
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.leases import Leases
from loosh_pipeline.store.retention_notes import Kept, RetentionNotes
from tests.world import World, metadata_of

pruned_history = sys.modules["assets.pruned_history"]
compacted_tables = sys.modules["assets.compacted_tables"]


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
    assert RetentionNotes(world.store.inbox.engine).pruned_at() is None
    monkeypatch.undo()
    said = metadata_of(world.keep_small(), "pruned_history")
    assert (said["challenges"], said["left"], said["finished"]) == (0, 0, True)
    assert RetentionNotes(world.store.inbox.engine).pruned_at() is not None


def test_two_do_not_prune_at_once(world: World) -> None:
    now = datetime.now(UTC)
    leases = Leases(world.store.inbox.engine)
    lease = leases.take(LEASE, "another", now, LEASE_LENGTH)
    said = metadata_of(world.keep_small(), "pruned_history")
    assert (said["finished"], "another writes pruning" in str(said["waits"])) == (False, True)
    leases.release(lease, now)
    assert metadata_of(world.keep_small(), "pruned_history")["finished"] is True


def set_to(monkeypatch: pytest.MonkeyPatch, days: float) -> None:
    """Have both steps of retention see a clock that is so many days ahead."""
    for module, name in ((pruned_history, "now"), (compacted_tables, "_now")):
        monkeypatch.setattr(module, name, lambda: datetime.now(UTC) + timedelta(days=days))


def test_a_clock_that_jumped_ahead_deletes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.refresh_metagraph()
    for key in ("c-1", "c-2"):
        world.evaluate(world.accept(key))
    world.keep_small()
    set_to(monkeypatch, 400)
    assert metadata_of(world.keep_small(), "pruned_history")["challenges"] == 0
    set_to(monkeypatch, 401)
    assert metadata_of(world.keep_small(), "pruned_history")["challenges"] == 1


def test_what_stays_and_what_holds_it_is_noted(world: World) -> None:
    world.keep_small()
    assert RetentionNotes(world.store.inbox.engine).kept_challenges() == Kept(0, "nothing")
