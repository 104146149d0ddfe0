from __future__ import annotations

import os
import sys
import time

import pytest

from loosh_pipeline.chain.conversation import Conversation

DEAF = [sys.executable, "-c", "import time; time.sleep(60)"]
ECHO = [sys.executable, "-c", "import sys; sys.stdout.write(str(len(sys.stdin.readline())))"]


def test_a_process_that_reads_nothing_costs_the_deadline() -> None:
    started = time.monotonic()
    with Conversation(DEAF, os.environ) as process, pytest.raises(TimeoutError, match=r"within 0\.3 s"):
        process.say(b"x" * 1_000_000 + b"\n", 0.3)
    assert time.monotonic() - started < 30


def test_a_line_longer_than_a_pipe_arrives() -> None:
    with Conversation(ECHO, os.environ) as process:
        process.say(b"x" * 1_000_000 + b"\n", 10.0)
        assert process.hear(10.0) == b"1000001"


def test_nobody_left_to_read_shows_when_an_answer_is_awaited() -> None:
    with Conversation([sys.executable, "-c", "pass"], os.environ) as process:
        assert process.hear(10.0) == b""
        process.say(b"x\n", 1.0)
        assert process.status == 0
