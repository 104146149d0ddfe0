"""Asking a running Dagster webserver, over GraphQL, to launch runs and to say what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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

    def launch(self, job: str, tags: Mapping[str, str]) -> str:
        """Launch a job; returns the run id."""
        params = {
            "selector": {
                "repositoryName": REPOSITORY,
                "repositoryLocationName": CODE_LOCATION,
                "jobName": job,
            },
            "runConfigData": {},
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
