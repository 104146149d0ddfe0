"""What an honest validator's bundle is worth, and what its report says."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from loosh_pipeline.audit.content import Content, RoundInputs
from loosh_pipeline.audit.file import Level, read
from loosh_pipeline.audit.leaves import digests_of, round_digest
from loosh_pipeline.audit.report import How, Report, Verdict, told
from loosh_pipeline.audit.verify import ChainSaid, main, verify
from loosh_pipeline.domain import ObservedWeights, Outcome
from loosh_pipeline.plain import plain, typed
from tests.audit.epochs import BLOCK_HASH, Size, bundled, chained, honest, sealed


def said(report: Report) -> str:
    return "; ".join(f"{each.part}: {each.said}" for each in report.problems)


@pytest.mark.parametrize("level", Level)
def test_what_an_honest_validator_shows_is_a_match(epoch: Content, path: Path, level: Level) -> None:
    report = verify(bundled(path, epoch, level))
    assert (report.verdict, said(report)) == (Verdict.MATCH, "")
    recomputed = {each.name for each in report.parts if each.how is How.RECOMPUTED}
    assert {"signatures", "seal", "acceptance chain", "emissions", "proposal", "weights"} <= recomputed
    assert ("scores" in recomputed) is (level is not Level.ROWS)


def test_the_networks_method_is_verified_too(path: Path) -> None:
    report = verify(bundled(path, honest(Size(rounds=4, profile="network"))))
    assert (report.verdict, said(report)) == (Verdict.MATCH, "")


def test_a_content_comes_back_as_it_was(epoch: Content, path: Path) -> None:
    found = read(bundled(path, epoch)).content
    for name in ("epoch", "terms", "inputs", "proposal", "plan", "subnet", "acceptances", "scorers", "link_before"):
        assert plain(getattr(found, name)) == plain(getattr(epoch, name)), name
    assert {name: round_digest(each) for name, each in found.rounds.items()} == dict(
        zip(epoch.window.columns.challenges, epoch.window.inputs_digest, strict=True)
    )
    (context,) = found.contexts.values()
    assert context.document_frequency == next(iter(epoch.contexts.values())).document_frequency


def test_the_same_bundle_is_the_same_bytes_but_for_signatures(epoch: Content, tmp_path: Path) -> None:
    """A signature of sr25519 is another each time."""
    seal = sealed(epoch)
    one, other = (bundled(tmp_path / name, epoch, seal=seal).read_bytes() for name in ("one", "other"))
    assert len(one) == len(other)
    assert sum(x != y for x, y in zip(one, other, strict=True)) < 200


def test_what_a_miner_sent_always_has_a_digest_and_a_place(epoch: Content, path: Path) -> None:
    first = min(epoch.rounds)
    before = epoch.rounds[first]
    odd = replace(
        before.responses[0],
        text="\ud800 \x00 \u202e",
        elapsed_ms=float("nan"),
        handshake_ms=float("-inf"),
        tool_calls=({"n": float("inf"), "\ud800": "e\u0301"},),
        finish_reason="\ud800",
    )
    changed = replace(before, responses=(odd, *before.responses[1:]))
    found = read(bundled(path, replace(epoch, rounds={**epoch.rounds, first: changed}))).content.rounds[first]
    assert round_digest(found) == round_digest(changed) != round_digest(before)
    assert repr(found.responses) == repr(changed.responses)


def redacted(inputs: RoundInputs) -> RoundInputs:
    """Every word becomes another."""
    digests = digests_of(inputs)
    responses = tuple(replace(each, text=_hidden(each.text), tool_calls=None) for each in inputs.responses)
    return replace(inputs, request=None, prompt=_hidden(inputs.prompt), responses=responses, digests=digests)


def _hidden(text: str) -> str:
    return " ".join(f"w{int.from_bytes(word.encode(), 'big'):x}" for word in _words(text))


def _words(text: str) -> list[str]:
    from loosh_pipeline.scoring.text import words

    return words(text)


def test_a_redacted_bundle_is_a_match_and_says_what_it_rests_on(epoch: Content, path: Path) -> None:
    contexts = {
        digest: replace(each, document_frequency={_hidden(w): n for w, n in each.document_frequency.items()})
        for digest, each in epoch.contexts.items()
    }
    hidden = replace(epoch, rounds={name: redacted(each) for name, each in epoch.rounds.items()}, contexts=contexts)
    report = verify(bundled(path, hidden, seal=sealed(epoch), redacted=True))
    assert (report.verdict, said(report)) == (Verdict.MATCH, "")
    assert any("redacted" in each for each in report.beyond)
    assert verify(bundled(path, hidden, seal=sealed(epoch))).verdict is Verdict.UNVERIFIABLE
    assert verify(bundled(path, epoch, redacted=True)).verdict is Verdict.UNVERIFIABLE


def test_a_redacted_round_of_the_networks_method_cannot_be_verified(path: Path) -> None:
    network = honest(Size(rounds=2, profile="network"))
    hidden = replace(network, rounds={name: redacted(each) for name, each in network.rounds.items()})
    report = verify(bundled(path, hidden, redacted=True))
    assert report.verdict is Verdict.UNVERIFIABLE
    assert "sentences" in said(report)


def test_what_was_taken_down_and_read_from_the_chain_is_compared(epoch: Content, path: Path) -> None:
    seal = sealed(epoch)
    bundled(path, epoch, Level.SAMPLE, seal)
    plan, hotkey = epoch.plan, epoch.epoch.validator
    row = ObservedWeights(hotkey, None, epoch.epoch.block, epoch.epoch.block, plan.weights)
    report = verify(
        path, root=f"0x{seal.seal.root.upper()}", chain=ChainSaid(BLOCK_HASH.upper().replace("X", "x"), row)
    )
    assert (report.verdict, said(report)) == (Verdict.MATCH, "")
    compared = {each.name for each in report.parts if each.how is How.COMPARED}
    assert {"hash of the sample's block", "weights on chain"} <= compared
    assert not any(each.startswith(("the weights were", "the seal was", "the hash of")) for each in report.beyond)
    assert verify(path, root="00" * 32).verdict is Verdict.MISMATCH
    assert verify(path, chain=ChainSaid("0x" + "00" * 32)).verdict is Verdict.MISMATCH
    swapped = dict(zip(plan.weights, reversed(plan.weights.values()), strict=True))
    assert verify(path, chain=ChainSaid(weights=replace(row, weights=swapped))).verdict is Verdict.MISMATCH


def test_weights_that_no_round_decided_are_no_match(epoch: Content, path: Path) -> None:
    report = verify(bundled(path, replace(epoch, proposal=replace(epoch.proposal, basis="last_vector"))))
    assert any(each.part == "proposal" and "no round decided" in each.said for each in report.problems)
    assert report.verdict is not Verdict.MATCH


def test_another_release_is_named_where_its_figures_are_others(epoch: Content, path: Path) -> None:
    seal = sealed(epoch, release="0.0.1")
    assert verify(bundled(path, epoch, seal=seal)).verdict is Verdict.MATCH
    payout = epoch.window.payout.copy()
    payout[0] += 0.5
    changed = replace(epoch, window=replace(epoch.window, payout=payout))
    report = verify(bundled(path, changed, seal=sealed(changed, release="0.0.1")))
    assert report.verdict is Verdict.MISMATCH
    assert "release 0.0.1" in said(report)


def test_figures_off_in_the_last_digits_are_no_other_figures(epoch: Content, path: Path) -> None:
    columns = epoch.window.columns
    pairs = replace(columns.pairs, wording=columns.pairs.wording * (1 + 1e-12))
    changed = replace(epoch, window=replace(epoch.window, columns=replace(columns, pairs=pairs)))
    report = verify(bundled(path, changed))
    assert (report.verdict, said(report)) == (Verdict.MATCH, "")


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda path, epoch: bundled(path, epoch), 0),
        (lambda path, epoch: bundled(path, epoch, seal=sealed(replace(epoch, link_before="0" * 63 + "1"))), 1),
        (lambda path, epoch: path.write_bytes(b"nothing"), 2),
    ],
    ids=["match", "mismatch", "no bundle"],
)
def test_the_command_tells_people_and_programs(epoch: Content, path: Path, make, code: int, capsys) -> None:
    make(path, epoch)
    assert main([str(path)]) == code
    assert capsys.readouterr().out.startswith(["match", "mismatch", "unverifiable"][code])
    assert main([str(path), "--json"]) == code
    found = typed(Report, json.loads(capsys.readouterr().out))
    assert found.exit_code == code
    assert bool(found.problems) is bool(code)


def test_what_a_bundle_says_cannot_rule_a_terminal(epoch: Content, path: Path) -> None:
    proposal = replace(epoch.proposal, basis="\x1b[31m\u202ematch\n" + "x" * 999)
    text = told(verify(bundled(path, replace(epoch, proposal=proposal))))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert max(map(len, text.splitlines())) < 400


def test_a_challenge_left_out_for_a_reason_is_counted(wide: Content, path: Path) -> None:
    others = {"canary": "canary", "failed": "failed: nobody was there", "later": "waiting"}
    report = verify(bundled(path, replace(wide, acceptances=chained(wide, **others)), Level.ROWS))
    (complete,) = (each for each in report.parts if each.name == "completeness")
    assert "1 canary, 1 failed, 1 waiting" in complete.said


def test_times_and_outcomes_are_the_windows(epoch: Content) -> None:
    assert Outcome.TIMEOUT in epoch.window.outcome
    assert epoch.terms.made_at - epoch.terms.since == timedelta(hours=24)
    assert np.isnan(epoch.window.columns.relevance[~epoch.window.columns.compared]).all()
