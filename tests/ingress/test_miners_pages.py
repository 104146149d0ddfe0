"""The operator's pages of miners: who sees them, what they show, and that making one holds nothing else up."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from pathlib import Path

import pytest

from ingress import receipts
from loosh_pipeline.settings import Settings
from tests.audit.weighed import ANSWERS, weighed_home
from tests.ingress.conftest import AWAY, HERE, Serve

COUNTING = """
import json, pathlib, sys, time
asked = json.loads(sys.stdin.read())
log = pathlib.Path(sys.argv[1])
log.write_text(log.read_text() + f"{asked['epoch']} {asked['miner']}\\n" if log.exists() else f"1 {asked['miner']}\\n")
time.sleep(float(sys.argv[2]))
print(json.dumps({"page": f"<p>{asked['miner']}</p>"}))
"""


@pytest.fixture(scope="module")
def weighed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("weighed") / "home"
    with weighed_home(home):
        pass
    return home


@pytest.fixture
def home(weighed: Path, own_home: Path) -> Path:
    """The data directory of this test, with what a validator left that set weights."""
    shutil.copytree(weighed, own_home, dirs_exist_ok=True)
    return own_home


def slow_maker(monkeypatch: pytest.MonkeyPatch, log: Path, takes_s: float) -> None:
    command = (sys.executable, "-c", COUNTING, str(log), str(takes_s))
    monkeypatch.setattr(receipts, "COMMAND", command)


def test_miners_are_not_for_strangers(serve: Serve) -> None:
    client = serve(AWAY, challenge_push_api_key="hunter2")
    assert {client.get(path).status_code for path in ("/miners", "/miners/1")} == {403}
    assert client.get("/miners", headers={"authorization": "Bearer hunter2"}).status_code == 200


def test_before_any_weights_the_pages_say_so(serve: Serve) -> None:
    client = serve(HERE)
    assert "No weights were submitted from here yet" in client.get("/miners").text
    answer = client.get("/miners/1")
    assert (answer.status_code, "took no weights of this validator yet" in answer.json()["detail"]) == (404, True)
    assert '<a href="miners">Miners</a>' in client.get("/").text


def test_all_miners_are_listed_with_what_was_made_of_them(home: Path, serve: Serve) -> None:
    client = serve(HERE)
    page = client.get("/miners").text
    assert all(f"miners/{hotkey}?epoch=1" in page for hotkey in ANSWERS)
    assert "sybil_penalty" in page
    assert "it never answered" in page
    assert "no answer was paid" in page
    assert client.get("/miners?epoch=1").text == page
    assert client.get("/miners?epoch=9").status_code == 404


def test_a_receipt_is_a_page_and_who_is_unknown_is_told(home: Path, serve: Serve, settings: Settings) -> None:
    client = serve(HERE)
    page = client.get("/miners/hotkey-66").text
    assert page.startswith("<!doctype html>")
    assert "&lt;script&gt;alert(1)" in page
    assert "<script" not in page
    answer = client.get("/miners/hotkey-9")
    assert answer.status_code == 404
    assert "no hotkey of this epoch begins with" in answer.json()["detail"]


def test_a_receipt_is_made_once(home: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    slow_maker(monkeypatch, tmp_path / "log", 0.0)
    client = serve(HERE)
    assert {client.get("/miners/1").text for _ in range(3)} == {"<p>1</p>"}
    assert client.get("/miners/2?epoch=1").text == "<p>2</p>"
    assert (tmp_path / "log").read_text().splitlines() == ["1 1", "1 2"]


def test_while_one_is_made_others_wait_a_few_and_the_rest_goes_on(
    home: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slow_maker(monkeypatch, tmp_path / "log", 3600.0)
    monkeypatch.setattr(receipts, "MADE_WITHIN_S", 8.0)
    monkeypatch.setattr(receipts, "WAITING", 1)
    client = serve(HERE)
    found: list[int] = []
    asking = threading.Thread(target=lambda: found.append(client.get("/miners/1").status_code), daemon=True)
    asking.start()
    until_s = time.monotonic() + 60
    while not (tmp_path / "log").exists():
        assert time.monotonic() < until_s
        time.sleep(0.02)
    assert client.get("/miners").status_code == 200
    answer = client.post("/challenges", json={"id": "c-new", "prompt": "Why is the sky blue?"})
    assert answer.status_code == 201
    answer = client.get("/miners/2")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
    asking.join(60)
    assert found == [503]


def test_what_breaks_is_told_in_a_line(home: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "COMMAND", (sys.executable, "-c", "raise SystemExit('it broke')"))
    answer = serve(HERE).get("/miners/1")
    assert (answer.status_code, answer.json()["detail"]) == (500, "no receipt could be made: it broke")


def test_no_password_is_an_argument() -> None:
    assert (sys.executable, "-m", "loosh_pipeline.audit.process") == receipts.COMMAND
