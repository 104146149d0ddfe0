"""A validator of the demo touches nothing of a real one on the same machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from loosh_pipeline.devnet.subnet import DevnetInfo
from loosh_pipeline.local import OF_THE_MACHINE, local_settings
from loosh_pipeline.settings import Settings, get_settings
from tests.settings.test_model import VALUES


class Info(DevnetInfo):
    def __init__(self) -> None: ...

    def environment(self) -> dict[str, str]:
        return {"NETUID": "78", "SUBTENSOR_ADDRESS": "ws://127.0.0.1:1", "WALLET_PATH": "/w"}


def test_it_has_the_defaults_whatever_is_set_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plain = local_settings(Info(), tmp_path)
    for name, (text, _) in VALUES.items():
        monkeypatch.setenv(name.upper(), text)
    get_settings.cache_clear()
    real = get_settings()
    local = local_settings(Info(), tmp_path, max_miners=5)
    ports = {name for name in Settings.model_fields if name.endswith("_port")}
    differ = {name for name in Settings.model_fields if getattr(local, name) != getattr(plain, name)} - ports
    assert differ == {*OF_THE_MACHINE, "models_dir", "max_miners"}
    assert all(getattr(local, name) == getattr(real, name) for name in OF_THE_MACHINE)
    assert local.max_miners == 5
