"""Everybody who wants `match` for weights that do not follow: a stranger on the way, and the validator itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from loosh_pipeline.audit.canonical import commitment_of, known_digest, request_digest
from loosh_pipeline.audit.content import Acceptance, Content
from loosh_pipeline.audit.file import Level, write
from loosh_pipeline.audit.leaves import round_digest
from loosh_pipeline.audit.report import Report, Verdict
from loosh_pipeline.audit.sealing import Sample, SignedSeal, drawn, seal_bytes
from loosh_pipeline.audit.verify import verify
from loosh_pipeline.chain.records import plan_digest
from loosh_pipeline.chain.weights import plan_weights
from loosh_pipeline.domain import ChallengeId, Hotkey, Mode, NetworkView, Outcome
from loosh_pipeline.embedding.round_vectors import texts_of
from loosh_pipeline.policy.propose import propose
from loosh_pipeline.scoring.profile import RobustProfile, parameters_of, scorer_version
from tests.audit.epochs import (
    BLOCK_HASH,
    MADE_AT,
    MINERS,
    STRANGER,
    VALIDATOR,
    bundled,
    linked,
    sealed,
    weighed,
)
from tests.audit.forging import Pretender, repacked

Change = Callable[[Content], Content]
FIRST = ChallengeId("challenge-0000")


def of_window(content: Content, **fields: Any) -> Content:
    return replace(content, window=replace(content.window, **fields))


def of_columns(content: Content, **fields: Any) -> Content:
    return of_window(content, columns=replace(content.window.columns, **fields))


def moved(values: Any, place: int, by: Any) -> Any:
    changed = values.copy()
    changed[place] = changed[place] + by
    return changed


def of_round(content: Content, **fields: Any) -> Content:
    """The first round with these fields, and the digest of what it then was scored from."""
    changed = replace(content.rounds[FIRST], **fields)
    digests = (round_digest(changed), *content.window.inputs_digest[1:])
    return of_window(replace(content, rounds={**content.rounds, FIRST: changed}), inputs_digest=digests)


def of_response(content: Content, **fields: Any) -> Content:
    first, *others = content.rounds[FIRST].responses
    return of_round(content, responses=(replace(first, **fields), *others))


def of_earned(content: Content, **fields: Any) -> Content:
    """What was earned is said otherwise, and all that follows from it is made anew."""
    return proposed(replace(content, inputs=replace(content.inputs, earned=replace(content.inputs.earned, **fields))))


def proposed(content: Content) -> Content:
    """Proposal and plan as the inputs say, set as they are."""
    proposal = propose(content.inputs)
    return set_as(
        replace(content, proposal=proposal), plan_weights(proposal.shares, content.subnet, content.inputs.own)
    )


def set_as(content: Content, plan: Any) -> Content:
    return replace(content, plan=plan, epoch=replace(content.epoch, digest=plan_digest(plan), block=plan.block))


def richer(content: Content) -> Content:
    """The friend's emission is tripled."""
    emissions = content.inputs.earned.emissions
    first = replace(emissions[0], emission=3 * emissions[0].emission + 1, mean_payout=9.0)
    total = sum(each.emission for each in (first, *emissions[1:]))
    return of_earned(
        content, emissions=tuple(replace(each, weight=each.emission / total) for each in (first, *emissions[1:]))
    )


def without_round(content: Content) -> Content:
    """The first round is gone from the window; the chain says still that it was scored."""
    rows, columns = content.window.columns.without(np.array([0]))
    window = content.window
    rounds = {name: each for name, each in content.rounds.items() if name != FIRST}
    changed = replace(
        window,
        columns=columns,
        at_ms=window.at_ms[1:],
        version=window.version[1:],
        left_out=window.left_out[1:],
        inputs_digest=window.inputs_digest[1:],
        outcome=tuple(window.outcome[row] for row in rows.tolist()),
        **{name: getattr(window, name)[rows] for name in ("answered", "measured", "payout")},
    )
    return replace(content, window=changed, rounds=rounds)


def became(content: Content, name: str, what: str) -> Content:
    chain = tuple(replace(e, became=what) if e.challenge_id == name else e for e in content.acceptances)
    return replace(content, acceptances=chain)


