"""How often copying is accused, and honesty: `python -m benchmarks.accusations --data DIR [--json]`.

DIR holds answers of models to prompts, one JSON object a line with `prompt_id`, `model` and `output`, in the files of
`CORPORA`; every model answers every prompt. Two models are an honest pair. Copies are made of a model's answers. Rounds
are drawn at random from a corpus, and a pair is judged on them by the rule in force, with word weights of a young
validator and with document frequencies of the corpus. `--json` prints one object as the last line.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.scoring.accusations import AccusationRule, accuse, is_accused
from loosh_pipeline.scoring.context import ScoringContext, build_context
from loosh_pipeline.scoring.pairs import PairEvidence, pair_histories
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.signals import Floats
from loosh_pipeline.scoring.text import words
from loosh_pipeline.scoring.votes import evidence_of
from loosh_pipeline.scoring.wording import word_weight, wording_similarity

CORPORA = ("alpaca_miners_dev", "alpaca_ranking_a", "alpaca_ranking_b")
SIZES = tuple(range(1, 31))
POWER_SIZES = (5, 6, 7, 8, 10, 12, 15, 20, 25, 30)
SHORT_SIZES = (10, 30, 100, 300)
SHORT_PART = 0.25
"""Part of the rounds, those with the shortest answers, that all traffic is made of in the test of short answers."""
DRAWS = 1000
SEED = 20_260_101
PROFILE = RobustProfile()
RULE = AccusationRule()
_SYNONYMS = """
    use:employ uses:employs using:employing used:employed help:assist helps:assists important:crucial make:create
    makes:creates making:creating show:display shows:displays good:fine great:superb big:large small:little
    begin:start start:begin many:numerous several:various often:frequently also:besides however:yet because:since
    get:obtain need:require needs:requires give:grant gives:grants provide:supply provides:supplies ensure:guarantee
    include:contain includes:contains find:locate try:attempt like:such different:distinct new:fresh people:persons
    time:period way:manner ways:manners place:spot simple:easy easy:simple quickly:rapidly then:next first:initially
    finally:lastly main:chief best:finest choose:select can:may should:must will:shall very:quite other:further
    allow:permit allows:permits method:approach approach:method common:usual example:instance
"""
SYNONYMS = dict(pair.split(":") for pair in _SYNONYMS.split())


@dataclass(frozen=True, eq=False)
class Evidence:
    """Wording likeness and what it proves, (rounds, pairs)."""

    wording: Floats
    evidence: Floats

    @cached_property
    def product(self) -> Floats:
        return self.wording * self.evidence


@dataclass(frozen=True, eq=False)
class Corpus:
    """`texts`[r][m]: the answer of model m in round r."""

    name: str
    models: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]

    @property
    def typical_words(self) -> Floats:
        """(rounds,) the median length of an answer."""
        return np.array([np.median([len(words(text)) for text in answers]) for answers in self.texts])


def load(data: Path, name: str) -> Corpus:
    """A corpus. Raises ValueError when a model lacks an answer."""
    lines = (data / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    answers = {(row["prompt_id"], row["model"]): row["output"] for row in map(json.loads, lines)}
    models = sorted({model for _, model in answers})
    prompts = list(dict.fromkeys(prompt for prompt, _ in answers))
    if len(answers) != len(models) * len(prompts):
        raise ValueError(f"{name}: {len(answers)} answers of {len(models)} models to {len(prompts)} prompts")
    return Corpus(name, tuple(models), tuple(tuple(answers[p, m] for m in models) for p in prompts))


def contexts(corpus: Corpus) -> dict[str, ScoringContext]:
    past = ((answers, np.zeros((0, 1))) for answers in corpus.texts)
    return {"young": ScoringContext.empty(1), "grown": build_context(past, 1)}


def dropped(text: str, seed: int) -> str:
    """A text without a quarter of its words."""
    rng = random.Random(f"drop {seed} {text}")
    return " ".join(word for word in text.split() if rng.random() >= 0.25) or text


def swapped(text: str, seed: int) -> str:
    """A text with nine in ten of the words that have a synonym here replaced by it."""
    rng = random.Random(f"swap {seed} {text}")
    return " ".join(SYNONYMS.get(word.lower(), word) if rng.random() < 0.9 else word for word in text.split())


def unchanged(text: str, seed: int) -> str:
    return text


Copier = Callable[[str, int], str]
COPIERS: dict[str, tuple[Copier, Copier]] = {
    "exact": (unchanged, unchanged),
    "words_dropped": (unchanged, dropped),
    "words_dropped_in_both": (dropped, dropped),
    "synonyms": (unchanged, swapped),
    "synonyms_and_dropped": (swapped, dropped),
}
"""What the one and the other of two copies do to the same answer."""


def likeness(corpus: Corpus, context: ScoringContext, first: Copier, second: Copier) -> tuple[Floats, Floats]:
    """Wording and evidence, (rounds, models, models): row model after `first`, column model after `second`."""
    weight, m = word_weight(context, PROFILE), len(corpus.models)
    wording, evidence = [], []
    for answers in corpus.texts:
        bags = [words(first(text, 1)) for text in answers] + [words(second(text, 2)) for text in answers]
        wording.append(wording_similarity(bags, weight)[:m, m:])
        evidence.append(evidence_of(np.array([len(bag) for bag in bags], dtype=float), PROFILE)[:m, m:])
    return np.array(wording), np.array(evidence)


def honest_pairs(corpus: Corpus, context: ScoringContext) -> Evidence:
    rows, columns = np.triu_indices(len(corpus.models), k=1)
    wording, evidence = likeness(corpus, context, unchanged, unchanged)
    return Evidence(wording[:, rows, columns], evidence[:, rows, columns])


def copy_pairs(corpus: Corpus, context: ScoringContext, copiers: tuple[Copier, Copier]) -> Evidence:
    """Of every model, two copies of its answers."""
    wording, evidence = likeness(corpus, context, *copiers)
    return Evidence(np.diagonal(wording, axis1=1, axis2=2), np.diagonal(evidence, axis1=1, axis2=2))


def neighbour_pairs(corpus: Corpus, context: ScoringContext) -> Evidence:
    """Of every model, its answers and those of the next one: what a part-time copier gives when it does not copy."""
    wording, evidence = likeness(corpus, context, unchanged, unchanged)
    own = np.arange(len(corpus.models))
    return Evidence(wording[:, own, np.roll(own, -1)], evidence[:, own, np.roll(own, -1)])


def draw(rng: np.random.Generator, rounds: int, size: int) -> Floats:
    """(draws, rounds) of 0 and 1: `size` rounds each, none twice."""
    order = rng.random((DRAWS, rounds)).argsort(axis=1)
    return (order < size).astype(float)


def shrunk(evidence: Floats, product: Floats) -> Floats:
    """The mean wording of a pair's history, as `pair_histories` has it."""
    prior = PROFILE.mean_prior_rounds
    mean: Floats = (product + prior * PROFILE.mean_prior_wording) / (evidence + prior)
    return mean


