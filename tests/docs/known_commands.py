"""Whether `loosh`, `make` and `python -m` know what is asked of them. Nothing is run."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import typer

from loosh_pipeline.cli import app
from tests.docs.blocks import ROOT

LEFT_OUT = "…"


def problems(words: list[str]) -> Iterator[str]:
    """What is wrong with a command; nothing where it is none of ours."""
    for at, word in enumerate(words):
        program = word.rpartition("/")[2]
        if word.endswith("bin/loosh") or (word == "loosh" and (at == 0 or _runs(words[:at]))):
            yield from of_loosh(words[at + 1 :])
            return
        if program == "make" and at == 0:
            yield from of_make(words[1:])
            return
        if program.startswith("python") and words[at + 1 : at + 2] == ["-m"]:
            yield from of_module(words[at + 2])
            return


def _runs(before: list[str]) -> bool:
    """Whether what comes before a word has another program run it: `sudo -u USER`, `docker compose … exec SERVICE`."""
    return before[-2:-1] in (["-u"], ["exec"])


def of_loosh(words: list[str]) -> Iterator[str]:
    at, name = typer.main.get_command(app), "loosh"
    options = {*_options(at), "--help"}
    while words and words[0] in getattr(at, "commands", {}):
        at, name, words = at.commands[words[0]], f"{name} {words[0]}", words[1:]  # type: ignore[attr-defined]
        options = {*_options(at), "--help"}
    if hasattr(at, "commands") and words and not words[0].startswith("-") and not _stands_for_any(words[0]):
        yield f"{name} has no command {words[0]}"
    for word in words:
        if word.startswith("-") and not re.fullmatch(r"-\d.*", word) and word.partition("=")[0] not in options:
            yield f"{name} has no option {word}"


def _stands_for_any(word: str) -> bool:
    return word.isupper() or LEFT_OUT in word


def _options(command: Any) -> Iterator[str]:
    for each in command.params:
        yield from (*each.opts, *each.secondary_opts)


def of_make(words: list[str]) -> Iterator[str]:
    skip = False
    for word in words:
        if not skip and "=" not in word and not word.startswith("-") and word not in targets():
            yield f"make has no target {word}"
        skip = word == "-C"


@cache
def targets() -> frozenset[str]:
    return frozenset(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


def of_module(name: str) -> Iterator[str]:
    if LEFT_OUT not in name and not name.isupper() and "NAME" not in name and importlib.util.find_spec(name) is None:
        yield f"there is no module {name}"
