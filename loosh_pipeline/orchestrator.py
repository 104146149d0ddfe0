"""Asking a running Dagster webserver, over GraphQL, to launch runs and to say what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import httpx

from loosh_pipeline.errors import LooshError

CODE_LOCATION = "loosh_pipeline"
REPOSITORY = "__repository__"
CHALLENGES = "challenges"
"""Name of the dynamic partitions definition: one partition a challenge."""
SCORE_JOB = "score_challenge"
WEIGHTS_JOB = "set_weights"
PARTITION_TAG = "dagster/partition"
ATTEMPT_TAG = "loosh/attempt"
BACKFILL_TAG = "dagster/backfill"
SINGLE_WRITER_TAG = "loosh/single-writer"
"""Runs that carry it run one at a time: two must never submit weights side by side."""

_ADD_PARTITION = """
mutation ($repository: RepositorySelector!, $definition: String!, $key: String!) {
  addDynamicPartition(repositorySelector: $repository, partitionsDefName: $definition, partitionKey: $key) {
    __typename ... on PythonError { message } ... on UnauthorizedError { message }
  }
}"""

_LAUNCH = """
mutation ($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on PipelineNotFoundError { message }
  }
}"""

_STATUS = "query ($id: ID!) { runOrError(runId: $id) { __typename ... on Run { status } } }"

_LOCATION = """
query { locationStatusesOrError { __typename
  ... on WorkspaceLocationStatusEntries { entries { name loadStatus } } } }"""


_EVENTS = """
query ($id: ID!, $cursor: String) { logsForRun(runId: $id, afterCursor: $cursor) { __typename
  ... on EventConnection { cursor hasMore events { __typename
    ... on AssetCheckEvaluationEvent { evaluation { checkName severity success
      metadataEntries { label ... on TextMetadataEntry { text } } } }
    ... on ExecutionStepFailureEvent { stepKey error { message errorChain { error { message } } } }
    ... on MaterializationEvent { assetKey { path } metadataEntries { label ... on TextMetadataEntry { text } } }
  } } ... on PythonError { message } } }"""

_TOLD = ("skipped", "basis", "waived", "state")
"""Metadata of an asset that tells what came of a run."""
FINISHED_RUNS = ("SUCCESS", "FAILURE", "CANCELED")


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """What a run said of itself, for people. `blocked`: checks that failed and held it up; `warned`: that did not."""

    blocked: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    """Errors of its steps, and what its assets say of what they did."""
    skipped: set[str] = field(default_factory=set)
    """Assets that had nothing to do."""
    failed: set[str] = field(default_factory=set)
    """Steps that failed."""


class OrchestratorError(LooshError):
    """Dagster could not be asked, or refused."""


class NoAnswer(OrchestratorError):
    """Dagster was asked and did not say what it did: it may have done it."""


@dataclass(frozen=True, slots=True)
class DagsterApi:
    """One Dagster webserver. Every call raises OrchestratorError that says what it answered."""

    url: str
    client: httpx.Client

    @classmethod
    def at(cls, url: str, timeout_s: float = 20.0) -> Self:
        return cls(url.rstrip("/"), httpx.Client(timeout=timeout_s, trust_env=False))

    def close(self) -> None:
        self.client.close()

    def launch_challenge(self, challenge_id: str, attempt: int) -> str:
        """Add the partition of a challenge (if it is new) and launch its run; returns the run id."""
        self._add_partition(challenge_id)
        return self.launch(SCORE_JOB, {PARTITION_TAG: challenge_id, ATTEMPT_TAG: str(attempt)})

    def launch(self, job: str, tags: Mapping[str, str], config: Mapping[str, Any] | None = None) -> str:
        """Launch a job, with run config where it is given; returns the run id."""
        params = {
            "selector": {
                "repositoryName": REPOSITORY,
                "repositoryLocationName": CODE_LOCATION,
                "jobName": job,
            },
            "runConfigData": dict(config or {}),
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        answer = self._ask("launchRun", _LAUNCH, params=params)
        if answer["__typename"] != "LaunchRunSuccess":
            raise OrchestratorError(f"Dagster did not launch {job}: {answer}")
        return str(answer["run"]["runId"])

    def run_status(self, run_id: str) -> str:
        """Dagster's status of a run, such as STARTED or SUCCESS."""
        answer = self._ask("runOrError", _STATUS, id=run_id)
        if answer["__typename"] != "Run":
            raise OrchestratorError(f"Dagster knows no run {run_id}: {answer}")
        return str(answer["status"])

    def outcome(self, run_id: str) -> RunOutcome:
        """What a run said of itself: its failed checks, its errors, and what it skipped."""
        outcome, cursor = RunOutcome(), None
        while True:
            answer = self._ask("logsForRun", _EVENTS, id=run_id, cursor=cursor)
            if answer["__typename"] != "EventConnection":
                raise OrchestratorError(f"Dagster has no events of run {run_id}: {answer}")
            for event in answer["events"]:
                _note(outcome, event)
            if not answer["hasMore"]:
                return outcome
            cursor = answer["cursor"]

    def ready(self) -> bool:
        """Whether the code location is loaded, so that runs can be launched."""
        try:
            answer = self._ask("locationStatusesOrError", _LOCATION)
        except OrchestratorError:
            return False
        return any(e["name"] == CODE_LOCATION and e["loadStatus"] == "LOADED" for e in answer.get("entries", ()))

    def _add_partition(self, key: str) -> None:
        selector = {"repositoryName": REPOSITORY, "repositoryLocationName": CODE_LOCATION}
        answer = self._ask("addDynamicPartition", _ADD_PARTITION, repository=selector, definition=CHALLENGES, key=key)
        if answer["__typename"] not in ("AddDynamicPartitionSuccess", "DuplicateDynamicPartitionError"):
            raise OrchestratorError(f"Dagster did not add the partition {key!r}: {answer}")

    def _ask(self, field: str, query: str, **variables: Any) -> Mapping[str, Any]:
        """The object under `field` of the answer."""
        try:
            response = self.client.post(f"{self.url}/graphql", json={"query": query, "variables": variables})
            response.raise_for_status()
            body = response.json()
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise OrchestratorError(f"Dagster at {self.url} could not be asked: {error!r}; is it running?") from error
        except (httpx.HTTPError, ValueError) as error:
            raise NoAnswer(f"Dagster at {self.url} did not answer: {error!r}") from error
        if isinstance(body, dict) and body.get("errors"):
            raise OrchestratorError(f"Dagster at {self.url} refused a query: {str(body['errors'])[:500]}")
        match body:
            case {"data": {**data}} if isinstance(answer := data.get(field), dict) and "__typename" in answer:
                return answer
        raise NoAnswer(f"Dagster at {self.url} answered without {field}: {str(body)[:500]}; is it a Dagster webserver?")


