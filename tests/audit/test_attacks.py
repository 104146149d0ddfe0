"""A validator that tells one story throughout: sealed, signed and consistent, and still not what happened."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loosh_pipeline.audit import verify as verify_module
from loosh_pipeline.audit.acceptances import Link, Told
from loosh_pipeline.audit.canonical import link_bytes
from loosh_pipeline.audit.comparing import apart
from loosh_pipeline.audit.container import Container, write_container
from loosh_pipeline.audit.content import Content, RoundInputs
from loosh_pipeline.audit.file import MANIFEST, SIGNATURE, Level, open_bundle
from loosh_pipeline.audit.refusals import NOT_TRIED
from loosh_pipeline.audit.report import How, Report, Verdict
from loosh_pipeline.audit.report import told as told_text
from loosh_pipeline.audit.verify import ChainSaid, main, verify
from loosh_pipeline.chain.weights import plan_weights
from loosh_pipeline.domain import Metagraph, NetworkView
from loosh_pipeline.embedding.round_vectors import RoundVectors, VectorKey, unpack
from loosh_pipeline.emissions import EmissionRule
from loosh_pipeline.policy.inputs import Policy
from loosh_pipeline.presence import Looks
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.score import score
from tests.audit.epochs import (
    BLOCK_HASH,
    MADE_AT,
    MINERS,
    STRANGER,
    VALIDATOR,
    Size,
    bundled,
    chained,
    honest,
    linked,
    sealed,
    weighed,
    window_of,
)
from tests.audit.forging import repacked
from tests.audit.test_tampering import FIRST, of_columns, of_window, proposed, said, set_as

PROFILE = RobustProfile()


def reweighed(content: Content, **about: Any) -> Content:
    """Everything after the rows made anew, as its validator would."""
    given = {"window": content.window, "looks": content.looks, "subnet": content.subnet} | about
    return replace(content, **weighed(profile=PROFILE, **given))


def rescored(content: Content, change: Callable[[RoundInputs], RoundInputs]) -> Content:
    """Rounds altered, scored, and all that follows made of that."""
    rounds = [change(content.rounds[name]) for name in sorted(content.rounds)]
    (context,) = content.contexts.values()
    scored = [
        score(
            unpack(
                RoundVectors(each.challenge_id, tuple(VectorKey(*k) for k in each.keys), each.vectors, ""),
                each.prompt,
                each.responses,
            ),
            context,
            PROFILE,
            each.model_digest,
        )
        for each in rounds
    ]
    window = window_of(scored, rounds, content.window.version[0], lost=set())
    return reweighed(replace(content, rounds={each.challenge_id: each for each in rounds}), window=window)


def problems(report: Report) -> set[tuple[str, Verdict]]:
    return {(each.part, each.verdict) for each in report.problems}


@pytest.mark.parametrize("value", [np.inf, -np.inf])
@pytest.mark.parametrize("name", ["words", "elapsed_ms", "relevance", "baseline"])
def test_infinity_is_like_nothing_else(epoch: Content, path: Path, name: str, value: float) -> None:
    assert apart(value, 1.0, 1e-6)
    assert apart(value, -value, 1e-6)
    assert not apart(value, value, 1e-6)
    values = getattr(epoch.window.columns, name).copy()
    values[epoch.window.columns.miner == 0] = value
    report = verify(bundled(path, of_columns(epoch, **{name: values}), Level.ROWS))
    assert problems(report) == {("file", Verdict.UNVERIFIABLE)}


@pytest.mark.parametrize("digest", ["never to be opened", "0" * 63, "A" * 64, "0" * 64 + "\n"])
def test_a_digest_of_a_round_is_one(epoch: Content, path: Path, digest: str) -> None:
    changed = of_window(epoch, inputs_digest=(digest, *epoch.window.inputs_digest[1:]))
    assert problems(verify(bundled(path, changed, Level.ROWS))) == {("file", Verdict.UNVERIFIABLE)}


def swapped(subnet: Metagraph, **fields: Any) -> Metagraph:
    one, two, three, *others = subnet.neurons
    neurons = (one, replace(two, uid=three.uid), replace(three, uid=two.uid), *others)
    return replace(subnet, **({"neurons": neurons} | fields))


SNAPSHOTS: dict[str, tuple[Callable[[Metagraph], Metagraph], Verdict]] = {
    "of one block, slots change hands": (swapped, Verdict.MISMATCH),
    "five blocks later, slots change hands": (lambda s: swapped(s, block=s.block + 5), Verdict.MISMATCH),
    "somebody is new who was there before": (
        lambda s: replace(s, block=s.block + 5, neurons=(*s.neurons, replace(s.neurons[1], uid=99, hotkey=MINERS[7]))),
        Verdict.MISMATCH,
    ),
    "a million blocks later": (lambda s: replace(s, block=1_000_000), Verdict.UNVERIFIABLE),
    "somebody registers in between": (
        lambda s: replace(
            s,
            block=s.block + 5,
            neurons=(*s.neurons, replace(s.neurons[1], uid=99, hotkey=MINERS[7], registered_block=s.block + 2)),
        ),
        Verdict.MATCH,
    ),
}


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_the_plans_snapshot_follows_from_the_proposals(epoch: Content, path: Path, name: str) -> None:
    change, verdict = SNAPSHOTS[name]
    changed = replace(epoch, subnet=change(epoch.subnet))
    plan = plan_weights(changed.proposal.shares, changed.subnet, changed.inputs.own)
    changed = set_as(changed, plan)
    report = verify(bundled(path, changed, Level.ROWS, sealed(changed, sealed_block=plan.block + 5)))
    assert report.verdict is verdict, said(report)
    assert verdict is Verdict.MATCH or "snapshots" in {each.part for each in report.problems}


def test_rivals_cannot_be_away_in_one_of_two_snapshots_of_a_block(epoch: Content, path: Path) -> None:
    neurons = tuple(replace(each, ip=None, port=0) if each.uid in (1, 3) else each for each in epoch.subnet.neurons)
    inputs = replace(epoch.inputs, subnet=replace(epoch.subnet, neurons=neurons))
    report = verify(bundled(path, proposed(replace(epoch, inputs=inputs)), Level.ROWS))
    assert problems(report) == {("snapshots", Verdict.MISMATCH)}


def test_who_was_asked_under_another_uid_is_told(epoch: Content, path: Path) -> None:
    def moved(inputs: RoundInputs) -> RoundInputs:
        return replace(inputs, responses=tuple(replace(each, uid=77) for each in inputs.responses))

    report = verify(bundled(path, rescored(epoch, moved)))
    assert any("another uid or coldkey" in each for each in report.beyond)
    assert not any("another uid or coldkey" in each for each in verify(bundled(path, epoch)).beyond)


def test_a_block_before_the_snapshot_cannot_hold_the_weights(epoch: Content, path: Path) -> None:
    changed = replace(epoch, epoch=replace(epoch.epoch, extrinsic_hash="0x" + "0" * 64, included_block=3))
    assert problems(verify(bundled(path, changed, Level.ROWS))) == {("weights", Verdict.MISMATCH)}


def test_a_hash_that_nobody_gave_draws_nothing(wide: Content, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Among a few hundred hashes there is one that draws no round that was altered."""
    bundled(path, wide, Level.SAMPLE, rounds=50)
    report = verify(path)
    assert problems(report) == {("sample", Verdict.UNVERIFIABLE)}
    assert "--block-hash" in said(report)
    assert verify(path, chain=ChainSaid(BLOCK_HASH)).verdict is Verdict.MATCH
    assert main([str(path), "--block-hash", BLOCK_HASH[2:].upper()]) == 0
    assert main([str(path), "--block-hash", "ab" * 32]) == 1
    for wrong, about in (
        (["--block-hash", "0x12"], "'0x12' is no hash of a block"),
        (["--root", "ab" * 31], "is no root of a seal: that is 64 hexadecimal digits, whole, and these are 62 char"),
        (["--root", "xy" * 32], "and these are other characters"),
        (["--link", "3:ab"], "'3:ab' is no link; it is written SEQ:DIGEST or SEQ:DIGEST:SIGNATURE"),
        (["--least", "all"], "'all' is no level; there are rows, sample, full"),
        ([f"{path}.gone"], "gone cannot be read: No such file"),
    ):
        with pytest.raises(SystemExit) as ended:
            main([str(path), *wrong] if wrong[1:] else wrong)
        assert (ended.value.code, about in capsys.readouterr().err) == (NOT_TRIED, True), wrong


