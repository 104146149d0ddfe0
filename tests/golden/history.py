"""`python -m tests.golden.history`: what today's code pays for a frozen day, as a table.

The day is a bundle of a validator that really ran on a devnet: its answers, times and vectors are taken as they are,
and everything behind them is worked out anew, by both profiles, in a young scoring context and in one of many rounds.
The rounds are spread over a day, so that age counts.

Sums of floating point hang on the instructions and libraries they are made with. The same bits come out where
`SAME_BITS` says which instructions, on x86-64 with AVX2, and libraries are those that the file names; elsewhere figures
agree to `TOLERANCE`.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from loosh_pipeline.audit.content import Content
from loosh_pipeline.audit.file import read
from loosh_pipeline.chain.weights import plan_weights, quantize
from loosh_pipeline.domain import Emission, OneSource, Outcome
from loosh_pipeline.embedding.round_vectors import RoundVectors, VectorKey, unpack
from loosh_pipeline.emissions import emissions_from
from loosh_pipeline.paid import Payment, pay
from loosh_pipeline.policy.inputs import Earned
from loosh_pipeline.policy.propose import propose
from loosh_pipeline.presence import coverage_of
from loosh_pipeline.scoring.columns import columns_of
from loosh_pipeline.scoring.context import ScoringContext, build_context
from loosh_pipeline.scoring.network.profile import NetworkProfile
from loosh_pipeline.scoring.pairs import one_sources
from loosh_pipeline.scoring.profile import RobustProfile, scorer_version
from loosh_pipeline.scoring.profiles import ScoringProfile
from loosh_pipeline.scoring.result import RoundScores
from loosh_pipeline.scoring.round import Round
from loosh_pipeline.scoring.score import score
from loosh_pipeline.scoring.vectors import mean_direction

HERE = Path(__file__).parent
DAY, EXPECTED = HERE / "day.loosh-audit", HERE / "weights.md"
SAME_BITS: Mapping[str, str] = {
    "OPENBLAS_CORETYPE": "Haswell",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR",
}
"""What keeps NumPy and its BLAS to instructions that every x86-64 of the last ten years has."""
TOLERANCE = 1e-6
GROWN = 2
"""How often the day's rounds are counted in the context of many rounds."""
MADE_WITH = "Made with "
HEAD = ("miner", "asked", "answered", "paid", "mean payout", "evidence", "coverage", "emission", "share", "on chain")


def tables() -> str:
    """The tables of all variants, as Markdown."""
    content = _spread(read(DAY).content)
    rounds = list(_rounds(content))
    young = next(iter(content.contexts.values()))
    grown = _grown(rounds)
    variants: list[tuple[str, ScoringProfile, ScoringContext]] = [
        ("robust, in its own context", RobustProfile(), young),
        (f"robust, in a context of {grown.rounds} rounds", RobustProfile(), grown),
        ("network", NetworkProfile(), young),
    ]
    said = [_table(title, content, rounds, profile, context) for title, profile, context in variants]
    return "\n".join([_preface(content), *said])


def _preface(content: Content) -> str:
    count = len(content.window.columns.challenges)
    return (
        "# What a frozen day pays\n\n"
        f"{count} rounds of {len(content.window.columns.hotkeys)} miners, by the code of this commit. "
        "`make golden` writes this file anew;\na change of it is what a change of scoring does to weights.\n\n"
        f"{made_with()}\n"
    )


def made_with() -> str:
    """The libraries whose last bits these are."""
    libraries = [f"{name} {version(name)}" for name in ("numpy", "scipy", "scikit-learn")]
    return f"{MADE_WITH}{', '.join([*libraries, ' '.join(platform.libc_ver())])}."


def _spread(content: Content) -> Content:
    """The same rounds in the order in which they came, evenly over the lookback."""
    window, terms = content.window, content.terms
    order = np.lexsort((np.arange(len(window.at_ms)), window.at_ms))
    apart_ms = int(terms.lookback_h * 3_600_000) // (len(order) + 1)
    at_ms = np.empty_like(window.at_ms)
    at_ms[order] = int(terms.made_at.timestamp() * 1000) - apart_ms * np.arange(len(order), 0, -1)
    return replace(content, window=replace(window, at_ms=at_ms))


