"""`python -m tests.faults`: run every fault; one line of JSON each on stdout, what pytest says on stderr.

Arguments go to pytest, such as `-k ingress`. Ends with 1 when a fault did harm that it must not do.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.lines import Lines

HERE = Path(__file__).parent


def main() -> int:
    _become_root()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was mounted and started is taken down
    with os.fdopen(os.dup(1), "w") as lines:
        os.dup2(2, 1)
        arguments = ["-m", "faults", "-p", "no:cacheprovider", str(HERE), *sys.argv[1:]]
        return int(pytest.main(arguments, plugins=[Lines(lines)]) != pytest.ExitCode.OK)


def _become_root() -> None:
    """Disks are mounted: without root, in a user namespace where the kernel allows one; else they are skipped."""
    namespace = ["unshare", "--map-root-user", "--mount"]
    if os.geteuid() == 0 or shutil.which(namespace[0]) is None:
        return
    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode == 0:
        os.execvp(namespace[0], [*namespace, sys.executable, "-m", "tests.faults", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
