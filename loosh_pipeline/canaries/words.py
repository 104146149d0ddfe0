"""Texts as they are compared: what looks alike is alike, and what cannot be seen counts for nothing."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation

from loosh_pipeline.scoring.text import encodable, stream_safe

MOST_CHARS = 20_000
"""Of an answer; what comes after is not looked at."""
MOST_DIGITS = 40
AROUND = " \t\r\n\"'`*_.,;:!?()[]{}<>«»“”‘’„$\\"
"""What may stand around an exact answer without making it another."""
SPACES = "\u00a0\u2009\u202f\u2014\u2015"
"""What divides words, long dashes among it; the shorter ones may be a minus."""
MINUS = "\u2010\u2011\u2012\u2013\u2212\uff0d"
NUMBER = re.compile(
    r"(?<![\w.,])(?<!\d[-/:])[-+]?(?:\d[\d.,'_ ]{0,80}+|\.\d{1,40}+)(?:e[-+]?\d{1,3}+)?+(?![-/:]\d)",
    re.ASCII | re.IGNORECASE,
)
"""No part of a date, a time, a range or a fraction is one."""
NEGATIVE = re.compile(r"\b(?:minus|negative) (?=[\d.])", re.IGNORECASE)
UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
"""Scripts that are written without spaces: Thai, Lao, Burmese, Khmer, kana, Han. There a character counts as a word."""
ALIKE = re.compile(r"(LATIN|CYRILLIC|GREEK|ARMENIAN|CHEROKEE)\b")
"""Scripts that share shapes of letters; no word is of two of them."""
GROUPED = re.compile(r"\d{1,3}(?:([.,'_ ])\d{3})(?:\1\d{3})*", re.ASCII)


def plain_words(text: str) -> str:
    """In one form of Unicode, without case, accents kept, invisible characters gone, spaces single."""
    # Without endless runs of marks, which take time quadratic in their length to put in order.
    seen = stream_safe(encodable(text[:MOST_CHARS]))
    seen = "".join(char for char in seen if unicodedata.category(char) != "Cf")
    # Some characters become eighteen.
    return " ".join(unicodedata.normalize("NFKC", seen)[:MOST_CHARS].casefold().split())


def bare(text: str) -> str:
    """Without quotes, emphasis and punctuation around it."""
    return plain_words(text).strip(AROUND)


def has_phrase(words: str, phrase: str) -> bool:
    """Whether a phrase stands in a text as whole words, or anywhere in scripts without spaces; both in plain words.

    `C++` and `C#` are other words than `C`.
    """
    before = "" if UNSPACED.match(phrase[0]) else r"(?<!\w)"
    after = "" if UNSPACED.match(phrase[-1]) else r"(?![\w+#])"
    return re.search(f"{before}{re.escape(phrase)}{after}", words) is not None


def word_count(words: str) -> int:
    """Of plain words. What commas alone divide is several."""
    return len(UNSPACED.findall(words)) + len(re.findall(r"\w+", UNSPACED.sub(" ", words)))


def has_mixed_scripts(words: str) -> bool:
    """Whether a word is of letters of two scripts that look alike: so a wrong answer hides from who looks for it."""
    tokens = (token for token in re.findall(r"\w+", words) if not token.isascii())
    return any(len({found[1] for char in token if (found := _script(char))}) > 1 for token in tokens)


def _script(char: str) -> re.Match[str] | None:
    return ALIKE.match(unicodedata.name(char, ""))


def numbers(text: str) -> tuple[frozenset[Decimal], ...]:
    """The first and the last number of a text, each as every value that it can be read as; none where it has none.

    `1.234` is a little more than one, or a thousand and some: whoever wrote it gave one answer all the same.
    """
    seen = NEGATIVE.sub("-", _in_ascii_digits(encodable(text[:MOST_CHARS])))
    found = [each.group() for each in NUMBER.finditer(seen)]
    return tuple(frozenset(_readings(each.strip(" ,'_").rstrip("."))) for each in (*found[:1], *found[1:][-1:]))


def _in_ascii_digits(text: str) -> str:
    """Digits of any script as those of ASCII, and the signs that go with them; superscripts stay what they are."""
    return "".join(map(_in_ascii, text.replace("{,}", ",")))


def _in_ascii(char: str) -> str:
    if char in SPACES:
        return " "
    if char in MINUS:
        return "-"
    if char == "\u2019":
        return "'"
    value = unicodedata.decimal(char, None)
    return char if value is None else str(value)


def _readings(number: str) -> Iterator[Decimal]:
    if sum(char.isdigit() for char in number) > MOST_DIGITS:
        return
    sign, digits = (number[0], number[1:]) if number[:1] in {"+", "-"} else ("", number)
    if digits.startswith("."):
        digits = f"0{digits}"
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
