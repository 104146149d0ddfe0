"""The chain, one killable process an operation.

The SDK can wait five minutes for a silent node and longer for a half-open socket, and no timeout of asyncio ends a
thread that hangs. A process can be killed: every operation ends within `CHAIN_TIMEOUT_S`, and what the SDK leaks or
writes to the terminal ends with it. It costs about a second.
"""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from loosh_pipeline import errors
from loosh_pipeline.chain.messages import ANSWER, REQUEST, RESULTS, Answer, ChainRequest, Operation
from loosh_pipeline.chain.wallet import load_signer
from loosh_pipeline.domain import Hotkey, Metagraph, ObservedWeights, Submission, WeightPlan
from loosh_pipeline.errors import ChainError, ChainTimeout, LooshError
from loosh_pipeline.settings import Settings

log = logging.getLogger(__name__)

_STDERR_TAIL = 2000
_OUTCOME_UNKNOWN = "; whether the weights were submitted is unknown: read the chain before submitting again"


class ProcessChain:
    """Implements `Chain` at `SUBTENSOR_ADDRESS` with the configured hotkey. Holds no connection."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def snapshot(self, netuid: int) -> Metagraph:
        metagraph: Metagraph = self._run("snapshot", self._request(netuid))
        return metagraph

    def submit_weights(self, plan: WeightPlan) -> Submission:
        submission: Submission = self._run("submit_weights", self._request(plan.netuid, plan=plan))
        return submission

    def observe(self, netuid: int, hotkey: Hotkey) -> ObservedWeights:
        observed: ObservedWeights = self._run("observe", self._request(netuid, hotkey=hotkey))
        return observed

    def identity(self) -> Hotkey:
        settings = self._settings
        signer = load_signer(settings.wallet_path, settings.wallet_name, settings.hotkey_name)
        return Hotkey(signer.ss58_address)

    def _request(self, netuid: int, *, hotkey: Hotkey | None = None, plan: WeightPlan | None = None) -> ChainRequest:
        settings = self._settings
        return ChainRequest(
            endpoint=settings.subtensor_address,
            wallet_path=settings.wallet_path.expanduser().absolute(),
            wallet_name=settings.wallet_name,
            hotkey_name=settings.hotkey_name,
            deadline_s=settings.chain_timeout_s,
            netuid=netuid,
            hotkey=hotkey,
            plan=plan,
        )

    def _run(self, operation: Operation, request: ChainRequest) -> Any:
        stdout, stderr, status = self._communicate(operation, REQUEST.dump_json(request))
        notes = stderr.decode(errors="replace").strip()[-_STDERR_TAIL:]
        if notes:
            log.debug("%s said: %s", operation, notes)
        answer = _parse(operation, stdout, status, notes)
        if answer.error_type is not None:
            raise _error(answer)
        return RESULTS[operation].validate_python(answer.result)

    def _communicate(self, operation: Operation, request: bytes) -> tuple[bytes, bytes, int]:
        settings = self._settings
        with subprocess.Popen(
            [sys.executable, "-m", "loosh_pipeline.chain", operation],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environment(),
            start_new_session=True,
        ) as process:
            try:
                stdout, stderr = process.communicate(request, timeout=settings.chain_timeout_s)
            except subprocess.TimeoutExpired as expired:
                raise ChainTimeout(
                    f"the chain at {settings.subtensor_address} did not answer {operation} within "
                    f"{settings.chain_timeout_s:g} s; check SUBTENSOR_ADDRESS or raise CHAIN_TIMEOUT_S"
                    + _unknown_after(operation)
                ) from expired
            finally:
                _end(process)
            return stdout, stderr, process.returncode

    def _environment(self) -> dict[str, str]:
        # The SDK caches runtime metadata by genesis and version; by endpoint too, no two chains share a cache.
        endpoint = hashlib.sha256(self._settings.subtensor_address.encode()).hexdigest()[:16]
        cache = self._settings.home / "chain" / "runtime-cache" / endpoint
        return os.environ | {"BITTENSOR_RUNTIME_CACHE_DIR": str(cache)}


def _unknown_after(operation: Operation) -> str:
    return _OUTCOME_UNKNOWN if operation == "submit_weights" else ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and whatever it started, however this one was interrupted."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _parse(operation: Operation, stdout: bytes, status: int, notes: str) -> Answer:
    try:
        return ANSWER.validate_json(stdout)
    except ValidationError as error:
        raise ChainError(
            f"the chain process ended with status {status} before it answered {operation}: "
            f"{notes or 'it said nothing'}" + _unknown_after(operation)
        ) from error


def _error(answer: Answer) -> LooshError:
    kind = getattr(errors, answer.error_type or "", None)
    if isinstance(kind, type) and issubclass(kind, LooshError):
        return kind(answer.error)
    return ChainError(f"{answer.error_type}: {answer.error}")