def judged(counts: Floats, pairs: Evidence, rule: AccusationRule = RULE) -> tuple[Floats, Floats]:
    """(draws, pairs) shrunk mean wording, and 1 for accused; `counts` (draws, rounds): how often each round was."""
    evidence = counts @ pairs.evidence
    mean = shrunk(evidence, counts @ pairs.product)
    rounds = np.broadcast_to(counts.sum(axis=1, keepdims=True), evidence.shape)
    return mean, is_accused(rounds, evidence, mean, rule).astype(float)


def honest_table(pairs: Evidence, rng: np.random.Generator) -> dict[str, Any]:
    """Over all sizes: how many histories had the evidence to be accused, how many were, and the worst."""
    anyone = replace(RULE, wording=0.0)
    histories = enough = accused = 0
    worst = {}
    for size in (n for n in SIZES if n <= len(pairs.wording)):
        counts = draw(rng, len(pairs.wording), size)
        mean, found = judged(counts, pairs)
        eligible = judged(counts, pairs, anyone)[1] > 0
        histories, enough, accused = histories + mean.size, enough + int(eligible.sum()), accused + int(found.sum())
        worst[size] = round(float(mean[eligible].max()), 3) if eligible.any() else None
    highest = max(value for value in worst.values() if value is not None)
    return {
        "pairs": pairs.wording.shape[1],
        "histories": histories,
        "with_enough_evidence": enough,
        "accused": accused,
        "highest": highest,
        "highest_by_rounds": worst,
    }


def short_table(corpus: Corpus, pairs: Evidence, rng: np.random.Generator) -> dict[str, Any]:
    """Honest pairs accused where all traffic is short answers, with the rule and without its evidence per round."""
    length = corpus.typical_words
    shortest = np.argsort(length, kind="stable")[: int(len(length) * SHORT_PART)]
    chances = np.zeros(len(length))
    chances[shortest] = 1 / len(shortest)
    loose = replace(RULE, min_evidence_per_round=0.0)
    found: dict[str, Any] = {"longest_median_words": float(length[shortest].max())}
    for size in SHORT_SIZES:
        counts = rng.multinomial(size, chances, DRAWS).astype(float)
        found[str(size)] = {
            "accused": int(judged(counts, pairs)[1].sum()),
            "accused_without_evidence_per_round": int(judged(counts, pairs, loose)[1].sum()),
        }
    return found