def of_acceptance(content: Content, name: str, **fields: str) -> Content:
    chain = (replace(e, **fields) if e.challenge_id == name else e for e in content.acceptances)  # type: ignore[arg-type]
    return replace(content, acceptances=tuple(chain))


def as_canary(content: Content, name: str) -> Content:
    """Called a canary as those are that were one, but for the digest in the link, which is older."""
    salt, known = "a" * 32, known_digest("b" * 32, "question", [42])
    return of_acceptance(content, name, became="canary", salt=salt, known=known, commitment=commitment_of(salt, known))


def linked_again(links: Iterable[Acceptance]) -> tuple[Acceptance, ...]:
    """A new chain of these, as if it had always been so."""
    return linked([(each.received_at, each.challenge_id, each.request_sha256, each.became) for each in links])


def swapped_rows(content: Content) -> Content:
    """Two miners' rows of the first round change hands."""
    columns, order = content.window.columns, np.arange(len(content.window.columns.miner))
    order[[0, 2]] = order[[2, 0]]
    names = ("compared", "words", "elapsed_ms", "relevance", "baseline")
    changed = of_columns(content, **{name: getattr(columns, name)[order] for name in names})
    outcome = tuple(content.window.outcome[row] for row in order.tolist())
    rows = {name: getattr(content.window, name)[order] for name in ("answered", "measured", "payout")}
    return of_window(changed, outcome=outcome, **rows)


def swapped_answers(content: Content) -> Content:
    one, other, *rest = content.rounds[FIRST].responses
    names = replace(one, hotkey=other.hotkey), replace(other, hotkey=one.hotkey)
    return of_round(content, responses=(*names, *rest))


def another_scorer(content: Content) -> Content:
    """Parameters that favour somebody, and everything else that goes with them."""
    profile = replace(RobustProfile(), relevance_gate=0.0)
    (scorer,) = content.scorers.values()
    version = scorer_version(profile, scorer.model_digest)
    parameters = parameters_of(profile)
    changed = replace(
        content,
        terms=replace(content.terms, parameters=parameters),
        scorers={version: replace(scorer, parameters=parameters)},
    )
    earned = replace(content.inputs.earned, versions={version: content.terms.rounds})
    changed = of_window(changed, version=(version,) * len(content.window.version))
    return replace(changed, inputs=replace(content.inputs, earned=earned))


def invented(content: Content) -> Content:
    """A round that nobody ever asked for."""
    return replace(content, acceptances=linked_again(e for e in content.acceptances if e.challenge_id != FIRST))


def without_looks(content: Content) -> Content:
    """Half of the looks are gone: those in which the third miner was missing."""
    looks = content.looks
    place = looks.hotkeys.index(MINERS[2])
    missed = set(looks.at_ms[(looks.miner == place) & ~looks.available].tolist())
    kept = np.array([at not in missed for at in looks.at_ms.tolist()])
    changed = replace(looks, miner=looks.miner[kept], at_ms=looks.at_ms[kept], available=looks.available[kept])
    return replace(content, looks=changed)


def burnt_pixel(content: Content) -> Content:
    """One bit of one number of one vector of an answer."""
    shown = content.rounds[FIRST]
    place = next(place for place, key in enumerate(shown.keys) if key[1] == "chunk")
    vectors = shown.vectors.copy()
    vectors.view(np.uint16)[place, int(np.abs(vectors[place]).argmax())] ^= 0x0200
    return of_round(content, vectors=vectors)


def other_request(content: Content) -> Content:
    request = {**(content.rounds[FIRST].request or {}), "metadata": {"tries": 2}}
    return of_round(content, request=request)


def other_prompt(content: Content) -> Content:
    """Accepted as one question, scored as another."""
    request = {"id": FIRST, "prompt": "another"}
    changed = of_round(content, request=request)
    chain = [
        (
            e.received_at,
            e.challenge_id,
            request_digest(request) if e.challenge_id == FIRST else e.request_sha256,
            e.became,
        )
        for e in content.acceptances
    ]
    return replace(changed, acceptances=linked(chain))