def test_a_sample_of_all_rounds_hangs_on_no_hash(epoch: Content, path: Path) -> None:
    assert verify(bundled(path, epoch, Level.SAMPLE)).verdict is Verdict.MATCH


@pytest.mark.parametrize("about", [{"sealed_at": MADE_AT + timedelta(days=30)}, {"sealed_block": 5000}])
def test_a_seal_is_made_at_once(epoch: Content, path: Path, about: dict[str, Any]) -> None:
    report = verify(bundled(path, epoch, Level.ROWS, sealed(epoch, **about)))
    assert problems(report) == {("seal", Verdict.UNVERIFIABLE)}
    assert any("before block 1030" in each for each in verify(bundled(path, epoch, Level.ROWS)).beyond)


def dropped(content: Content, count: int, became: str, moved: timedelta = timedelta()) -> Content:
    """The first rounds are gone from the window, and everything follows; the chain says something else of them."""
    gone = set(content.window.columns.challenges[:count])
    window = content.window
    rows, columns = window.columns.without(np.arange(count))
    changed = replace(
        window,
        columns=columns,
        outcome=tuple(window.outcome[row] for row in rows.tolist()),
        **{name: getattr(window, name)[count:] for name in ("at_ms", "version", "left_out", "inputs_digest")},
        **{name: getattr(window, name)[rows] for name in ("answered", "measured", "payout")},
    )
    rounds = {name: each for name, each in content.rounds.items() if name not in gone}
    came = [
        (each.received_at + moved, each.challenge_id, each.request_sha256, became)
        if each.challenge_id in gone
        else (each.received_at, each.challenge_id, each.request_sha256, each.became)
        for each in content.acceptances
    ]
    return reweighed(replace(content, rounds=rounds, acceptances=linked(came)), window=changed)


