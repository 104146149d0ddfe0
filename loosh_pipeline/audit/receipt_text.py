"""A receipt as text: what a miner reads in a terminal. Short lines, no markup, nothing that a terminal would obey."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from loosh_pipeline.audit.receipt import EarnedSaid, Measured, Receipt, RoundSaid, RuleSaid, Shown, SourceSaid
from loosh_pipeline.scoring.explanation import short
from loosh_pipeline.wire.text import printable

WIDTH = 110
INDENT = "  "
SHOWN_OTHERS = 3
SHOWN_MISSED = 5
SHOWN_SOURCES = 8
EXPLAINED = frozenset({"asked for"})
"""Rounds that are explained wherever they stand; of the others the first of each kind."""


def receipt_text(receipt: Receipt) -> str:
    """All of it but the rounds that are not shown, which `--json` lists."""
    parts = (
        _heading(receipt),
        _weight(receipt),
        _policy(receipt.rules),
        _asked(receipt),
        _looks(receipt),
        _copies(receipt),
        _canary(receipt),
        _rounds(receipt),
        _found_in(receipt),
        _notes(receipt.notes),
    )
    lines = [line for part in parts for line in part]
    return "\n".join(printable(line, 1000).rstrip() for line in lines)


def _heading(of: Receipt) -> Iterator[str]:
    epoch = of.epoch
    yield f"Miner {of.hotkey}{'' if of.uid is None else f' (uid {of.uid})'}"
    yield f"Epoch {epoch.number}: weights of validator {epoch.validator} on subnet {epoch.netuid}"
    yield f"submitted {_at(epoch.submitted_at)}, {epoch.state}{': ' + epoch.reason if epoch.reason else ''}"
    if epoch.basis:
        yield f"made of {epoch.rounds} rounds (basis {epoch.basis}, mode {epoch.mode}), paid by {epoch.profile}"


def _weight(of: Receipt) -> Iterator[str]:
    weight = of.weight
    yield from _title("Weight")
    if of.no_weight:
        yield from _wrapped(f"It has no weight: {of.no_weight}.")
    else:
        seen = "not read back from the chain yet"
        if weight.observed is not None:
            seen = f"on chain {weight.observed:.4%} at block {weight.observed_block} ({weight.slot})"
        yield f"{INDENT}{weight.planned:.4%} of all, rank {weight.rank} of {weight.of}; u16 {weight.u16}; {seen}"
    if of.earned is not None:
        yield from _wrapped(_product(of.earned))


def _product(earned: EarnedSaid) -> str:
    e = earned.emission
    factors = f"mean payout {e.mean_payout:.4f} · ramp {e.ramp:.3f} · coverage {e.coverage:.3f} = {e.emission:.4f}"
    return f"earned: {factors}, which is {e.weight:.2%} of all emissions, rank {earned.rank} of {earned.of}"


def _policy(rules: Sequence[RuleSaid]) -> Iterator[str]:
    yield from _title("Policy: what each rule made of its share")
    if not rules:
        yield f"{INDENT}No rule acted on it, or moved its share."
    for rule in rules:
        change = f"{rule.before:.2%} → {rule.after:.2%}"
        without = "" if rule.without is None else f"; without this rule {rule.without:.2%}"
        yield f"{INDENT}{rule.rule}: {change} ({_points(rule.change)}){without}"
        if rule.reason:
            yield from _wrapped(rule.reason, 4)
        if rule.others:
            yield from _wrapped(f"{'went to' if rule.change < 0 else 'came from'} {_moved(rule)}", 4)


def _points(change: float) -> str:
    return "no change" if abs(change) < 5e-7 else f"{100 * change:+.2f} points"


def _moved(rule: RuleSaid) -> str:
    named = ", ".join(f"{short(each.hotkey)} ({_points(each.part)})" for each in rule.others[:SHOWN_OTHERS])
    more = f" and {len(rule.others) - SHOWN_OTHERS} more" if len(rule.others) > SHOWN_OTHERS else ""
    several = rule.moved is not None and rule.moved > abs(rule.change) + 5e-5
    whole = f"; of {100 * (rule.moved or 0.0):.2f} points that the rule moved in all" if several else ""
    return f"{named}{more}{whole}"


def _asked(of: Receipt) -> Iterator[str]:
    earned = of.earned
    if earned is None:
        return
    e = earned.emission
    yield from _title("Asked")
    span = "" if earned.since is None else f" from {_at(earned.since)} to {_at(earned.until)}"
    yield f"{INDENT}{e.asked} times{span}: {e.answered} answered, {e.paid} paid"
    alone = ""
    if earned.mean_answered is not None and e.answered < e.asked:
        alone = f"; over what it answered alone {earned.mean_answered:.4f}"
    yield f"{INDENT}mean payout {e.mean_payout:.4f}{alone}"
    half = "" if earned.half_life_h is None else f"; a round {earned.half_life_h:g} h older counts half"
    full = f"{earned.full_evidence:.1f} are full pay{f' ({earned.attainable})' if earned.attainable else ''}"
    yield from _wrapped(f"evidence of {e.evidence:.1f} rounds; {full}{half}")
    if of.left_out:
        yield f"{INDENT}{of.left_out} more rounds counted for nobody, for want of pairs"
    for failure in earned.failures:
        yield f"{INDENT}{failure.count} × {failure.said} ({failure.reason}); the newest:"
        for each in failure.newest:
            yield f"{INDENT * 3}{_at(each.at)} {each.challenge_id}{'  ' + each.detail if each.detail else ''}"


def _looks(of: Receipt) -> Iterator[str]:
    if (looks := of.looks) is None:
        return
    yield from _title("There")
    cut_off = f"; {looks.cut_off} more found hardly anybody and count for nobody" if looks.cut_off else ""
    yield f"{INDENT}in {looks.there} of {looks.looks} looks since {_at(looks.since)}{cut_off}"
    if looks.missed:
        named = ", ".join(map(_at, looks.missed[:SHOWN_MISSED]))
        yield from _wrapped(f"not there, the last times: {named}")


def _copies(of: Receipt) -> Iterator[str]:
    found, earned = of.copies, of.earned
    if not found.sources and not of.accused:
        return
    yield from _title("Copies: whose answers are taken for one source with its own")
    for each in found.sources[:SHOWN_SOURCES]:
        yield from _wrapped(_source(each))
    if (more := len(found.sources) - SHOWN_SOURCES) > 0:
        yield f"{INDENT}and {more} more (--json lists all)"
    if found.payout_without is not None and earned is not None:
        now = earned.emission.mean_payout
        shared = (
            f"if it shared with none of them its mean payout would be {found.payout_without:.4f} instead of {now:.4f}"
        )
        yield from _wrapped(shared)
    yield f"{INDENT}Who was first is not known: one source is paid once, whoever it is."
    for one in of.accused:
        said = f"{one.mean_wording:.2f} over {one.rounds} rounds, their mean drawn towards that of honest pairs"
        yield from _wrapped(
            f"accused of copying with {one.other}: by a likeness of wording of {said}; {when(one.measured)}"
        )


def _source(each: SourceSaid) -> str:
    shared = [name for name, same in (("address", each.same_address), ("coldkey", each.same_coldkey)) if same]
    rate = (
        ""
        if each.alike_rate is None
        else f"; {each.alike_rate:.0%} of their evidence is worded alike (drawn towards that of honest pairs)"
    )
    wording = "" if each.wording is None else f"; mean likeness of their wording {each.wording:.2f}"
    cost = (
        "" if each.payout_without is None else f"; not sharing with this one it would be paid {each.payout_without:.4f}"
    )
    place = f"; they share {' and '.join(shared)}" if shared else ""
    return f"{each.hotkey}: one source to {each.degree:.0%}, over {each.rounds} rounds{rate}{wording}{place}{cost}"


def _canary(of: Receipt) -> Iterator[str]:
    if (canary := of.canary) is None:
        return
    yield from _title("Known answers: a signal of its own, which pays nothing")
    of_all = (
        f" ({canary.right / canary.asked:.0%}; 95 % of {canary.low:.0%} to {canary.high:.0%})" if canary.asked else ""
    )
    yield f"{INDENT}asked {canary.asked}, answered {canary.answered}, right {canary.right}{of_all}"
    yield f"{INDENT}{when(canary.measured)}"


def when(measured: Measured) -> str:
    """When something was measured, and of which time."""
    old = "; that is old: it is measured after every setting of weights" if measured.old else ""
    return f"measured {_at(measured.at)} over the {_span(measured)} before{old}"


def _span(measured: Measured) -> str:
    hours = (measured.at - measured.since).total_seconds() / 3600
    return f"{hours:g} h" if hours < 72 else f"{hours / 24:g} days"


def _rounds(of: Receipt) -> Iterator[str]:
    if not of.shown:
        return
    yield from _title(f"Rounds: {len(of.shown)} of {len(of.rounds)} (--json lists all)")
    for title in dict.fromkeys(each.title for each in of.shown):
        yield f"{INDENT}{title}"
        for each in (one for one in of.shown if one.title == title):
            yield f"{INDENT * 2}{_round_line(each.round)}"
    kinds: set[str] = set()
    for each in of.shown:
        if each.why not in kinds or each.why in EXPLAINED:
            yield from _in_full(each)
        kinds.add(each.why)
    yield ""
    yield f"{INDENT}loosh explain {of.hotkey} --epoch {of.epoch.number} --round CHALLENGE   explains any of them"


def _round_line(each: RoundSaid) -> str:
    took = "" if each.elapsed_ms is None else f" in {each.elapsed_ms / 1000:.2f} s"
    pay = f"paid {each.payout:.3f}, rank {each.rank} of {each.asked}"
    return f"{_at(each.at)}  {each.challenge_id}  {each.outcome}{took}, {pay}, weighs {each.weight:.2%} of the mean"


def _in_full(shown: Shown) -> Iterator[str]:
    yield from _title(f"{shown.title}: challenge {shown.round.challenge_id}", level=1)
    if shown.prompt:
        yield from _wrapped(f"asked: {_in_a_line(shown.prompt)}")
    if shown.answer:
        yield from _wrapped(f"it said: {_in_a_line(shown.answer)}")
    if shown.answer_sha256:
        yield f"{INDENT}sha256 of its answer {shown.answer_sha256}"
    if shown.detail:
        yield from _wrapped(f"seen: {shown.detail}")
    for line in shown.said:
        yield from _wrapped(line)
    if shown.unexplained:
        yield from _wrapped(f"It cannot be explained from what is kept: {shown.unexplained}")
    yield from _neighbours(shown.round)


def _neighbours(of: RoundSaid) -> Iterator[str]:
    yield f"{INDENT}the others of this round:"
    yield f"{INDENT * 2}{'hotkey':<10} {'outcome':<16} {'paid':>7} {'vote':>6} {'wording':>8} {'one source':>11}"
    for each in of.neighbours:
        figures = (_blank(each.vote, "6.0%"), _blank(each.wording, "8.2f"), _blank(each.degree, "11.0%"))
        yield f"{INDENT * 2}{short(each.hotkey):<10} {each.outcome:<16} {each.payout:>7.3f} {' '.join(figures)}"


def _blank(value: float | None, form: str) -> str:
    return " " * (int(form.partition(".")[0]) - 1) + "–" if value is None else format(value, form)


def _found_in(of: Receipt) -> Iterator[str]:
    yield from _title("Where each figure is found")
    for scorer in of.scorers:
        yield from _wrapped(
            f"scorer {scorer.version}: {scorer.profile}, code {scorer.code_version}, model "
            f"{scorer.model_digest[:16]}…, {scorer.rounds} of its rounds"
        )
    for context in sorted({each.context_digest for each in of.shown if each.context_digest}):
        yield f"{INDENT}scoring context {context}"
    yield f"{INDENT}weights as signed: sha256 {of.epoch.digest}"
    for each in of.files:
        if each.asset not in _OF_ROUNDS:
            yield f"{INDENT}{each.sha256}  {each.asset}/day={each.day}/{each.name}"
    if more := sum(each.asset in _OF_ROUNDS for each in of.files):
        yield f"{INDENT}and {more} tables of the rounds shown (--json lists them)"


_OF_ROUNDS = frozenset({"consensus_scores", "pair_evidence", "miner_responses", "embeddings"})


def _notes(notes: Iterable[str]) -> Iterator[str]:
    notes = list(notes)
    if notes:
        yield from _title("What cannot be said")
        for note in notes:
            yield from _wrapped(note)


def _title(title: str, level: int = 0) -> Iterator[str]:
    yield ""
    yield f"{INDENT * level}{title}" if level else title.upper() if ":" not in title else _capitals(title)


def _capitals(title: str) -> str:
    name, _, rest = title.partition(":")
    return f"{name.upper()}:{rest}"


def _wrapped(text: str, indent: int = 2) -> list[str]:
    first = " " * indent
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=first + "  ", break_long_words=False)


def _in_a_line(text: str) -> str:
    return " ".join(text.split())


def _at(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S}"