def later(content: Content) -> Content:
    subnet = replace(content.subnet, block=content.subnet.block + 5)
    return replace(content, plan=plan_weights(content.proposal.shares, subnet, content.inputs.own))


def recycled(content: Content) -> Content:
    """A snapshot in which two miners have each other's slots."""
    neurons = list(content.subnet.neurons)
    neurons[1], neurons[3] = replace(neurons[1], uid=neurons[3].uid), replace(neurons[3], uid=neurons[1].uid)
    plan = plan_weights(content.proposal.shares, replace(content.subnet, neurons=tuple(neurons)), content.inputs.own)
    return set_as(content, plan)


def other_weights(content: Content) -> Content:
    uid = next(iter(content.plan.weights))
    weights = {**content.plan.weights, uid: content.plan.weights[uid] * 1.001}
    return set_as(content, replace(content.plan, weights=weights))


def nan_of(field: str) -> Change:
    def change(content: Content) -> Content:
        if field == "payout":
            return of_window(content, payout=moved(content.window.payout, 0, np.nan))
        return of_columns(content, **{field: moved(getattr(content.window.columns, field), 0, np.nan)})

    return change


def of_pairs(name: str, by: float) -> Change:
    def change(content: Content) -> Content:
        pairs = content.window.columns.pairs
        return of_columns(content, pairs=replace(pairs, **{name: moved(getattr(pairs, name), 0, by)}))

    return change