def test_rounds_do_not_hide_behind_their_time(wide: Content, path: Path) -> None:
    for became, moved in (("before", -timedelta(hours=30)), ("waiting", timedelta(hours=30))):
        report = verify(bundled(path, dropped(wide, 30, became, moved), Level.ROWS))
        assert ("challenges", Verdict.MISMATCH) in problems(report), (became, said(report))


def test_what_lies_within_the_window_counts_whatever_its_time(wide: Content, path: Path) -> None:
    """Four links in its midst, each a little older than the window: clocks may differ by as much."""
    since = wide.terms.since
    early = [(since + timedelta(seconds=1), "c-0", "0" * 64, "failed: x")]
    early += [(since - timedelta(seconds=9), f"c-{n}", "0" * 64, "before") for n in range(1, 5)]
    first, *others = [(e.received_at, e.challenge_id, e.request_sha256, e.became) for e in wide.acceptances]
    report = verify(bundled(path, replace(wide, acceptances=linked([first, *early, *others])), Level.ROWS))
    assert problems(report) == {("challenges", Verdict.UNVERIFIABLE)}
    assert "6 failed" in said(report)


@pytest.mark.parametrize("became", ["waiting", "failed: lost"])
def test_half_of_a_window_cannot_be_missing(wide: Content, path: Path, became: str) -> None:
    report = verify(bundled(path, dropped(wide, 30, became), Level.ROWS))
    assert problems(report) == {("challenges", Verdict.UNVERIFIABLE)}
    assert "it could be chosen who is paid" in said(report)


