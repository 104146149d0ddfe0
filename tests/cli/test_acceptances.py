"""`loosh audit chain`: whole, broken, and the link that a sender was given."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from loosh_pipeline.audit.acceptances import Link, Told
from loosh_pipeline.audit.canonical import link_bytes
from loosh_pipeline.cli import app
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.store.accepting import new_row
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.schema import challenges
from tests.ingress.conftest import keep_wallet
from tests.wire.peers import STRANGER, VALIDATOR

NOW, HOUR = datetime(2026, 1, 2, tzinfo=UTC), timedelta(hours=1)


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


def test_a_signed_link_is_this_validators_or_not(env: dict[str, str], links: list[Link], tmp_path: Path) -> None:
    env = env | {"WALLET_PATH": str(tmp_path / "wallets"), "WALLET_NAME": "validator", "HOTKEY_NAME": "validator"}
    link = links[1]

    def told(challenge_id: str, signer: Any = VALIDATOR) -> str:
        return str(Told(link, signer.sign(link_bytes(ChallengeId(challenge_id), link.seq, link.digest)).hex()))

    assert chain(env, "--link", told("c-1")).exit_code == 2, "without a hotkey nobody knows who signed"
    keep_wallet(tmp_path)
    shown = chain(env, "--link", told("c-1"))
    assert (shown.exit_code, "is a link of this chain, signed by this validator" in shown.stdout) == (0, True)
    for other in (told("c-1", STRANGER), told("c-2"), told("c-1").replace(f"{link.seq}:", "9:")):
        shown = chain(env, "--link", other)
        assert (shown.exit_code, "NOT signed by this validator" in shown.stdout) == (1, True)


@pytest.mark.usefixtures("links")
def test_what_was_accepted_beside_it_is_told(env: dict[str, str]) -> None:
    inbox = Inbox.open(f"sqlite:///{env['DB_PATH']}")
    with inbox.engine.begin() as connection:
        rows = [new_row(ChallengeId(name), {}, at) for name, at in (("old", NOW - HOUR), ("beside", NOW + HOUR))]
        connection.execute(challenges.insert(), rows)
    inbox.engine.dispose()
    shown = chain(env)
    assert shown.exit_code == 1
    assert "1 were accepted before there was a chain" in shown.stdout
    assert "1 were accepted since it began, and are no part of it" in shown.stdout
    assert json.loads(chain(env, "--json").stdout)["beside_the_chain"] == 1


def test_a_clock_that_was_set_back_is_told(env: dict[str, str]) -> None:
    inbox = Inbox.open(f"sqlite:///{env['DB_PATH']}")
    for number, at in enumerate((NOW, NOW + HOUR, NOW)):
        inbox.accept(ChallengeId(f"c-{number}"), {}, at)
    inbox.engine.dispose()
    shown = chain(env)
    assert (shown.exit_code, "at link 3 a clock had been set back by 3600 s" in shown.stdout) == (0, True)


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


def test_a_challenge_says_its_link_whole(env: dict[str, str], links: list[Link]) -> None:
    said = CliRunner().invoke(app, ["challenges", "show", "c-1", "--json"], env=env, prog_name="loosh")
    assert json.loads(said.stdout)["link_header"] == str(links[1])
    told = CliRunner().invoke(app, ["challenges", "show", "c-1"], env=env | {"COLUMNS": "60"}, prog_name="loosh")
    table = told.stdout
    assert links[1].digest in re.sub(r"[^0-9a-f:]", "", table)
    assert "…" not in table
