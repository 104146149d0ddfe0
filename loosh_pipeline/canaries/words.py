"""Texts as they are compared: what looks alike is alike, and what cannot be seen counts for nothing."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation

MOST_CHARS = 20_000
"""Of an answer; what comes after is not looked at."""
MOST_DIGITS = 40
AROUND = " \t\r\n\"'`*_.,;:!?()[]{}<>«»“”‘’„$\\"
"""What may stand around an exact answer without making it another."""
SPACES = "\u00a0\u2009\u202f"
NUMBER = re.compile(r"(?<![\w.,])[-+]?\d[\d.,'_ ]*(?:e[-+]?\d{1,3})?", re.ASCII | re.IGNORECASE)
GROUPED = re.compile(r"\d{1,3}(?:([.,'_ ])\d{3})(?:\1\d{3})*", re.ASCII)


def plain_words(text: str) -> str:
    """In one form of Unicode, without case, accents kept, invisible characters gone, spaces single."""
    seen = "".join(char for char in text[:MOST_CHARS] if unicodedata.category(char) != "Cf")
    return " ".join(unicodedata.normalize("NFKC", seen).casefold().split())


def bare(text: str) -> str:
    """Without quotes, emphasis and punctuation around it."""
    return plain_words(text).strip(AROUND)


def has_phrase(words: str, phrase: str) -> bool:
    """Whether a phrase stands in a text as whole words; both in plain words."""
    return re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", words) is not None


def last_number(text: str) -> frozenset[Decimal]:
    """Every value that the last number of a text can be read as; empty where it has none.

    `1.234` is a little more than one, or a thousand and some: whoever wrote it gave one answer all the same.
    """
    last = None
    for found in NUMBER.finditer(_in_ascii_digits(text[-MOST_CHARS:])):
        last = found
    return frozenset() if last is None else frozenset(_readings(last.group().strip(" .,'_")))


def _in_ascii_digits(text: str) -> str:
    """Digits of any script as those of ASCII, and the signs that go with them; superscripts stay what they are."""
    return "".join(map(_in_ascii, text.replace("{,}", ",")))


def _in_ascii(char: str) -> str:
    if char in SPACES:
        return " "
    if char == "\u2212":
        return "-"
    if char == "\u2019":
        return "'"
    value = unicodedata.decimal(char, None)
    return char if value is None else str(value)


def _readings(number: str) -> Iterator[Decimal]:
    if sum(char.isdigit() for char in number) > MOST_DIGITS:
        return
    sign, digits = (number[0], number[1:]) if number[0] in "+-" else ("", number)
    mantissa, _, exponent = digits.lower().partition("e")
    for each in {_as_decimal(mantissa), _without_groups(mantissa, ",", "."), _without_groups(mantissa, ".", ",")}:
        if each is not None:
            try:
                yield Decimal(f"{sign}{each}e{exponent or 0}")
            except InvalidOperation:
                continue


def _as_decimal(digits: str) -> str | None:
    """Digits with at most one point or comma, which is the decimal one; or, with others between them, the last group
    alone: `41, 42` is a list, and 42 stands last.
    """
    if GROUPED.fullmatch(digits):
        return digits.replace(",", ".") if re.fullmatch(r"\d+[.,]\d+", digits) else None
    last = re.split(r"[^\d.,]+|[.,]\s+", digits)[-1].strip(".,'_")
    return last.replace(",", ".") if re.fullmatch(r"\d+(?:[.,]\d+)?", last) else None


def _without_groups(digits: str, group: str, point: str) -> str | None:
    """Digits in groups of three, by `group` or by what is no point, and perhaps a fraction after `point`."""
    whole, _, fraction = digits.rpartition(point) if digits.count(point) == 1 else (digits, "", "")
    found = GROUPED.fullmatch(whole)
    if found is None or found[1] == point or (fraction and not fraction.isdigit()):
        return None
    separator = found[1]
    if separator in ".," and separator != group:
        return None
    return whole.replace(separator, "") + (f".{fraction}" if fraction else "")