def test_who_waits_too_long_has_failed(wide: Content, path: Path) -> None:
    others = {"a": "waiting", "b": "waiting", "c": "waiting", "d": "waiting"}
    report = verify(bundled(path, replace(wide, acceptances=chained(wide, **others)), Level.ROWS))
    assert "4 waiting for more than 1:00:00, as good as failed" in said(report)


def test_what_is_left_out_though_it_can_be_had_is_a_mismatch(path: Path) -> None:
    report = verify(bundled(path, honest(Size(lost=1))))
    assert ("scores", Verdict.MISMATCH) in problems(report)
    assert "come out of what is shown" in said(report)


def test_too_much_is_left_out_in_any_mode(path: Path) -> None:
    """By its own snapshot it has set nothing for long, and may then leave out what it likes."""
    content = honest(Size(lost=8))
    own, *others = content.subnet.neurons
    late = replace(content.subnet, block=4500, neurons=(replace(own, last_update=100, registered_block=0), *others))
    pressed = reweighed(content, subnet=late)
    pressed = replace(pressed, terms=replace(pressed.terms, mode=pressed.inputs.mode))
    assert pressed.inputs.mode != "normal"
    report = verify(bundled(path, pressed, Level.ROWS, sealed(pressed, sealed_block=4505)))
    assert ("challenges", Verdict.UNVERIFIABLE) in problems(report)


def of_friend(inputs: RoundInputs, change: Callable[[np.ndarray], np.ndarray]) -> RoundInputs:
    vectors = inputs.vectors.copy()
    for place, key in enumerate(inputs.keys):
        if key[0] == MINERS[3]:
            vectors[place] = change(vectors[place])
    return replace(inputs, vectors=vectors)


