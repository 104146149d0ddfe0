"""What docs/EVALUATION_PROCESS.md shows: the parameters in force, and one real devnet round from answers to the chain.

    python -m tests.evaluation.example          writes both into the document
    python -m tests.evaluation.example HOME     takes another run of `loosh demo` (its directory) first

Everything but the record in `data` is computed here by the code that pays; a test compares the document with it.
"""

from __future__ import annotations

import importlib
import json
import re
import sqlite3
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from loosh_pipeline.chain.weights import plan_weights, quantize
from loosh_pipeline.domain import Emission, Hotkey, Metagraph, Proposal
from loosh_pipeline.embedding.round_vectors import unpack
from loosh_pipeline.emissions import DEFAULT_RULE, aggregate
from loosh_pipeline.payouts import Payouts, paid_of, payouts_of
from loosh_pipeline.policy.inputs import Earned, Inputs
from loosh_pipeline.policy.propose import propose
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.measure import network_round
from loosh_pipeline.scoring.network.emission import time_shares
from loosh_pipeline.scoring.network.evaluate import NetworkEvaluation, evaluate
from loosh_pipeline.scoring.network.profile import NetworkPay, NetworkProfile
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.result import RoundScores, Score
from loosh_pipeline.scoring.robust import score_round
from loosh_pipeline.scoring.round import Round
from loosh_pipeline.selection import repeat_draw
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.frames import metagraph_of, responses_of
from loosh_pipeline.store.score_frames import PAIRED_FROM, SETTLED_FROM
from loosh_pipeline.store.score_tables import WindowRows
from loosh_pipeline.store.vector_frames import from_frame

