"""The pages of all miners and of one, as a browser gets them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from unittest.mock import Mock

import pytest

from ingress.epochs import Epochs
from loosh_pipeline.audit.sides import kept_of_pay
from loosh_pipeline.domain import Hotkey
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.tables import Tables
from tests.audit.weighed import ANSWERS, ROUNDS
from tests.ingress.conftest import HERE, Serve
from tests.ingress.pages.conftest import submitted

BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def rows_of(page: str) -> list[str]:
    body = page.partition("<tbody>")[2].partition("</tbody>")[0]
    return re.findall(r'href="miners/([^"?]+)\?', body)


def test_the_list_is_sorted_by_plain_links(home: Path, serve: Serve) -> None:
    client = serve(HERE)
    page = client.get("/miners").text
    assert set(rows_of(page)) == ANSWERS.keys()
    for query in re.findall(r'<a href="(miners\?[^"]+sort=[^"]+)"', page):
        answer = client.get("/" + query.replace("&amp;", "&"))
        assert answer.status_code == 200
        assert answer.text.count("aria-sort=") == 1
    assert rows_of(client.get("/miners?sort=uid&order=desc").text)[0] == "hotkey-67"


def test_the_list_is_filtered(home: Path, serve: Serve) -> None:
    client = serve(HERE)
    assert set(rows_of(client.get("/miners?q=hotkey-6").text)) == {"hotkey-66", "hotkey-67"}
    assert rows_of(client.get("/miners?q=4").text) == ["hotkey-4"]
    assert set(rows_of(client.get("/miners?show=flagged").text)) == {"hotkey-3", "hotkey-5"}
    assert "hotkey-4" not in rows_of(client.get("/miners?show=weight").text)
    hostile = client.get("/miners", params={"q": "<script>alert(1)</script>\"'><img src=x>"})
    assert "<script>alert" not in hostile.text
    assert "<img src=x" not in hostile.text


@pytest.mark.parametrize("query", ["sort=colour", "order=up", "show=mine"])
def test_what_cannot_be_asked_for_is_told_as_a_page(home: Path, serve: Serve, query: str) -> None:
    answer = serve(HERE).get(f"/miners?{query}", headers=BROWSER)
    assert answer.status_code == 422
    assert "possible are" in answer.text


def test_what_failed_is_counted_and_source_groups_are_named(home: Path, serve: Serve) -> None:
    page = serve(HERE).get("/miners").text
    assert f"{ROUNDS} timeout" in page
    assert re.search(r"\d off topic", page)
    assert '<li id="group-A">' in page
    assert page.count('href="#group-A"') == 2


def test_epochs_of_earlier_releases_have_no_counts_by_reason(home: Path, serve: Serve, settings: Settings) -> None:
    for path in Path(settings.tables_root).glob("unpaid_asks/day=*/*.parquet"):
        path.unlink()
    page = serve(HERE).get("/miners").text
    assert f"{ROUNDS} timeout" not in page
    assert "hotkey-4" in page


def test_a_trend_is_a_line_and_its_last_change(home: Path, serve: Serve, settings: Settings) -> None:
    submitted(settings, {"hotkey-1": 0.75, "hotkey-2": 0.25})
    client = serve(HERE)
    page = client.get("/miners?q=hotkey-1").text
    assert "Miners of epoch 2" in page
    assert "<svg" not in page, "two are no trend"
    submitted(settings, {"hotkey-1": 0.5, "hotkey-2": 0.5})
    page = client.get("/miners?q=hotkey-1").text
    assert '<svg class="spark" preserveAspectRatio="none" viewBox="0 0 8 14"><path d="M0 ' in page
    assert "style=" not in page
    assert '<option value="1">' in page


def test_a_miner_at_once_and_its_receipt_by_a_link(home: Path, serve: Serve, settings: Settings) -> None:
    submitted(settings, {"hotkey-1": 0.75, "hotkey-2": 0.25})
    client = serve(HERE, dagster_url="http://127.0.0.1:3999")
    page = client.get("/miners/hotkey-1").text
    assert "75.00 %" in page
    assert 'data-load="../miners/hotkey-1/receipt?epoch=2"' in page
    assert 'href="../miners/hotkey-1/receipt?epoch=2"' in page
    assert "loosh explain hotkey-1 --epoch 2 --json" in page
    assert "http://127.0.0.1:3999/assets/emissions" in page
    assert page.count('class="vega"') == 2
    for spec in re.findall(r'<script type="application/json">(.+?)</script>', page):
        assert [each["epoch"] for each in json.loads(spec)["data"]["values"]] == [1, 2]
    assert client.get("/miners/1").status_code == 200
    assert client.get("/miners/nobody", headers=BROWSER).status_code == 404


def test_a_neighbour_is_a_click_away(home: Path, serve: Serve) -> None:
    client = serve(HERE)
    order = rows_of(client.get("/miners").text)
    page = client.get(f"/miners/{order[1]}").text
    assert f'rel="prev" href="../miners/{order[0]}?epoch=1"' in page
    assert f'rel="next" href="../miners/{order[2]}?epoch=1"' in page


def test_every_two_miners_can_be_compared_and_factors_multiply_to_the_ratio(
    home: Path, serve: Serve, settings: Settings
) -> None:
    inbox = Inbox.open(settings.inbox_url)
    epochs = Epochs(inbox.engine, Tables(settings.tables_root))
    where = epochs.where()
    lines = {each.hotkey: each for each in epochs.miners(where).lines}
    exact = 0
    for one in lines.values():
        for other in lines.values():
            found = epochs.compared(where, one, other)
            assert (found.ratio is None) is not (one.weight > 0 and other.weight > 0)
            assert found.exact is (found.ratio is not None)
            exact += found.exact
            assert found.exact or found.decisive is not None
    assert exact >= 9
    inbox.engine.dispose()


def test_what_sharing_costs_is_what_the_receipt_says(home: Path, settings: Settings) -> None:
    from loosh_pipeline.audit.kept_epoch import Epoch
    from loosh_pipeline.audit.receipts import receipt_for

    inbox, tables = Inbox.open(settings.inbox_url), Tables(settings.tables_root)
    epoch = Epoch.read(tables, inbox)
    receipt = receipt_for(epoch, "hotkey-3")
    assert receipt.earned is not None
    assert receipt.copies.payout_without is not None
    kept = kept_of_pay(tables, epoch.where.emissions, [Hotkey("hotkey-3"), Hotkey("hotkey-4")])
    assert kept == {"hotkey-3": pytest.approx(receipt.earned.emission.mean_payout / receipt.copies.payout_without)}
    inbox.engine.dispose()


def test_an_answer_is_worth_what_the_receipt_says(home: Path, settings: Settings) -> None:
    from loosh_pipeline.audit.kept_epoch import Epoch
    from loosh_pipeline.audit.receipts import receipt_for

    inbox, tables = Inbox.open(settings.inbox_url), Tables(settings.tables_root)
    epochs = Epochs(inbox.engine, tables)
    where = epochs.where()
    lines = {each.hotkey: each for each in epochs.miners(where).lines}
    found = epochs.compared(where, lines[Hotkey("hotkey-3")], lines[Hotkey("hotkey-4")])
    worth = next(each for each in found.factors if each.name == "worth")
    earned = receipt_for(Epoch.read(tables, inbox), "hotkey-3").earned
    assert earned is not None
    assert worth.mine is not None
    assert worth.mine * found.mine.kept == pytest.approx(earned.mean_answered)
    inbox.engine.dispose()


def test_a_comparison_says_in_sentences_what_decides(home: Path, serve: Serve) -> None:
    client = serve(HERE)
    page = client.get("/miners/hotkey-3?with=1").text
    assert "It has less than the other" in page
    assert "sharing of pay" in page
    assert "multiply to this" in page
    assert "it answered 0 of 8 asks" in client.get("/miners/hotkey-4?with=hotkey-1").text
    assert "Nothing else differs" not in page
    assert "Behind the worth of an answer" in page
    assert re.search(r"Behind it is agreement \(0\.\d+, of the other 0\.\d+\), over the 8 rounds that both", page)
    assert len(re.findall(r'href="\.\./rounds/c-\d"', page.partition("widest gap")[2].partition("</table>")[0])) == 5
    for said, status in (("nobody", 404), ("hotkey-6", 404), ("<script>", 404), (" ", 200)):
        answer = client.get("/miners/hotkey-3", params={"with": said}, headers=BROWSER)
        assert answer.status_code == status
        assert "<script>" not in answer.text
        assert ('id="unknown"' in answer.text) is (status == 404)
        assert "<h2>Receipt</h2>" in answer.text, "the page stays"


def test_two_miners_are_compared_from_the_list(home: Path, serve: Serve) -> None:
    client = serve(HERE)
    answer = client.get("/miners?one=3&with=hotkey-1&epoch=1", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "miners/hotkey-3?epoch=1&with=hotkey-1")
    assert "Beside" in client.get("/miners?one=3&with=hotkey-1").text
    page = client.get("/miners", params={"one": "<script>", "with": "1"}, headers=BROWSER)
    assert page.status_code == 404
    assert 'id="unknown"' in page.text
    assert "<script>" not in page.text
    assert set(rows_of(page.text)) == ANSWERS.keys(), "the page stays"


def test_without_the_inputs_of_a_proposal_its_rules_are_one_factor(
    home: Path, serve: Serve, settings: Settings
) -> None:
    for path in Path(settings.tables_root).glob("proposal_inputs/day=*/*.parquet"):
        path.unlink()
    page = serve(HERE).get("/miners/hotkey-3?with=1").text
    assert "all rules of the policy" in page
    assert "multiply to this" in page


def test_a_receipt_within_the_pages(home: Path, serve: Serve) -> None:
    answer = serve(HERE).get("/miners/hotkey-66/receipt?epoch=1")
    assert answer.status_code == 200
    assert "&lt;script&gt;alert(1)" in answer.text
    assert "<script>alert" not in answer.text
    assert '<div id="receipt"' in answer.text
    assert 'href="../../rounds/c-1"' in answer.text
    assert "<style" not in answer.text
    assert "style=" not in answer.text.replace("border-style=", "")


def test_broken_tables_are_told_and_do_not_stay_broken(home: Path, serve: Serve, settings: Settings) -> None:
    (path,) = Path(settings.tables_root).glob("emissions/day=*/*.parquet")
    whole = path.read_bytes()
    path.write_bytes(b"no table")
    client = serve(HERE)
    answer = client.get("/miners")
    assert (answer.status_code, str(path) in answer.json()["detail"]) == (500, True)
    path.write_bytes(whole)
    assert client.get("/miners").status_code == 200


def test_looks_of_days_are_read_for_a_miner_alone_that_was_not_asked(
    home: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Mock(return_value=None)
    monkeypatch.setattr("loosh_pipeline.audit.miners.looks_behind", read)
    assert set(rows_of(serve(HERE).get("/miners").text)) == ANSWERS.keys()
    assert read.call_count == 0