BY_THE_VALIDATOR: dict[str, tuple[Change, str]] = {
    "a text": (lambda c: of_response(c, text="I was always good."), "rounds"),
    "a time of an answer": (lambda c: of_response(c, elapsed_ms=1.0), "scores"),
    "an outcome": (lambda c: of_response(c, outcome=Outcome.TIMEOUT), "rounds"),
    "an address": (lambda c: of_response(c, ip="8.8.8.2"), "scores"),
    "an embedding": (burnt_pixel, "scores"),
    "vectors of fewer texts": (
        lambda c: of_round(c, keys=c.rounds[FIRST].keys[:-1], vectors=c.rounds[FIRST].vectors[:-1]),
        "rounds",
    ),
    "the model of vectors": (lambda c: of_round(c, model_digest="ab" * 32), "scores"),
    "the context of a round": (lambda c: of_round(c, context_digest="ab" * 32), "rounds"),
    "the context itself": (
        lambda c: replace(c, contexts={d: replace(e, rounds=e.rounds + 1) for d, e in c.contexts.items()}),
        "rounds",
    ),
    "no context": (lambda c: replace(c, contexts={}), "rounds"),
    "when a round came": (lambda c: of_round(c, received_at=MADE_AT - timedelta(hours=1)), "rounds"),
    "when its rows came": (lambda c: of_window(c, at_ms=moved(c.window.at_ms, 0, 60_000)), "challenges"),
    "a request": (other_request, "rounds"),
    "a prompt": (other_prompt, "rounds"),
    "answers change hands": (swapped_answers, "rounds"),
    "rows change hands": (swapped_rows, "scores"),
    "what a round paid alone": (lambda c: of_window(c, payout=moved(c.window.payout, 2, 0.5)), "scores"),
    "a relevance": (lambda c: of_columns(c, relevance=moved(c.window.columns.relevance, 2, 0.1)), "scores"),
    "words": (lambda c: of_columns(c, words=moved(c.window.columns.words, 2, 10)), "scores"),
    "likeness of two": (of_pairs("wording", -0.2), "scores"),
    "meaning of two": (of_pairs("meaning", 0.2), "emissions"),
    "no digest of a round": (lambda c: of_window(c, inputs_digest=("", *c.window.inputs_digest[1:])), "rounds"),
    "another digest of a round": (
        lambda c: of_window(c, inputs_digest=("0" * 64, *c.window.inputs_digest[1:])),
        "rounds",
    ),
    "left out for no reason": (lambda c: of_window(c, left_out=~c.window.left_out), "rounds"),
    "a round dropped, said to be scored": (without_round, "challenges"),
    "a round dropped, without a reason": (lambda c: became(without_round(c), FIRST, ""), "challenges"),
    "a round dropped, for a word": (lambda c: became(without_round(c), FIRST, "inconvenient"), "challenges"),
    "a round dropped, as from before": (lambda c: became(without_round(c), FIRST, "before"), "challenges"),
    "a round dropped, emissions kept": (lambda c: became(without_round(c), FIRST, "failed: lost"), "emissions"),
    "a round dropped, called a canary afterwards": (lambda c: became(without_round(c), FIRST, "canary"), "challenges"),
    "a round dropped, called a canary with a new salt": (lambda c: as_canary(without_round(c), FIRST), "challenges"),
    "a salt kept back": (lambda c: of_acceptance(c, "canary", salt=""), "challenges"),
    "a canary called pushed": (lambda c: of_acceptance(c, "canary", known="", became="waiting"), "challenges"),
    "a canary that waits": (lambda c: became(c, "canary", "waiting"), "challenges"),
    "a canary that is paid": (lambda c: became(c, FIRST, "canary"), "challenges"),
    "a round that was never accepted": (invented, "challenges"),
    "a link missing": (
        lambda c: replace(c, acceptances=tuple(e for e in c.acceptances if e.challenge_id != "failed")),
        "challenges",
    ),
    "a chain that begins too late": (lambda c: replace(c, acceptances=c.acceptances[3:]), "challenges"),
    "a chain that begins with nothing": (
        lambda c: replace(c, acceptances=c.acceptances[3:], link_before=c.acceptances[2].digest),
        "challenges",
    ),
    "a chain reordered": (
        lambda c: replace(c, acceptances=(c.acceptances[1], c.acceptances[0], *c.acceptances[2:])),
        "challenges",
    ),
    "no chain": (lambda c: replace(c, acceptances=()), "challenges"),
    "a challenge accepted twice": (
        lambda c: replace(c, acceptances=linked_again((*c.acceptances, c.acceptances[-1]))),
        "challenges",
    ),
    "looks left out": (without_looks, "emissions"),
    "a look altered": (lambda c: replace(c, looks=replace(c.looks, available=~c.looks.available)), "emissions"),
    "newest look": (lambda c: replace(c, terms=replace(c.terms, looks_until=MADE_AT)), "looks"),
    "parameters and version": (another_scorer, "terms"),
    "parameters alone": (
        lambda c: replace(c, terms=replace(c.terms, parameters={**c.terms.parameters, "power": 1.0})),
        "terms",
    ),
    "another version": (lambda c: of_window(c, version=("abc", *c.window.version[1:])), "scorers"),
    "a longer lookback": (lambda c: replace(c, terms=replace(c.terms, lookback_h=48.0)), "terms"),
    "an emergency that is none": (lambda c: replace(c, terms=replace(c.terms, mode=Mode.EMERGENCY)), "terms"),
    "another half-life": (
        lambda c: replace(c, terms=replace(c.terms, rule=replace(c.terms.rule, half_life_h=1.0))),
        "emissions",
    ),
    "terms of another profile": (lambda c: replace(c, terms=replace(c.terms, profile="network")), "terms"),
    "a profile that nobody has": (lambda c: replace(c, terms=replace(c.terms, profile="mine")), "terms"),
    "other emissions": (richer, "emissions"),
    "emissions of another time": (lambda c: of_earned(c, at=MADE_AT - timedelta(minutes=9)), "emissions"),
    "somebody earns who was not asked": (
        lambda c: of_earned(
            c,
            emissions=(
                *c.inputs.earned.emissions,
                replace(c.inputs.earned.emissions[0], hotkey=Hotkey(STRANGER.ss58_address)),
            ),
        ),
        "emissions",
    ),
    "nobody is one source": (lambda c: of_earned(c, sources=()), "one source"),
    "a proposal of other shares": (
        lambda c: replace(
            c,
            proposal=replace(
                c.proposal,
                shares=dict(zip(c.proposal.shares, reversed([*c.proposal.shares.values()]), strict=True)),
            ),
        ),
        "proposal",
    ),
    "an act of the policy unsaid": (
        lambda c: replace(c, proposal=replace(c.proposal, overrides=("change",))),
        "proposal",
    ),
    "a penalty by nobody": (
        lambda c: replace(
            c,
            inputs=replace(c.inputs, view=NetworkView(MADE_AT, frozenset(), {MINERS[0]: 1.0, MINERS[4]: 1.0}, {})),
        ),
        "proposal",
    ),
    "another validator's inputs": (
        lambda c: replace(c, inputs=replace(c.inputs, own=Hotkey(STRANGER.ss58_address))),
        "proposal",
    ),
    "a proposal of yesterday": (
        lambda c: replace(c, epoch=replace(c.epoch, submitted_at=MADE_AT + timedelta(hours=2))),
        "proposal",
    ),
    "weights other than proposed": (other_weights, "weights"),
    "weights with another digest": (lambda c: replace(c, epoch=replace(c.epoch, digest="0" * 64)), "weights"),
    "a plan of another snapshot": (later, "weights"),
    "a snapshot of a later block": (
        lambda c: replace(c, subnet=replace(c.subnet, block=c.subnet.block + 5)),
        "weights",
    ),
    "slots changed hands": (recycled, "weights"),
    "another subnet": (lambda c: replace(c, epoch=replace(c.epoch, netuid=1)), "weights"),
    "another chain": (lambda c: replace(c, epoch=replace(c.epoch, genesis_hash="0x" + "00" * 32)), "weights"),
    "NaN paid": (nan_of("payout"), "file"),
    "NaN relevant": (nan_of("relevance"), "file"),
    "NaN worded alike": (of_pairs("wording", np.nan), "file"),
    "infinite weight": (
        lambda c: replace(c, plan=replace(c.plan, weights={**c.plan.weights, next(iter(c.plan.weights)): 1e308})),
        "weights",
    ),
    "a round twice": (lambda c: of_columns(c, challenges=(FIRST, *c.window.columns.challenges[:-1])), "file"),
    "rows reordered": (lambda c: of_columns(c, miner=c.window.columns.miner[::-1].copy()), "file"),
    "a hotkey that only looks like one": (
        lambda c: of_columns(
            c,
            hotkeys=tuple(sorted(f"{each}\u200b" for each in c.window.columns.hotkeys)),  # type: ignore[misc]
        ),
        "file",
    ),
    "a hotkey of another network": (
        lambda c: of_columns(
            c,
            hotkeys=tuple(sorted([*c.window.columns.hotkeys[:-1], Hotkey("zzz")])),
        ),
        "file",
    ),
}


