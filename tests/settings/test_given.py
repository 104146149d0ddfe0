"""How a `.env` is read: as people write it, and never past a line that is not understood."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from loosh_pipeline.errors import ConfigError
from loosh_pipeline.settings import Settings, get_settings
from loosh_pipeline.settings.given import everything_given


def written(path: Path, content: bytes) -> dict[str, str]:
    path.write_bytes(content)
    return {name: given.text for name, given in everything_given(path, {})[1].items()}


@pytest.mark.parametrize(
    "content",
    [
        b"NETUID=5",
        b"netuid=5\n",
        b"NETUID=5\r\n",
        b"export NETUID=5\n",
        b'NETUID="5"  # the subnet\n',
        b"NETUID = '5'\n",
        b"\xef\xbb\xbfNETUID=5\n",
    ],
)
def test_it_is_read_as_people_write_it(tmp_path: Path, content: bytes) -> None:
    assert written(tmp_path / ".env", content) == {"NETUID": "5"}
    assert Settings(_env_file=tmp_path / ".env").netuid == 5


def test_a_line_that_cannot_be_understood_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.env: line 2, 4 cannot be understood; write NAME=value"):
        written(tmp_path / ".env", b"NETUID=5\nWEIGHTS_BURN_SHARE 0.3\nAPI_PORT=1\nAPI HOST=h\n")


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_another_encoding_is_an_error_that_says_so(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(ConfigError, match=r"is no UTF-8 text .*; save it as UTF-8"):
        written(tmp_path / ".env", "WALLET_NAME=größer\n".encode(encoding))


def test_so_is_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    os.mkdir(tmp_path / ".env")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        everything_given(tmp_path / ".env", {})


def test_it_is_read_before_any_setting_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("NETUID 5\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(Settings.model_config, "env_file", ".env")
    with pytest.raises(ConfigError, match="line 1 cannot be understood"):
        get_settings()
