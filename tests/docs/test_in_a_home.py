"""What the documents say to ask a validator's data, in order, over the data of one that set weights."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from loosh_pipeline.cli import app
from loosh_pipeline.settings import get_settings
from tests.audit.weighed import weighed_home
from tests.docs.blocks import ROOT
from tests.docs.fates import IN_A_HOME

BACKUPS = tuple(command for command in IN_A_HOME if command.startswith(("loosh backup", "loosh restore")))
SEQUENCES = (*((command,) for command in IN_A_HOME if command not in BACKUPS), BACKUPS)
"""Commands that need what was done before them are run one after the other; every other one alone."""
ENDS = {
    "loosh diff --a robust --b network": (1, "loosh rescore"),
}
"""With what a command ends otherwise than with 0, and what it must say to do."""


@dataclass(frozen=True)
class Home:
    """Where the commands are run. `restored` is the directory that a backup is put into."""

    elsewhere: Path
    restored: Path
    wallets: Path

    def words(self, command: str) -> list[str]:
        """The words of a command, with what stands for something replaced by something that is there."""
        backups = sorted(self.elsewhere.rglob("*.tar"))
        there = {
            "HOTKEY": "hotkey-1",
            "/mnt/elsewhere": str(self.elsewhere / ("kept" if "--keep" in command else "before")),
            "FILE": str(backups[-1]) if backups else "FILE",
            "docs/sample.loosh-audit": str(ROOT / "docs/sample.loosh-audit"),
        }
        return [there.get(word, word) for word in shlex.split(command)[1:]]

    def environment(self, command: str) -> dict[str, str]:
        if command.startswith("loosh restore") and "--check" not in command:
            return {"LOOSH_HOME": str(self.restored)}
        return {"WALLET_PATH": str(self.wallets)} if command == "loosh wallet new" else {}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("documents")
    there = Home(folder / "elsewhere", folder / "restored", folder / "wallets")
    for name in ("kept", "before"):
        (there.elsewhere / name).mkdir(parents=True)
    with weighed_home(folder / "home"), pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield there


@pytest.fixture(autouse=True)
def own_home() -> None:
    """The home of the module, in place of one for each test."""


def run(home: Home, command: str) -> Any:
    environment = {"COLUMNS": "200", **home.environment(command)}
    get_settings.cache_clear()
    done = CliRunner().invoke(app, home.words(command), env=environment, prog_name="loosh")
    get_settings.cache_clear()
    return done


@pytest.mark.parametrize("commands", SEQUENCES, ids=lambda commands: commands[0])
def test_commands_do_what_their_page_says(home: Home, commands: tuple[str, ...]) -> None:
    for command in commands:
        code, said = ENDS.get(command, (0, ""))
        done = run(home, command)
        assert done.exit_code == code, f"{command}\n{done.output}"
        assert said in done.output, command
