"""`python -m loosh_pipeline.chain <operation>`: one chain operation, JSON on stdin, one JSON answer on stdout.

Started by `ProcessChain`; not meant for people.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback

from loosh_pipeline.chain.bittensor_chain import BittensorChain
from loosh_pipeline.chain.messages import ANSWER, REQUEST, RESULTS, Answer, ChainRequest, Operation

_GRACE_S = 1.0
"""The parent kills at its deadline; this process ends itself a little later, should there be no parent any more."""


def perform(operation: Operation, request: ChainRequest) -> object:
    """Run one operation against the chain of the request."""
    chain = BittensorChain(request.endpoint, request.wallet_path, request.wallet_name, request.hotkey_name)
    match operation:
        case "snapshot":
            return chain.snapshot(request.netuid)
        case "observe" if request.hotkey is not None:
            return chain.observe(request.netuid, request.hotkey)
        case "submit_weights" if request.plan is not None:
            return chain.submit_weights(request.plan)
    raise ValueError(f"{operation} misses its argument")


def answer(operation: Operation, request: bytes) -> Answer:
    """The outcome as an answer: every failure travels with its type and message."""
    try:
        parsed = REQUEST.validate_json(request)
        signal.setitimer(signal.ITIMER_REAL, parsed.deadline_s + _GRACE_S)
        result = perform(operation, parsed)
        return Answer(RESULTS[operation].dump_python(result, mode="json"))
    except Exception as error:
        traceback.print_exc()
        return Answer(error_type=type(error).__name__, error=str(error))


def main() -> int:
    operation = next((name for name in RESULTS if sys.argv[1:] == [name]), None)
    if operation is None:
        print(f"usage: python -m loosh_pipeline.chain {{{','.join(RESULTS)}}}", file=sys.stderr)
        return 2
    # Nothing but the answer may reach stdout: what the SDK prints goes to stderr.
    with os.fdopen(os.dup(1), "wb") as stdout:
        os.dup2(2, 1)
        stdout.write(ANSWER.dump_json(answer(operation, sys.stdin.buffer.read())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
