"""A validator in memory around a real store: every gateway is a fake with a script and a call log."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import dagster as dg
from bittensor_core import Keypair
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from loosh_pipeline.chain.fake import FakeChain
from loosh_pipeline.chain.records import SubmissionRow
from loosh_pipeline.definitions import defs
from loosh_pipeline.domain import (
    Availability,
    Challenge,
    ChallengeId,
    ChallengeState,
    Hotkey,
    Neuron,
    Outcome,
    Response,
)
from loosh_pipeline.embedding.fake import HashingEmbedder
from loosh_pipeline.embedding.port import Embedder
from loosh_pipeline.narrative import RoundNarrator
from loosh_pipeline.orchestrator import CHALLENGES, CODE_LOCATION, REPOSITORY, RETENTION_JOB, SCORE_JOB, WEIGHTS_JOB
from loosh_pipeline.requests import ChallengeRequest
from loosh_pipeline.scorers import paying_profile
from loosh_pipeline.scoring.profile import RobustProfile, scorer_version
from loosh_pipeline.scoring.profiles import ScoringProfile
from loosh_pipeline.scoring.result import RoundScores
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.tables import TableKey
from loosh_pipeline.wire.crypto import Signer
from loosh_pipeline.wire.fakes import FakeChallengeApi
from resources.duckdb import tables_duckdb
from resources.store import Partition, Store
from sensors.jobs import refresh_availability, refresh_context, refresh_metagraph, refresh_network_view
from tests.builders import metagraph, neuron, neutral_round
from tests.claims import claim

PROMPT = "Why is the sky blue during the day?"
ANSWERS: Mapping[str, str | Outcome] = {
    "hotkey-1": "The sky is blue during the day because air scatters blue light far more than it scatters red light.",
    "hotkey-2": "During the day the sky is blue: molecules of air scatter short waves of light, and blue is short.",
    "hotkey-3": "Sunlight meets air, which scatters blue light best. That is why the sky is blue during the day.",
    "hotkey-4": Outcome.TIMEOUT,
}
"""What the miners do by default: three answer, in words of their own, and one is too slow."""
MODEL_DIGEST = HashingEmbedder().digest
"""The embedding model that rounds are embedded with here."""


@dataclass
class ScriptedMiners:
    """Implements `Miners`: each hotkey gives its text, or fails as its outcome says. Probed, all are there but
    those who are `away`. `asked` and `probed` are the call logs.
    """

    answers: Mapping[str, str | Outcome]
    asked: list[tuple[ChallengeId, tuple[Hotkey, ...]]] = field(default_factory=list)
    away: frozenset[str] = frozenset()
    probed: list[tuple[Hotkey, ...]] = field(default_factory=list)

    def ask(self, neurons: Sequence[Neuron], challenge: Challenge, signer: Signer) -> tuple[Response, ...]:
        self.asked.append((challenge.id, tuple(each.hotkey for each in neurons)))
        return tuple(self._response(each, challenge) for each in neurons)

    def probe(self, neurons: Sequence[Neuron], signer: Signer) -> tuple[Availability, ...]:
        self.probed.append(tuple(each.hotkey for each in neurons))
        return tuple(self._found(each) for each in neurons)

    def _found(self, looked_for: Neuron) -> Availability:
        there = looked_for.hotkey not in self.away
        reason = "" if there else f"no usable answer: from port {looked_for.port}"
        return Availability(looked_for.hotkey, looked_for.uid, looked_for.ip or "", looked_for.port, there, reason, 5.0)

    def _response(self, asked: Neuron, challenge: Challenge) -> Response:
        answer = self.answers[asked.hotkey]
        about = {
            "challenge_id": challenge.id,
            "hotkey": asked.hotkey,
            "coldkey": asked.coldkey,
            "uid": asked.uid,
            "ip": asked.ip or "",
            "port": asked.port,
        }
        if isinstance(answer, Outcome):
            return Response(**about, outcome=answer, detail=f"scripted {answer}")
        return Response(
            **about,
            outcome=Outcome.ANSWERED,
            text=answer,
            elapsed_ms=100.0 + asked.uid,
            finish_reason="stop",
            sha256=hashlib.sha256(answer.encode()).hexdigest(),
        )


class World:
    """Everything that assets and sensors work with, and the three things a validator does."""

    def __init__(self, instance: dg.DagsterInstance, answers: Mapping[str, str | Outcome] = ANSWERS) -> None:
        self.instance = instance
        self.began_at = datetime.now(UTC)
        self.settings = get_settings()
        self.store = Store(self.settings)
        self.signer = Keypair.create_from_uri("//loosh-test//validator")
        own = Hotkey(self.signer.ss58_address)
        serving = (neuron(uid, hotkey=hotkey) for uid, hotkey in enumerate(answers, start=1))
        neurons = (neuron(0, hotkey=own, validator_permit=True, ip=None, port=0), *serving)
        self.chain = FakeChain(metagraph(neurons, taken_at=datetime.now(UTC)), own)
        self.miners = ScriptedMiners(answers)
        self.api: Any = FakeChallengeApi()
        self.embedder: Embedder = HashingEmbedder()
        self.narrator = RoundNarrator()

    def resources(self) -> dict[str, Any]:
        return {
            "store": self.store,
            "chain": self.chain,
            "signer": self.signer,
            "miners": self.miners,
            "embedder": self.embedder,
            "llm": self.narrator,
            "challenge_api": self.api,
            "duckdb": tables_duckdb(),
        }

    def accept(self, challenge_id: str = "c-1", prompt: str = PROMPT, now: datetime | None = None) -> ChallengeId:
        """What the ingress does for a valid challenge."""
        now = now or datetime.now(UTC)
        request = ChallengeRequest(id=challenge_id, prompt=prompt)
        self.store.inbox.accept(ChallengeId(challenge_id), request.stored(now), now)
        return ChallengeId(challenge_id)

    def evaluate(
        self, challenge_id: ChallengeId, *assets: str, raise_on_error: bool = True
    ) -> dg.ExecuteInProcessResult:
        """Run the evaluation job, or only some of its assets, for one challenge that is claimed first if it is due."""
        claim(self.store.inbox, challenge_id, datetime.now(UTC))
        self.instance.add_dynamic_partitions(CHALLENGES, [challenge_id])
        return self._run(SCORE_JOB, assets, raise_on_error, partition_key=challenge_id)

    def set_weights(
        self, *assets: str, raise_on_error: bool = True, config: Mapping[str, Any] | None = None
    ) -> dg.ExecuteInProcessResult:
        """`config`: of the proposal, such as what is waived."""
        given = {} if config is None else {"run_config": {"ops": {"weight_proposal": {"config": dict(config)}}}}
        return self._run(WEIGHTS_JOB, assets, raise_on_error, **given)

    def refresh_metagraph(self) -> dg.ExecuteInProcessResult:
        return self._run(refresh_metagraph.name, (), raise_on_error=True)

    def refresh_context(self) -> dg.ExecuteInProcessResult:
        return self._run(refresh_context.name, (), raise_on_error=True)

    def refresh_availability(self) -> dg.ExecuteInProcessResult:
        return self._run(refresh_availability.name, (), raise_on_error=True)

    def store_round(
        self,
        challenge_id: str,
        answers: Mapping[str, bool | Outcome],
        *,
        profile: RobustProfile | None = None,
        age: timedelta = timedelta(hours=1),
    ) -> None:
        """Store the scores of one challenge that nobody ran: see `neutral_round`.

        Its age is that when the world began: rounds of the same age count alike, however long storing them takes.
        """
        profile, received_at = profile or RobustProfile(), self.began_at - age
        version = scorer_version(profile, MODEL_DIGEST)
        result = neutral_round(answers, challenge_id=ChallengeId(challenge_id), scorer_version=version)
        key = TableKey.of(challenge_id, received_at)
        self.store.score_tables.write(key, result, profile, MODEL_DIGEST, received_at)

    def scores(self, challenge_id: ChallengeId, profile: ScoringProfile | None = None) -> RoundScores:
        """The stored scores of a round, under the profile that pays unless another is given."""
        return self.store.scores(self.partition(challenge_id), profile or paying_profile(get_settings()))

    def scores_key(self, challenge_id: ChallengeId, profile: ScoringProfile | None = None) -> TableKey:
        """Where these scores and their pairs lie."""
        version = scorer_version(profile or paying_profile(get_settings()), MODEL_DIGEST)
        return TableKey.of(challenge_id, self.partition(challenge_id).row.received_at, version)

    def add_run(self, job: str, status: dg.DagsterRunStatus, **tags: str) -> dg.DagsterRun:
        """A run that Dagster knows of and nobody executes."""
        repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(CODE_LOCATION), REPOSITORY)
        origin = RemoteJobOrigin(repository, job)
        return self.instance.add_run(dg.DagsterRun(job_name=job, status=status, tags=tags, remote_job_origin=origin))

    def state(self, challenge_id: ChallengeId) -> ChallengeState:
        return self.store.inbox.get(challenge_id).state

    def partition(self, challenge_id: ChallengeId) -> Partition:
        return self.store.partition(challenge_id)

    def refresh_network_view(self, *, raise_on_error: bool = True) -> dg.ExecuteInProcessResult:
        return self._run(refresh_network_view.name, (), raise_on_error)

    def keep_small(self) -> dg.ExecuteInProcessResult:
        return self._run(RETENTION_JOB, (), raise_on_error=True)

    def _run(self, job: str, assets: Sequence[str], raise_on_error: bool, **how: Any) -> dg.ExecuteInProcessResult:
        before = _RUNNING.set(self)
        try:
            return (
                _wired()
                .resolve_job_def(job)
                .execute_in_process(
                    instance=self.instance,
                    asset_selection=[dg.AssetKey(name) for name in assets] or None,
                    raise_on_error=raise_on_error,
                    **how,
                )
            )
        finally:
            _RUNNING.reset(before)


_RUNNING: ContextVar[World] = ContextVar("running")


@cache
def _wired() -> dg.Definitions:
    """Ours, around the resources of whichever world runs: resolving the graph takes longer than most runs."""

    def of_the_world(name: str) -> dg.ResourceDefinition:
        return dg.ResourceDefinition(lambda _: _RUNNING.get().resources()[name])

    names = defs.resources or {}
    return dg.Definitions(
        assets=defs.assets,
        asset_checks=defs.asset_checks,
        jobs=defs.jobs,
        resources={name: of_the_world(name) for name in names},
    )


def metadata_of(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    """What the one materialization of an asset in this run says about it."""
    events = [event for event in result.get_asset_materialization_events() if event.asset_key == dg.AssetKey(asset)]
    assert len(events) == 1, f"{asset} was materialized {len(events)} times"
    return {name: value.value for name, value in events[0].materialization.metadata.items()}


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    """Why a run failed: every error of its failed steps, with causes."""
    failed = [event for event in result.all_events if event.is_step_failure]
    return "\n".join(event.step_failure_data.error_display_string for event in failed)


def checks_of(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    """Whether each asset check of a run passed."""
    return {evaluation.check_name: evaluation.passed for evaluation in result.get_asset_check_evaluations()}


def newest_submission(world: World) -> SubmissionRow:
    """What is on record of the weights that were submitted last."""
    return world.store.weight_ledger.recent(get_settings().netuid, world.chain.hotkey)[0]
