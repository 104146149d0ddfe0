"""The doctor itself, and the validator's own parts: settings, keys, models, databases, broker."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import MagicMock

import httpx
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from loosh_pipeline.chain.wallet import create_wallet
from loosh_pipeline.cli import app
from loosh_pipeline.doctor import chain, checkup, diagnosing, models, stores, wallet
from loosh_pipeline.doctor.checkup import Check, examined
from loosh_pipeline.doctor.finding import Finding, ok
from loosh_pipeline.errors import LLMUnreachable
from loosh_pipeline.lock import validator_lock
from loosh_pipeline.settings import Settings, get_settings
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.supervisor import free_ports
from tests.doctor.conftest import only


def test_what_hangs_costs_its_own_line_alone() -> None:
    release = threading.Event()

    def hangs() -> list[Finding]:
        release.wait(30)
        return []

    found = examined([Check("slow", hangs), Check("quick", lambda: [ok("quick", "there")])], within_s=0.05)
    release.set()
    assert [(each.subject, each.verdict) for each in found] == [("slow", "look"), ("quick", "ok")]
    assert found[0].said == "not known within 0.05 s"


def test_an_error_nobody_thought_of_is_a_finding() -> None:
    def fails() -> Iterator[Finding]:
        yield ok("broken", "so far")
        raise ZeroDivisionError("by nothing")

    found = only(examined([Check("broken", fails)]))
    assert (found.verdict, "ZeroDivisionError: by nothing" in found.said) == ("wrong", True)


def test_no_answer_is_wrong_of_what_the_validator_cannot_do_without() -> None:
    release = threading.Event()

    def hangs() -> list[Finding]:
        release.wait(30)
        return []

    found = only(examined([Check("chain", hangs, needed=True)], within_s=0.0))
    release.set()
    assert (found.verdict, found.said) == ("wrong", "not known within 0 s")


def test_the_deadline_of_all_is_beyond_that_of_each() -> None:
    within = max(diagnosing.CHAIN_WITHIN_S + chain.SNAPSHOT_WITHIN_S, diagnosing.API_WITHIN_S, models.LLM_WITHIN_S)
    assert within < checkup.WITHIN_S < 20


def test_settings_that_cannot_be_read_are_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_PORT", "eighty")
    monkeypatch.setenv("NETUID", "-1")
    get_settings.cache_clear()
    ended = CliRunner().invoke(app, ["doctor", "--json"])
    told = [each for each in json.loads(ended.stdout) if each["subject"] == "settings"]
    assert ended.exit_code == 1
    assert [each["said"].split("=")[0] for each in told] == ["API_PORT", "NETUID"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("INTAKE_HOTKEY", "x", "did you mean INTAKE_HOTKEYS?"),
        ("SCORING_PROFILES", "robust,netwrok", "SCORING_PROFILES names netwrok"),
        ("SCORING_PROFILES", "network", "PAY_PROFILE is 'robust', which SCORING_PROFILES"),
    ],
)
def test_so_are_names_that_are_none_and_what_contradicts(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    ended = CliRunner().invoke(app, ["doctor"])
    assert (ended.exit_code, said in ended.stdout) == (1, True), ended.stdout


def test_who_else_can_read_the_hotkey_and_where_the_coldkey_lies(tmp_path: Path) -> None:
    create_wallet(tmp_path, "validator", "validator")
    settings = Settings(loosh_home=tmp_path, wallet_path=tmp_path)
    (tmp_path / "validator/hotkeys/validator").chmod(0o644)
    found = list(wallet.wallet(settings, devnet=False))
    assert [each.verdict for each in found] == ["look", "look", "ok"]
    assert "mode 644" in found[0].said
    assert found[0].todo.startswith("chmod 600 ")
    assert "private coldkey" in found[1].said
    assert [each.verdict for each in wallet.wallet(settings, devnet=True)] == ["look", "ok"]


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    settings = Settings(loosh_home=tmp_path, embedding_model=str(tmp_path / "nothing"))
    found = only(models.embedder(settings, runs=False))
    assert (found.verdict, "there is no directory" in found.said) == ("wrong", True)


def test_an_embedder_that_should_run_and_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "EMBEDDER_WITHIN_S", 0.1)
    (port,) = free_ports(1)
    settings = Settings(loosh_home=tmp_path, embedder_url=f"http://127.0.0.1:{port}")
    found = only(models.embedder(settings, runs=False))
    assert (found.verdict, f"cannot reach the embedder at http://127.0.0.1:{port}" in found.said) == ("wrong", True)


def test_an_llm_that_answers_or_is_not_set(settings: Settings) -> None:
    assert only(models.llm(settings, lambda _: "m at http://l answers")) == ok("llm", "m at http://l answers")
    assert "none is set" in only(models.llm(settings, lambda _: None)).said


def test_an_llm_that_does_not_is_something_to_look_at(settings: Settings) -> None:
    def away(_: Settings) -> str | None:
        raise LLMUnreachable("m cannot be reached; start it")

    found = only(models.llm(settings, away))
    assert (found.verdict, found.todo) == ("look", "start it")


def test_a_model_without_a_server_comes_with_what_to_set(settings: Settings) -> None:
    found = only(models.llm(settings.model_copy(update={"llm_model": "gpt-x"}), models.answering_llm))
    assert (found.verdict, found.todo) == ("look", "set one of them, or unset LLM_MODEL")


def test_no_database_is_made(tmp_path: Path) -> None:
    found = only(stores.databases(Settings(loosh_home=tmp_path / "home")))
    assert (found.verdict, found.said) == ("ok", "inbox not made yet, users not made yet")
    assert not (tmp_path / "home").exists()


def test_what_this_release_made_is_up_to_date(settings: Settings) -> None:
    Inbox.open(settings.inbox_url).engine.dispose()
    assert only(stores.databases(settings)).said == "inbox up to date, users not made yet"


def test_a_newer_release_and_what_is_no_database(settings: Settings) -> None:
    Inbox.open(settings.inbox_url).engine.dispose()
    connection = sqlite3.connect(settings.home / "validator.db")
    with connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    (settings.home / "users.db").write_bytes(b"no database, " * 100)
    newer, broken = stores.databases(settings)
    assert (newer.verdict, "has schema revision 9999, and this release" in newer.said) == ("wrong", True)
    assert (broken.verdict, "file is not a database" in broken.said) == ("wrong", True)


def test_a_broker_that_is_away(settings: Settings) -> None:
    (port,) = free_ports(1)
    url = SecretStr(f"redis://:secret-word@127.0.0.1:{port}/0")
    found = only(stores.broker(settings.model_copy(update={"celery_broker_url": url})))
    assert (found.verdict, f"redis://127.0.0.1:{port} (CELERY_BROKER_URL)" in found.said) == ("wrong", True)
    assert "secret-word" not in str(found)


def test_a_validator_that_holds_the_directory_and_says_nothing(settings: Settings) -> None:
    quiet = settings.model_copy(update={"api_port": free_ports(1)[0]})
    with validator_lock(settings.home):
        assert only(stores.running(quiet, runs=True)).verdict == "look"
    assert only(stores.running(quiet, runs=False)).verdict == "ok"


def test_tables_in_an_object_store_are_looked_for(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(stores.tables(settings)).verdict == "ok"

    def at(root: str) -> Finding:
        return only(stores.tables(settings.model_copy(update={"tables_dir": root})))

    assert at("memory://bucket/tables") == ok("tables", "memory://bucket/tables (TABLES_DIR) can be listed")
    assert (at("nosuch://bucket").verdict, "cannot be used" in at("nosuch://bucket").said) == ("wrong", True)
    gone = MagicMock(side_effect=FileNotFoundError)
    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.ls", gone)
    assert "no bucket bucket" in at("memory://bucket/tables").said
    gone.side_effect = PermissionError("no such key")
    found = at("memory://bucket/tables")
    assert (found.verdict, found.todo) == ("wrong", "check its name, the credentials and the network")


@pytest.mark.parametrize(("code", "verdict"), [("model_loading", "look"), ("model_broken", "wrong")])
def test_an_embedder_that_loads_its_model_while_the_validator_starts(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, code: str, verdict: str
) -> None:
    answer = httpx.Response(503, json={"error": {"message": "later", "code": code}})
    monkeypatch.setattr(models.HttpEmbedder, "_reply", lambda *_: answer)
    assert models._served(settings, "http://127.0.0.1:1", "digest", own_runs=True).verdict == verdict
    assert models._served(settings, "http://127.0.0.1:1", "digest", own_runs=False).verdict == "wrong"


def test_what_an_embedder_says_is_told_in_its_words(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    said = "the model is being loaded; ask again in a few seconds"
    answer = httpx.Response(503, json={"error": {"message": said, "code": "model_loading"}})
    monkeypatch.setattr(models.HttpEmbedder, "_reply", lambda *_: answer)
    found = models._served(settings, "http://127.0.0.1:1", "digest")
    assert found.said.endswith("answered 503 to /models: the model is being loaded")
    assert found.todo == "ask again in a few seconds"
    answer = httpx.Response(404, text="<html>\n<body>")
    assert models._served(settings, "http://127.0.0.1:1", "digest").said.endswith("a web page (HTTP 404) to /models")


@pytest.mark.parametrize(
    ("reasons", "verdict"),
    [
        ([], "ok"),
        (["the embedder is not ready: it answers HTTP 503"], "look"),
        (["the embedder is not ready: it answers HTTP 503", "the store cannot be written"], "wrong"),
    ],
)
def test_what_a_running_validator_says_of_itself(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, reasons: list[str], verdict: str
) -> None:
    health = {"status": "unhealthy" if reasons else "healthy", "reasons": reasons}
    monkeypatch.setattr(httpx.Client, "get", lambda *_: httpx.Response(200, json=health))
    assert only(stores.running(settings, runs=True)).verdict == verdict