DATA = Path(__file__).parent / "data"
DOCUMENT = DATA.parents[2] / "docs" / "EVALUATION_PROCESS.md"
BLOCK = re.compile(r"(<!-- (\S+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
SHOWN = "Why is the sky blue"
"""How the prompt of the round that is shown begins."""
PROFILE = RobustProfile()
ROUNDING = 1e-12
OF_ROUND = ("miner_responses", "embeddings", "selections")
WHOLE = ("metagraph", "weight_proposals", "weight_receipts")


def take(home: Path) -> None:
    """Keep what the example needs of a run of `loosh demo`."""
    tables, info = home / "tables", json.loads((home / "devnet.json").read_text())
    with closing(sqlite3.connect(home / "validator.db")) as db:
        asked = db.execute("SELECT id, request FROM challenges").fetchall()
    shown, prompt = next(
        (challenge, json.loads(request)["prompt"])
        for challenge, request in asked
        if json.loads(request)["prompt"].startswith(SHOWN)
    )
    for asset in OF_ROUND:
        (path,) = (tables / asset).glob(f"*/{shown}.parquet")
        _keep(asset, pl.read_parquet(path))
    for asset in WHOLE:
        _keep(asset, pl.read_parquet(max((tables / asset).glob("*/*.parquet"))))
    _keep("consensus_scores", _all(tables / "consensus_scores", SETTLED_FROM))
    _keep("pair_evidence", _all(tables / "pair_evidence", PAIRED_FROM))
    kinds = {each["hotkey"]: each["behaviour"] for each in info["miners"]}
    about = {"challenge_id": shown, "prompt": prompt, "miners": kinds}
    (DATA / "about.json").write_text(json.dumps(about, indent=1) + "\n")


def _all(directory: Path, schema: Mapping[str, Any]) -> pl.DataFrame:
    frames = [pl.read_parquet(path, columns=list(schema)) for path in sorted(directory.glob("*/*.parquet"))]
    return pl.concat(frames).select(*schema)


def _keep(name: str, frame: pl.DataFrame) -> None:
    frame.write_parquet(DATA / f"{name}.parquet", compression="zstd", compression_level=19, statistics=False)


class Example:
    """The round and its window, computed again from what is kept."""

    def __init__(self) -> None:
        self.about = json.loads((DATA / "about.json").read_text())

    def table(self, name: str) -> pl.DataFrame:
        return pl.read_parquet(DATA / f"{name}.parquet")

    @cached_property
    def subnet(self) -> Metagraph:
        return metagraph_of(self.table("metagraph"))

    @cached_property
    def names(self) -> dict[Hotkey, str]:
        """Miners by uid and behaviour."""
        kinds = self.about["miners"]
        return {each.hotkey: f"{each.uid} {kinds[each.hotkey]}" for each in self.subnet.neurons if each.hotkey in kinds}

    @property
    def own(self) -> Hotkey:
        return next(each.hotkey for each in self.subnet.neurons if each.validator_permit)

    @cached_property
    def round(self) -> Round:
        vectors, responses = from_frame(self.table("embeddings")), responses_of(self.table("miner_responses"))
        return unpack(vectors, self.about["prompt"], responses)

    @cached_property
    def alone(self) -> RoundScores:
        return score_round(self.round, ScoringContext.empty(len(self.round.prompt_vector)), PROFILE)

    def scores(self) -> dict[Hotkey, Score]:
        return {each.hotkey: each for each in self.alone.scores}

    @cached_property
    def window(self) -> Payouts:
        return payouts_of(WindowRows(self.table("consensus_scores"), self.table("pair_evidence")), PROFILE)

    def settled(self) -> pl.DataFrame:
        assert self.window.settled is not None
        return self.window.settled.filter(pl.col("challenge_id") == self.about["challenge_id"])

    @cached_property
    def emissions(self) -> tuple[Emission, ...]:
        return aggregate(paid_of(self.window.paid), {}, DEFAULT_RULE)

    @cached_property
    def proposal(self) -> Proposal:
        at = self.table("weight_proposals")["made_at"][0]
        earned = Earned(at, 24.0, sum(self.window.rounds.values()), self.emissions, (), self.window.rounds)
        return propose(Inputs(at=at, profile="robust", subnet=self.subnet, own=self.own, earned=earned))

    def network(self) -> NetworkEvaluation:
        return evaluate(network_round(self.round), NetworkProfile())


def blocks() -> dict[str, str]:
    """Every block of the document, by name."""
    example = Example()
    found = {name: make(example) for name, make in EXAMPLES.items()}
    return found | {
        "parameters:robust": _parameters(asdict(PROFILE)),
        "parameters:network": _parameters(asdict(NetworkProfile())),
        "parameters:network-pay": _parameters(asdict(NetworkPay())),
        "settings": _settings(),
        "constants": _constants(),
    }


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _figure(value: float | None) -> str:
    if value is None or not np.isfinite(value):
        return "–"
    if abs(value) < ROUNDING:
        return "0"
    return f"{value:.3f}" if abs(value) >= 0.01 else f"{value:.2e}"


def _parameters(values: Mapping[str, float]) -> str:
    """Three parameters a line: the names alone say most of it."""
    cells = [f"`{name}` {value:g}" for name, value in values.items()]
    rows = [cells[i : i + 3] for i in range(0, len(cells), 3)]
    return _table(["", "", ""], [row + [""] * (3 - len(row)) for row in rows])


SETTINGS = (
    *(
        "min_miners",
        "max_miners",
        "availability_refresh_s",
        "challenge_timeout_s",
        "context_rounds",
        "scoring_profiles",
    ),
    *("pay_profile", "emissions_lookback_h", "emissions_half_life_h", "emissions_full_evidence_rounds"),
    *("emissions_emergency_lookback_h", "weights_interval_blocks", "weights_min_rounds", "weights_degraded_at"),
    *("weights_emergency_at", "weights_min_evidence_rounds", "weights_sybil_evidence", "weights_max_penalised_share"),
    *(
        "weights_entity_cap",
        "weights_max_share",
        "weights_burn_share",
        "weights_emergency_uniform",
        "weights_min_miners",
    ),
    *("weights_max_flagged_share", "weights_max_change", "weights_mixed_scorers"),
)
"""What changes who is asked, how it is scored or what is paid."""


def _settings() -> str:
    fields = Settings.model_fields
    rows = []
    for name in SETTINGS:
        default = fields[name].get_default(call_default_factory=True)
        shown = ",".join(default) if isinstance(default, tuple) else str(default).lower()
        rows.append([f"`{name.upper()}`", shown, fields[name].description or ""])
    return _table(["setting", "default", "what it is"], rows)


CONSTANTS = (
    ("scoring.text", "MAX_CHARS", "characters that are read of a text"),
    ("scoring.text", "WINDOW_WORDS", "words of a window, at most"),
    ("scoring.text", "MAX_CHUNKS", "windows of a text; evenly spaced ones where there are more"),
    ("scoring.text", "MAX_SENTENCES", "sentences of an answer, likewise"),
    ("scoring.text", "MIN_SENTENCE_WORDS", "words of a sentence, at least"),
    ("scoring.text", "MAX_SENTENCE_WORDS", "and at most; a longer one is cut"),
    ("selection", "UNKNOWN_WEIGHT", "weight in the draw of whom the Challenge API does not speak"),
    ("left_out", "MAX_LEFT_OUT", "part of the rounds that may be left out before weights are held up"),
    ("presence", "PRIOR_LOOKS", "looks that everybody is taken to have passed"),
    ("presence", "CUT_OFF", "part of the usual number of miners below which a look says that we were cut off"),
    ("policy.filters", "VIEW_LASTS", "for how long what the Challenge API said is believed"),
    ("policy.filters", "VALIDATOR_STAKE", "stake that tells a validator where its list was not had"),
    ("policy.sybil", "THRESHOLD", "sybil score from which a miner is suspected"),
    ("policy.checks", "LASTS", "age of a proposal from which it is not set any more"),
    ("chain.weights", "U16_MAX", "the largest weight of a row"),
)


def _constants() -> str:
    rows = []
    for module, name, what in CONSTANTS:
        value = getattr(importlib.import_module(f"loosh_pipeline.{module}"), name)
        rows.append([f"`{module}.{name}`", f"{value:,}" if isinstance(value, int) else str(value), what])
    return _table(["constant", "value", "what it is"], rows)


def _asked(example: Example) -> str:
    responses = {each.hotkey: each for each in responses_of(example.table("miner_responses"))}
    rows = [
        [name, responses[h].outcome.value, str(len(responses[h].text)), f"{responses[h].elapsed_ms:.0f}"]
        for h, name in example.names.items()
    ]
    return f"> {example.about['prompt']}\n\n" + _table(
        ["uid, behaviour", "outcome", "characters", "`elapsed_ms`"], rows
    )


def _draw(example: Example) -> str:
    rows = example.table("selections").to_dicts()
    first = min(rows, key=lambda row: row["uid"])
    if repeat_draw(rows) != {Hotkey(row["hotkey"]) for row in rows if row["selected"]}:
        raise ValueError("the draw on record is not the one that its rows give")
    return (
        f"Uid {first['uid']}: sha256 of `{first['challenge_id']}:{first['block_hash']}:{first['hotkey']}` gives the "
        f"key {first['key']:.6f} at weight {first['priority_weight']:g}. {len(rows)} candidates, {first['maximum']} at "
        f"most: each was asked with probability {first['inclusion_probability']:.3f}.\n"
    )


def _alone(example: Example) -> str:
    head = [
        "uid, behaviour",
        "words",
        "`relevance`",
        "`vote_weight`",
        "`votes`",
        "`meaning`",
        "`coverage`",
        "`wording`",
    ]
    head += ["`agreement`", "`speed_factor`", "`share`", "`score`", "`payout`"]
    found = example.scores()
    rows = []
    for hotkey, name in example.names.items():
        each = found[hotkey]
        figures = (each.relevance, each.vote_weight, each.votes, each.meaning, each.coverage, each.wording)
        figures += (each.agreement, each.speed_factor, each.share, each.score, each.payout)
        rows.append([name, str(each.words), *map(_figure, figures)])
    return _table(head, rows)


def _step_by_step(example: Example) -> str:
    """One answer's row, with its figures put into the formulas."""
    hotkey, name = next(iter(example.names.items()))
    each, p = example.scores()[hotkey], PROFILE
    assert each.meaning is not None
    assert each.coverage is not None
    assert each.wording is not None
    assert each.agreement is not None
    assert each.relevance is not None
    typical, weight = example.alone.typical_score, p.view_weight
    view = (
        p.meaning_weight * each.meaning + p.coverage_weight * each.coverage + p.wording_weight * each.wording
    ) / weight
    agreement = (each.votes * view + p.prior_votes * p.prior_agreement) / (each.votes + p.prior_votes)
    score = agreement**p.power * each.speed_factor
    vote = max(each.relevance, 0.0) ** p.vote_power
    _same(agreement, each.agreement, "agreement")
    _same(score, each.score, "score")
    _same(each.share * score / typical, each.payout, "payout")
    _same(vote, each.vote_weight, "vote")
    return (
        f"Uid {name.split()[0]}, by hand:\n\n"
        "```\n"
        f"its vote   = {each.relevance:.4f}^{p.vote_power:g} = {vote:.4f}    no copies, and it adds to the question\n"
        f"view of it = ({p.meaning_weight:g} · {each.meaning:.4f} + {p.coverage_weight:g} · {each.coverage:.4f} + "
        f"{p.wording_weight:g} · {each.wording:.4f} - 0) / {weight:g} = {view:.4f}    no baseline yet\n"
        f"agreement  = ({each.votes:.4f} · {view:.4f} + {p.prior_votes:g} · {p.prior_agreement:g}) / "
        f"({each.votes:.4f} + {p.prior_votes:g}) = {agreement:.4f}\n"
        f"score      = {agreement:.4f}^{p.power:g} · {each.speed_factor:.4f} = {score:.3e}\n"
        f"payout     = {each.share:g} · {score:.3e} / {typical:.3e} = {each.payout:.4f}\n"
        "```\n"
    )


def _settled(example: Example) -> str:
    rows = {row["hotkey"]: row for row in example.settled().to_dicts()}
    columns = ("relevance_gate", "trust", "vote_weight", "agreement", "share", "score", "payout")
    shown = [[name, *(_figure(rows[h][each]) for each in columns)] for h, name in example.names.items()]
    return _table(["uid, behaviour", *(f"`{each}`" for each in columns)], shown)


def _emitted(example: Example) -> str:
    found = {each.hotkey: each for each in example.emissions}
    rows = []
    for hotkey, name in example.names.items():
        each = found[hotkey]
        figures = (each.mean_payout, each.evidence, each.ramp, each.coverage, each.emission, each.weight)
        rows.append([name, f"{each.answered} of {each.asked}", *map(_figure, figures)])
    head = ["`mean_payout`", "`evidence`", "`ramp`", "`coverage`", "`emission`", "`weight`"]
    return _table(["uid, behaviour", "answered", *head], rows)


def _set(example: Example) -> str:
    proposal = example.proposal
    plan = plan_weights(proposal.shares, example.subnet, example.own)
    observed = dict(example.table("weight_receipts").select("uid", "observed").iter_rows())
    uids = {each.hotkey: each.uid for each in example.subnet.neurons}
    u16 = quantize(plan.weights)
    rows = [
        [name, f"{proposal.shares[h]:.6f}", str(u16.get(uids[h], 0)), f"{observed.get(uids[h], 0.0):.6f}"]
        for h, name in example.names.items()
    ]
    said = f"Mode `{proposal.mode}`, basis `{proposal.basis}`, {len(proposal.acts)} acts of a rule.\n\n"
    return said + _table(["uid, behaviour", "share", "u16", "read back from the chain"], rows)


def _network(example: Example) -> str:
    found = example.network()
    shares = time_shares([_time(example, each.hotkey) for each in found.replies])
    paid = {each.hotkey: (each, float(share)) for each, share in zip(found.replies, shares, strict=True)}
    rows = []
    for hotkey, name in example.names.items():
        each, share = paid[hotkey]
        quality = each.quality.value if each.quality else None
        out = "yes" if each.in_consensus else each.removed_by
        rows.append([name, *map(_figure, (quality, each.composite, share)), out, _figure(each.emission)])
    said = f"θ = {found.mean:.4f} + {found.spread:.4f} = {found.consensus_score:.4f}\n\n"
    return said + _table(["uid, behaviour", "quality", "composite", "ρ", "in consensus", "emission"], rows)


def _time(example: Example, hotkey: Hotkey) -> float:
    return next(each.response_time_ms for each in network_round(example.round).replies if each.hotkey == hotkey)


def _same(one: float, other: float, what: str) -> None:
    if not np.isclose(one, other, rtol=1e-9):
        raise ValueError(f"the {what} by hand is {one}, and by the code {other}")


EXAMPLES: Mapping[str, Callable[[Example], str]] = {
    "example:asked": _asked,
    "example:draw": _draw,
    "example:alone": _alone,
    "example:by-hand": _step_by_step,
    "example:settled": _settled,
    "example:emissions": _emitted,
    "example:weights": _set,
    "example:network": _network,
}


def filled(text: str) -> str:
    """The document with its blocks as they are now. Raises KeyError for a block that nothing makes."""
    made = blocks()
    return BLOCK.sub(lambda block: f"{block[1]}{made[block[2]]}{block[4]}", text)


def main() -> None:
    if len(sys.argv) > 1:
        take(Path(sys.argv[1]))
    DOCUMENT.write_text(filled(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