@pytest.mark.parametrize("name", BY_THE_VALIDATOR)
def test_what_a_validator_seals_otherwise_is_no_match(epoch: Content, path: Path, name: str) -> None:
    """All is signed, and the seal is over what is shown: it contradicts itself."""
    change, part = BY_THE_VALIDATOR[name]
    report = verify(bundled(path, change(epoch)))
    assert report.verdict is not Verdict.MATCH
    assert "ended with" not in said(report)
    assert part in {each.part for each in report.problems}, said(report)


# The seal is over digests of rounds, and of contexts those of the rounds.
NOT_IN_THE_SEAL = {"the context itself", "no context"}


@pytest.mark.parametrize("name", sorted(BY_THE_VALIDATOR.keys() - NOT_IN_THE_SEAL))
def test_what_is_altered_after_the_seal_is_a_mismatch(epoch: Content, path: Path, name: str) -> None:
    report = verify(bundled(path, BY_THE_VALIDATOR[name][0](epoch), Level.ROWS, seal=sealed(epoch)))
    unread = {each.part for each in report.problems} == {"file"}
    assert report.verdict is (Verdict.UNVERIFIABLE if unread else Verdict.MISMATCH)
    assert "ended with" not in said(report)


def said(report: Report) -> str:
    return "; ".join(f"{each.part}: {each.said}" for each in report.problems)


