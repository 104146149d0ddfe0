"""Explains one payout: collects what led to it, and judges the round again with one thing changed at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.scoring.admission import NO_AGREEMENT, OFF_TOPIC
from loosh_pipeline.scoring.columns import signals_of
from loosh_pipeline.scoring.explain_network import explain_network
from loosh_pipeline.scoring.explanation import Change, Copy, Explanation, Gate, Peer, View, WhatIf
from loosh_pipeline.scoring.network.profile import NetworkProfile
from loosh_pipeline.scoring.pairs import PairEvidence, same_source
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.profiles import ScoringProfile
from loosh_pipeline.scoring.result import RoundScores, Score
from loosh_pipeline.scoring.signals import Batch, Floats, Signals
from loosh_pipeline.scoring.votes import Standing, Verdict, Verdicts, judge, payouts_apart, weighted_median
from loosh_pipeline.scoring.window import SettledScore, Settlement

DEFAULT_PROFILE = RobustProfile()
TRIED_COPIES = 5
"""Copies of which each is left out in turn; beyond, only all of them together."""
REPRODUCED = 1e-6
"""How far a payout may be from the stored one for the same parameters to have led to both."""


def explain(
    round_: RoundScores,
    hotkey: Hotkey,
    settled: Settlement | None = None,
    profile: ScoringProfile = DEFAULT_PROFILE,
) -> Explanation:
    """Why `hotkey` was paid what it was in a scored round, within its window where a settlement is given.

    A round of the `network` profile is explained by the emission formula, with that profile's defaults unless one is
    given; it has no settlement. Raises ValueError for a hotkey that was not asked, a settlement without the round,
    and a profile that does not lead to the stored payouts.
    """
    row = _row(round_, hotkey)
    if round_.profile == NetworkProfile.name:
        return explain_network(round_, row, profile if isinstance(profile, NetworkProfile) else NetworkProfile())
    if not isinstance(profile, RobustProfile) or round_.profile != profile.name:
        raise ValueError(
            f"challenge {round_.challenge_id} was scored under profile {round_.profile!r}, not {profile.name!r}; "
            "give the profile it was scored under"
        )
    return _explain(_case(round_, hotkey, settled, profile), row, settled)


def _row(round_: RoundScores, hotkey: Hotkey) -> Score:
    for row in round_.scores:
        if row.hotkey == hotkey:
            return row
    raise ValueError(f"hotkey {hotkey} was not asked in challenge {round_.challenge_id}; give one of its rows")


@dataclass(frozen=True, eq=False)
class _Case:
    """A round as it was judged. `i` is the place of the answer among those compared; None when it was not."""

    round_: RoundScores
    profile: RobustProfile
    signals: Signals
    standing: Standing
    verdict: Verdict
    i: int | None

    @property
    def independent(self) -> Floats:
        """(n,) weight of each answer in an average in which copies count once."""
        independent: Floats = self.verdict.vote.voters / self.verdict.vote.group_size
        return independent

    def others(self) -> Floats:
        """The same without the answer itself."""
        weight = self.independent.copy()
        if self.i is not None:
            weight[self.i] = 0.0
        return weight

    def payout_with(self, signals: Signals) -> float:
        return float(judge(signals, self.profile, self.standing).payout[self.place])

    @property
    def place(self) -> int:
        if self.i is None:
            raise ValueError("the answer was not compared, so nothing of it can be changed")
        return self.i


def _case(round_: RoundScores, hotkey: Hotkey, settled: Settlement | None, profile: RobustProfile) -> _Case:
    signals = signals_of(round_)
    stored = {row.hotkey: row.payout for row in round_.scores}
    verdict = judge(signals, profile)
    _check(round_, signals, verdict, [stored[each] for each in signals.hotkeys])
    standing = Standing.unknown(len(signals), profile)
    if settled is not None:
        rows = _settled_rows(round_, signals, settled)
        standing = Standing(
            sources=same_source(signals.hotkeys, settled.pairs),
            trust=np.array([each.trust for each in rows]),
            gate=np.array([each.relevance_gate for each in rows]),
        )
        verdict = judge(signals, profile, standing)
        _check(round_, signals, verdict, [each.payout for each in rows])
    place = signals.hotkeys.index(hotkey) if hotkey in signals.hotkeys else None
    return _Case(round_, profile, signals, standing, verdict, place)


def _check(round_: RoundScores, signals: Signals, verdict: Verdict, stored: Sequence[float]) -> None:
    for hotkey, payout, was in zip(signals.hotkeys, verdict.payout, stored, strict=True):
        if abs(payout - was) > REPRODUCED * max(1.0, abs(was)):
            raise ValueError(
                f"challenge {round_.challenge_id}: {hotkey} was paid {was}, and is paid {payout} when judged again; "
                "give the profile and the settlement that led to the stored payout"
            )


def _settled_rows(round_: RoundScores, signals: Signals, settled: Settlement) -> list[SettledScore]:
    rows = {each.hotkey: each for each in settled.scores if each.challenge_id == round_.challenge_id}
    if set(rows) != set(signals.hotkeys):
        raise ValueError(
            f"challenge {round_.challenge_id} has {len(signals)} comparable answers and the settlement {len(rows)} "
            "of it; give a settlement of a window with this round"
        )
    return [rows[hotkey] for hotkey in signals.hotkeys]


def _explain(case: _Case, row: Score, settled: Settlement | None) -> Explanation:
    round_, paid = case.round_, _payouts(case)
    mine = Explanation(
        challenge_id=round_.challenge_id,
        hotkey=row.hotkey,
        profile=round_.profile,
        row=row,
        round_measure=round_.measure,
        settled=None,
        payout=paid[row.hotkey],
        rank=1 + sum(payout > paid[row.hotkey] for payout in paid.values()),
        asked=len(round_.scores),
        gates=_gates(case, row),
        reason=_reason(case, row),
        typical_score=case.verdict.typical,
        median_elapsed_ms=_median_elapsed_ms(case),
        typical_relevance=_median(case.signals.relevance, case.others()),
        what_ifs=_earned_by_others(case),
    )
    return mine if case.i is None else _compared(mine, case, case.i, settled)


def _compared(mine: Explanation, case: _Case, i: int, settled: Settlement | None) -> Explanation:
    verdict, vote = case.verdict, case.verdict.vote
    rows = _settled_rows(case.round_, case.signals, settled) if settled else None
    views, copies = _views(case, i), _copies(case, i, settled)
    return replace(
        mine,
        settled=rows[i] if rows else None,
        agreement=float(vote.agreement[i]),
        score=float(verdict.score[i]),
        share=float(verdict.share[i]),
        votes=float(vote.heard[i]),
        vote_weight=float(vote.weight[i]),
        speed_factor=float(verdict.speed_factor[i]),
        views=views,
        peers=_peers(case, i),
        copies=copies,
        what_ifs=_what_ifs(case, mine, views, copies),
    )


def _reason(case: _Case, row: Score) -> str:
    """As in the row, but for what the window changes: who agrees with nobody."""
    if case.i is None or case.verdict.vote.voters[case.i]:
        return row.reason if case.i is None else ""
    return NO_AGREEMENT if case.verdict.passed[case.i] else OFF_TOPIC


def _payouts(case: _Case) -> dict[Hotkey, float]:
    """Of everyone asked; 0 for who was not compared."""
    compared = dict(zip(case.signals.hotkeys, map(float, case.verdict.payout), strict=True))
    return {row.hotkey: compared.get(row.hotkey, 0.0) for row in case.round_.scores}


def _gates(case: _Case, row: Score) -> tuple[Gate, ...]:
    threshold = case.profile.relevance_gate if case.i is None else float(case.standing.gate[case.i])
    margin = None if row.relevance is None else row.relevance - threshold
    relevance = Gate("relevance", row.relevance, threshold, margin, pays=True)
    found = None if case.i is None else float(case.verdict.vote.agreement[case.i])
    gates = (relevance, Gate("agreement", found, 0.0, found, pays=True))
    if row.measure is None:
        return gates
    measured = row.measure
    return (*gates, Gate("quality", measured.quality, measured.quality_threshold, measured.quality_margin, pays=False))


def _median(values: Floats, weights: Floats) -> float | None:
    usable = np.isfinite(values) & (weights > 0)
    return weighted_median(values[usable], weights[usable]) if usable.any() else None


def _median_elapsed_ms(case: _Case) -> float | None:
    return _median(case.signals.elapsed_ms, case.independent)


def _views(case: _Case, i: int) -> tuple[View, ...]:
    vote, profile, others = case.verdict.vote, case.profile, case.others()
    # who heard nobody has views of 0 that say nothing
    weights = others * (vote.heard > 0)
    if vote.heard[i] <= 0 or not weights.any():
        return ()
    of = (
        ("meaning", vote.meaning, profile.meaning_weight),
        ("coverage", vote.coverage, profile.coverage_weight),
        ("wording", vote.wording, profile.wording_weight),
    )
    return tuple(
        View(name, float(values[i]), float(np.average(values, weights=weights)), weight / profile.view_weight)
        for name, values, weight in of
    )


def _peers(case: _Case, i: int) -> tuple[Peer, ...]:
    signals, copies = case.signals, case.verdict.copies
    heard = case.verdict.vote.weight * (1 - copies[i])
    total = heard.sum()
    found = [
        Peer(
            hotkey=signals.hotkeys[j],
            weight=float(heard[j]),
            part=float(heard[j] / total),
            meaning=float(signals.meaning[i, j]),
            coverage=float(signals.coverage[i, j]),
            wording=float(signals.wording[i, j]),
        )
        for j in np.flatnonzero(heard > 0)
    ]
    return tuple(sorted(found, key=lambda peer: (-peer.weight, peer.hotkey)))


def _copies(case: _Case, i: int, settled: Settlement | None) -> tuple[Copy, ...]:
    hotkeys, degrees = case.signals.hotkeys, case.verdict.copies[i]
    pairs = {(pair.first, pair.second): pair for pair in case.round_.pairs}
    found = []
    for j in np.flatnonzero(degrees > 0):
        if j != i:
            pair = pairs[min(hotkeys[i], hotkeys[j]), max(hotkeys[i], hotkeys[j])]
            found.append(_copy(hotkeys[j], float(degrees[j]), pair, settled))
    return tuple(sorted(found, key=lambda copy: (-copy.degree, copy.hotkey)))


def _copy(hotkey: Hotkey, degree: float, pair: PairEvidence, settled: Settlement | None) -> Copy:
    return Copy(
        hotkey=hotkey,
        degree=degree,
        wording=pair.wording,
        history=settled.pairs.get((pair.first, pair.second)) if settled else None,
        same_address=pair.same_address,
        same_coldkey=pair.same_coldkey,
    )


def _earned_by_others(case: _Case) -> tuple[WhatIf, ...]:
    """What the scored answers earned on average: all that can be said to who gave none."""
    scored = case.verdict.payout[case.verdict.vote.voters]
    return (WhatIf(Change.ANSWERED, float(scored.mean())),) if len(scored) else ()


def _what_ifs(case: _Case, mine: Explanation, views: Sequence[View], copies: Sequence[Copy]) -> tuple[WhatIf, ...]:
    if mine.reason == OFF_TOPIC:
        return (*_if_relevant(case), *mine.what_ifs)
    return (*_if_no_copy(case, copies), *_if_at_average(case, views, mine.reason), *_if_in_time(case, mine))


def _if_relevant(case: _Case) -> tuple[WhatIf, ...]:
    gate = float(case.standing.gate[case.place])
    relevance = case.signals.relevance.copy()
    relevance[case.place] = gate
    return (WhatIf(Change.RELEVANT, case.payout_with(replace(case.signals, relevance=relevance)), gate),)


def _if_no_copy(case: _Case, copies: Sequence[Copy]) -> tuple[WhatIf, ...]:
    """Sharing no pay with each copy; nothing for who is paid nothing anyway."""
    if not case.verdict.payout[case.place]:
        return ()
    at = {hotkey: j for j, hotkey in enumerate(case.signals.hotkeys)}
    found = [
        WhatIf(Change.NOT_A_COPY, _payout_apart(case, [at[copy.hotkey]]), peer=copy.hotkey)
        for copy in copies[:TRIED_COPIES]
    ]
    if len(copies) > 1:
        found.append(WhatIf(Change.NO_COPIES, _payout_apart(case, [at[copy.hotkey] for copy in copies])))
    return tuple(found)


def _payout_apart(case: _Case, copies: Sequence[int]) -> float:
    n = len(case.signals)
    apart = np.zeros((1, n, n), dtype=np.bool_)
    apart[0, case.place, copies] = apart[0, copies, case.place] = True
    of_one = Batch.of_one(case.signals)
    found = payouts_apart(of_one, case.profile, case.standing.part(None), Verdicts.of_one(case.verdict), apart)
    return float(found[0, case.place])


def _if_at_average(case: _Case, views: Sequence[View], reason: str) -> tuple[WhatIf, ...]:
    below = [view for view in views if view.shortfall > 0]
    if not below:
        return ()
    if reason == NO_AGREEMENT:
        raised = {view.name: view.shortfall for view in below}
        return (WhatIf(Change.ALL_VIEWS, case.payout_with(_raised(case, raised))),)
    view = max(below, key=lambda each: each.shortfall)
    payout = case.payout_with(_raised(case, {view.name: view.shortfall}))
    return (WhatIf(Change(view.name), payout, view.average),)


def _raised(case: _Case, by: Mapping[str, float]) -> Signals:
    """The signals with views of the answer raised alike before every peer, though not so far as to look copied."""
    i, signals = case.place, case.signals
    meaning, coverage, wording = signals.meaning.copy(), signals.coverage.copy(), signals.wording.copy()
    others = np.arange(len(signals)) != i
    meaning[i, others] += by.get("meaning", 0.0)
    meaning[others, i] = meaning[i, others]
    coverage[i, others] += by.get("coverage", 0.0)
    limit = np.maximum(wording[i, others], case.profile.blatant_low)
    wording[i, others] = np.minimum(wording[i, others] + by.get("wording", 0.0), limit)
    wording[others, i] = wording[i, others]
    return replace(signals, meaning=meaning, coverage=coverage, wording=wording)


def _if_in_time(case: _Case, mine: Explanation) -> tuple[WhatIf, ...]:
    elapsed, median = case.signals.elapsed_ms.copy(), mine.median_elapsed_ms
    if mine.reason or median is None or not np.isfinite(elapsed[case.place]) or elapsed[case.place] == median:
        return ()
    elapsed[case.place] = median
    return (WhatIf(Change.MEDIAN_TIME, case.payout_with(replace(case.signals, elapsed_ms=elapsed)), median),)
