"""Rounds of a yardstick outside the project, scored once and then paid in many ways.

A yardstick is a module with `evaluate(bench, scorer, cache)`, whose rounds have the form of
`scoring_adapter.YardstickRound`. What a window adds is made of the stored rows of its rounds, so that a profile with
other parameters needs no new scoring, unless it changes one of `PARAMETERS_OF_ROWS`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.scoring_adapter import DEFAULT_PROFILE, YardstickRound, _answered, _round, _texts
from loosh_pipeline.domain import ChallengeId, Hotkey
from loosh_pipeline.scoring.context import ScoringContext, build_context
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.result import RoundScores
from loosh_pipeline.scoring.robust import score_round
from loosh_pipeline.scoring.vectors import mean_direction
from loosh_pipeline.scoring.window import settle

PARAMETERS_OF_ROWS = ("evidence_full_words", "context_rounds", "young_stop_weight")
"""Those that rows of scores depend on beyond what settling computes again."""

Payouts = Mapping[ChallengeId, Mapping[Hotkey, float]]
Pay = Callable[[Sequence[RoundScores]], Payouts]


class Yardstick:
    """A bench of a yardstick with its embeddings; keeps the scores of every round it has met."""

    def __init__(self, module: Any, bench: Any, cache: Any) -> None:
        self.bench = bench
        self._module, self._cache = module, cache
        self._known: dict[tuple[object, ...], list[RoundScores]] = {}

    def figures(self, pay: Pay) -> dict[str, Any]:
        """What the yardstick itself says of a way to pay."""
        # Once every scenario is scored, its vectors are not needed again.
        cache = None if self._known else self._cache
        found: dict[str, Any] = self._module.evaluate(self.bench, partial(self._scorer, pay), cache)
        return found

    def rounds(self, name: str) -> list[Any]:
        """The embedded rounds of one scenario, under the yardstick's own names."""
        found: list[Any] = self.bench.rounds(name, self._cache)
        return found

    def _scorer(self, pay: Pay, rounds: Sequence[Any]) -> list[dict[str, float]]:
        key = tuple((each.prompt_id, *each.ids, *each.texts, *each.seconds) for each in rounds)
        if key not in self._known:
            self._known[key] = scored(rounds)
        paid = pay(self._known[key])
        return [
            {str(score.hotkey): paid.get(each.challenge_id, {}).get(score.hotkey, 0.0) for score in each.scores}
            for each in self._known[key]
        ]


def ranking(tools: Path, data: Path, caches: Path, split: str) -> Yardstick:
    """How models of known strength are ranked, with nobody cheating. `split`: a or b."""
    module = _imported(tools, "ranking_bench")
    return Yardstick(module, module.Ranking(data, split), module.sb.Cache(caches / f"rank_{split}.npz"))


def attacks(tools: Path, data: Path, caches: Path) -> Yardstick:
    """The development models, honest and under attack."""
    module = _imported(tools, "scoring_bench")
    return Yardstick(module, module.Bench(data), module.Cache(caches / "emb.npz"))


def _imported(tools: Path, name: str) -> Any:
    if not (tools / f"{name}.py").is_file():
        raise SystemExit(f"{tools} holds no {name}.py; give the directory of the yardstick's modules")
    if str(tools) not in sys.path:
        sys.path.insert(0, str(tools))
    return importlib.import_module(name)


def scored(rounds: Sequence[YardstickRound], young: bool = False) -> list[RoundScores]:
    """Every round by itself under the default profile, in the context of all given, or of none when `young`."""
    ours = [_round(each, number) for number, each in enumerate(rounds)]
    past = ((_texts(each), np.array([mean_direction(r.chunks) for r in _answered(each)])) for each in ours)
    dim = len(ours[0].prompt_vector)
    context = ScoringContext.empty(dim) if young else build_context(past, dim)
    return [score_round(each, context, DEFAULT_PROFILE) for each in ours]


def settled_pay(changes: Mapping[str, float]) -> Pay:
    """What the default profile with some parameters changed pays. Raises ValueError for one that changes the rows."""
    if wrong := sorted(set(changes) & set(PARAMETERS_OF_ROWS)):
        raise ValueError(f"{', '.join(wrong)} changes the rows that are settled; score the rounds again for it")
    profile = RobustProfile.from_mapping(changes)
    return lambda rounds: settle(rounds, profile).payouts()


def mean_cosine(rounds: Sequence[RoundScores]) -> Payouts:
    """What is left without a scorer: an answer is paid its mean cosine with the others."""
    paid: dict[ChallengeId, dict[Hotkey, float]] = {}
    for each in rounds:
        total: dict[Hotkey, float] = {}
        for pair in each.pairs:
            for hotkey in (pair.first, pair.second):
                total[hotkey] = total.get(hotkey, 0.0) + max(pair.similarity, 0.0)
        paid[each.challenge_id] = {hotkey: value / max(len(total) - 1, 1) for hotkey, value in total.items()}
    return paid
