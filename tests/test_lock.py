from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from loosh_pipeline.errors import ConfigError
from loosh_pipeline.lock import SUPERVISED, only_looking, validator_lock

HOLD = """
import sys, time
from pathlib import Path
from loosh_pipeline.lock import validator_lock
with validator_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_validator_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SUPERVISED, raising=False)
    assert only_looking(tmp_path) is None, "nobody runs here"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match="a validator runs in"), validator_lock(tmp_path):
            pass
        assert str(tmp_path) in (only_looking(tmp_path) or "")
        monkeypatch.setenv(SUPERVISED, "1")
        assert only_looking(tmp_path) is None, "its own processes work on"
        monkeypatch.delenv(SUPERVISED)
        other.kill()
    assert only_looking(tmp_path) is None, "the lock ended with its process"
    with validator_lock(tmp_path):
        pass
