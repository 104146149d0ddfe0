"""The parts of the adapter that need no chain; `test_process.py` runs it against one."""

from __future__ import annotations

import subprocess
import sys

import pytest
from bittensor._transport.errors import StorageFunctionNotFound, SubstrateRequestException

from loosh_pipeline.chain.bittensor_chain import is_skew, refused_by_pool
from loosh_pipeline.chain.reads import axon_ip


@pytest.mark.parametrize(
    ("ip", "ip_type", "address"),
    [
        (0x7F000001, 4, "127.0.0.1"),
        (1, 6, "::1"),
        (0, 4, None),
        (2**127, 4, None),
        (2**127, 6, "8000::"),
    ],
)
def test_the_address_a_neuron_announced(ip: int, ip_type: int, address: str | None) -> None:
    assert axon_ip({"ip": ip, "ip_type": ip_type}) == address


@pytest.mark.parametrize(
    ("error", "is_refused"),
    [
        (SubstrateRequestException({"error": {"code": 1010, "message": "Invalid Transaction"}}), True),
        (SubstrateRequestException({"error": {"code": 1014, "message": "Priority is too low"}}), True),
        (SubstrateRequestException({"error": {"code": 1013, "message": "Already imported"}}), False),
        (SubstrateRequestException({"error": {"code": 4003, "message": "Client error"}}), False),
        (SubstrateRequestException("Connection dropped while an extrinsic submission was in flight"), False),
        (TimeoutError(), False),
    ],
)
def test_only_a_refusal_of_the_pool_is_certain_not_to_be_submitted(error: Exception, is_refused: bool) -> None:
    assert refused_by_pool(error) == is_refused


@pytest.mark.parametrize(
    ("error", "is_of_the_runtime"),
    [
        (StorageFunctionNotFound("SubtensorModule.SubnetEpochConsensus"), True),
        (KeyError("storage function SubtensorModule.Nope not found"), True),
        (ValueError("call SubtensorModule.set_mechanism_weights not found"), True),
        (ValueError("Runtime API Call 'X.y' not found in registry"), True),
        (ValueError('missing call param "mecid" for SubtensorModule.set_weights'), True),
        (ValueError('expected an integer, got "x"'), False),
        (ValueError("HTTP 404 not found"), False),
        (KeyError("weights"), False),
        (TypeError("call x not found"), False),
    ],
)
def test_only_what_the_runtime_lacks_is_a_runtime_that_the_sdk_does_not_know(
    error: Exception, is_of_the_runtime: bool
) -> None:
    assert is_skew(error) is is_of_the_runtime


def test_the_sdk_is_imported_by_nobody_who_does_not_use_it() -> None:
    modules = "bittensor_chain, fake, port, process, reads, wallet, weights"
    program = f"from loosh_pipeline.chain import {modules}; import sys; assert 'bittensor' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=20)
