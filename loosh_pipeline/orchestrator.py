"""Asking a running Dagster webserver, over GraphQL, to launch runs and to say what became of them."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

import httpx

from loosh_pipeline.errors import LooshError
from loosh_pipeline.run_tags import ATTEMPT_TAG, attempt_tags
from loosh_pipeline.wire.text import is_web_page

logger = logging.getLogger(__name__)

CODE_LOCATION = "loosh_pipeline"
REPOSITORY = "__repository__"
CHALLENGES = "challenges"
"""Name of the dynamic partitions definition: one partition a challenge."""
SCORE_JOB = "score_challenge"
WEIGHTS_JOB = "set_weights"
PRESENT_JOB = "present_challenges"
RETENTION_JOB = "retention"
RESCORE_JOB, RESCORE_DAY_JOB = "rescore_challenge", "rescore_day"
RESCORED, RESCORED_DAYS = "rescored_scores", "rescored_days"
"""Assets of challenges, and of days from the first on, that are scored again."""
FIRST_RESCORED_DAY = "2026-01-01"
PARTITION_TAG = "dagster/partition"
BACKFILL_TAG = "dagster/backfill"
RESCORING_TAG = "loosh/rescoring"
"""Runs that score again carry it, with what they are of (`challenge`, `day`), and run one at a time."""
SINGLE_WRITER_TAG = "loosh/single-writer"
"""Runs that carry it run one at a time: two must never submit weights side by side."""

_LAUNCHED = """{
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message className }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on PipelineNotFoundError { message }
  }"""

_LAUNCH = f"mutation ($params: ExecutionParams!) {{ launchRun(executionParams: $params) {_LAUNCHED} }}"

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

RUNS_AT_ONCE = 200
_RUNS = f"""
query ($filter: RunsFilter!) {{ runsOrError(filter: $filter, limit: {RUNS_AT_ONCE}) {{ __typename
  ... on PythonError {{ message }}
  ... on Runs {{ results {{ runId jobName status endTime tags {{ key value }} }} }} }} }}"""

_MATERIALIZED = """
query ($key: AssetKeyInput!, $partition: String!) { assetOrError(assetKey: $key) { __typename
  ... on Asset { assetMaterializations(partitions: [$partition], limit: 5) { runId metadataEntries { label
    ... on TextMetadataEntry { text } ... on FloatMetadataEntry { floatValue } ... on IntMetadataEntry { intRepr }
    ... on JsonMetadataEntry { jsonString } } } } } }"""

_CHECKS = """
query { assetNodes { assetKey { path } assetChecksOrError { ... on AssetChecks { checks { name blocking
  executionForLatestMaterialization { status evaluation { severity success
    metadataEntries { label ... on TextMetadataEntry { text } } } } } } } } }"""

_NOT_LOADED = ("PipelineNotFoundError", "DagsterCodeLocationNotFoundError", "DagsterCodeLocationLoadError")
"""Kinds of refusals by which Dagster says that it has not loaded, or has lost, the code location."""
_OUR_ERROR = re.compile(r"\Aloosh_pipeline\.errors\.\w+: ")
"""What Python puts before the words of an error, which say enough."""
_IS_THERE = ("AddDynamicPartitionSuccess", "DuplicateDynamicPartitionError")
_TOLD = ("skipped", "basis", "waived", "state")
"""Metadata of an asset that tells what came of a run."""
SAID_CHARS = 300
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


@dataclass(frozen=True, slots=True)
class FailedRun:
    """A run that failed; `partition`: the challenge that it was of; `ended_at`: None where Dagster does not say."""

    job: str
    run_id: str
    partition: str | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class UnmetCheck:
    """A check that does not hold for the newest materialization of its asset. `blocks`: what follows is not made."""

    asset: str
    name: str
    blocks: bool
    reason: str


class OrchestratorError(LooshError):
    """Dagster could not be asked, or refused."""


class NotReady(OrchestratorError):
    """Dagster cannot launch anything at present: it is not there, or has no code location. It did nothing."""


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

    def launch_challenges(self, attempts: Mapping[str, int]) -> list[str | OrchestratorError]:
        """Add the partitions of challenges, where they are new, and launch their runs, by id and attempt.

        One request: Dagster does what stands in it one after the other. Returns a run id for each, in order, or why
        Dagster refused that one; raises what concerns all of them.
        """
        if not attempts:
            return []
        alone = len(attempts) == 1
        runs = [_params(SCORE_JOB, {PARTITION_TAG: key, **attempt_tags(n, "ingress")}) for key, n in attempts.items()]
        keys = {f"key{number}": key for number, key in enumerate(attempts)}
        location = {"repositoryName": REPOSITORY, "repositoryLocationName": CODE_LOCATION}
        variables = {"repository": location, "definition": CHALLENGES, "params": runs[0] if alone else runs, **keys}
        data = self._data(challenges_document(len(attempts)), variables)
        for number, key in enumerate(attempts):
            if (added := self._part(data, f"added{number}"))["__typename"] not in _IS_THERE:
                logger.warning("Dagster did not add the partition %r: %s", key, added)
        if alone:
            return [_launched(SCORE_JOB, self._part(data, "launchRun"))]
        answer = self._part(data, "launchMultipleRuns")
        results = answer.get("launchMultipleRunsResult", ())
        if len(results) != len(attempts):
            raise NoAnswer(f"Dagster did not say what became of {len(attempts)} runs: {answer}")
        return [_launched(SCORE_JOB, result) for result in results]

    def launched(self, attempts: Mapping[str, int]) -> set[str]:
        """Those of the challenges for whose attempt there is a run, whatever has become of it."""
        tags = {
            f"run{number}": [{"key": PARTITION_TAG, "value": key}, {"key": ATTEMPT_TAG, "value": str(attempt)}]
            for number, (key, attempt) in enumerate(attempts.items())
        }
        data = self._data(runs_document(len(attempts)), tags)
        answers = [self._part(data, name) for name in tags]
        if wrong := [answer for answer in answers if answer["__typename"] != "Runs"]:
            raise OrchestratorError(f"Dagster did not say which runs there are: {wrong[0]}")
        return {key for key, answer in zip(attempts, answers, strict=True) if answer["results"]}

    def launch(self, job: str, tags: Mapping[str, str], config: Mapping[str, Any] | None = None) -> str:
        """Launch a job, with run config where it is given; returns the run id."""
        launched = _launched(job, self._ask("launchRun", _LAUNCH, params=_params(job, tags, config)))
        if isinstance(launched, OrchestratorError):
            raise launched
        return launched

    def run_status(self, run_id: str) -> str:
        """Dagster's status of a run, such as STARTED or SUCCESS."""
        answer = self._ask("runOrError", _STATUS, id=run_id)
        if answer["__typename"] != "Run":
            raise OrchestratorError(f"Dagster knows no run {run_id}: {answer}")
        return str(answer["status"])

    def run_statuses(self, run_ids: Sequence[str]) -> Mapping[str, str]:
        """The same of many runs, asked at once; those that Dagster does not know are missing."""
        parts = (list(run_ids[at : at + RUNS_AT_ONCE]) for at in range(0, len(run_ids), RUNS_AT_ONCE))
        return {run["runId"]: run["status"] for part in parts for run in self._runs({"runIds": part})}

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

    def materialized(self, asset: str, partition: str, run_id: str) -> dict[str, Any]:
        """What a run said of a partition of an asset that it made: numbers, texts and JSON; nothing where it made none.

        Of a few newest materializations of the partition.
        """
        answer = self._ask("assetOrError", _MATERIALIZED, key={"path": [asset]}, partition=partition)
        found = (each["metadataEntries"] for each in answer.get("assetMaterializations", ()) if each["runId"] == run_id)
        entries: Sequence[Mapping[str, Any]] = next(found, ())
        return {entry["label"]: value for entry in entries if (value := _value(entry)) is not None}

    def failed_runs(self, since: datetime) -> list[FailedRun]:
        """Runs that ended as failed since then, the newest first, at most 200."""
        return [_failed(run) for run in self._runs({"statuses": ["FAILURE"], "updatedAfter": since.timestamp()})]

    def succeeded(self, job: str, since: datetime) -> bool:
        """Whether a run of a job has succeeded since then."""
        return bool(self._runs({"pipelineName": job, "statuses": ["SUCCESS"], "updatedAfter": since.timestamp()}))

    def failed_checks(self) -> list[UnmetCheck]:
        """Checks of assets that do not hold now."""
        nodes = self._data(_CHECKS, {}).get("assetNodes")
        if not isinstance(nodes, list):
            raise NoAnswer(f"Dagster at {self.url} answered without assetNodes; is it a Dagster webserver?")
        return [
            unmet
            for node in nodes
            for check in node["assetChecksOrError"].get("checks", ())
            if (unmet := _unmet(node["assetKey"]["path"][-1], check)) is not None
        ]

    def ready(self) -> bool:
        """Whether the code location is loaded, so that runs can be launched."""
        try:
            answer = self._ask("locationStatusesOrError", _LOCATION)
        except OrchestratorError:
            return False
        return any(e["name"] == CODE_LOCATION and e["loadStatus"] == "LOADED" for e in answer.get("entries", ()))

    def _runs(self, wanted: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        answer = self._ask("runsOrError", _RUNS, filter=dict(wanted))
        if answer["__typename"] != "Runs":
            raise OrchestratorError(f"Dagster did not say which runs there are of {dict(wanted)}: {answer}")
        found: Sequence[Mapping[str, Any]] = answer["results"]
        return found

    def _ask(self, field: str, query: str, **variables: Any) -> Mapping[str, Any]:
        """The object under `field` of the answer."""
        return self._part(self._data(query, variables), field)

    def _part(self, data: Mapping[str, Any], field: str) -> Mapping[str, Any]:
        if isinstance(answer := data.get(field), dict) and "__typename" in answer:
            return answer
        raise NoAnswer(f"Dagster at {self.url} answered without {field}: {str(data)[:500]}; is it a Dagster webserver?")

    def _data(self, query: str, variables: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            response = self.client.post(f"{self.url}/graphql", json={"query": query, "variables": dict(variables)})
            response.raise_for_status()
            body = response.json()
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise NotReady(f"Dagster at {self.url} could not be asked: {error!r}; is it running?") from error
        except httpx.HTTPStatusError as error:
            status, text = error.response.status_code, error.response.text
            said = f"a web page (HTTP {status})" if is_web_page(text) else f"{status} {text[:SAID_CHARS]!r}"
            raise NoAnswer(f"Dagster at {self.url} answered {said}; its log, or the broker's, may say more") from error
        except (httpx.HTTPError, ValueError) as error:
            raise NoAnswer(f"Dagster at {self.url} did not answer: {error!r}") from error
        if not isinstance(body, dict):
            return {}
        if errors := body.get("errors"):
            # An error that names a path was raised while something was done; others come before anything is.
            kind = NoAnswer if any("path" in each for each in errors) else OrchestratorError
            raise kind(f"Dagster at {self.url} refused a query: {str(errors)[:500]}")
        data = body.get("data")
        return data if isinstance(data, dict) else {}


def challenges_document(count: int) -> str:
    """A mutation that adds the partitions of so many challenges, then launches their runs."""
    many = count > 1
    keys = "".join(f", $key{number}: String!" for number in range(count))
    added = "".join(
        f"""
  added{number}: addDynamicPartition(
    repositorySelector: $repository, partitionsDefName: $definition, partitionKey: $key{number}
  ) {{ __typename }}"""
        for number in range(count)
    )
    launch = (
        f"""launchMultipleRuns(executionParamsList: $params) {{ __typename
    ... on PythonError {{ message className }}
    ... on LaunchMultipleRunsResult {{ launchMultipleRunsResult {_LAUNCHED} }} }}"""
        if many
        else f"launchRun(executionParams: $params) {_LAUNCHED}"
    )
    params = "[ExecutionParams!]!" if many else "ExecutionParams!"
    head = f"mutation ($repository: RepositorySelector!, $definition: String!, $params: {params}{keys})"
    return f"{head} {{{added}\n  {launch} }}"


def runs_document(count: int) -> str:
    """A query for the newest run with each of so many pairs of tags."""
    tags = ", ".join(f"$run{number}: [ExecutionTag!]!" for number in range(count))
    runs = "".join(
        f"""
  run{number}: runsOrError(filter: {{tags: $run{number}}}, limit: 1) {{ __typename
    ... on Runs {{ results {{ runId }} }} ... on PythonError {{ message }} }}"""
        for number in range(count)
    )
    return f"query ({tags}) {{{runs}\n}}"


def _params(job: str, tags: Mapping[str, str], config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {
        "selector": {"repositoryName": REPOSITORY, "repositoryLocationName": CODE_LOCATION, "jobName": job},
        "runConfigData": dict(config or {}),
        "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
    }


def _failed(run: Mapping[str, Any]) -> FailedRun:
    tags = {tag["key"]: tag["value"] for tag in run["tags"]}
    ended_s = run.get("endTime")
    ended_at = None if ended_s is None else datetime.fromtimestamp(ended_s, UTC)
    return FailedRun(str(run["jobName"]), str(run["runId"]), tags.get(PARTITION_TAG), ended_at)


def _unmet(asset: str, check: Mapping[str, Any]) -> UnmetCheck | None:
    """What a check says, if it does not hold. One that itself could not be executed makes its run fail."""
    evaluation = (check["executionForLatestMaterialization"] or {}).get("evaluation")
    if evaluation is None or evaluation["success"]:
        return None
    texts = _texts(evaluation)
    reason = texts.get("reason") or "; ".join(texts.values())
    return UnmetCheck(asset, check["name"], check["blocking"] and evaluation["severity"] == "ERROR", reason)


def _launched(job: str, answer: Mapping[str, Any]) -> str | OrchestratorError:
    """The id of the run that was launched, or why none was."""
    return str(answer["run"]["runId"]) if answer["__typename"] == "LaunchRunSuccess" else _refusal(job, answer)


def _refusal(job: str, answer: Mapping[str, Any]) -> OrchestratorError:
    kinds = answer["__typename"], answer.get("className")
    error = NotReady if any(kind in _NOT_LOADED for kind in kinds) else OrchestratorError
    return error(f"Dagster did not launch {job}: {answer}")


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
        said = [*causes, error["message"]][0].strip()
        outcome.said.append(f"{event['stepKey']} failed: {_OUR_ERROR.sub('', said)}")
    elif kind == "MaterializationEvent":
        asset, texts = event["assetKey"]["path"][-1], _texts(event)
        told = [f"{label} {said}" for label, said in texts.items() if label in _TOLD]
        outcome.said.extend([f"{asset}: {', '.join(told)}"] if told else [])
        if "skipped" in texts:
            outcome.skipped.add(asset)


def _value(entry: Mapping[str, Any]) -> Any:
    """A number, a text, or what JSON says; None for what is neither."""
    if "intRepr" in entry:
        return int(entry["intRepr"])
    if "jsonString" in entry:
        return json.loads(entry["jsonString"])
    return entry.get("floatValue", entry.get("text"))


def _texts(about: Mapping[str, Any]) -> dict[str, str]:
    return {entry["label"]: entry["text"] for entry in about["metadataEntries"] if "text" in entry}
