"""Real processes and sockets: what an operator, the network and an unlucky machine do to a validator."""

from __future__ import annotations

import httpx
import pytest

from loosh_pipeline.chain.process import ProcessChain
from loosh_pipeline.chain.weights import matches, plan_weights
from loosh_pipeline.devnet.behaviours import Behaviour
from loosh_pipeline.domain import ChallengeState
from loosh_pipeline.orchestrator import WEIGHTS_JOB
from loosh_pipeline.store.frames import metagraph_of, proposal_of
from tests.e2e.processes import connected_ports, evaluating_pids, ingress_pid, kill
from tests.e2e.validator import MINERS, Validator

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

LOCAL_OPERATOR = {"master-hotkey": "5Operator"}


def test_from_a_post_to_weights_on_the_chain(validator: Validator) -> None:
    challenge_id = validator.accept("whole-way")
    row = validator.reaches(challenge_id, ChallengeState.SUBMITTED)
    assert (row.asked, row.attempts, row.failure) == (MINERS, 1, None)
    assert row.answered >= 3

    batch = validator.batches()[challenge_id]
    assert batch["validator_hotkey"] == validator.devnet.validator
    assert len(batch["responses"]) == row.answered
    assert set(batch["evaluation"]["emissions"]) == {miner.hotkey for miner in validator.devnet.miners}
    assert batch["evaluation"]["best_miner_id"] is not None

    picture = validator.until("the heatmap", lambda: _picture(validator, challenge_id))
    assert picture.headers["content-type"] == "image/png"
    assert picture.content.startswith(b"\x89PNG")

    _weights_are_set(validator)


def _picture(validator: Validator, challenge_id: str) -> httpx.Response | None:
    answer = validator.http.get(f"/heatmaps/{challenge_id}.png")
    return answer if answer.is_success else None


def _weights_are_set(validator: Validator) -> None:
    run_id = validator.dagster.launch(WEIGHTS_JOB, {})
    ended = ("SUCCESS", "FAILURE", "CANCELED")
    status = validator.until(
        "the run that sets weights ends", lambda: s if (s := validator.dagster.run_status(run_id)) in ended else None
    )
    assert status == "SUCCESS", validator.report()

    proposal, acts = validator.tables.latest("weight_proposals"), validator.tables.latest("policy_acts")
    subnet = validator.tables.latest("metagraph")
    receipts = validator.tables.latest("weight_receipts")
    assert proposal is not None
    assert acts is not None
    assert subnet is not None
    assert receipts is not None
    shares = proposal_of(proposal, acts).shares
    plan = plan_weights(shares, metagraph_of(subnet), validator.devnet.validator)
    observed = ProcessChain(validator.settings).observe(validator.devnet.netuid, validator.devnet.validator)
    assert len(plan.weights) >= 2
    assert matches(plan, observed), f"planned {plan.weights}, the chain holds {observed.weights}"
    assert receipts["state"].unique().to_list() == ["observed"]


def test_an_ingress_that_is_killed_right_after_201_forgets_nothing(validator: Validator) -> None:
    before = ingress_pid(validator.settings.home)
    challenge_id = validator.accept("ingress-killed", prompt=1)
    kill(before)

    validator.until("the ingress answers again", validator.answers)
    assert ingress_pid(validator.settings.home) != before
    assert validator.post(challenge_id, prompt=1).status_code == httpx.codes.CONFLICT
    row = validator.reaches(challenge_id, ChallengeState.SUBMITTED)
    assert row.asked == MINERS
    assert challenge_id in validator.batches()


def test_a_run_that_dies_while_it_waits_for_miners_is_followed_by_another(validator: Validator) -> None:
    validator.until("no run is under way", lambda: not evaluating_pids(validator.settings))
    challenge_id = validator.accept("run-killed", prompt=2)
    (pid,) = validator.until("a run of its own", lambda: evaluating_pids(validator.settings))
    (slow,) = (miner.port for miner in validator.devnet.miners if miner.behaviour is Behaviour.SLOW)
    validator.until("the run asks the slow miner", lambda: slow in connected_ports(pid))
    kill(pid)
    assert validator.inbox.get(challenge_id).state is ChallengeState.DISPATCHED

    row = validator.reaches(challenge_id, ChallengeState.SUBMITTED)
    assert row.attempts == 2
    assert row.asked == MINERS
    batch = validator.batches()[challenge_id]
    assert len(batch["responses"]) == row.answered


def test_a_stopped_validator_finishes_what_it_accepted(validator: Validator) -> None:
    challenge_id = validator.accept("accepted-before-the-stop", prompt=3)
    stopped = validator.http.post("/set_running", json={"running": False}, headers=LOCAL_OPERATOR)
    assert stopped.is_success, stopped.text
    try:
        refused = validator.post("after-the-stop", prompt=4)
        assert refused.status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert validator.http.get("/availability").json() == {"available": False}
        validator.reaches(challenge_id, ChallengeState.SUBMITTED)
    finally:
        validator.http.post("/set_running", json={"running": True}, headers=LOCAL_OPERATOR).raise_for_status()
    assert "after-the-stop" not in {row.id for row in validator.inbox.recent(100)}
    assert validator.http.get("/availability").json() == {"available": True}