@pytest.mark.parametrize("factor", [0.0, 1000.0, np.nan, np.inf])
def test_a_vector_is_of_length_1(epoch: Content, path: Path, factor: float) -> None:
    """Production refuses to store others: see the embedder's client."""

    def change(vector: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return (vector * np.float16(factor)).astype(np.float16)

    inputs = of_friend(epoch.rounds[FIRST], change)
    report = verify(bundled(path, replace(epoch, rounds={**epoch.rounds, FIRST: inputs})))
    assert any("every text's has length 1" in each.said for each in report.problems)


def turned(vector: np.ndarray) -> np.ndarray:
    return np.roll(vector, 1)


def test_one_text_has_one_vector_in_a_round(epoch: Content, path: Path) -> None:
    """The copier's answers are those of another, and its vectors are not."""

    def change(inputs: RoundInputs) -> RoundInputs:
        vectors = inputs.vectors.copy()
        for place, key in enumerate(inputs.keys):
            if key[0] == MINERS[4]:
                vectors[place] = turned(vectors[place])
        return replace(inputs, vectors=vectors)

    report = verify(bundled(path, rescored(epoch, change)))
    assert problems(report) == {("rounds", Verdict.MISMATCH)}
    assert "two vectors of one text" in said(report)


def test_one_text_has_one_vector_in_all_rounds(epoch: Content, path: Path) -> None:
    first, second, *_ = sorted(epoch.rounds)
    before, after = epoch.rounds[first], epoch.rounds[second]
    place = next(i for i, key in enumerate(after.keys) if key[0] == MINERS[3])
    text = next(key for key in before.keys if key[0] == MINERS[3])[3]
    keys = tuple((*key[:3], text) if i == place else key for i, key in enumerate(after.keys))
    changed = replace(epoch, rounds={**epoch.rounds, second: replace(after, keys=keys)})
    report = verify(bundled(path, changed))
    assert any("another than in an earlier round" in each.said for each in report.problems)


def test_a_made_up_release_excuses_nothing(epoch: Content, path: Path) -> None:
    changed = of_window(epoch, payout=epoch.window.payout + 0.5)
    report = verify(bundled(path, changed, seal=sealed(changed, release="9.9.9")))
    assert report.verdict is Verdict.MISMATCH
    assert "release 9.9.9" in said(report)


def test_a_chain_made_anew_is_another_than_senders_were_told_of(epoch: Content, path: Path) -> None:
    kept = [each for each in epoch.acceptances if each.became != "failed: nobody was there"]
    remade = linked([(each.received_at, each.challenge_id, each.request_sha256, each.became) for each in kept])
    bundled(path, replace(epoch, acceptances=remade), Level.ROWS)
    alone = verify(path)
    assert alone.verdict is Verdict.MATCH
    assert how_of(alone, "completeness") is How.STATED
    assert any("made anew from 1" in each for each in alone.beyond)
    told_of = Link(epoch.acceptances[-1].seq - 1, epoch.acceptances[-2].digest)
    assert problems(verify(path, links=[Told(told_of)])) == {("challenges", Verdict.MISMATCH)}
    assert main([str(path), "--link", str(told_of)]) == 1
    first = Link(remade[0].seq, remade[0].digest)
    with_links = verify(path, links=[Told(first), Told(Link(0, "0" * 64))])
    assert (with_links.verdict, how_of(with_links, "completeness")) == (Verdict.MATCH, How.COMPARED)
    assert problems(verify(path, links=[Told(Link(999, "0" * 64))])) == {("challenges", Verdict.UNVERIFIABLE)}


def test_a_link_is_taken_as_its_sender_got_it(epoch: Content, path: Path) -> None:
    bundled(path, epoch, Level.ROWS)
    own, other = epoch.acceptances[1], epoch.acceptances[2]

    def link(challenge_id: str, digest: str = own.digest, signer: Any = VALIDATOR) -> Told:
        signature = signer.sign(link_bytes(challenge_id, own.seq, digest)).hex()
        return Told(Link(own.seq, digest), signature)

    right = verify(path, links=[link(own.challenge_id)])
    assert right.verdict is Verdict.MATCH
    assert [each.said for each in right.parts if each.name == "links"] == [f"{own.seq} (signed)"]
    assert main([str(path), "--link", f" {str(link(own.challenge_id)).upper()}"]) == 0
    for told, about in (
        (link(own.challenge_id, signer=STRANGER), "its signature is not that of"),
        (link(other.challenge_id), "its signature is not that of"),
        (link(own.challenge_id, "a" * 64), f"signed that link for {own.challenge_id}: a right signature of a link"),
        (link("dropped", "a" * 64), "for no challenge of the bundle"),
    ):
        report = verify(path, links=[told])
        assert problems(report) == {("challenges", Verdict.MISMATCH)}
        assert about in said(report)
        assert "links" not in {each.name for each in report.parts}


def test_of_a_damaged_file_nothing_is_claimed_that_was_not_read(epoch: Content, path: Path) -> None:
    bundled(path, epoch, Level.SAMPLE)
    entry = next(each for each in Container(path)._entries.values() if each.name.startswith("rounds/"))
    content = bytearray(path.read_bytes())
    content[entry.data_at + entry.size // 2] ^= 1
    path.write_bytes(content)
    report = verify(path)
    assert report.verdict is Verdict.UNVERIFIABLE
    parts = {each.name: each.said for each in report.parts}
    of = len(epoch.rounds)
    assert "scores" not in parts
    assert f"of {of - 1} rounds that were read" in parts["who was asked"]
    assert "found with" not in told_text(report)
    assert told_text(report).splitlines()[-1].startswith("to be believed now: nothing yet")


def how_of(report: Report, name: str) -> How:
    (part,) = (each for each in report.parts if each.name == name)
    return part.how


def test_a_chain_that_begins_within_the_window_is_named(epoch: Content, path: Path) -> None:
    came = [(e.received_at, e.challenge_id, e.request_sha256, e.became) for e in epoch.acceptances[1:]]
    report = verify(bundled(path, replace(epoch, acceptances=linked(came)), Level.ROWS))
    assert report.verdict is Verdict.MATCH
    assert any("starts with link 1 within the window" in each for each in report.beyond)


def stated(report: Report) -> dict[str, str]:
    return {each.name: each.said for each in report.parts if each.how is How.STATED}


def test_a_burn_is_told_whatever_else_is_set(epoch: Content, path: Path) -> None:
    policy = Policy(
        **{each: value - 1e-9 for each in ("entity_cap", "max_share", "degraded_at", "emergency_at")  # type: ignore[arg-type]
           if (value := getattr(Policy(), each))},
        emergency_lookback_h=168.00000000000003, min_rounds=1, burn_hotkey=MINERS[3], burn_share=0.9,
    )  # fmt: skip
    content = proposed(replace(epoch, inputs=replace(epoch.inputs, policy=policy)))
    found = stated(verify(bundled(path, content, Level.ROWS)))
    assert found["policy: burn"] == f"90.0000% of all goes to {MINERS[3]}"
    assert {f"policy: {name}" for name in ("entity_cap", "max_share", "degraded_at", "min_rounds")} <= found.keys()
    assert stated(verify(bundled(path, epoch, Level.ROWS)))["policy: burn"] == "nothing"


def test_what_else_decides_is_told(epoch: Content, path: Path) -> None:
    view = NetworkView(MADE_AT, frozenset({MINERS[0], MINERS[2]}), {}, {})
    changed = reweighed(epoch, rule=EmissionRule(half_life_h=1e-3, full_evidence_rounds=1e-9))
    changed = proposed(replace(changed, inputs=replace(changed.inputs, view=view)))
    found = stated(verify(bundled(path, changed, Level.ROWS)))
    assert "12.0 as shipped" in found["emissions: half_life_h"]
    assert "10.0 as shipped" in found["emissions: full_evidence_rounds"]
    assert "2 others listed as validators" in found["Challenge API"]
    assert MINERS[0] in found["Challenge API"]
    assert "did not act" in found["last weights"]
    assert {"mode", "model", "who is known"} <= found.keys()


def looked(looks: Looks, keep: Any) -> Looks:
    return replace(looks, miner=looks.miner[keep], at_ms=looks.at_ms[keep], available=looks.available[keep])


def test_looks_are_there_from_about_when_rounds_were(epoch: Content, path: Path) -> None:
    looks = epoch.looks
    one = looked(looks, looks.at_ms == looks.at_ms.min())
    none = Looks((), *(np.zeros(0, dtype=kind) for kind in (np.int64, np.int64, np.bool_)))
    for few in (one, none):
        report = verify(bundled(path, reweighed(epoch, looks=few), Level.ROWS))
        assert ("looks", Verdict.UNVERIFIABLE) in problems(report)
    (presence,) = (each for each in verify(bundled(path, epoch, Level.ROWS)).parts if each.name == "presence")
    assert "the longest part of the window without one is 1315 min" in presence.said  # from its begin to the first look


def test_what_a_verifier_cannot_know_is_told(epoch: Content, path: Path) -> None:
    beyond = " ".join(verify(bundled(path, epoch)).beyond)
    for words in (
        *("who was asked", "who sent the challenges", "looks at miners", "not counted", "snapshots were not compared"),
        *("at block 1000", "extrinsic", "mode", "a scoring context", "X-Challenge-Link"),
    ):
        assert words in beyond, words
    assert "of no round that is shown" in stated(verify(bundled(path, epoch, Level.ROWS)))["scores of other rounds"]


def test_no_match_below_the_level_that_is_asked_for(epoch: Content, path: Path) -> None:
    bundled(path, epoch, Level.ROWS)
    assert main([str(path)]) == 0
    assert main([str(path), "--least", "sample"]) == 2
    assert problems(verify(path, least=Level.FULL)) == {("level", Verdict.UNVERIFIABLE)}
    assert verify(bundled(path, epoch), least=Level.FULL).verdict is Verdict.MATCH


def test_reasons_and_sums_are_those_of_the_rules(epoch: Content, path: Path) -> None:
    policy = Policy(burn_hotkey=MINERS[3], burn_share=0.1)
    content = proposed(replace(epoch, inputs=replace(epoch.inputs, policy=policy)))
    acts = tuple(replace(each, reason="caught red-handed") for each in content.proposal.acts)
    assert acts
    lie = replace(content, proposal=replace(content.proposal, acts=acts))
    assert problems(verify(bundled(path, lie, Level.ROWS))) == {("proposal", Verdict.MISMATCH)}
    weights = {uid: 17 * share for uid, share in epoch.plan.weights.items()}
    heavy = set_as(epoch, replace(epoch.plan, weights=weights))
    assert problems(verify(bundled(path, heavy, Level.ROWS))) == {("weights", Verdict.MISMATCH)}


def test_a_context_that_no_round_names_does_not_belong_there(epoch: Content, path: Path) -> None:
    more = ScoringContext.of(3, {"river": 2}, None)
    report = verify(bundled(path, replace(epoch, contexts={**epoch.contexts, more.digest: more})))
    assert problems(report) == {("file", Verdict.UNVERIFIABLE)}


def test_nothing_is_read_before_it_is_known_who_signed(epoch: Content, path: Path) -> None:
    bundled(path, epoch, Level.ROWS)
    repacked(path, {"challenges.json": b"[" * 1000}, signer=None)
    assert open_bundle(path).manifest.level is Level.ROWS
    assert problems(verify(path)) == {("signatures", Verdict.UNVERIFIABLE)}


def test_a_manifest_is_no_longer_than_its_entries_need(epoch: Content, path: Path) -> None:
    entries = dict(Container(bundled(path, epoch, Level.ROWS)))
    entries[MANIFEST] = b'{"x":[' + b"[]," * 100_000 + b"[]]}"
    write_container(path, [*((n, d) for n, d in entries.items() if n not in (MANIFEST, SIGNATURE)),
                           (MANIFEST, entries[MANIFEST]), (SIGNATURE, entries[SIGNATURE])])  # fmt: skip
    report = verify(path)
    assert problems(report) == {("file", Verdict.UNVERIFIABLE)}
    assert "bytes;" in said(report)


def test_many_contexts_are_not_read(epoch: Content, path: Path) -> None:
    bundled(path, epoch, Level.ROWS)
    changes = {f"contexts/{i:064x}.json": b'{"rounds":1,"document_frequency":{}}' for i in range(65)}
    assert "65 contexts" in said(verify(repacked(path, changes)))


def test_a_defect_of_the_verifier_is_told_as_one(epoch: Content, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("in here")

    bundled(path, epoch, Level.ROWS)
    monkeypatch.setattr(verify_module, "verify_plan", broken)
    assert problems(verify(path)) == {("verifier", Verdict.UNVERIFIABLE)}
    with pytest.raises(ZeroDivisionError):
        main([str(path), "--debug"])


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_an_output_that_shows_ascii_alone_changes_no_verdict(
    epoch: Content, path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    inputs = replace(epoch.inputs, policy=Policy(burn_hotkey="Ωmega", burn_share=0.0))  # type: ignore[arg-type]
    bundled(path, replace(epoch, inputs=inputs), Level.ROWS, sealed(epoch))
    shown = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", shown)
    assert main([str(path), *arguments]) == 1
    shown.seek(0)
    text = shown.read()
    assert "mega" in text
    assert not arguments or json.loads(text)["verdict"] == "mismatch"


def test_of_a_sample_the_rows_of_its_rounds_are_counted(wide: Content, path: Path) -> None:
    bundled(path, wide, Level.SAMPLE, rounds=50)
    report = verify(path, chain=ChainSaid(BLOCK_HASH))
    (scores,) = (each for each in report.parts if each.name == "scores")
    assert scores.said == (
        "50 of 60 rounds from their vectors (200 of 240 rows); were one in twenty altered, so many that are drawn "
        "find it with 99%"
    )
    assert "40 rows of other rounds" in stated(report)["scores of other rounds"]
