"""What each part of the robust profile is good for: every part left out once, on a yardstick outside the project.

`python -m benchmarks.ablation --tools DIR --data DIR --caches DIR [--attacks] [--json]`. `--tools` holds the modules
of the yardstick, `--data` its answers, `--caches` their embeddings (rank_a.npz, rank_b.npz, emb.npz). Sets a and b and
the development set have no prompt or model in common.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.yardstick import Pay, Yardstick, attacks, mean_cosine, ranking, settled_pay

NO_HISTORY = {"pair_low": 2.0, "pair_high": 3.0}
NO_BLATANT = {"blatant_low": 2.0, "blatant_high": 3.0, "identical_low": 2.0, "identical_high": 3.0}
VARIANTS: dict[str, dict[str, float]] = {
    "default": {},
    "no meaning": {"meaning_weight": 0},
    "no coverage": {"coverage_weight": 0},
    "no wording": {"wording_weight": 0},
    "no baseline": {"baseline_weight": 0},
    "no length correction": {"coverage_length_slope": 0},
    "length correction doubled": {"coverage_length_slope": 0.08},
    "no track records": {"track_power": 0},
    "track records to the power 1": {"track_power": 1},
    "track records to the power 2": {"track_power": 2},
    "no pair history": NO_HISTORY,
    "no blatant copies": NO_BLATANT,
    "no copies at all": NO_HISTORY | NO_BLATANT,
    "votes whatever their relevance": {"vote_power": 0},
    "votes for repeating the question": {"restated_low": 2, "restated_high": 3},
    "no gate": {"relevance_gate": 0},
    "one gate, whatever the record": {"proven_low": 1e6, "proven_high": 2e6},
    "no pseudo-votes": {"prior_votes": 0},
    "power 2": {"power": 2},
    "power 4": {"power": 4},
    "power 8": {"power": 8},
    "no pay for speed": {"speed": 0},
}
MEAN_COSINE = "mean cosine, no scorer"
RINGS = ("exact", "drop", "reorder", "swap")
PAID = {"echo": "one_echo", "canned": "one_canned"}
CHANGED = {"padded": "strong_padded", "trunc30": "strong_trunc30"}
SHARES = {
    "1 good + 6 garbage": "grief_1good_6garbage",
    "5 of 9: template": "collude5of9_template",
    "5 of 9: exact": "collude5of9_alpaca_exact",
    "5 of 9: drop": "collude5of9_alpaca_drop",
}
Row = dict[str, float]


def ranking_row(figures: dict[str, Any]) -> Row:
    """Of a set of 24 models. `length excess`: rho of pay with answer length, less that of the win rate."""
    every, seven = figures["all"], figures["seven"]
    return {
        "rho": every["rho"],
        "7 of 24": seven["rho"],
        "per prompt": every["per_prompt_rho"],
        "top-paid": every["top1_win_rate"],
        "length excess": every["rho_with_length"] - every["win_rate_rho_with_length"],
    }


def dev_row(figures: dict[str, Any]) -> Row:
    honest = figures["honest"]
    seven = [row["rho"] for name, row in figures.items() if name.startswith("subset7_") and name != "subset7_mean"]
    return {
        "rho": honest["rho"],
        "tau": honest["tau"],
        "per prompt": honest["per_prompt_rho"],
        "top-paid": honest["top1_win_rate"],
        "7 of 12": figures["subset7_mean"]["rho"],
        "7 of 12, worst": min(seven),
    }


def attack_row(figures: dict[str, Any]) -> Row:
    """Largest gain of a ring by kind of copy, pay in honest means, gain of a changed answer, shares of all pay."""
    rings = {kind: max(_gains(figures, kind)) for kind in RINGS}
    paid = {name: figures[scenario]["pay_vs_mean_honest"] for name, scenario in PAID.items()}
    changed = {name: figures[scenario]["gain"] for name, scenario in CHANGED.items()}
    return rings | paid | changed | {name: figures[scenario]["share_attackers"] for name, scenario in SHARES.items()}


def _gains(figures: dict[str, Any], kind: str) -> list[float]:
    return [row["gain"] for name, row in figures.items() if name.startswith("clone_") and f"_{kind}_" in name]


def measured(yardsticks: dict[str, Yardstick], pay: Pay, with_attacks: bool) -> dict[str, Row]:
    """The rows of one variant by table: a, b, mean (of a and b), dev, and attacks where asked for."""
    rows = {split: ranking_row(yardsticks[split].figures(pay)) for split in ("a", "b")}
    rows["mean"] = {name: (value + rows["b"][name]) / 2 for name, value in rows["a"].items()}
    dev = yardsticks["dev"].figures(pay)
    rows["dev"] = dev_row(dev)
    return rows | ({"attacks": attack_row(dev)} if with_attacks else {})


class DevOnly:
    """The yardstick of attacks, without attacks: a third of the seconds when only ranking is asked for."""

    def __init__(self, bench: Any) -> None:
        self._bench = bench

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bench, name)

    def scenarios(self) -> dict[str, Any]:
        every = self._bench.scenarios().items()
        return {name: scenario for name, scenario in every if name == "honest" or name.startswith("subset7_")}


def table(results: dict[str, dict[str, Row]], part: str) -> str:
    """One part of all variants as Markdown."""
    columns = list(next(iter(results.values()))[part])
    lines = [f"| {part} | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, rows in results.items():
        lines.append(f"| {name} | " + " | ".join(_cell(column, rows[part][column]) for column in columns) + " |")
    return "\n".join(lines)


def _cell(column: str, value: float) -> str:
    return f"{value:.1f}" if column == "top-paid" else f"{value:.3f}"


_STATE: dict[str, Any] = {}


def _measured(name: str) -> tuple[str, dict[str, Row]]:
    pay = mean_cosine if name == MEAN_COSINE else settled_pay(VARIANTS[name])
    return name, measured(_STATE["yardsticks"], pay, _STATE["attacks"])


def ablate(yardsticks: dict[str, Yardstick], with_attacks: bool, workers: int) -> dict[str, dict[str, Row]]:
    """Every variant; the first scores all rounds, and the workers inherit them."""
    _STATE.update(yardsticks=yardsticks, attacks=with_attacks)
    names = [*VARIANTS, MEAN_COSINE]
    started_s = time.perf_counter()
    found = dict([_measured(names[0])])
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        for name, rows in pool.imap_unordered(_measured, names[1:]):
            found[name] = rows
            tell(f"{len(found)} of {len(names)}: {name}, {time.perf_counter() - started_s:.0f} s")
    return {name: found[name] for name in names}


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def places(parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of every benchmark on the yardstick, with those of `parser`."""
    parser.add_argument("--tools", type=Path, required=True, help="directory of the yardstick's modules")
    parser.add_argument("--data", type=Path, required=True, help="directory of its answers")
    parser.add_argument("--caches", type=Path, required=True, help="directory of rank_a.npz, rank_b.npz, emb.npz")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    return parser.parse_args(arguments)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__)
    parser.add_argument("--attacks", action="store_true", help="the attacks too")
    chosen = places(parser)
    where = (chosen.tools, chosen.data, chosen.caches)
    yardsticks = {"a": ranking(*where, "a"), "b": ranking(*where, "b"), "dev": attacks(*where)}
    if not chosen.attacks:
        yardsticks["dev"].bench = DevOnly(yardsticks["dev"].bench)
    results = ablate(yardsticks, chosen.attacks, chosen.workers)
    if chosen.json:
        print(json.dumps(results))
        return
    parts = ["mean", "a", "b", "dev"] + (["attacks"] if chosen.attacks else [])
    print("\n\n".join(table(results, part) for part in parts))


if __name__ == "__main__":
    main()
