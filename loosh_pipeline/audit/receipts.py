"""Receipts from the store: what of an epoch is kept, read once, and made into the receipt of one miner.

Reading leaves nothing behind: whoever looks writes no table, no copy of one, and takes no lease.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from importlib.metadata import version
from typing import Any

import polars as pl

from loosh_pipeline.audit.epochs import LATEST, EpochTables, epoch_tables
from loosh_pipeline.audit.files_said import files_said
from loosh_pipeline.audit.naming import named_miner
from loosh_pipeline.audit.receipt import (
    Accused,
    CanarySaid,
    EarnedSaid,
    EpochSaid,
    Failure,
    LooksSaid,
    Receipt,
    RoundSaid,
    RuleSaid,
    ScorerSaid,
    Shown,
    SourcesSaid,
    WeightSaid,
)
from loosh_pipeline.audit.rounds_said import (
    MinerWindow,
    best_and_worst,
    failures_said,
    mean_answered,
    newest_failed,
    rounds_said,
    sources_said,
)
from loosh_pipeline.audit.rules_said import comes_out_again, rules_said, why_no_weight
from loosh_pipeline.audit.single_rounds import ShownRounds, details_of
from loosh_pipeline.chain.records import plan_digest
from loosh_pipeline.chain.weights import quantize
from loosh_pipeline.domain import Emission, Hotkey, Metagraph, OneSource, Outcome, Proposal
from loosh_pipeline.emissions import Terms
from loosh_pipeline.errors import UnknownMiner
from loosh_pipeline.policy.evidence import full_evidence
from loosh_pipeline.policy.inputs import Inputs
from loosh_pipeline.policy.propose import Traced
from loosh_pipeline.presence import attendance_of
from loosh_pipeline.scoring.profiles import ScoringProfile, profile_of
from loosh_pipeline.store.frames import emissions_of, metagraph_of, proposal_of
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.looks import look_rows, looks_of
from loosh_pipeline.store.score_frames import PAIRED_FROM, SETTLED_FROM
from loosh_pipeline.store.score_tables import PAIRS, SCORES, ScoreTables
from loosh_pipeline.store.tables import TableKey, Tables
from loosh_pipeline.store.weigh_records import COUNTED_ROUNDS, read_inputs, read_terms
from loosh_pipeline.store.weight_frames import RECEIPTS
from loosh_pipeline.store.window_cache import WindowCache

CANARIES = "canary_accuracy"
BEST_AND_WORST = 3
_ROUND = ["challenge_id", "scorer_version"]


@dataclass(frozen=True, eq=False)
class Epoch:
    """What is kept of one setting of weights; None, and no rows, where nothing is. `notes` say what is missing."""

    tables: Tables
    inbox: Inbox
    where: EpochTables
    proposal: Proposal | None
    inputs: Inputs | None
    terms: Terms | None
    emissions: tuple[Emission, ...]
    sources: tuple[OneSource, ...]
    counted: pl.DataFrame | None
    notes: tuple[str, ...]

    @classmethod
    def read(cls, tables: Tables, inbox: Inbox, which: str = LATEST) -> Epoch:
        """Raises UnknownEpoch, and StoreError for tables that cannot be read."""
        where = epoch_tables(inbox.engine, tables, which)
        notes: list[str] = []
        proposal = inputs = terms = counted = None
        if where.proposal is None:
            notes.append("the proposal behind these weights is not kept any more")
        else:
            acts = tables.read("policy_acts", where.proposal)
            proposal = proposal_of(tables.read("weight_proposals", where.proposal), acts)
            if tables.exists("proposal_inputs", where.proposal):
                inputs = read_inputs(tables, where.proposal)
            else:
                notes.append("release 1.3.0 kept no inputs of proposals: what rules did to others cannot be said")
        emissions: tuple[Emission, ...] = ()
        if where.emissions is not None:
            emissions = emissions_of(tables.read("emissions", where.emissions))
            terms, counted, missing = _rounds_kept(tables, where.emissions)
            notes += missing
        return cls(
            tables, inbox, where, proposal, inputs, terms, emissions, _sources(tables, where.emissions), counted,
            tuple(notes),
        )  # fmt: skip

    @cached_property
    def subnet(self) -> Metagraph | None:
        """The snapshot that the proposal looked at, or the newest before the weights."""
        if self.inputs is not None:
            return self.inputs.subnet
        weights = self.where.weights
        keys = self.tables.newest_first("metagraph", weights.day)
        key = next((key for key in keys if key.name <= weights.name), None)
        return None if key is None else metagraph_of(self.tables.read("metagraph", key))

    @cached_property
    def traced(self) -> Traced | None:
        if self.inputs is None or self.proposal is None:
            return None
        return comes_out_again(self.proposal, self.inputs)

    @cached_property
    def profile(self) -> ScoringProfile | None:
        """The one that paid; None where it has parameters that this release does not know."""
        try:
            return None if self.terms is None else profile_of(self.terms.profile, _numbers(self.terms))
        except ValueError:
            return None

    @cached_property
    def scores(self) -> pl.DataFrame:
        """The score rows of every round that counted, with the `table` of each round."""
        if self.counted is None or self.terms is None:
            return pl.DataFrame(schema={**SETTLED_FROM, "table": pl.String})
        rows = self._window(SCORES, SETTLED_FROM).join(self.counted.select(*_ROUND), on=_ROUND, how="semi")
        return rows.with_columns(table=pl.lit(""))

    def _window(self, asset: str, schema: Mapping[str, Any]) -> pl.DataFrame:
        assert self.counted is not None
        if self.counted.is_empty():
            return pl.DataFrame(schema=schema)
        first, last = self.counted["received_at"].min(), self.counted["received_at"].max()
        assert isinstance(first, datetime) and isinstance(last, datetime)  # noqa: PT018
        return WindowCache(self.tables, asset, schema, keeps=False).rows(first.date(), last.date())

    def window_of(self, miner: Hotkey) -> MinerWindow | None:
        """Its rounds; None where they are not known any more, or were scored by what this release does not know."""
        profile, terms = self.profile, self.terms
        if profile is None or terms is None or self.counted is None:
            return None
        scores = self.scores
        mine = scores.filter(pl.col("hotkey") == miner).select(*_ROUND).unique()
        kept = self.counted.filter(~pl.col("left_out")).select(*_ROUND)
        mine = mine.join(kept, on=_ROUND, how="semi")
        scores = scores.join(mine, on=_ROUND, how="semi").sort("challenge_id", "hotkey")
        pairs, settled = pl.DataFrame(schema=PAIRED_FROM), self._settled(mine)
        if settled is not None:
            pairs = self._window(PAIRS, PAIRED_FROM).join(mine, on=_ROUND, how="semi")
        window = MinerWindow(
            miner, profile, terms.rule.half_life_h, _with_tables(scores), pairs, settled, self.sources, {}
        )
        return replace(window, reasons=self._reasons(window))

    def _settled(self, mine: pl.DataFrame) -> pl.DataFrame | None:
        key = self.where.emissions
        if key is None or not self.tables.exists("settled_scores", key):
            return None
        return self.tables.read("settled_scores", key).join(mine, on="challenge_id", how="semi")

    def _reasons(self, window: MinerWindow) -> dict[str, str]:
        """Why answers that came could not be compared, or under a profile without votes were paid nothing."""
        unsaid = pl.col("relevance").is_null() if window.settled is not None else pl.col("payout") <= 0
        mine = window.mine.filter(pl.col("outcome") == Outcome.ANSWERED, unsaid)
        found: dict[str, str] = {}
        schema = {"challenge_id": pl.String, "hotkey": pl.String, "reason": pl.String}
        for (day,), rows in mine.with_columns(day=pl.col("received_at").dt.date()).group_by("day"):
            names = [f"{table}.parquet" for table in rows["table"]]
            said = self.tables.read_files(SCORES, day, names, schema).filter(pl.col("hotkey") == window.miner)
            found.update(said.select("challenge_id", "reason").iter_rows())
        return found

    def left_out(self, miner: Hotkey) -> int:
        """Rounds that it was asked in and that counted for nobody."""
        if self.counted is None:
            return 0
        lost = self.counted.filter(pl.col("left_out")).select(*_ROUND)
        return self.scores.filter(pl.col("hotkey") == miner).join(lost, on=_ROUND, how="semi").height

    def hotkeys(self) -> dict[Hotkey, int | None]:
        """Everybody that the epoch has something of, with its uid where it had one; uids are those of the weights."""
        plan, subnet = self.where.row.plan, self.subnet
        known: dict[Hotkey, int | None] = dict.fromkeys([each.hotkey for each in self.emissions])
        known |= dict.fromkeys([] if self.proposal is None else self.proposal.shares)
        known |= dict.fromkeys(plan.dropped)
        known |= {} if subnet is None else {each.hotkey: each.uid for each in subnet.neurons}
        return known | {hotkey: uid for uid, hotkey in plan.hotkeys.items()}


def _numbers(terms: Terms) -> dict[str, float]:
    """Parameters as a profile takes them: whole numbers where they count something."""
    defaults = profile_of(terms.profile)
    return {
        name: int(value) if isinstance(getattr(defaults, name, None), int) else value
        for name, value in terms.parameters.items()
    }


def _rounds_kept(tables: Tables, key: TableKey) -> tuple[Terms | None, pl.DataFrame | None, list[str]]:
    if not (tables.exists("emission_terms", key) and tables.exists(COUNTED_ROUNDS, key)):
        return None, None, ["which rounds these weights were made of is not on record: single rounds cannot be shown"]
    return read_terms(tables, key), tables.read(COUNTED_ROUNDS, key), []


def _sources(tables: Tables, key: TableKey | None) -> tuple[OneSource, ...]:
    if key is None or not tables.exists("sources", key):
        return ()
    return tuple(OneSource(**row) for row in tables.read("sources", key).iter_rows(named=True))


def _with_tables(scores: pl.DataFrame) -> pl.DataFrame:
    names = [
        TableKey.of(challenge, at, scorer).file.removesuffix(".parquet")
        for challenge, at, scorer in scores.select("challenge_id", "received_at", "scorer_version").iter_rows()
    ]
    return scores.with_columns(table=pl.Series(names, dtype=pl.String))


def receipt_for(epoch: Epoch, said: str, most: int = BEST_AND_WORST, challenges: Sequence[str] = ()) -> Receipt:
    """The receipt of the miner that is meant by a hotkey, the beginning of one, or a uid.

    `most`: how many of the best rounds, and how many of the worst, are shown in full; `challenges`: these as well,
    before them. Raises UnknownMiner for nobody or several, and for a challenge that it was not asked in.
    """
    miner = named_miner(said, epoch.hotkeys())
    window = epoch.window_of(miner)
    rounds = () if window is None else rounds_said(window)
    chosen = [("asked for", _asked_in(rounds, each, miner)) for each in challenges]
    chosen += [each for each in best_and_worst(rounds, most) if each[1] not in [one for _, one in chosen]]
    in_full = ShownRounds(epoch.tables, epoch.inbox, window, epoch.where.emissions)
    shown = tuple(in_full.shown(why, each) for why, each in chosen)
    failures = _failures(epoch.tables, miner, rounds)
    return _receipt(epoch, miner, window, rounds, shown, failures)


def _asked_in(rounds: Sequence[RoundSaid], challenge: str, miner: Hotkey) -> RoundSaid:
    found = [each for each in rounds if each.challenge_id == challenge]
    found = found or [each for each in rounds if each.challenge_id.startswith(challenge)]
    if len(found) != 1:
        what = "several challenges that begin so" if found else "no such challenge"
        newest = ", ".join(each.challenge_id for each in rounds[:5]) or "none"
        raise UnknownMiner(f"{miner} was asked in {what} ({challenge!r}) in this epoch; the newest: {newest}")
    return found[0]


def _failures(tables: Tables, miner: Hotkey, rounds: Sequence[RoundSaid]) -> tuple[Failure, ...]:
    newest = [one for reason in {each.reason for each in rounds} - {""} for one in newest_failed(rounds, reason)]
    return failures_said(rounds, details_of(tables, miner, newest))


def _receipt(
    epoch: Epoch,
    miner: Hotkey,
    window: MinerWindow | None,
    rounds: tuple[RoundSaid, ...],
    shown: tuple[Shown, ...],
    failures: tuple[Failure, ...],
) -> Receipt:
    outcomes = {each.reason: each.count for each in failures}
    view = None if epoch.inputs is None else epoch.inputs.view
    row, subnet = epoch.where.row, epoch.subnet
    rules, rule_notes = _rules(epoch, miner)
    return Receipt(
        hotkey=miner,
        uid=epoch.hotkeys().get(miner),
        made_at=datetime.now(UTC),
        release=version("loosh-pipeline"),
        epoch=epoch_said(epoch),
        weight=_weight(epoch, miner),
        no_weight=why_no_weight(miner, row, epoch.proposal, epoch.emissions, outcomes, subnet, view),
        earned=_earned(epoch, miner, rounds, failures),
        rules=rules,
        looks=_looks(epoch, miner),
        copies=SourcesSaid() if window is None else sources_said(window),
        accused=_accused(epoch, miner),
        canary=_canary(epoch, miner),
        shown=shown,
        rounds=rounds,
        left_out=epoch.left_out(miner),
        parameters={} if epoch.terms is None else epoch.terms.parameters,
        scorers=_scorers(epoch.tables, rounds),
        files=files_said(epoch.tables, epoch.where, [each.round for each in shown]),
        notes=(*epoch.notes, *rule_notes, *_window_notes(epoch, window, miner)),
    )


def epoch_said(epoch: Epoch) -> EpochSaid:
    """What is known of the whole."""
    row, proposal = epoch.where.row, epoch.proposal
    said = EpochSaid(
        number=row.id,
        validator=row.hotkey,
        netuid=row.plan.netuid,
        genesis_hash=row.genesis_hash,
        submitted_at=row.created_at,
        state=row.state.value,
        reason=row.reason,
        block=row.plan.block,
        included_block=row.included_block,
        extrinsic_hash=row.extrinsic_hash,
        digest=plan_digest(row.plan),
        weights=len(row.plan.weights),
    )
    if proposal is None:
        return said
    return replace(
        said, mode=proposal.mode.value, basis=proposal.basis, profile=proposal.profile, rounds=proposal.rounds
    )


def _weight(epoch: Epoch, miner: Hotkey) -> WeightSaid:
    plan, proposal = epoch.where.row.plan, epoch.proposal
    uid = next((uid for uid, hotkey in plan.hotkeys.items() if hotkey == miner), None)
    planned = 0.0 if uid is None else plan.weights[uid]
    said = WeightSaid(
        planned=planned,
        u16=0 if uid is None else quantize(plan.weights).get(uid, 0),
        rank=None if uid is None else 1 + sum(weight > planned for weight in plan.weights.values()),
        of=len(plan.weights),
        proposed=None if proposal is None else proposal.shares.get(miner, 0.0),
    )
    seen = _read_back(epoch).filter(pl.col("hotkey") == miner)
    if seen.is_empty():
        return said
    last = seen.row(0, named=True)
    return replace(
        said,
        observed=last["observed"],
        observed_block=last["observed_block"],
        observed_at=last["observed_at"],
        slot=last["uid_state"],
    )


def _read_back(epoch: Epoch) -> pl.DataFrame:
    """What was last read from the chain of this submission: it is read until the next one, within a day or two."""
    tables, weights = epoch.tables, epoch.where.weights
    found = []
    for day in (weights.day, weights.day + timedelta(days=1)):
        names = [each.name for each in tables.files("weight_receipts", day) if each.name > weights.name]
        if names:
            rows = tables.read_files("weight_receipts", day, names, RECEIPTS)
            found.append(rows.filter(pl.col("submission_id") == epoch.where.number).select(*RECEIPTS))
    every = pl.concat(found) if found else pl.DataFrame(schema=RECEIPTS)
    return every.filter(pl.col("observed_at") == pl.col("observed_at").max())


def _earned(
    epoch: Epoch, miner: Hotkey, rounds: Sequence[RoundSaid], failures: tuple[Failure, ...]
) -> EarnedSaid | None:
    emission = next((each for each in epoch.emissions if each.hotkey == miner), None)
    if emission is None:
        return None
    terms, every = epoch.terms, epoch.emissions
    setting = 1.0 if terms is None else terms.rule.full_evidence_rounds
    return EarnedSaid(
        emission=emission,
        rank=1 + sum(each.emission > emission.emission for each in every),
        of=len(every),
        since=None if terms is None else terms.since,
        until=None if terms is None else terms.made_at,
        half_life_h=None if terms is None else terms.rule.half_life_h,
        full_evidence=full_evidence(setting, [each.evidence for each in every]),
        mean_answered=mean_answered(rounds),
        failures=failures,
    )


def _rules(epoch: Epoch, miner: Hotkey) -> tuple[tuple[RuleSaid, ...], list[str]]:
    if epoch.traced is not None and epoch.inputs is not None:
        return rules_said(epoch.traced, epoch.inputs, miner), []
    acts = () if epoch.proposal is None else [act for act in epoch.proposal.acts if act.hotkey == miner]
    notes = []
    if epoch.inputs is not None:
        notes.append("the stored proposal does not come out again by the rules of this release: only its acts are told")
    return tuple(RuleSaid(act.rule, act.before, act.after, act.reason, None) for act in acts), notes


def _looks(epoch: Epoch, miner: Hotkey) -> LooksSaid | None:
    terms = epoch.terms
    if terms is None or terms.looks_until is None:
        return None
    rows = look_rows(epoch.tables, terms.since.date(), terms.looks_until.date(), keeps=False)
    rows = rows.filter(pl.col("taken_at").is_between(terms.since, terms.looks_until))
    if rows.is_empty() or (found := attendance_of(looks_of(rows), miner)) is None:
        return None
    missed = tuple(map(_time, found.missed_ms))
    return LooksSaid(found.looks, found.there, found.cut_off, _time(found.since_ms), missed)


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _accused(epoch: Epoch, miner: Hotkey) -> tuple[Accused, ...]:
    """The newest accusations before these weights."""
    rows = _newest_before(epoch, "accusations")
    if rows is None:
        return ()
    mine = rows.filter((pl.col("first") == miner) | (pl.col("second") == miner))
    return tuple(
        Accused(row["second"] if row["first"] == miner else row["first"], row["rounds"], row["mean_wording"])
        for row in mine.iter_rows(named=True)
    )


def _canary(epoch: Epoch, miner: Hotkey) -> CanarySaid | None:
    rows = _newest_before(epoch, CANARIES)
    if rows is None:
        return None
    mine = rows.filter(pl.col("hotkey") == miner).to_dicts()
    names = ("asked", "answered", "right", "low", "high")
    return CanarySaid(*(mine[0][name] for name in names)) if mine else None


def _newest_before(epoch: Epoch, asset: str) -> pl.DataFrame | None:
    weights = epoch.where.weights
    keys = epoch.tables.newest_first(asset, weights.day)
    key = next((key for key in keys if key.name <= weights.name), None)
    return None if key is None else epoch.tables.read(asset, key)


def _scorers(tables: Tables, rounds: Iterable[RoundSaid]) -> tuple[ScorerSaid, ...]:
    counts: dict[str, int] = {}
    for each in rounds:
        counts[each.scorer_version] = counts.get(each.scorer_version, 0) + 1
    described = {each["scorer_version"]: each for each in ScoreTables(tables).scorers()}
    return tuple(
        ScorerSaid(
            version=scorer,
            profile=described[scorer]["profile"],
            parameters=json.loads(described[scorer]["parameters"]),
            code_version=described[scorer]["code_version"],
            model_digest=described[scorer]["model_digest"],
            rounds=count,
        )
        for scorer, count in sorted(counts.items())
        if scorer in described
    )


def _window_notes(epoch: Epoch, window: MinerWindow | None, miner: Hotkey) -> list[str]:
    notes = []
    if epoch.terms is not None and epoch.profile is None:
        notes.append(
            f"profile {epoch.terms.profile} has other parameters in this release: rounds cannot be judged again"
        )
    if window is None:
        return notes
    asked = next((each.asked for each in epoch.emissions if each.hotkey == miner), 0)
    if window.mine.height != asked:
        notes.append(
            f"{window.mine.height} of the {asked} asks that counted are still kept; `loosh config show "
            "RETAIN_TABLES_DAYS` says for how long tables are"
        )
    if window.differing:
        notes.append(f"{window.differing} payouts on record do not come out again from the stored rows")
    return notes
