"""`python -m tests.faults`: run every fault; one line of JSON each on stdout, what pytest says on stderr.

Arguments go to pytest, such as `-k ingress`. Ends with 1 when a fault did harm that it must not do.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.faults.lines import Lines

HERE = Path(__file__).parent


def main() -> int:
    with os.fdopen(os.dup(1), "w") as lines:
        os.dup2(2, 1)
        arguments = ["-m", "faults", "-p", "no:cacheprovider", str(HERE), *sys.argv[1:]]
        return int(pytest.main(arguments, plugins=[Lines(lines)]) != pytest.ExitCode.OK)


if __name__ == "__main__":
    sys.exit(main())
