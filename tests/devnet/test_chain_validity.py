"""What newer runtimes refuse at the pool never gets into a block, and costs no nonce."""

from __future__ import annotations

from typing import Any

import pytest
from bittensor import ErrorCode
from bittensor._transport.errors import SubstrateRequestException
from bittensor.result import chain_error_from_substrate_request
from bittensor_core import Keypair

from loosh_pipeline.devnet.chain.pool import Refused
from tests.devnet.chain_client import (
    IDLE,
    OUTSIDER,
    VALIDATOR,
    commit_call,
    execute,
    new_chain,
    serve_call,
    signed,
    weights_call,
)


@pytest.mark.parametrize(
    ("number", "name", "call", "keypair", "config"),
    [
        (1, "StakeAmountTooLow", weights_call(), IDLE, {"stake_threshold_tao": 10.0}),
        (1, "StakeAmountTooLow", commit_call(), IDLE, {"stake_threshold_tao": 10.0, "commit_reveal": True}),
        (15, "InvalidRevealRound", commit_call(reveal_round=999), VALIDATOR, {"commit_reveal": True}),
        (3, "SubnetNotExists", serve_call(netuid=5), VALIDATOR, {}),
        (10, "HotKeyNotRegisteredInNetwork", serve_call(), OUTSIDER, {}),
        (11, "InvalidIpAddress", serve_call("127.0.0.1"), VALIDATOR, {}),
        (13, "InvalidPort", serve_call(port=0), VALIDATOR, {}),
        (255, "BadRequest", serve_call(ip_type=5), VALIDATOR, {}),
    ],
)
def test_a_call_that_must_fail_is_refused_by_a_number_the_sdk_knows(
    number: int, name: str, call: bytes, keypair: Keypair, config: dict[str, Any]
) -> None:
    chain = new_chain(**config, pool_validates=True)
    with pytest.raises(Refused) as refused:
        chain.submit(signed(chain, call, keypair))
    assert (refused.value.code, refused.value.reason) == (1010, f"Custom error: {number}")
    answer = {"error": {"code": 1010, "message": refused.value.message, "data": refused.value.reason}}
    assert chain_error_from_substrate_request(SubstrateRequestException(answer)).name == name
    assert chain.next_nonce(keypair.ss58_address) == 0


def test_rate_limits_hold_at_the_pool_for_the_block_to_come() -> None:
    chain = new_chain(pool_validates=True, rate_limit_blocks=3, serving_rate_limit_blocks=3)
    assert execute(chain, weights_call()) == "ExtrinsicSuccess"
    assert execute(chain, serve_call(), IDLE) == "ExtrinsicSuccess"
    with pytest.raises(Refused, match="Custom error: 6") as refused:
        chain.submit(signed(chain, weights_call()))
    limited = SubstrateRequestException({"error": {"code": 1010, "message": "", "data": refused.value.reason}})
    assert chain_error_from_substrate_request(limited).code == ErrorCode.RATE_LIMITED
    with pytest.raises(Refused, match="Custom error: 12"):
        chain.submit(signed(chain, serve_call(), IDLE))
    chain.tick()
    assert execute(chain, weights_call()) == "ExtrinsicSuccess"
    assert execute(chain, serve_call(), IDLE) == "ExtrinsicSuccess"


def test_what_may_still_succeed_is_taken() -> None:
    chain = new_chain(pool_validates=True)
    assert execute(chain, weights_call(), IDLE) == "NeuronNoValidatorPermit", "found only on chain"
    assert execute(new_chain(), weights_call(), OUTSIDER) == "HotKeyNotRegisteredInSubNet"
