"""Do the defaults hold on prompts and models they were not chosen on, in short windows, against patient copiers?

`python -m benchmarks.validation --tools DIR --data DIR --caches DIR [--draws 200] [--json]`, with the directories of
`benchmarks.ablation`. Rounds are scored once, in the context of all of their set, and settled in many windows.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from benchmarks.ablation import places, tell
from benchmarks.yardstick import Pay, Yardstick, attacks, mean_cosine, ranking, scored, settled_pay
from loosh_pipeline.domain import Hotkey
from loosh_pipeline.scoring.result import RoundScores

SEED = 20_260_101
PAYS: dict[str, Pay] = {
    "default": settled_pay({}),
    "no track records": settled_pay({"track_power": 0}),
    "mean cosine": mean_cosine,
}
GRID = [
    {"meaning_weight": meaning, "track_power": track, "coverage_length_slope": slope}
    for meaning, track, slope in product((1.0, 2.0, 3.0), (2.0, 3.0), (0.02, 0.04))
]
CHOSEN = GRID.index({"meaning_weight": 2.0, "track_power": 3.0, "coverage_length_slope": 0.04})
MODELS_DRAWN = {"a": 12, "b": 12, "dev": 9}
WINDOWS = (1, 3, 5, 10, 20, 30)
RINGS = tuple(product(("alpaca", "qwen18", "strong"), ("exact", "drop", "swap"), (2, 8)))
RING_SHUFFLES = 4
Row = dict[str, float]
Text = tuple[str, str, float]
Builder = Callable[[str], list[Text]]


@dataclass(frozen=True, eq=False)
class Set:
    """Rounds of honest models, scored; the win rate of each and the lengths of its answers, in characters."""

    rounds: Sequence[RoundScores]
    rate: dict[str, float]
    length: Sequence[dict[str, int]]

    def of(self, numbers: Iterable[int], models: Iterable[str]) -> Set:
        """Some of its rounds with some of its models, as if nobody else had been asked."""
        numbers, kept = list(numbers), set(models)
        return Set(
            [only(self.rounds[n], kept) for n in numbers],
            {model: rate for model, rate in self.rate.items() if model in kept},
            [{model: x for model, x in self.length[n].items() if model in kept} for n in numbers],
        )


def only(round_: RoundScores, kept: set[str]) -> RoundScores:
    scores = tuple(each for each in round_.scores if each.hotkey in kept)
    return replace(round_, scores=scores, pairs=tuple(p for p in round_.pairs if p.first in kept and p.second in kept))


def honest_set(yardstick: Yardstick, name: str) -> Set:
    rounds = yardstick.rounds(name)
    length = [{i: len(text) for i, text in zip(each.ids, each.texts, strict=True)} for each in rounds]
    return Set(scored(rounds), dict(yardstick.bench.rate), length)


def spearman(left: Sequence[float], right: Sequence[float]) -> float:
    """Rank correlation with mean ranks for ties; 0 when either side is constant."""
    a, b = _centred_ranks(left), _centred_ranks(right)
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else 0.0


def _centred_ranks(values: Sequence[float]) -> Any:
    exact = np.asarray(values, dtype=float)
    below = (exact[:, np.newaxis] > exact).sum(axis=1)
    ranks = below + ((exact[:, np.newaxis] == exact).sum(axis=1) - 1) / 2
    return ranks - ranks.mean()


def agreement(given: Set, pay: Pay) -> Row:
    """Rho of mean pay with win rate, the same within a prompt, and its length excess."""
    paid = pay(given.rounds)
    table = np.array([[paid.get(r.challenge_id, {}).get(Hotkey(m), 0.0) for m in given.rate] for r in given.rounds])
    rate = list(given.rate.values())
    length = [float(np.mean([lengths[model] for lengths in given.length])) for model in given.rate]
    mean = table.mean(axis=0)
    return {
        "rho": spearman(mean, rate),
        "per prompt": float(np.mean([spearman(row, rate) for row in table])),
        "length excess": spearman(mean, length) - spearman(rate, length),
    }


def halves(given: Set, name: str, draw: int) -> Iterator[Set]:
    """Two sets without a prompt in common; nor a model, as far as there are enough."""
    luck = random.Random(f"{SEED} {name} {draw}")
    numbers, models = list(range(len(given.rounds))), list(given.rate)
    luck.shuffle(numbers)
    luck.shuffle(models)
    count, middle = MODELS_DRAWN[name], len(numbers) // 2
    yield given.of(numbers[:middle], models[:count])
    yield given.of(numbers[middle:], models[-count:])


_SETS: dict[str, Set] = {}


def _held_out(job: tuple[str, int]) -> dict[str, Row]:
    name, draw = job
    first = next(halves(_SETS[name], name, draw))
    return {label: agreement(first, pay) for label, pay in PAYS.items()}


def cross_validated(draws: int, pool: Any) -> dict[str, dict[str, dict[str, Row]]]:
    """By set and way to pay: mean, 5th and 95th percentile of each figure over half of the prompts and models."""
    found: dict[str, dict[str, dict[str, Row]]] = {}
    for name in _SETS:
        rows = pool.map(_held_out, [(name, draw) for draw in range(draws)], chunksize=5)
        found[name] = {label: _spread([row[label] for row in rows]) for label in PAYS}
        tell(f"cross-validated on {name}")
    return found


def _spread(rows: Sequence[Row]) -> dict[str, Row]:
    spread = {}
    for key in rows[0]:
        values = [row[key] for row in rows]
        low, high = np.percentile(values, [5, 95])
        spread[key] = {"mean": float(np.mean(values)), "5 %": float(low), "95 %": float(high)}
    return spread


def _on_grid(draw: int) -> list[list[Row]]:
    """[half][grid point]: means over a and b."""
    table: list[list[Row]] = [[], []]
    sides = [list(halves(_SETS[name], name, draw)) for name in ("a", "b")]
    for half in (0, 1):
        for changes in GRID:
            a, b = (agreement(side[half], settled_pay(changes)) for side in sides)
            table[half].append({key: (a[key] + b[key]) / 2 for key in a})
    return table


def choosing(draws: int, pool: Any) -> dict[str, Any]:
    """A point of the grid chosen on half of the prompts and models and tried on the others, beside the default."""
    tables = [(t[h], t[1 - h]) for t in pool.map(_on_grid, range(draws), chunksize=2) for h in (0, 1)]
    found: dict[str, Any] = {}
    for key in ("rho", "per prompt"):
        seen = np.array([[row[key] for row in here] for here, _ in tables])
        other = np.array([[row[key] for row in there] for _, there in tables])
        picked = other[np.arange(len(other)), seen.argmax(axis=1)]
        found[key] = {
            "default": float(other[:, CHOSEN].mean()),
            "chosen on the other half": float(picked.mean()),
            "regret of the default": float((picked - other[:, CHOSEN]).mean()),
            "default no worse, share of draws": float((other[:, CHOSEN] >= picked).mean()),
            "best in hindsight": float(other.max(axis=1).mean()),
            "mean rank of the default": float((1 + (other > other[:, [CHOSEN]]).sum(axis=1)).mean()),
            "of": len(GRID),
            "grid": {_named(point): float(other[:, i].mean()) for i, point in enumerate(GRID)},
        }
    tell("chosen on halves")
    return found


def _named(changes: Row) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in changes.items())


def windows(count: int, size: int, shuffles: int) -> Iterator[list[int]]:
    """Disjoint windows of `size` of `count` rounds, of as many shuffles; one shuffle when all of them fit in one."""
    for shuffle in range(shuffles if size < count else 1):
        numbers = list(range(count))
        random.Random(f"{SEED} {shuffle}").shuffle(numbers)
        for at in range(0, count - size + 1, size):
            yield sorted(numbers[at : at + size])


def share_of(rounds: Sequence[RoundScores], who: set[str], counted: Iterable[int] | None = None) -> float:
    """Part of all pay of a window; of its rounds `counted` only, where given."""
    paid = PAYS["default"](rounds)
    chosen = rounds if counted is None else [rounds[n] for n in counted]
    rows = [paid.get(each.challenge_id, {}) for each in chosen]
    total = sum(value for row in rows for value in row.values())
    return sum(value for row in rows for hotkey, value in row.items() if hotkey in who) / total if total > 0 else 0.0


def gain(
    attacked: Sequence[RoundScores], honest: Sequence[RoundScores], ring: set[str], own: set[str], size: int
) -> Row:
    """The mean share of a ring over windows, in mean shares of what it would honestly be in the same windows.

    `worst`: the window in which it gained most, its gain in the mean honest share.
    """
    drawn = list(windows(len(honest), size, RING_SHUFFLES))
    twin = float(np.mean([share_of([honest[n] for n in window], own) for window in drawn]))
    gains = [share_of([attacked[n] for n in window], ring) / twin for window in drawn]
    return {"mean": float(np.mean(gains)), "worst": max(gains)}


_DEV: dict[str, Any] = {}


def _ring_gains(job: tuple[str, str, int, bool]) -> dict[str, Row]:
    who, kind, copies, young = job
    yardstick: Yardstick = _DEV["yardstick"]
    attacked = scored(yardstick.rounds(f"clone_{who}_{kind}_{copies}"), young)
    own = yardstick.bench.scenarios()[f"clone_{who}_{kind}_{copies}"][2]
    ring = {own, *(f"copy{i}" for i in range(copies))}
    tell(f"ring: {job}")
    honest = _DEV["young" if young else "grown"]
    return {str(size): gain(attacked, honest, ring, {own}, size) for size in WINDOWS}


def ring_windows(young: bool, pool: Any) -> dict[str, dict[str, Row]]:
    """Gain of each ring by rounds in the window; `young`: of a validator without a context."""
    found = pool.map(_ring_gains, [(*ring, young) for ring in RINGS], chunksize=1)
    return {f"{who} {kind}, {k} copies": rows for (who, kind, k), rows in zip(RINGS, found, strict=True)}


def patient(yardstick: Yardstick, honest: Sequence[RoundScores]) -> dict[str, float]:
    """Gain of rings that drop a quarter of the words, and copy in a way that spreads their likeness over pairs.

    `silent`: copies answer in every other round only; the gain is over all rounds. `own answers`: two copies give
    independent answers in every other round; the gain is in the rounds copied. `m sources`: a ring of m models has
    k further identities and deals, round by round, who copies which of them.
    """
    found: dict[str, float] = {}
    for who, copies in product(("alpaca", "qwen18", "strong"), (2, 8)):
        name = yardstick.bench.scenarios()[f"clone_{who}_drop_{copies}"][2]
        ring = {name, *(f"copy{i}" for i in range(copies))}
        silent = scored(_built(yardstick, _silent(yardstick, who, copies)))
        found[f"{who}, {copies} copies, silent in the other rounds"] = share_of(silent, ring) / share_of(honest, {name})
        if copies == 2:
            mixed = scored(_built(yardstick, _own_answers(yardstick, who)))
            even = range(0, len(mixed), 2)
            twin = share_of(honest, {name}, even)
            found[f"{who}, 2 copies, own answers in the other rounds"] = share_of(mixed, ring, even) / twin
    for sources, copies in product((1, 2, 3), (2, 8)):
        builder, own = _dealt(yardstick, sources, copies)
        shared = scored(_built(yardstick, builder))
        ring = {*own, *(f"copy{i}" for i in range(copies))}
        found[f"{sources} sources dealt to {copies} copies"] = share_of(shared, ring) / share_of(honest, set(own))
    return found


def _silent(yardstick: Yardstick, who: str, copies: int) -> Builder:
    bench = yardstick.bench
    base, attack = bench.scenarios()["honest"][0], bench.scenarios()[f"clone_{who}_drop_{copies}"][0]
    blank: list[Text] = [(f"copy{i}", "", 5.0) for i in range(copies)]
    return lambda p: list(base(p)) + blank if bench.pids.index(p) % 2 else list(attack(p))


def _own_answers(yardstick: Yardstick, who: str) -> Builder:
    bench = yardstick.bench
    attack, trio = bench.scenarios()[f"clone_{who}_drop_2"][0], bench.scenarios()["same_model_trio"][0]

    def build(p: str) -> list[Text]:
        if bench.pids.index(p) % 2 == 0:
            return list(attack(p))
        honest = list(trio(p))
        return honest[:-3] + [(f"copy{i}", text, s) for i, (_, text, s) in enumerate(honest[-2:])]

    return build


def _dealt(yardstick: Yardstick, sources: int, copies: int) -> tuple[Builder, list[str]]:
    scenarios = yardstick.bench.scenarios()
    names = [f"clone_{who}_drop_8" for who in ("qwen18", "alpaca", "strong")[:sources]]
    base, texts, own = scenarios["honest"][0], [scenarios[n][0] for n in names], [scenarios[n][2] for n in names]

    def build(p: str) -> list[Text]:
        dealt = [n % sources for n in range(copies)]
        random.Random(f"{SEED} {p}").shuffle(dealt)
        made = [{i: text for i, text, _ in each(p)} for each in texts]
        return list(base(p)) + [(f"copy{i}", made[source][f"copy{i}"], 5.0) for i, source in enumerate(dealt)]

    return build, own


def _built(yardstick: Yardstick, builder: Builder) -> list[Any]:
    bench, kept = yardstick.bench, yardstick.bench.scenarios
    bench.scenarios = lambda: {"built": (builder, [], None)}
    try:
        return yardstick.rounds("built")
    finally:
        bench.scenarios = kept


def settling(sets: dict[str, Set]) -> dict[str, Row]:
    """Mean rho of default pay with win rate, by rounds in the window."""
    found: dict[str, Row] = {}
    for name, given in sets.items():
        count = len(given.rounds)
        for size in (*(size for size in WINDOWS if size < count), count):
            drawn = windows(count, size, 2 * RING_SHUFFLES)
            rhos = [agreement(given.of(window, given.rate), PAYS["default"])["rho"] for window in drawn]
            found.setdefault(name, {})["all" if size == count else str(size)] = float(np.mean(rhos))
    return found


def tables(results: dict[str, Any]) -> str:
    """All results as Markdown."""
    held_out = {
        f"{name}: {label}": {f"{key}, {part}": value for key, spread in rows.items() for part, value in spread.items()}
        for name, by_pay in results["cross-validated"].items()
        for label, rows in by_pay.items()
    }
    parts: list[tuple[str, dict[str, Row]]] = [("cross-validated", held_out)]
    chosen = results["choosing"]
    parts += [("choosing", {key: {n: v for n, v in row.items() if n != "grid"} for key, row in chosen.items()})]
    parts += [
        ("grid, held out", {name: {k: chosen[k]["grid"][name] for k in chosen} for name in chosen["rho"]["grid"]})
    ]
    parts += [(f"{kind}, rounds", results[kind]) for kind in ("rings", "rings, young validator")]
    parts += [("rounds in the window", results["settling"])]
    parts += [("patient rings", {name: {"gain": value} for name, value in results["patient"].items()})]
    return "\n\n".join(_table(title, rows) for title, rows in parts)


def _table(title: str, rows: dict[str, Any]) -> str:
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    lines = [f"| {title} | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [
        f"| {name} | " + " | ".join(_cell(row.get(column)) for column in columns) + " |" for name, row in rows.items()
    ]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return f"{value['mean']:.2f} ({value['worst']:.2f})"
    return "" if value is None else f"{value:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.validation", description=__doc__)
    parser.add_argument("--draws", type=int, default=200, help="random halves of prompts and models")
    parser.add_argument("--grid-draws", type=int, default=40)
    chosen = places(parser)
    where = (chosen.tools, chosen.data, chosen.caches)
    yardstick = attacks(*where)
    for name in ("a", "b"):
        _SETS[name] = honest_set(ranking(*where, name), "all")
    _SETS["dev"] = honest_set(yardstick, "honest")
    young = scored(yardstick.rounds("honest"), young=True)
    _DEV.update(yardstick=yardstick, grown=_SETS["dev"].rounds, young=young)
    results: dict[str, Any] = {"settling": settling(_SETS), "patient": patient(yardstick, _SETS["dev"].rounds)}
    tell("settled and dealt")
    with multiprocessing.get_context("fork").Pool(chosen.workers) as pool:
        results["cross-validated"] = cross_validated(chosen.draws, pool)
        results["choosing"] = choosing(chosen.grid_draws, pool)
        results["rings"] = ring_windows(False, pool)
        results["rings, young validator"] = ring_windows(True, pool)
    print(json.dumps(results) if chosen.json else tables(results))


if __name__ == "__main__":
    main()
