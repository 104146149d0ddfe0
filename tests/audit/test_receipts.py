"""Receipts of a validator that really evaluated and set weights: what they say is what decided the weights."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from loosh_pipeline.audit import process
from loosh_pipeline.audit.kept_epoch import Epoch
from loosh_pipeline.audit.miners import miners_of_epoch
from loosh_pipeline.audit.receipt import Measured, Receipt
from loosh_pipeline.audit.receipt_page import receipt_body, receipt_page, without_rounds
from loosh_pipeline.audit.receipt_text import receipt_text
from loosh_pipeline.audit.receipts import receipt_for
from loosh_pipeline.audit.rules_said import why_no_weight
from loosh_pipeline.canaries.accuracy import Accuracy
from loosh_pipeline.cli import app
from loosh_pipeline.domain import Hotkey
from loosh_pipeline.errors import UnknownEpoch, UnknownMiner
from loosh_pipeline.policy.basis import EARNED, Basis
from loosh_pipeline.policy.propose import propose, traced
from loosh_pipeline.scoring.explanation import Change
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.canary_accuracy import CANARY_ACCURACY, accuracy_frame
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.tables import TableKey, Tables
from tests.audit.weighed import ANSWERS, HOSTILE, ROUNDS, SUSPECTED, weighed_home

STRANGER = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"


@pytest.fixture(scope="module")
def weighed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with weighed_home(tmp_path_factory.mktemp("weighed")) as settings:
        yield settings


def read(settings: Settings, which: str = "latest") -> Epoch:
    return Epoch.read(Tables(settings.tables_root), Inbox.open(settings.inbox_url), which)


@pytest.fixture(scope="module")
def epoch(weighed: Settings) -> Iterator[Epoch]:
    epoch = read(weighed)
    yield epoch
    epoch.inbox.engine.dispose()


@pytest.mark.parametrize("miner", [*ANSWERS])
def test_every_figure_is_the_one_that_decided_the_weight(epoch: Epoch, miner: str) -> None:
    receipt = receipt_for(epoch, miner)
    plan, earned = epoch.where.row.plan, receipt.earned
    assert earned is not None
    weights = {hotkey: plan.weights[uid] for uid, hotkey in plan.hotkeys.items()}
    assert receipt.weight.planned == weights.get(Hotkey(miner), 0.0)
    assert bool(receipt.no_weight) is (miner not in weights)
    assert (len(receipt.rounds), earned.emission.asked, receipt.notes) == (ROUNDS, ROUNDS, ())
    assert math.fsum(each.weight for each in receipt.rounds) == pytest.approx(1.0)
    mean = math.fsum(each.weight * each.payout for each in receipt.rounds)
    assert mean == pytest.approx(earned.emission.mean_payout, rel=1e-12)
    product = earned.emission.mean_payout * earned.emission.ramp * earned.emission.coverage
    assert product == pytest.approx(earned.emission.emission)
    assert sum(each.payout > 0 for each in receipt.rounds) == earned.emission.paid
    assert sum(each.count for each in earned.failures) == ROUNDS - earned.emission.paid
    assert receipt.looks is not None
    assert (receipt.looks.looks, receipt.looks.there) == (1, 1)


def test_what_was_read_back_from_the_chain_stands_beside_what_was_planned(epoch: Epoch) -> None:
    weight = receipt_for(epoch, "hotkey-1").weight
    assert weight.observed == pytest.approx(weight.planned, abs=1e-4)
    assert weight.slot == "observed"
    assert 0 < weight.u16 <= 65_535


def test_the_votes_of_a_round_are_all_votes_and_copies_have_none(epoch: Epoch) -> None:
    for each in receipt_for(epoch, "hotkey-3").rounds:
        votes = {one.hotkey: one.vote for one in each.neighbours}
        assert math.fsum(vote for vote in votes.values() if vote is not None) == pytest.approx(1.0)
        assert votes["hotkey-5"] == 0.0
        assert votes["hotkey-4"] is None
        assert {one.hotkey for one in each.neighbours} == ANSWERS.keys() - {"hotkey-3"}


def test_who_copies_is_named_with_what_it_costs_as_single_explanations_have_it(epoch: Epoch) -> None:
    receipt = receipt_for(epoch, "hotkey-3", ROUNDS)
    (source,) = receipt.copies.sources
    assert receipt.earned is not None
    assert (source.hotkey, source.rounds, source.same_address) == ("hotkey-5", ROUNDS, True)
    assert source.degree > 0.5
    assert source.payout_without == receipt.copies.payout_without
    assert source.payout_without is not None
    alone = math.fsum(each.weight * each.payout / (each.share or 1.0) for each in receipt.rounds)
    assert source.payout_without == pytest.approx(alone)
    assert source.payout_without > 1.5 * receipt.earned.emission.mean_payout
    unlike = {
        each.round.challenge_id: change.payout
        for each in receipt.shown
        if each.explanation is not None
        for change in each.explanation.what_ifs
        if change.change is Change.NOT_A_COPY
    }
    assert len(unlike) == ROUNDS
    mean = math.fsum(each.weight * unlike[each.challenge_id] for each in receipt.rounds)
    assert source.payout_without == pytest.approx(mean, rel=1e-9)


def test_rules_say_what_they_did_and_what_would_be_without_them(epoch: Epoch) -> None:
    struck = {rule.rule: rule for rule in receipt_for(epoch, SUSPECTED).rules}
    penalty = struck["sybil_penalty"]
    assert "sybil score is 0.50; its answers and those of hotkey-5 are of one source" in penalty.reason
    assert penalty.change < 0
    assert math.fsum(each.part for each in penalty.others) == pytest.approx(-penalty.change)
    assert penalty.moved == pytest.approx(-penalty.change)
    assert epoch.inputs is not None
    assert penalty.without == propose(epoch.inputs, {"sybil_penalty"}).shares[SUSPECTED]
    assert penalty.without is not None
    proposed = receipt_for(epoch, SUSPECTED).weight.proposed
    assert proposed is not None
    assert penalty.without > proposed
    gained = {rule.rule: rule for rule in receipt_for(epoch, "hotkey-5").rules}
    assert not gained["sybil_penalty"].reason
    assert gained["sybil_penalty"].change > 0
    assert [each.hotkey for each in gained["sybil_penalty"].others] == [SUSPECTED]


def test_the_steps_lead_from_what_was_earned_to_what_was_proposed(epoch: Epoch) -> None:
    assert epoch.inputs is not None
    assert epoch.proposal is not None
    found = traced(epoch.inputs)
    assert (found.proposal.shares, found.proposal.acts) == (epoch.proposal.shares, epoch.proposal.acts)
    assert [step.rule for step in found.steps][:2] == ["registered", "own_hotkey"]
    for before, after in zip(found.steps, found.steps[1:], strict=False):
        assert after.before == before.after
    with pytest.raises(ValueError, match="no proposal goes without registered"):
        propose(epoch.inputs, {"registered"})


def test_who_has_no_weight_is_told_why(epoch: Epoch) -> None:
    assert "it answered never: 8 timeout" in receipt_for(epoch, "hotkey-4").no_weight
    assert "none of its 8 answers was paid: 8 off topic" in receipt_for(epoch, "hotkey-67").no_weight
    assert "not registered on subnet 78 at block" in receipt_for(epoch, STRANGER).no_weight
    own = receipt_for(epoch, epoch.where.row.hotkey)
    assert own.no_weight == "it is this validator, which gives itself nothing"
    assert own.rounds == ()
    assert receipt_for(epoch, "hotkey-1").no_weight == ""


@pytest.mark.parametrize("basis", sorted(set(Basis) - EARNED))
def test_where_nothing_was_earned_that_is_the_reason_and_not_what_was_paid(epoch: Epoch, basis: Basis) -> None:
    assert epoch.proposal is not None
    other = replace(epoch.proposal, basis=basis.value)
    row, emissions, subnet = epoch.where.row, epoch.emissions, epoch.subnet
    said = why_no_weight(Hotkey("hotkey-4"), row, other, emissions, {"timeout": 8}, subnet, None)
    assert said.startswith("these weights are not made of what was earned here: ")
    assert f"(basis {basis})" in said
    stranger = why_no_weight(Hotkey(STRANGER), row, other, emissions, {}, subnet, None)
    assert stranger.startswith("it was not registered")


@pytest.mark.parametrize("ago_h", [1.0, 40.0])
def test_what_is_measured_apart_has_its_time_and_is_called_old(weighed: Settings, tmp_path: Path, ago_h: float) -> None:
    home = tmp_path / "measured"
    shutil.copytree(weighed.home, home)
    moved = Settings(**{**weighed.model_dump(), "loosh_home": home})
    tables, set_at = Tables(moved.tables_root), read(moved).where.row.created_at
    at = set_at - timedelta(hours=ago_h)
    key = TableKey.of(f"{at:%Y%m%dT%H%M%S%f}-run", at)
    tables.write(CANARY_ACCURACY, key, accuracy_frame([Accuracy(Hotkey("hotkey-3"), 10, 9, 8)], at))
    pair = {"first": "hotkey-3", "second": "hotkey-5", "rounds": 12, "mean_wording": 0.91}
    tables.write("accusations", key, pl.DataFrame([pair]))
    receipt = receipt_for(read(moved), "hotkey-3")
    assert receipt.canary is not None
    (accused,) = receipt.accused
    assert receipt.canary.measured == Measured(at, at - timedelta(days=7), ago_h > 24)
    assert accused.measured == Measured(at, at - timedelta(hours=24), ago_h > 24)
    said = forms(receipt)
    for form in (said["text"].replace("\n", " "), said["page"]):
        assert f"measured {at:%Y-%m-%d %H:%M:%S} over the 7 days before" in form
        assert ("that is old" in form) is (ago_h > 24)


def test_failures_are_counted_with_the_newest_examples(epoch: Epoch) -> None:
    earned = receipt_for(epoch, "hotkey-4").earned
    assert earned is not None
    (failure,) = earned.failures
    assert (failure.reason, failure.said, failure.count) == ("timeout", "no answer came in time", ROUNDS)
    assert [each.challenge_id for each in failure.newest] == ["c-7", "c-6", "c-5"]
    assert failure.newest[0].detail == "scripted timeout"


def test_a_miner_is_meant_by_hotkey_by_its_beginning_or_by_uid(epoch: Epoch) -> None:
    assert receipt_for(epoch, "hotkey-1", 0).uid == 1
    assert receipt_for(epoch, "2", 0).hotkey == "hotkey-2"
    assert receipt_for(epoch, epoch.where.row.hotkey[:10], 0).hotkey == epoch.where.row.hotkey
    with pytest.raises(UnknownMiner, match="2 hotkeys begin with 'hotkey-6': hotkey-66, hotkey-67; give more"):
        receipt_for(epoch, "hotkey-6")
    with pytest.raises(UnknownMiner, match="nobody had uid 99 when these weights were made; there are 8 hotkeys"):
        receipt_for(epoch, "99")
    for nobody in ("", "nobody", "5Grw\x1b[31m", "9" * 400):
        with pytest.raises(UnknownMiner, match="no hotkey of this epoch begins with") as told:
            receipt_for(epoch, nobody)
        assert "\x1b" not in str(told.value)


def test_rounds_can_be_asked_for(epoch: Epoch) -> None:
    receipt = receipt_for(epoch, "hotkey-1", 1, ["c-3"])
    assert (receipt.shown[0].why, receipt.shown[0].round.challenge_id) == ("asked for", "c-3")
    assert receipt.shown[0].prompt.endswith("Version 3.")
    assert receipt.shown[0].explanation is not None
    assert receipt.shown[0].explanation.payout == pytest.approx(receipt.shown[0].round.payout)
    with pytest.raises(UnknownMiner, match="was asked in no such challenge \\('c-99'\\)"):
        receipt_for(epoch, "hotkey-1", 1, ["c-99"])
    with pytest.raises(UnknownMiner, match="several challenges that begin so"):
        receipt_for(epoch, "hotkey-1", 1, ["c-"])


def forms(receipt: Receipt) -> dict[str, str]:
    said = {"text": receipt_text(receipt), "page": receipt_page(receipt), "json": json.dumps(receipt.as_json())}
    return said | {"values": json.dumps(receipt.as_json(), ensure_ascii=False)}


def test_no_words_of_a_miner_are_obeyed_by_whoever_shows_them(epoch: Epoch) -> None:
    receipt = receipt_for(epoch, "hotkey-66", ROUNDS)
    assert "alert(1)" in receipt.shown[0].answer
    said = forms(receipt)
    assert "<script" not in said["page"].lower()
    assert "<img" not in said["page"].lower()
    assert "&lt;script&gt;" in said["page"]
    for form in said.values():
        strange = {char for char in form if not char.isprintable() and char not in "\n"}
        assert {unicodedata.category(char) for char in strange} == set()
    assert HOSTILE not in said["text"]


def test_the_page_needs_nothing_else_and_runs_nothing(epoch: Epoch) -> None:
    page = receipt_page(receipt_for(epoch, "hotkey-3"))
    assert "default-src 'none'" in page
    for strange in ("http://", "https://", "url(", "@import", "javascript:", " src=", "<link", "<iframe", " onload"):
        assert strange not in page
    assert "<a " not in page


def test_within_other_pages_it_links_to_rounds_and_miners_and_has_no_style_of_its_own(epoch: Epoch) -> None:
    receipt = receipt_for(epoch, "hotkey-3")
    body = receipt_body(receipt, "../../")
    assert 'href="../../rounds/c-3"' in body
    assert 'href="../../miners/hotkey-5?epoch=1"' in body
    for strange in ("<style", "<html", "<script", "style=", "<h1"):
        assert strange not in body


def test_a_receipt_for_whoever_may_be_a_miner_names_no_challenge(epoch: Epoch) -> None:
    for hotkey in ANSWERS:
        body = receipt_body(without_rounds(receipt_for(epoch, hotkey)), "../../")
        assert "/rounds/" not in body
        assert not [number for number in range(ROUNDS) if f"c-{number}" in body]


def test_reading_leaves_nothing_behind(epoch: Epoch, weighed: Settings) -> None:
    root = Path(weighed.tables_root)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    forms(receipt_for(read(weighed), "hotkey-2"))
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_files_are_named_with_the_digests_of_what_lies_there(epoch: Epoch, weighed: Settings) -> None:
    files = receipt_for(epoch, "hotkey-1").files
    assert {"weights", "proposal_inputs", "settled_scores", "consensus_scores", "embeddings"} <= {
        f.asset for f in files
    }
    for each in files:
        path = Path(weighed.tables_root) / each.asset / f"day={each.day}" / each.name
        assert hashlib.sha256(path.read_bytes()).hexdigest() == each.sha256


def test_what_is_not_kept_is_said(weighed: Settings, tmp_path: Path) -> None:
    home = tmp_path / "older"
    shutil.copytree(weighed.home, home)
    moved = Settings(**{**weighed.model_dump(), "loosh_home": home})
    for asset in ("proposal_inputs", "counted_rounds", "settled_scores"):
        shutil.rmtree(home / "tables" / asset)
    older = read(moved)
    receipt = receipt_for(older, SUSPECTED)
    assert receipt.rounds == ()
    assert [rule.rule for rule in receipt.rules] == ["sybil_penalty"]
    assert any("single rounds cannot be shown" in note for note in receipt.notes)
    assert any("kept no inputs of proposals" in note for note in receipt.notes)
    assert all(forms(receipt).values())
    shutil.rmtree(home / "tables" / "weight_proposals")
    bare = receipt_for(read(moved), "hotkey-1")
    assert bare.weight.planned > 0
    assert bare.earned is None
    assert all(forms(bare).values())


def test_rounds_that_are_gone_are_counted_and_what_is_left_is_told(weighed: Settings, tmp_path: Path) -> None:
    home = tmp_path / "pruned"
    shutil.copytree(weighed.home, home)
    shutil.rmtree(home / "tables" / "window_cache")
    (gone,) = (home / "tables" / "consensus_scores").glob("day=*/c-3.*.parquet")
    gone.unlink()
    moved = Settings(**{**weighed.model_dump(), "loosh_home": home})
    receipt = receipt_for(read(moved), "hotkey-1")
    assert len(receipt.rounds) == ROUNDS - 1
    assert any("7 of the 8 asks that counted are still kept" in note for note in receipt.notes)


def test_all_miners_in_a_line_each(epoch: Epoch) -> None:
    found = miners_of_epoch(epoch.tables, epoch.where)
    lines = found.lines
    assert found.uids == epoch.hotkeys
    assert {each.hotkey for each in lines} == ANSWERS.keys()
    assert [each.weight for each in lines] == sorted((each.weight for each in lines), reverse=True)
    by_hotkey = {each.hotkey: each for each in lines}
    assert by_hotkey[Hotkey("hotkey-4")].uid == 4
    assert "sybil_penalty" in [act.rule for act in by_hotkey[SUSPECTED].acts]


def test_the_process_of_the_pages_answers_with_a_page_or_with_what_there_is(weighed: Settings) -> None:
    asked = {"tables_root": weighed.tables_root, "inbox_url": weighed.inbox_url, "epoch": "latest", "miner": "1"}
    asked |= {"up": "../../", "rounds": True}
    assert "../../rounds/c-1" in process.answer(asked)["body"]
    assert "../../rounds/c-1" not in process.answer({**asked, "rounds": False})["body"]
    assert "there is no epoch '7'" in process.answer({**asked, "epoch": "7"})["unknown"]
    assert "nobody had uid 77" in process.answer({**asked, "miner": "77"})["unknown"]


def run(settings: Settings, *arguments: str) -> tuple[int, str]:
    found = CliRunner().invoke(app, ["explain", *arguments], env={"LOOSH_HOME": str(settings.home)})
    return found.exit_code, found.output


def test_the_command_has_three_forms(weighed: Settings, tmp_path: Path) -> None:
    code, text = run(weighed, "hotkey-1", "--round", "c-2")
    assert code == 0
    assert "asked for: challenge c-2" in text
    code, said = run(weighed, "1", "--json", "--epoch", "1")
    assert code == 0
    assert json.loads(said)["format"] == "loosh-receipt/1"
    page = tmp_path / "page.html"
    code, told = run(weighed, "1", "--html", "--out", str(page))
    assert (code, told.replace("\n", "")) == (0, f"written to {page}")
    assert page.read_text().startswith("<!doctype html>")
    assert run(weighed, "1", "--html", "--json")[0] == 2
    code, told = run(weighed, "1", "--epoch", "3")
    assert (code, "there are 1, or `latest`" in told) == (1, True)


def test_an_unknown_epoch_is_refused(weighed: Settings) -> None:
    with pytest.raises(UnknownEpoch, match="there is no epoch '2'; there are 1"):
        read(weighed, "2")


@pytest.mark.slow
def test_under_the_network_profile_there_are_rounds_without_votes(tmp_path: Path) -> None:
    environment = {"SCORING_PROFILES": "robust,network", "PAY_PROFILE": "network"}
    with weighed_home(tmp_path / "network", **environment) as settings:
        epoch = read(settings)
        receipt = receipt_for(epoch, "hotkey-1")
        assert receipt.epoch.profile == "network"
        assert receipt.notes == ()
        assert len(receipt.rounds) == ROUNDS
        assert all(one.vote is None for each in receipt.rounds for one in each.neighbours)
        assert receipt.shown[0].explanation is not None
        assert receipt.shown[0].explanation.profile == "network"
        assert all(forms(receipt).values())
        epoch.inbox.engine.dispose()
