"""What an address may ask for."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import HTTPException, status


def chosen(name: str, value: str, among: Iterable[str]) -> str:
    """The value, if it is possible. Raises HTTPException 422 that says what is."""
    possible = [each for each in among if each]
    if value in possible or value in among:
        return value
    said = f"there is no {name}={value!r}; possible are {', '.join(possible)}"
    raise HTTPException(status.HTTP_422_UNPROCESSABLE_CONTENT, said)
