"""`python -m loosh_pipeline.chain <operation>`: one chain operation, lines of JSON on stdin and stdout.

Started by `ProcessChain`; not meant for people. See `messages` for what is said.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from typing import BinaryIO

from loosh_pipeline.chain.bittensor_chain import BittensorChain, without_ethereum
from loosh_pipeline.chain.messages import ANSWER, GO, REQUEST, RESULTS, Answer, ChainRequest, Operation
from loosh_pipeline.chain.port import BeforeSending
from loosh_pipeline.domain import SignedExtrinsic
from loosh_pipeline.errors import NotSubmitted

_GRACE_S = 1.0
"""The parent kills at its deadline; this process ends itself a little later, should there be no parent any more."""


def perform(operation: Operation, request: ChainRequest, before_sending: BeforeSending) -> object:
    """Run one operation against the chain of the request."""
    chain = BittensorChain(
        request.endpoint, request.wallet_path, request.wallet_name, request.hotkey_name, request.stale_after_s
    )
    genesis = request.expected_genesis
    match operation:
        case "snapshot":
            return chain.snapshot(request.netuid, genesis)
        case "observe" if request.hotkey is not None:
            return chain.observe(request.netuid, request.hotkey, genesis)
        case "submit_weights" if request.plan is not None:
            return chain.submit_weights(request.plan, before_sending, genesis)
        case "block_hash" if request.block is not None:
            return chain.block_hash(request.block, genesis)
        case "serve_axon" if request.ip is not None:
            return chain.serve_axon(request.netuid, request.ip, request.port, before_sending, genesis)
    raise ValueError(f"{operation} misses its argument")


def answer(operation: Operation, request: bytes, before_sending: BeforeSending) -> Answer:
    """The outcome as an answer: every failure travels with its type and message."""
    try:
        parsed = REQUEST.validate_json(request)
        signal.setitimer(signal.ITIMER_REAL, parsed.deadline_s + _GRACE_S)
        result = perform(operation, parsed, before_sending)
        return Answer(RESULTS[operation].dump_python(result, mode="json"))
    except Exception as error:
        traceback.print_exc()
        return Answer(error_type=type(error).__name__, error=str(error))


def tell(stdout: BinaryIO, said: Answer) -> None:
    stdout.write(ANSWER.dump_json(said) + b"\n")
    stdout.flush()


def main() -> int:
    operation = next((name for name in RESULTS if sys.argv[1:] == [name]), None)
    if operation is None:
        print(f"usage: python -m loosh_pipeline.chain {{{','.join(RESULTS)}}}", file=sys.stderr)
        return 2
    without_ethereum()
    stdin = sys.stdin.buffer
    # Nothing but answers may reach stdout: what the SDK prints goes to stderr.
    with os.fdopen(os.dup(1), "wb") as stdout:
        os.dup2(2, 1)

        def ask(signed: SignedExtrinsic) -> None:
            tell(stdout, Answer(signed=signed))
            if stdin.readline() != GO:
                raise NotSubmitted(f"{signed.hash} was signed and not sent: nobody said that it may be")

        tell(stdout, answer(operation, stdin.readline(), ask))
    return 0


if __name__ == "__main__":
    sys.exit(main())
