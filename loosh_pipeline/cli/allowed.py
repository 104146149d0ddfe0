"""Options that take one of a few words: completed by the shell, and a wrong one is a usage error that names them all.

What the words are is loaded when somebody asks: most commands need none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import typer

Words = Callable[[], Iterable[str]]
Value = TypeVar("Value", str, list[str], None)


def completing(words: Words) -> Callable[[str], list[str]]:
    """For `autocompletion`."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in words() if word.startswith(incomplete)]

    return complete


def allowing(words: Words) -> Callable[[Value], Value]:
    """For `callback`, of an option that may be given once or often."""

    def check(value: Value) -> Value:
        given: list[str] = [value] if isinstance(value, str) else list(value or ())
        allowed: list[str] = list(words()) if given else []
        for word in given:
            if word not in allowed:
                raise typer.BadParameter(f"{word!r} is none of {', '.join(allowed)}")
        return value

    return check


def chain_faults() -> Iterable[str]:
    from loosh_pipeline.devnet.chain.faults import ChainFault

    return map(str, ChainFault)


def miner_faults() -> Iterable[str]:
    from loosh_pipeline.devnet.faults import Fault

    return map(str, Fault)


def behaviours() -> Iterable[str]:
    from loosh_pipeline.devnet.behaviours import Behaviour

    return map(str, Behaviour)
