"""The operator's pages of miners: who sees them, what they show, and that making one holds nothing else up."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from ingress import receipts
from loosh_pipeline.audit.epochs import latest_epoch
from loosh_pipeline.domain import ObservedWeights
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.canaries import Canaries
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.tables import TableKey, Tables
from loosh_pipeline.store.weight_frames import receipts_frame
from tests.audit.weighed import ANSWERS, weighed_home
from tests.ingress.conftest import AWAY, HERE, Serve

COUNTING = """
import json, pathlib, sys, time
asked = json.loads(sys.stdin.read())
log = pathlib.Path(sys.argv[1])
log.write_text(log.read_text() + f"{asked['epoch']} {asked['miner']}\\n" if log.exists() else f"1 {asked['miner']}\\n")
time.sleep(float(sys.argv[2]))
print(json.dumps({"body": f"<p>{asked['miner']}</p>"}))
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


def test_where_miners_may_read_them_and_canaries_were_used_receipts_name_no_challenge(
    home: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "rounds/c-1" in serve(AWAY, pages_public=True).get("/miners/1/receipt").text
    assert "rounds/c-" in serve(AWAY, pages_public=True).get("/miners/1?with=3").text
    monkeypatch.setattr(Canaries, "any", lambda _: True)
    assert "rounds/c-1" in serve(HERE).get("/miners/1/receipt").text
    page = serve(AWAY, pages_public=True).get("/miners/1/receipt").text
    beside = serve(AWAY, pages_public=True).get("/miners/1?with=3").text
    assert "Behind the worth of an answer" in beside
    assert "rounds/c-" not in beside
    assert "mean payout" in page
    assert "rounds/c-1" not in page


def slow_maker(monkeypatch: pytest.MonkeyPatch, log: Path, takes_s: float) -> None:
    command = (sys.executable, "-c", COUNTING, str(log), str(takes_s))
    monkeypatch.setattr(receipts, "COMMAND", command)


def test_miners_are_not_for_strangers(serve: Serve) -> None:
    client = serve(AWAY, challenge_push_api_key="hunter2")
    assert {client.get(path).status_code for path in ("/miners", "/miners/1", "/miners/1/receipt")} == {403}
    assert client.get("/miners", headers={"authorization": "Bearer hunter2"}).status_code == 200


def test_before_any_weights_the_pages_say_so(serve: Serve) -> None:
    client = serve(HERE)
    assert "No weights were submitted from here yet" in client.get("/miners").text
    answer = client.get("/miners/1")
    assert (answer.status_code, "took no weights of this validator yet" in answer.json()["detail"]) == (404, True)
    assert '<a href="./miners">Miners</a>' in client.get("/").text


def test_all_miners_are_listed_with_what_was_made_of_them(home: Path, serve: Serve) -> None:
    client = serve(HERE)
    page = client.get("/miners").text
    assert all(f"miners/{hotkey}?epoch=1" in page for hotkey in ANSWERS)
    assert "sybil penalty" in page
    assert "it never answered" in page
    assert "no answer was paid" in page
    assert client.get("/miners?epoch=1").text == page
    assert client.get("/miners?epoch=9").status_code == 404


def test_a_receipt_is_a_page_and_who_is_unknown_is_told(home: Path, serve: Serve, settings: Settings) -> None:
    client = serve(HERE)
    page = client.get("/miners/hotkey-66/receipt").text
    assert page.startswith("<!doctype html>")
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page
    answer = client.get("/miners/hotkey-9")
    assert answer.status_code == 404
    assert "no hotkey of this epoch begins with" in answer.json()["detail"]


def test_a_browser_gets_refusals_as_pages_and_programs_as_json(home: Path, serve: Serve) -> None:
    client = serve(HERE)
    browser = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    for path in ("/miners/xx", "/miners?epoch=99", "/miners/%3Cscript%3E"):
        page, plain = client.get(path, headers=browser), client.get(path)
        assert (page.status_code, plain.status_code) == (404, 404)
        assert page.headers["content-type"].startswith("text/html")
        assert "404 Not Found" in page.text
        assert page.text.count("<script") == 1, "the pages' own"
        assert plain.json()["detail"]
        assert client.get(path, headers={"accept": "application/json, text/html;q=0.5"}).json() == plain.json()


def test_who_shares_its_pay_is_told_on_the_list_and_on_its_page(home: Path, serve: Serve) -> None:
    client = serve(HERE)
    assert "Taken for one source" in client.get("/miners").text
    assert "It shares pay" in client.get("/miners/hotkey-3").text


def test_a_receipt_is_made_once(home: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    slow_maker(monkeypatch, tmp_path / "log", 0.0)
    client = serve(HERE)
    for said in ("1/receipt", "hotkey-1/receipt", "1/receipt", "1/receipt?epoch=1"):
        assert "<p>hotkey-1</p>" in client.get(f"/miners/{said}").text
    assert "<p>hotkey-2</p>" in client.get("/miners/2/receipt?epoch=1").text
    assert (tmp_path / "log").read_text().splitlines() == ["1 hotkey-1", "1 hotkey-2"]


def test_nobody_starts_a_process_for_who_is_unknown(
    home: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slow_maker(monkeypatch, tmp_path / "log", 0.0)
    client = serve(HERE)
    for said in ("nobody", "999", "hotkey-6"):
        assert client.get(f"/miners/{said}/receipt").status_code == 404
    assert client.get("/miners/1/receipt?epoch=9").status_code == 404
    assert not (tmp_path / "log").exists()


def test_a_receipt_is_made_anew_once_more_was_read_back_from_the_chain(
    home: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: Settings
) -> None:
    slow_maker(monkeypatch, tmp_path / "log", 0.0)
    client = serve(HERE)
    tables = Tables(settings.tables_root)
    row = latest_epoch(Inbox.open(settings.inbox_url).engine)
    assert row is not None
    for read_back in range(2):
        assert client.get("/miners/1/receipt").status_code == 200
        assert client.get("/miners/1/receipt").status_code == 200
        assert len((tmp_path / "log").read_text().splitlines()) == read_back + 1
        at = row.created_at + timedelta(minutes=10 + read_back)
        observed = ObservedWeights(row.hotkey, None, row.plan.block + 9, row.plan.block, {})
        key = TableKey.of(f"{at:%Y%m%dT%H%M%S%f}-run", at)
        tables.write("weight_receipts", key, receipts_frame(row, observed, at))


def test_while_one_is_made_others_wait_a_few_and_the_rest_goes_on(
    home: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slow_maker(monkeypatch, tmp_path / "log", 3600.0)
    monkeypatch.setattr(receipts, "MADE_WITHIN_S", 8.0)
    monkeypatch.setattr(receipts, "WAITING", 1)
    client = serve(HERE)
    found: list[int] = []
    asking = threading.Thread(target=lambda: found.append(client.get("/miners/1/receipt").status_code), daemon=True)
    asking.start()
    until_s = time.monotonic() + 60
    while not (tmp_path / "log").exists():
        assert time.monotonic() < until_s
        time.sleep(0.02)
    assert client.get("/miners").status_code == 200
    assert client.get("/miners/1").status_code == 200
    answer = client.post("/challenges", json={"id": "c-new", "prompt": "Why is the sky blue?"})
    assert answer.status_code == 201
    answer = client.get("/miners/2/receipt")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
    asking.join(60)
    assert found == [503]


def test_what_breaks_is_told_in_a_line(home: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "COMMAND", (sys.executable, "-c", "raise SystemExit('it broke')"))
    answer = serve(HERE).get("/miners/1/receipt")
    assert (answer.status_code, answer.json()["detail"]) == (
        500,
        "no receipt could be made: its process ended with 1: it broke",
    )


def test_a_process_that_is_killed_is_told_with_its_signal(
    home: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "COMMAND", (sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"))
    answer = serve(HERE).get("/miners/1/receipt")
    assert (answer.status_code, "its process was ended by SIGKILL, as the" in answer.json()["detail"]) == (500, True)


def test_what_cannot_be_read_is_told_as_it_is(
    home: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    (broken,) = Path(settings.tables_root).glob("counted_rounds/day=*/*.parquet")
    broken.write_bytes(b"no table")
    answer = serve(HERE).get("/miners/1/receipt")
    assert answer.status_code == 500
    assert answer.json()["detail"].startswith("no receipt could be made: ")
    assert str(broken) in answer.json()["detail"]
    for headers in ({}, {"accept": "text/html"}):
        public = serve(AWAY, pages_public=True).get("/miners/1/receipt", headers=headers)
        assert (public.status_code, "the operator sees what" in public.text) == (500, True)
        assert "counted_rounds" not in public.text


def test_whatever_a_process_started_holds_nothing_up(
    home: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    child = tmp_path / "child"
    starts = (
        "import pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3600)'])\n"
        "pathlib.Path(sys.argv[1]).write_text(str(child.pid))\n"
        "time.sleep(3600)"
    )
    monkeypatch.setattr(receipts, "COMMAND", (sys.executable, "-c", starts, str(child)))
    monkeypatch.setattr(receipts, "MADE_WITHIN_S", 5.0)
    client = serve(HERE)
    assert client.get("/miners/1/receipt").status_code == 503
    until_s = time.monotonic() + 60
    while psutil.pid_exists(int(child.read_text())):
        assert time.monotonic() < until_s
        time.sleep(0.02)
    slow_maker(monkeypatch, tmp_path / "log", 0.0)
    assert "<p>hotkey-1</p>" in client.get("/miners/1/receipt").text


def test_no_password_is_an_argument() -> None:
    assert (sys.executable, "-m", "loosh_pipeline.audit.process") == receipts.COMMAND
