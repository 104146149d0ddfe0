"""docs/EVALUATION_PROCESS.md says what the code does: its numbers are recomputed, its names are looked up."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from datetime import timedelta
from functools import lru_cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from loosh_pipeline.domain import Hotkey, Outcome
from loosh_pipeline.policy.filters import registered
from loosh_pipeline.policy.handover import ANSWERING, PRESENT
from loosh_pipeline.policy.inputs import Imported, Presence
from loosh_pipeline.policy.propose import propose
from loosh_pipeline.policy.sybil import SYBIL
from loosh_pipeline.presence import coverage_of
from loosh_pipeline.scoring.network.profile import NetworkPay, NetworkProfile
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.votes import judge
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.looks import LOOKS, looks_of
from tests.builders import NOON, emission
from tests.evaluation.example import BLOCK, DOCUMENT, SETTINGS, Example, blocks, filled
from tests.policy.cases import earned, inputs, miner, subnet
from tests.scoring.rounds import signals

TEXT = DOCUMENT.read_text(encoding="utf-8")
LINKED = re.compile(r"\[`([a-z0-9_.]+)\.([A-Za-z_]+)`\]\(([^)]+)\)")
NAMED = re.compile(r"`([a-z][a-z_]*_[a-z_]+)`")


@pytest.fixture(scope="module")
def example() -> Example:
    return Example()


def test_every_block_is_what_the_code_gives_now() -> None:
    """If this fails: `python -m tests.evaluation.example`, and read what changed."""
    made, found = blocks(), {name: body for _, name, body, _ in BLOCK.findall(TEXT)}
    assert found.keys() == made.keys()
    for name, body in found.items():
        assert body == made[name], name
    assert filled(TEXT) == TEXT


def test_a_number_that_went_stale_is_seen() -> None:
    stale = TEXT.replace("| `power` 6 |", "| `power` 5 |").replace("`power` 6", "`power` 5")
    assert stale != TEXT
    assert filled(stale) == TEXT


def test_the_record_is_of_the_run_that_it_says(example: Example) -> None:
    """What is recomputed is what the validator itself had found, proposed and set."""
    stored = example.table("consensus_scores").filter(pl.col("challenge_id") == example.about["challenge_id"])
    for row in stored.iter_rows(named=True):
        score = example.scores()[row["hotkey"]]
        assert (score.relevance, score.payout) == pytest.approx((row["relevance"], row["payout"]), rel=1e-9, abs=1e-12)
    proposed = dict(example.table("weight_proposals").select("hotkey", "share").iter_rows())
    assert example.proposal.shares == pytest.approx(proposed, rel=1e-6)
    observed = example.table("weight_receipts")
    assert observed["state"].unique().to_list() == ["observed"]


@pytest.mark.parametrize(("module", "name", "link"), sorted(set(LINKED.findall(TEXT))))
def test_every_function_that_is_named_is_where_it_is_said_to_be(module: str, name: str, link: str) -> None:
    path = (DOCUMENT.parent / link).resolve()
    assert path.is_file()
    assert path.with_suffix("").parts[-len(module.split(".")) :] == tuple(module.split("."))
    assert name in defined(path)


@lru_cache
def defined(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef))


def test_every_parameter_of_a_formula_exists_and_every_one_that_pays_is_in_a_formula() -> None:
    known = {field.name for kind in (RobustProfile, NetworkProfile, NetworkPay) for field in fields(kind)}
    ramps = {name.removesuffix("_low") for name in known if name.endswith("_low")}
    prose = BLOCK.sub("", TEXT)
    robust = {field.name for field in fields(RobustProfile)}
    # The mean likeness of a pair is what copying is reported by, and pays nobody.
    unpaid = {"mean_prior_wording", "mean_prior_rounds"}
    for name in robust - unpaid:
        stem = name.removesuffix("_low").removesuffix("_high")
        assert f"`{name}`" in prose or (stem in ramps and f"`{stem}`" in prose), name
    for name in known & set(NAMED.findall(prose)):
        assert f"`{name}` " in TEXT, f"{name} is in no table of parameters"


def test_every_setting_of_emissions_and_weights_is_listed() -> None:
    """Those that name somebody have no default to show."""
    shown = {"EMISSIONS", "WEIGHTS"}
    expected = {name for name in Settings.model_fields if name.split("_")[0].upper() in shown}
    assert expected - {"weights_burn_hotkey"} <= set(SETTINGS)
    prose = BLOCK.sub("", TEXT)
    assert {name.lower() for name in re.findall(r"`([A-Z][A-Z_]{3,})`", prose)} <= set(SETTINGS)


def test_every_outcome_is_named() -> None:
    assert [each for each in Outcome if each.value not in TEXT] == []


def test_links_to_other_documents_lead_somewhere() -> None:
    for target in re.findall(r"\]\(((?:\w+\.md)?#?[\w-]*)\)", TEXT):
        name, _, anchor = target.partition("#")
        document = DOCUMENT.with_name(name) if name else DOCUMENT
        headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert not anchor or anchor in anchors, target


def test_what_is_said_of_the_example_is_so(example: Example) -> None:
    of = {name.split(maxsplit=1)[1]: hotkey for hotkey, name in reversed(example.names.items())}
    alone = example.scores()
    assert alone[of["garbage"]].reason == "off_topic"
    assert alone[of["echo"]].scored
    assert alone[of["echo"]].vote_weight == pytest.approx(0, abs=1e-12)
    gates = {row["hotkey"]: row["relevance_gate"] for row in example.settled().to_dicts()}
    assert [gates[of[kind]] for kind in ("good", "slow")] == [0, 0]
    paid = {each.hotkey: each for each in example.network().replies}
    assert paid[of["garbage"]].emission / paid[of["good"]].emission == pytest.approx(4 / 5, abs=0.03)
    assert paid[of["slow"]].emission / paid[of["good"]].emission == pytest.approx(1 / 2, abs=0.03)
    assert [each.entity_weight for each in paid.values()] == [pytest.approx(1 / 7)] * 7


def test_what_is_said_of_who_is_no_voter_is_so(example: Example) -> None:
    """A weight of 0 is another thing: the echo has it, and is judged."""
    of = {name.split(maxsplit=1)[1]: hotkey for hotkey, name in reversed(example.names.items())}
    none, quiet = example.scores()[of["garbage"]], example.scores()[of["echo"]]
    assert (none.score, none.share, none.vote_weight, none.copy_group_size) == (0, 0, 0, 1)
    assert quiet.vote_weight == pytest.approx(0, abs=1e-12)
    assert (quiet.share, quiet.score > 0) == (1, True)
    untimed = judge(signals(3, elapsed_ms=[np.nan, 500.0, 400.0]), RobustProfile())
    assert untimed.speed_factor.tolist()[0] == 1.0


def test_coverage_is_counted_from_the_newest_look_of_all() -> None:
    """x was there until 6 hours ago, so its newest round is older than the newest look."""
    looks = [(NOON - timedelta(hours=h), name, name != "x" or h > 6) for h in range(24) for name in "xyz"]
    found = coverage_of(looks_of(pl.DataFrame(looks, schema=LOOKS, orient="row")), 12.0)["x"]
    d = [0.5 ** (h / 12.0) for h in range(24)]
    assert found == pytest.approx((1 + sum(d[7:])) / (1 + sum(d)), rel=1e-12)
    assert "here age is counted from the newest look of all" in TEXT


def test_a_filter_leaves_the_shares_of_others_as_they_are() -> None:
    left = registered({Hotkey("a"): 0.5, Hotkey("b"): 0.5}, subnet(miner("a", 1)))
    assert left.shares == {"a": 0.5}
    assert "what it leaves need not sum to 1" in TEXT


def test_every_basis_has_its_rules_in_the_order_in_force() -> None:
    for rule in (PRESENT, ANSWERING):
        assert f"`policy.handover.{rule}`" in TEXT
    there = subnet(*(miner(name, i) for i, name in enumerate("abc", 1)))
    own = earned({"a": emission("a", asked=4, answered=2, paid=0, emission=0.0)})
    averages = {Hotkey(name): 0.5 for name in "abc"}
    counts = {Hotkey("a"): 9, Hotkey("b"): 9, Hotkey("c"): 1}
    rows = Imported(NOON - timedelta(hours=20), NOON, 9, averages, counts, ("d1" * 32,), NOON)
    seen = inputs({}, subnet=there, earned=own, imported=rows, presence={"a": Presence(0.5, 9)}, scores={"b": 0.5})
    assert [act.rule for act in propose(seen).acts] == ["imported", "min_evidence", "present", "answering", SYBIL]
