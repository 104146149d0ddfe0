"""`loosh audit chain`: whole, broken, and the link that a sender was given."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from loosh_pipeline.audit.acceptances import Link
from loosh_pipeline.cli import app
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.store.inbox import Inbox

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"LOOSH_HOME": str(tmp_path), "DB_PATH": str(tmp_path / "v.db")}


@pytest.fixture
def links(env: dict[str, str]) -> list[Link]:
    inbox = Inbox.open(f"sqlite:///{env['DB_PATH']}")
    found = [inbox.accept(ChallengeId(f"c-{n}"), {"id": f"c-{n}", "prompt": "why?"}, NOW) for n in range(3)]
    inbox.engine.dispose()
    return found


def chain(env: dict[str, str], *arguments: str) -> Any:
    return CliRunner().invoke(app, ["audit", "chain", *arguments], env=env, prog_name="loosh")


def change(env: dict[str, str], statement: str) -> None:
    inbox = Inbox.open(f"sqlite:///{env['DB_PATH']}")
    with inbox.engine.begin() as connection:
        connection.execute(text(statement))
    inbox.engine.dispose()


def test_of_an_inbox_without_challenges(env: dict[str, str]) -> None:
    assert "no challenge was accepted yet" in chain(env).stdout


def test_a_whole_chain(env: dict[str, str], links: list[Link]) -> None:
    shown = chain(env)
    assert shown.exit_code == 0
    assert f"3 links, each follows from the one before, and has its request; the last is {links[-1]}" in shown.stdout


def test_a_link_that_was_given_is_in_it_or_not(env: dict[str, str], links: list[Link]) -> None:
    assert chain(env, "--link", str(links[1])).exit_code == 0
    other = chain(env, "--link", f"2:{'a' * 64}")
    assert (other.exit_code, "is NOT a link of this chain" in other.stdout) == (1, True)
    assert chain(env, "--link", f"4:{'a' * 64}").exit_code == 1
    assert chain(env, "--link", "2").exit_code == 2


@pytest.mark.usefixtures("links")
def test_which_link_breaks_is_told(env: dict[str, str]) -> None:
    change(env, "DELETE FROM challenges WHERE id = 'c-1'")
    assert "broken at link 3 (challenge c-2): it follows link 1; link 2 is missing; 1 links" in chain(env).stdout
    found = chain(env, "--json")
    assert found.exit_code == 1
    assert json.loads(found.stdout)["broken"]["seq"] == 3


def test_a_changed_request_is_seen_only_where_requests_are_read(env: dict[str, str], links: list[Link]) -> None:
    change(env, """UPDATE challenges SET request = '{"id": "c-1", "prompt": "another"}' WHERE id = 'c-1'""")
    assert chain(env, "--links-only").exit_code == 0
    shown = chain(env, "--link", str(links[2]))
    assert shown.exit_code == 1
    assert "broken at link 2 (challenge c-1): its request is not the one that was accepted" in shown.stdout