def _rounds(content: Content) -> Iterator[tuple[Round, str]]:
    """The rounds by challenge, each with the embedding model of its vectors."""
    for challenge in content.window.columns.challenges:
        shown = content.rounds[challenge]
        keys = tuple(VectorKey(*key) for key in shown.keys)
        stored = RoundVectors(challenge, keys, shown.vectors, shown.model_digest)
        yield unpack(stored, shown.prompt, shown.responses), shown.model_digest


def _grown(rounds: list[tuple[Round, str]]) -> ScoringContext:
    """A context of these very rounds, which has enough of them to be used."""
    said = []
    for round_, _ in rounds:
        answers = [each for each in round_.responses if each.outcome is Outcome.ANSWERED and len(each.chunks)]
        said.append(([each.text for each in answers], np.array([mean_direction(each.chunks) for each in answers])))
    return build_context(said * GROWN, len(rounds[0][0].prompt_vector))


def _table(
    title: str,
    content: Content,
    rounds: list[tuple[Round, str]],
    profile: ScoringProfile,
    context: ScoringContext,
) -> str:
    scored = [score(round_, context, profile, model) for round_, model in rounds]
    payment, emissions = _earned(content, scored, profile)
    earned = Earned(
        at=content.terms.made_at,
        lookback_h=content.terms.lookback_h,
        rounds=len(scored) - len(payment.left_out),
        emissions=emissions,
        sources=_sources(payment),
        versions={scorer_version(profile, rounds[0][1]): len(scored)},
    )
    inputs = replace(content.inputs, profile=profile.name, earned=earned)
    proposal = propose(inputs)
    plan = plan_weights(proposal.shares, content.subnet, inputs.own)
    chain = {plan.hotkeys[uid]: value for uid, value in quantize(plan.weights).items()}
    rows = [
        [*_said(each), repr(proposal.shares.get(each.hotkey, 0.0)), chain.get(each.hotkey, 0)] for each in emissions
    ]
    pairs = [f"- {each.first[:8]} = {each.second[:8]}: {each.degree!r}" for each in earned.sources]
    lines = [_line(HEAD), _line("-" * len(HEAD)), *map(_line, rows)]
    return "\n".join([f"\n## {title}\n", *lines, *(["\nOf one source:\n", *pairs] if pairs else [])])


def _earned(
    content: Content, scored: list[RoundScores], profile: ScoringProfile
) -> tuple[Payment, tuple[Emission, ...]]:
    columns, rows = columns_of(scored), [each for round_ in scored for each in round_.scores]
    payment = pay(columns, np.array([each.payout for each in rows]), profile)
    answered = np.array([each.outcome is Outcome.ANSWERED for each in rows])
    measured = np.array([each.measure is not None for each in rows])
    paid = payment.paid(content.window.at_ms[columns.round], answered, measured)
    terms, coverage = content.terms, coverage_of(content.looks, content.terms.rule.half_life_h)
    return payment, emissions_from(paid, profile, terms.made_at, coverage=coverage, mode=terms.mode, rule=terms.rule)


def _sources(payment: Payment) -> tuple[OneSource, ...]:
    found = {} if payment.settled is None else payment.settled.histories.sources()
    return one_sources(found)


def _said(each: Emission) -> list[object]:
    figures = (each.mean_payout, each.evidence, each.coverage, each.emission)
    return [each.hotkey[:8], each.asked, each.answered, each.paid, *map(repr, figures)]


def _line(cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"  # type: ignore[call-overload]  # of whatever can be said


def exact(expected: str) -> bool:
    """Whether this machine has the instructions and libraries that give the same bits."""
    return made_with() in expected.splitlines() and platform.machine() in ("x86_64", "AMD64") and "avx2" in _flags()


def _flags() -> str:
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""


def in_its_own_process() -> str:
    """The tables as they come out under `SAME_BITS`, which only a new process takes."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.golden.history"]
    run = subprocess.run(command, env=os.environ | SAME_BITS, capture_output=True, text=True, timeout=300, check=False)
    if run.returncode:
        raise RuntimeError(f"the golden history ended with {run.returncode}: {run.stderr[-2000:]}")
    return run.stdout


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        EXPECTED.write_text(in_its_own_process())
    else:
        sys.stdout.write(tables() + "\n")
