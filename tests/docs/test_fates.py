"""No command is shown that is neither run nor excused, and none is excused that is not shown."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.docs.blocks import ROOT, commands
from tests.docs.fates import BENCHMARKS, DEMO, IN_A_HOME, NOT_RUN, ON_A_DEVNET, PRINTED, STARTED

FATES = (*IN_A_HOME, *STARTED, *ON_A_DEVNET, DEMO, *PRINTED, *BENCHMARKS, *NOT_RUN)
OF_AN_OUTER_MAKE = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "GNUMAKEFLAGS")
"""With these, one that runs these tests would say what it does in the output of this one."""


def test_every_command_that_is_shown_has_one_fate() -> None:
    shown = commands("sh")
    assert {command: page for command, page in shown.items() if command not in FATES} == {}
    assert [command for command in FATES if command not in shown] == []
    assert [command for command, times in Counter(FATES).items() if times > 1] == []
    assert all(NOT_RUN.values())


@pytest.mark.parametrize("command", [*PRINTED, DEMO])
def test_make_knows_what_to_do(command: str) -> None:
    words = command.partition("&&")[0].split()
    environment = {name: value for name, value in os.environ.items() if name not in OF_AN_OUTER_MAKE}
    done = subprocess.run(
        [*words, "--just-print"], cwd=ROOT, capture_output=True, text=True, check=False, env=environment
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert ("loosh demo --once" in done.stdout) == (command == DEMO)


@pytest.mark.slow
@pytest.mark.parametrize("command", BENCHMARKS)
def test_a_benchmark_has_the_options_that_are_shown(command: str) -> None:
    _, _, module, *options = command.split()
    asked = [sys.executable, "-m", module, "--help"]
    done = subprocess.run(
        asked, cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "200"}
    )
    missing = [option for option in options if option.startswith("--") and option not in done.stdout]
    assert missing == []