def test_a_lie_told_throughout_is_found_by_the_round_that_is_shown(epoch: Content, path: Path) -> None:
    """Rows invented, and all that follows made of them: nothing contradicts it but the round itself."""
    pairs = epoch.window.columns.pairs
    friend = epoch.window.columns.hotkeys.index(MINERS[3])
    of_friend = (pairs.first == friend) | (pairs.second == friend)
    better = replace(pairs, meaning=np.where(of_friend, np.minimum(pairs.meaning + 0.3, 1.0), pairs.meaning))
    lie = remade(of_columns(epoch, pairs=better))
    assert lie.plan.weights != epoch.plan.weights
    assert verify(bundled(path, lie, Level.ROWS)).verdict is Verdict.MATCH  # rows are its word there
    for level in (Level.SAMPLE, Level.FULL):
        report = verify(bundled(path, lie, level))
        assert {(each.part, each.verdict) for each in report.problems} == {("scores", Verdict.MISMATCH)}


def remade(content: Content) -> Content:
    """Emissions, proposal and weights from the rows as they are."""
    (scorer,) = content.scorers.values()
    profile = RobustProfile()
    assert scorer.profile == profile.name
    return replace(content, **weighed(content.window, content.looks, profile, content.subnet))


def test_a_reason_does_not_hide_a_challenge(wide: Content, path: Path) -> None:
    """What is left out for a reason that it states is a match, and is counted where everybody sees it."""
    report = verify(bundled(path, became(remade(without_round(wide)), FIRST, "failed: lost"), Level.ROWS))
    assert (report.verdict, said(report)) == (Verdict.MATCH, "")
    (complete,) = (each for each in report.parts if each.name == "completeness")
    assert "2 failed" in complete.said


def sampled(path: Path, content: Content, sample: Sample, shown: tuple[ChallengeId, ...]) -> Report:
    seal = sealed(content)
    rounds = {name: content.rounds[name] for name in shown}
    write(path, replace(content, rounds=rounds), seal, VALIDATOR, Level.SAMPLE, sample=sample)
    return verify(path)


def test_a_sample_is_what_the_block_drew(epoch: Content, path: Path) -> None:
    challenges = epoch.window.columns.challenges
    seal = sealed(epoch).seal
    all_ = Sample(seal.sample_block, BLOCK_HASH, len(challenges))
    assert sampled(path, epoch, all_, challenges).verdict is Verdict.MATCH
    assert sampled(path, epoch, all_, challenges[1:]).verdict is Verdict.UNVERIFIABLE
    assert sampled(path, epoch, replace(all_, block=seal.sample_block + 1), challenges).verdict is Verdict.MISMATCH
    assert sampled(path, epoch, replace(all_, block_hash="0x12"), challenges).verdict is Verdict.UNVERIFIABLE
    few = replace(all_, rounds=5)
    right = drawn(seal.root, BLOCK_HASH, challenges, 5)
    report = sampled(path, epoch, few, right)
    assert {each.verdict for each in report.problems} == {Verdict.UNVERIFIABLE}  # too few
    wrong = drawn(seal.root, BLOCK_HASH.replace("5", "6"), challenges, 5)
    assert wrong != right
    assert sampled(path, epoch, few, wrong).verdict is Verdict.MISMATCH
    assert sampled(path, epoch, replace(all_, rounds=-3), ()).verdict is Verdict.UNVERIFIABLE


@pytest.mark.parametrize("blocks", [-5, 0, 1, 26])
def test_a_sample_drawn_by_another_block_than_the_format_says_is_none(epoch: Content, path: Path, blocks: int) -> None:
    seal = of_seal(sample_block=1005 + blocks)(epoch)
    report = verify(bundled(path, epoch, Level.SAMPLE, seal))
    assert any(each.part == "sample" for each in report.problems)
    assert report.verdict is Verdict.MISMATCH


def test_a_whole_bundle_lacks_no_round(epoch: Content, path: Path) -> None:
    rounds = {name: each for name, each in epoch.rounds.items() if name != FIRST}
    report = verify(bundled(path, replace(epoch, rounds=rounds), seal=sealed(epoch)))
    assert (report.verdict, FIRST in said(report)) == (Verdict.UNVERIFIABLE, True)


def test_rows_alone_show_no_round(epoch: Content, path: Path) -> None:
    bundled(path, epoch)
    report = verify(repacked(path, manifest=lambda each: replace(each, level=Level.ROWS)))
    assert report.verdict is Verdict.MISMATCH