def _note(outcome: RunOutcome, event: Mapping[str, Any]) -> None:
    """Keep what an event of a run has to say."""
    kind = event["__typename"]
    if kind == "AssetCheckEvaluationEvent" and not (check := event["evaluation"])["success"]:
        texts = _texts(check)
        line = f"{check['checkName']}: {texts.get('reason') or '; '.join(texts.values())}"
        (outcome.blocked if check["severity"] == "ERROR" else outcome.warned).append(line)
    elif kind == "ExecutionStepFailureEvent" and (error := event["error"]) is not None:
        causes = [link["error"]["message"] for link in error["errorChain"]]
        outcome.failed.add(event["stepKey"])
        # The outermost error is Dagster's, the next is ours, and says what to do; those below are details of it.
        outcome.said.append(f"{event['stepKey']} failed: {[*causes, error['message']][0].strip()}")
    elif kind == "MaterializationEvent":
        asset, texts = event["assetKey"]["path"][-1], _texts(event)
        told = [f"{label} {said}" for label, said in texts.items() if label in _TOLD]
        outcome.said.extend([f"{asset}: {', '.join(told)}"] if told else [])
        if "skipped" in texts:
            outcome.skipped.add(asset)


def _texts(about: Mapping[str, Any]) -> dict[str, str]:
    return {entry["label"]: entry["text"] for entry in about["metadataEntries"] if "text" in entry}
