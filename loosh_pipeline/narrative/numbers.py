"""Every number of a text against what it is said to measure or to count, and of whom."""

from __future__ import annotations

import re
from dataclasses import dataclass

from loosh_pipeline.narrative.known import Known
from loosh_pipeline.narrative.reading import Sentence, blank
from loosh_pipeline.narrative.words import COUNTED, MEASURED

NUMBER = re.compile(r"(?:(?<![\w)])- *|\+(?=\d))?\d+(?:[.,]\d+)*(?: ?%)?")
_BESIDE = "miners?|answers?|responses?|replies|were|was|are|is|the|that|who|had|have|been|all|did|of|near|uids"
_RUN = re.compile(rf"( +of (?:the |all )?\d+)?((?: +(?:{'|'.join(COUNTED.values())}|{_BESIDE})\b)*)")
"""What follows a count: of how many, and words that say what is counted."""
_WHOLE = re.compile(r"(\d+ )?\bof (?:the |all )?$")
_COUNTABLE = re.compile(r" +(?:miners?|answers?|responses?|replies)\b")
_SHARE = re.compile(r"\b(\d+)(?: of (?:the |all )?(\d+))?((?: [a-z]+){0,3}) \((\d+(?:\.\d+)?) ?%\)")
_AVERAGE = re.compile(
    r"\b1(?:\.0+)? (?:is|being) (?:an? |the )?average(?: independent)?(?: (?:answer|payout))?\b(?! (?:for|of|to))"
)
_OF_WHICH = re.compile(rf" (?:in|for) (?:its )?({'|'.join(MEASURED.values())})\b")
_EXACTLY = 1e-9


@dataclass(frozen=True, slots=True)
class Checked:
    """A number that is wrong, if any; and the sentence with `~` for its counts, which are right."""

    wrong: str | None
    left: str


def check_numbers(sentence: Sentence, known: Known) -> Checked:
    """Whether a sentence names no number but those of its round and its miners."""
    left = sentence.text
    for found in _SHARE.finditer(left):
        if not _is_share(found, known):
            return Checked(f"{found[4]}%", left)
        left = blank(left, found.end(3), found.end())
    left = text = _AVERAGE.sub(lambda found: " " * len(found[0]), left)
    for mention in sentence.mentions:
        text = blank(text, mention.start, mention.end, "#")
    for found in NUMBER.finditer(text):
        if (end := _counted(found, text, sentence, known)) is not None:
            of_a_list = text.startswith(":", end)  # what is counted before a list is said of all that it names
            left = blank(left, found.start(), found.end() if of_a_list else end, "~")
        elif not _is_measured(found, text, sentence, known):
            return Checked(found[0].strip(), left)
    return Checked(None, left)


def _is_share(found: re.Match[str], known: Known) -> bool:
    """Whether `5 of 7 (71 %)` is so; without the 7, of those asked or who answered."""
    wholes = [int(found[2])] if found[2] else [known.facts.asked, known.facts.answered]
    places = len(found[4].partition(".")[2])
    return any(whole and _rounds_to(100 * int(found[1]) / whole, float(found[4]), places) for whole in wholes)


def _counted(found: re.Match[str], text: str, sentence: Sentence, known: Known) -> int | None:
    """Where the words end that say what is counted, if a number is a count, and is right."""
    run = _RUN.match(text, found.end())
    if run is None or not found[0].isdecimal():
        return None
    value, keys, before = int(found[0]), _keys(run[2]), text[: found.start()]
    wholes = frozenset({known.facts.asked, known.facts.answered, len(known.facts.unpaid)})
    if whole := _WHOLE.search(before):  # of `5 of 7 miners asked answered` the 7
        said = keys[: 1 if not whole[1] or len(keys) > 1 else 0]
    elif keys:
        said = keys[-1:] if run[1] else keys
    elif _COUNTABLE.match(run[2]):
        said, wholes = [], wholes if "miner" in run[2] else known.counts["answered"]
    else:
        said, wholes = [key] if not sentence.uids and (key := _last(COUNTED, before)) else [], frozenset()
    fits = all(value in known.counts.get(key, ()) for key in said) if said else value in wholes
    return run.end() if fits else None


def _keys(words: str) -> list[str]:
    """What some words say that is counted, in their order. What is read once is not read again: unpaid as paid."""
    at: dict[str, int] = {}
    for key, pattern in COUNTED.items():
        for found in re.finditer(rf"\b(?:{pattern})\b", words):
            at.setdefault(key, found.start())
            words = blank(words, *found.span())
    return sorted(at, key=lambda key: at[key])


def _last(patterns: dict[str, str], text: str) -> str | None:
    """Which of the patterns comes last in a text."""
    ends = {key: max((m.end() for m in re.finditer(rf"\b(?:{p})\b", text)), default=-1) for key, p in patterns.items()}
    latest = max(ends, key=lambda key: ends[key])
    return latest if ends[latest] >= 0 else None


def _is_measured(found: re.Match[str], text: str, sentence: Sentence, known: Known) -> bool:
    """Whether a number is the figure that the words beside it say, of the round or of everyone named nearest to it."""
    if found[0].count(".") > 1 or "," in found[0] or found[0].startswith("+"):
        return False
    before, after = text[: found.start()], text[found.end() :]
    direct = _OF_WHICH.match(after)
    label = _last(MEASURED, direct[1]) if direct else _last(MEASURED, before)
    if label == "consensus" and (sign := before.rstrip()[-1:]) in ("=", "+"):
        label = {"=": "mean", "+": "spread"}[sign]
    if label is None:
        return False
    if label in known.of_round and label != "gate" and _is_of_miners(found, sentence):
        return False  # what is measured of a round is no miner's
    if label in known.of_round:
        figures = [known.of_round[label]]
    else:
        figures = [known.of_miner.get(uid, {}).get(label) for uid in _whose(found, text, sentence, known)]
    return bool(figures) and all(figure is not None and _is_written(figure, found[0]) for figure in figures)


def _is_of_miners(found: re.Match[str], sentence: Sentence) -> bool:
    return bool(sentence.subject) or any(mention.end <= found.start() for mention in sentence.mentions)


def _whose(found: re.Match[str], text: str, sentence: Sentence, known: Known) -> tuple[int, ...]:
    """The miners of a figure: those named right after it, else the last before it, else the first after it."""
    earlier = [mention for mention in sentence.mentions if mention.end <= found.start()]
    later = [mention for mention in sentence.mentions if mention.start >= found.end()]
    if later and re.fullmatch(r" (?:for|to|of|went to) ", text[found.end() : later[0].start]):
        return later[0].uids
    if earlier or later:
        return (earlier[-1:] or later[:1])[0].uids
    if not sentence.subject and known.facts.best and re.search(r"\b(?:best|highest|top)\b", text):
        return (known.facts.best.uid,)
    return sentence.subject


def _is_written(figure: float, number: str) -> bool:
    percent, digits = number.endswith("%"), re.sub(r"[ %]", "", number)
    value, places = float(digits), len(digits.partition(".")[2])
    if percent:
        return _rounds_to(100 * figure, value, places)
    return _rounds_to(figure, value, places) if places else figure == value


def _rounds_to(figure: float, value: float, places: int) -> bool:
    return abs(figure - value) <= 0.5 * 10.0**-places + _EXACTLY