def of_seal(**fields: Any) -> Callable[[Content], SignedSeal]:
    def change(content: Content) -> SignedSeal:
        seal = replace(sealed(content).seal, **fields)
        return SignedSeal(seal, VALIDATOR.sign(seal_bytes(seal)).hex())

    return change


@pytest.mark.parametrize(
    ("seal", "verdict"),
    [
        (lambda c: sealed(replace(c, epoch=replace(c.epoch, number=8))), Verdict.MISMATCH),
        (of_seal(root="0" * 64), Verdict.MISMATCH),
        (of_seal(parts={}), Verdict.MISMATCH),
        (of_seal(sealed_at=MADE_AT), Verdict.MISMATCH),
        (of_seal(sealed_block=1), Verdict.MISMATCH),
        (of_seal(format="loosh-audit-seal/2"), Verdict.UNVERIFIABLE),
        (of_seal(code_version=1), Verdict.UNVERIFIABLE),
        (lambda c: replace(sealed(c), signature=""), Verdict.UNVERIFIABLE),
        (lambda c: replace(sealed(c), signature="00" * 64), Verdict.MISMATCH),
        (lambda c: replace(sealed(c), signature="no"), Verdict.MISMATCH),
        (lambda c: replace(sealed(c), signature=Pretender().sign(seal_bytes(sealed(c).seal)).hex()), Verdict.MISMATCH),
    ],
)
def test_a_seal_that_is_not_of_this_epoch_makes_no_match(
    epoch: Content, path: Path, seal: Callable[[Content], SignedSeal], verdict: Verdict
) -> None:
    assert verify(bundled(path, epoch, seal=seal(epoch))).verdict is verdict


def test_another_signer_or_none_makes_no_match(epoch: Content, path: Path) -> None:
    bundled(path, epoch)
    assert verify(repacked(path)).verdict is Verdict.MATCH  # as the validator itself would write it
    assert verify(repacked(path, signer=STRANGER)).verdict is Verdict.MISMATCH
    bundled(path, epoch)
    assert verify(repacked(path, signer=None)).verdict is Verdict.UNVERIFIABLE


def test_a_stranger_cannot_take_over_a_bundle(epoch: Content, path: Path) -> None:
    """Its own seal over weights of another: the inputs name whose they are."""
    taken = replace(epoch, epoch=replace(epoch.epoch, validator=Hotkey(STRANGER.ss58_address)))
    bundled(path, epoch)
    write(path, taken, sealed(taken, STRANGER), STRANGER, Level.FULL)
    report = verify(path)
    assert report.verdict is Verdict.MISMATCH
    assert "proposal" in {each.part for each in report.problems}


@pytest.mark.parametrize("seed", range(6))
def test_no_byte_can_be_altered_unseen(epoch: Content, path: Path, seed: int) -> None:
    """Wherever it lies: in what is said, in a figure, in a signature or in the archive around them."""
    rng = Random(seed)
    whole = bundled(path, epoch, Level.ROWS).read_bytes()
    for _ in range(25):
        at, bit = rng.randrange(len(whole)), 1 << rng.randrange(8)
        path.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
        report = verify(path)
        assert report.verdict is not Verdict.MATCH, (at, bit)


def test_nothing_can_be_cut_off_or_added(epoch: Content, path: Path) -> None:
    whole = bundled(path, epoch, Level.ROWS).read_bytes()
    for size in (0, 1, 21, 22, 23, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert verify(path).verdict is Verdict.UNVERIFIABLE
    for changed in (whole + b"\0", b"\0" + whole, whole + whole, b"#!/bin/sh\n" + whole):
        path.write_bytes(changed)
        assert verify(path).verdict is Verdict.UNVERIFIABLE


def test_the_honest_epoch_has_what_these_tests_take_away(epoch: Content) -> None:
    assert not epoch.window.left_out.any()
    assert epoch.inputs.earned.sources
    first = epoch.rounds[FIRST]
    assert len(texts_of(first.prompt, first.responses)) == len(first.keys)
