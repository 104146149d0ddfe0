"""What holds for all commands: help, `--json`, exit codes in the operator's book, completion, usage errors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from loosh_pipeline.cli import app

BOOK = Path(__file__).parents[2] / "docs/operating/commands.md"
WITHOUT_JSON = {"config example": "it prints a file"}


def commands(at: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command with its words, such as `chain serve`."""
    at = at or typer.main.get_command(app)
    if hasattr(at, "commands"):
        if path and at.invoke_without_command:
            yield " ".join(path), at
        for name, each in at.commands.items():
            yield from commands(each, (*path, name))
    else:
        yield " ".join(path), at


ALL = dict(commands())


def documented() -> dict[str, str]:
    """Exit codes by command, from the table in the book."""
    rows = re.findall(r"^\| `loosh ([a-z -]+)` \| .* \| ([^|]+) \|$", BOOK.read_text(), re.MULTILINE)
    return dict(rows)


def run(*arguments: str, **env: str) -> Any:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200", **env}, prog_name="loosh")


@pytest.mark.parametrize("name", ALL)
def test_each_command_says_what_it_does_and_what_its_options_are(name: str) -> None:
    shown = run(*name.split(), "--help")
    assert shown.exit_code == 0
    assert ALL[name].help
    undescribed = [each.name for each in ALL[name].params if each.name not in UNDESCRIBED and not each.help]
    assert undescribed == []


UNDESCRIBED = ("max_tokens", "temperature")
"""Names of the protocol that say everything."""


@pytest.mark.parametrize("name", ALL)
def test_each_command_that_prints_something_does_so_for_programs(name: str) -> None:
    options = {option for each in ALL[name].params for option in each.opts}
    assert ("--json" in options) != (name in WITHOUT_JSON)


def test_the_book_says_with_what_each_command_ends() -> None:
    told = documented()
    assert set(told) == set(ALL)
    for name, codes in told.items():
        assert {int(code) for code in re.findall(r"\b\d+\b", codes)} <= {0, 1, 2, 3, 64, 130}, name


def test_the_version_is_the_packages() -> None:
    said = run("--version")
    assert (said.exit_code, said.stdout.strip()) == (0, version("loosh-pipeline"))


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("loosh dev", "devnet"),
        ("loosh chain ser", "serve"),
        ("loosh devnet --chain-fault stale", "stale_head"),
        ("loosh devnet --fault gzip", "gzip_bomb"),
        ("loosh devnet --behaviour stea", "steady"),
        ("loosh weights set --waive chan", "change"),
    ],
)
def test_the_shell_completes_commands_and_values(words: str, completed: str) -> None:
    count = str(len(words.split()) - 1)
    said = run(_LOOSH_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=count)
    assert said.stdout.split() == [completed]


def test_the_completion_can_be_shown() -> None:
    assert "--show-completion" in run("--help").stdout
    said = run(_LOOSH_COMPLETE="source_bash")
    assert (said.exit_code, "_LOOSH_COMPLETE" in said.stdout) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (("devnet", "--chain-fault", "sulk"), ("'sulk' is none of", "silence")),
        (("devnet", "--fault", "sulk"), ("'sulk' is none of", "gzip_bomb")),
        (("devnet", "--behaviour", "sulky"), ("'sulky' is none of", "copy_ring")),
        (("weights", "set", "--waive", "sound"), ("sound cannot be waived", "flagged_share")),
        (("devnet", "--miners", "0"), ("Invalid value for '--miners'", "greater than or equal to 1")),
        (("stat",), ("No such command", "status")),
        (("status", "--jsn"), ("No such option", "--json")),
    ],
)
def test_wrong_usage_says_what_is_allowed(arguments: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    said = run(*arguments)
    assert said.exit_code == 2
    for word in allowed:
        assert word in re.sub(r"[\s│]+", " ", said.stderr)


@pytest.mark.parametrize("name", ["status", "retry", "chain acknowledge", "chain status --stored", "config check"])
def test_what_a_program_reads_is_one_json_object(name: str, own_home: Path) -> None:
    own_home.mkdir(parents=True)
    said = run(*name.split(), "--json")
    assert said.exit_code == 0, said.output
    (line,) = said.stdout.splitlines()
    assert isinstance(json.loads(line), dict)


def test_a_new_wallet_too_and_no_secret_is_in_it(tmp_path: Path) -> None:
    said = run("wallet", "new", "--json", WALLET_PATH=str(tmp_path))
    assert said.exit_code == 0, said.output
    told = json.loads(said.stdout)
    assert set(told) == {"directory", "name", "hotkey_name", "hotkey", "coldkey", "coldkey_created"}
    assert told["hotkey"] in (tmp_path / "validator/hotkeys/validator").read_text()
    again = run("wallet", "new", "--json", WALLET_PATH=str(tmp_path))
    assert (again.exit_code, again.stdout, "exists already" in again.stderr) == (2, "", True)


def test_an_error_stays_text_on_stderr() -> None:
    said = run("challenges", "show", "no-such-id", "--json")
    assert (said.exit_code, said.stdout) == (1, "")
    assert "no-such-id" in said.stderr