def power(pairs: Evidence, rng: np.random.Generator) -> dict[int, float]:
    """Part of the draws and models in which copies are accused, by rounds."""
    sizes = [n for n in POWER_SIZES if n <= len(pairs.wording)]
    return {size: round(float(judged(draw(rng, len(pairs.wording), size), pairs)[1].mean()), 3) for size in sizes}


def half_power(copies: Evidence, own: Evidence, rng: np.random.Generator) -> dict[int, float]:
    """The same for exact copies in half of the rounds, with another model's answers in the others."""
    found = {}
    for size in (n for n in POWER_SIZES if n <= len(copies.wording)):
        order = rng.random((DRAWS, len(copies.wording))).argsort(axis=1)
        copied, others = (order < size // 2).astype(float), ((order >= size // 2) & (order < size)).astype(float)
        evidence = copied @ copies.evidence + others @ own.evidence
        mean = shrunk(evidence, copied @ copies.product + others @ own.product)
        found[size] = round(float(is_accused(np.full_like(mean, size), evidence, mean, RULE).mean()), 3)
    return found


def accused_by_library(corpus: Corpus, pairs: Evidence) -> int:
    """Honest pairs accused over all rounds by the functions in production; checks that they see what is seen here."""
    rows, columns = np.triu_indices(len(corpus.models), k=1)
    names = [(Hotkey(corpus.models[i]), Hotkey(corpus.models[j])) for i, j in zip(rows, columns, strict=True)]
    histories = pair_histories(
        (
            PairEvidence(*name, 0.0, 0.0, 0.0, 0.0, float(pairs.wording[r, k]), float(pairs.evidence[r, k]))
            for r in range(len(pairs.wording))
            for k, name in enumerate(names)
        ),
        PROFILE,
    )
    mean = judged(np.ones((1, len(pairs.wording))), pairs)[0][0]
    if not np.allclose([histories[name].mean_wording for name in names], mean, rtol=0, atol=1e-9):
        raise ValueError(f"{corpus.name}: histories differ from pair_histories; correct `shrunk`")
    return len(accuse(histories, RULE))


def measured(corpus: Corpus, context: ScoringContext) -> dict[str, Any]:
    """All figures of one corpus under one context."""
    rng = np.random.default_rng(SEED)
    honest = honest_pairs(corpus, context)
    copies = {name: copy_pairs(corpus, context, copiers) for name, copiers in COPIERS.items()}
    return {
        "honest": honest_table(honest, rng) | {"accused_over_all_rounds": accused_by_library(corpus, honest)},
        "short_answers": short_table(corpus, honest, rng),
        "copies_mean_wording": {
            name: round(float(each.product.sum() / each.evidence.sum()), 3) for name, each in copies.items()
        },
        "power": {name: power(each, rng) for name, each in copies.items()}
        | {"exact_in_half": half_power(copies["exact"], neighbour_pairs(corpus, context), rng)},
    }


def summary(results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Of all corpora and contexts: honest pairs and those accused, with the bound of 95 % on their part."""
    pairs = sum(each["young"]["honest"]["pairs"] for each in results.values())
    every = [each for by_context in results.values() for each in by_context.values()]
    accused = sum(each["honest"]["accused"] for each in every)
    return {
        "honest_pairs": pairs,
        "histories": sum(each["honest"]["histories"] for each in every),
        "with_enough_evidence": sum(each["honest"]["with_enough_evidence"] for each in every),
        "accused": accused,
        "highest_honest": max(each["honest"]["highest"] for each in every),
        # none of n pairs accused leaves room for a part p with (1 - p) ** n = 5 %
        "bound_95": round(1 - 0.05 ** (1 / pairs), 5) if not accused else None,
    }


def table(results: dict[str, dict[str, Any]]) -> str:
    lines = []
    for name, by_context in results.items():
        for context, each in by_context.items():
            honest = each["honest"]
            lines.append(
                f"{name} {context}: {honest['accused']} of {honest['with_enough_evidence']} histories of "
                f"{honest['pairs']} honest pairs accused, highest {honest['highest']}"
            )
            lines += [f"  {kind:24} {found}" for kind, found in each["power"].items()]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="directory of the answers")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    options = parser.parse_args(arguments)
    results = {}
    for name in CORPORA:
        corpus = load(options.data, name)
        results[name] = {kind: measured(corpus, context) for kind, context in contexts(corpus).items()}
    print(table(results))
    if options.json:
        print(json.dumps({"rule": asdict(RULE), "draws": DRAWS, "summary": summary(results), "corpora": results}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
