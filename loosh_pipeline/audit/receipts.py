"""The receipt of one miner, made of what is kept of an epoch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from itertools import groupby

import polars as pl

from loosh_pipeline.audit.epochs import READ_BACK, read_backs
from loosh_pipeline.audit.files_said import files_said
from loosh_pipeline.audit.kept_epoch import Epoch
from loosh_pipeline.audit.naming import named_miner
from loosh_pipeline.audit.receipt import (
    Accused,
    CanarySaid,
    EarnedSaid,
    EpochSaid,
    Failure,
    LooksSaid,
    Measured,
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
from loosh_pipeline.audit.rules_said import rules_said, why_no_weight
from loosh_pipeline.audit.single_rounds import ShownRounds, details_of
from loosh_pipeline.chain.records import plan_digest
from loosh_pipeline.chain.weights import quantize
from loosh_pipeline.domain import Hotkey
from loosh_pipeline.errors import UnknownMiner
from loosh_pipeline.policy.evidence import full_evidence
from loosh_pipeline.presence import attendance_of
from loosh_pipeline.store.canary_accuracy import CANARY_ACCURACY, LOOKBACK
from loosh_pipeline.store.looks import looks_behind
from loosh_pipeline.store.score_tables import ScoreTables
from loosh_pipeline.store.tables import TableKey, Tables
from loosh_pipeline.store.weight_frames import RECEIPTS

BEST_AND_WORST = 3
OLD = timedelta(hours=24)
"""What is measured after every setting of weights, and was last so long before these, failed since."""


def receipt_for(epoch: Epoch, said: str, most: int = BEST_AND_WORST, challenges: Sequence[str] = ()) -> Receipt:
    """The receipt of the miner that is meant by a hotkey, the beginning of one, or a uid.

    `most`: how many of the best rounds, and how many of the worst, are shown in full; `challenges`: these as well,
    before them. Raises UnknownMiner for nobody or several, and for a challenge that it was not asked in.
    """
    miner = named_miner(said, epoch.hotkeys)
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
    looks = _looks(epoch, miner)
    there = None if looks is None else (looks.there, looks.looks)
    return Receipt(
        hotkey=miner,
        uid=epoch.hotkeys.get(miner),
        made_at=datetime.now(UTC),
        release=version("loosh-pipeline"),
        epoch=epoch_said(epoch),
        weight=_weight(epoch, miner),
        no_weight=why_no_weight(miner, row, epoch.proposal, epoch.emissions, outcomes, subnet, view, there),
        earned=_earned(epoch, miner, rounds, failures),
        rules=rules,
        looks=looks,
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
    row = _read_back(epoch)
    if row.is_empty():
        return said
    slot = epoch.hotkeys.get(miner)
    not_ours = (pl.col("hotkey") == "") & pl.col("uid").is_in([] if slot is None else [slot])
    seen = row.filter((pl.col("hotkey") == miner) | not_ours)
    nothing = row.row(0, named=True) | {"observed": 0.0, "uid_state": ""}
    last = nothing if seen.is_empty() else seen.row(0, named=True)
    return replace(
        said,
        observed=last["observed"],
        observed_block=last["observed_block"],
        observed_at=last["observed_at"],
        slot=last["uid_state"],
    )


def _read_back(epoch: Epoch) -> pl.DataFrame:
    """What was last read from the chain of this submission."""
    keys, found = read_backs(epoch.tables, epoch.where), []
    for day, of_day in groupby(keys, key=lambda key: key.day):
        rows = epoch.tables.read_files(READ_BACK, day, [key.file for key in of_day], RECEIPTS)
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
    setting = None if terms is None else terms.rule.full_evidence_rounds
    return EarnedSaid(
        emission=emission,
        rank=1 + sum(each.emission > emission.emission for each in every),
        of=len(every),
        since=None if terms is None else terms.since,
        until=None if terms is None else terms.made_at,
        half_life_h=None if terms is None else terms.rule.half_life_h,
        full_evidence=full_evidence(1.0 if setting is None else setting, [each.evidence for each in every]),
        mean_answered=mean_answered(rounds),
        failures=failures,
        full_evidence_setting=setting,
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
    looks = None if epoch.terms is None else looks_behind(epoch.tables, epoch.terms)
    if looks is None or (found := attendance_of(looks, miner)) is None:
        return None
    missed = tuple(map(_time, found.missed_ms))
    return LooksSaid(found.looks, found.there, found.cut_off, _time(found.since_ms), missed)


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _accused(epoch: Epoch, miner: Hotkey) -> tuple[Accused, ...]:
    """The newest accusations before these weights."""
    if (key := _newest_before(epoch, "accusations")) is None:
        return ()
    lookback = timedelta(hours=24.0 if epoch.terms is None else epoch.terms.lookback_h)
    measured = _measured(epoch, key, lookback)
    rows = epoch.tables.read("accusations", key)
    mine = rows.filter((pl.col("first") == miner) | (pl.col("second") == miner))
    return tuple(
        Accused(row["second"] if row["first"] == miner else row["first"], row["rounds"], row["mean_wording"], measured)
        for row in mine.iter_rows(named=True)
    )


def _canary(epoch: Epoch, miner: Hotkey) -> CanarySaid | None:
    if (key := _newest_before(epoch, CANARY_ACCURACY)) is None:
        return None
    mine = epoch.tables.read(CANARY_ACCURACY, key).filter(pl.col("hotkey") == miner).to_dicts()
    figures = ({name: row[name] for name in ("asked", "answered", "right", "low", "high")} for row in mine)
    return next((CanarySaid(**each, measured=_measured(epoch, key, LOOKBACK)) for each in figures), None)


def _newest_before(epoch: Epoch, asset: str) -> TableKey | None:
    weights = epoch.where.weights
    return next((key for key in epoch.tables.newest_first(asset, weights.day) if key.name <= weights.name), None)


def _measured(epoch: Epoch, key: TableKey, lookback: timedelta) -> Measured:
    at = datetime.strptime(key.name.partition("-")[0], "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC)  # see `run_key`
    return Measured(at, at - lookback, epoch.where.row.created_at - at > OLD)


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
