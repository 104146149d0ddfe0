"""A bundle's content as named entries, and back.

documents/NAME.json          epoch, terms, inputs, proposal, plan, subnet, scorers, link_before
challenges.json              accepted challenges, in order
looks/hotkeys.json, *.npy    every look at all miners
window/names.json, *.npy     the score rows of every round, by challenge and hotkey
pairs/*.npy                  the pairs of its compared answers
contexts/DIGEST.json, .npy   word counts and background that shown rounds were compared with
rounds/NUMBER.json, .npy     rounds shown whole; NUMBER: their place in window/names.json
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from loosh_pipeline.audit.canonical import canonical
from loosh_pipeline.audit.content import Acceptance, Content, Epoch, RoundInputs, Scorer, Window
from loosh_pipeline.audit.context_entries import Contexts, context_entries
from loosh_pipeline.audit.refusals import Unreadable
from loosh_pipeline.audit.round_entries import read_round, round_bytes
from loosh_pipeline.audit.strict import array_bytes, read_array, read_json
from loosh_pipeline.domain import ChallengeId, Metagraph, Proposal, ScorerVersion, WeightPlan
from loosh_pipeline.emissions import Terms
from loosh_pipeline.plain import plain, typed
from loosh_pipeline.policy.inputs import Inputs
from loosh_pipeline.presence import Looks
from loosh_pipeline.scoring.columns import WindowColumns
from loosh_pipeline.scoring.pairs import PairColumns

T = TypeVar("T")

INTS, FLOATS, FLAGS = "<i8", "<f8", "|b1"
DOCUMENTS: Mapping[str, type[Any]] = {
    "epoch": Epoch,
    "terms": Terms,
    "inputs": Inputs,
    "proposal": Proposal,
    "plan": WeightPlan,
    "subnet": Metagraph,
}
LOOKS = {"miner": INTS, "at_ms": INTS, "available": FLAGS}
COLUMNS = {
    **{"round": INTS, "miner": INTS, "compared": FLAGS},
    **dict.fromkeys(("words", "elapsed_ms", "relevance", "baseline"), FLOATS),
}
WINDOW = {"at_ms": INTS, "left_out": FLAGS, "answered": FLAGS, "measured": FLAGS, "payout": FLOATS}
NAMES = ("challenges", "hotkeys", "version", "inputs_digest", "outcome")
PAIRS = {
    **{"round": INTS, "first": INTS, "second": INTS},
    **dict.fromkeys(("similarity", "meaning", "coverage", "coverage_back", "wording", "evidence"), FLOATS),
    **{"same_address": FLAGS, "same_coldkey": FLAGS},
}

FIXED = (
    *(f"documents/{name}.json" for name in (*DOCUMENTS, "scorers", "link_before")),
    *("challenges.json", "looks/hotkeys.json", *(f"looks/{name}.npy" for name in LOOKS)),
    *("window/names.json", *(f"window/{name}.npy" for name in (*COLUMNS, *WINDOW)), *(f"pairs/{n}.npy" for n in PAIRS)),
)
"""What every bundle has, in order."""

Read = Callable[[str], bytes]
"""The bytes of an entry by its name; raises Unreadable for one that is not there."""


def entries_of(content: Content) -> Iterator[tuple[str, bytes]]:
    """Every entry in its order; rounds are read one after the other."""
    for name in DOCUMENTS:
        yield f"documents/{name}.json", canonical(plain(getattr(content, name)))
    yield "documents/scorers.json", canonical(plain(content.scorers))
    yield "documents/link_before.json", canonical(content.link_before)
    yield "challenges.json", canonical(plain(content.acceptances))
    yield "looks/hotkeys.json", canonical(list(content.looks.hotkeys))
    yield from _arrays("looks", content.looks, LOOKS)
    window, columns = content.window, content.window.columns
    names = (columns.challenges, columns.hotkeys, window.version, window.inputs_digest, window.outcome)
    yield "window/names.json", canonical({name: list(each) for name, each in zip(NAMES, names, strict=True)})
    yield from _arrays("window", columns, COLUMNS)
    yield from _arrays("window", window, WINDOW)
    yield from _arrays("pairs", columns.pairs, PAIRS)
    for digest, context in sorted(content.contexts.items()):
        yield from context_entries(digest, context)
    shown = set(content.rounds)
    for place, challenge_id in enumerate(columns.challenges):
        if challenge_id in shown:
            said, vectors = round_bytes(content.rounds[challenge_id])
            yield f"rounds/{place:06}.json", said
            yield f"rounds/{place:06}.npy", vectors


def _arrays(folder: str, values: object, kinds: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    for name, kind in kinds.items():
        yield f"{folder}/{name}.npy", array_bytes(getattr(values, name), kind)


def content_from(names: tuple[str, ...], read: Read) -> Content:
    """The content of these entries; its rounds are read when they are asked for. Raises Unreadable."""
    columns_read = _Names(read)
    challenges = columns_read.challenges
    rounds = Rounds(names, challenges, read)
    return Content(
        **{name: _typed(kind, f"documents/{name}.json", read) for name, kind in DOCUMENTS.items()},
        window=columns_read.window(),
        looks=_looks(read),
        acceptances=_list(Acceptance, "challenges.json", read),
        scorers=_mapped(Scorer, "documents/scorers.json", read),
        link_before=_typed(str, "documents/link_before.json", read),
        contexts=Contexts(names, read),
        rounds=rounds,
    )


class Rounds(Mapping[ChallengeId, RoundInputs]):
    """The rounds of a bundle that are shown whole, by challenge, each read anew whenever it is asked for."""

    def __init__(self, names: tuple[str, ...], challenges: tuple[ChallengeId, ...], read: Read) -> None:
        of = {f"rounds/{place:06}": challenge for place, challenge in enumerate(challenges)}
        shown = [name[:-5] for name in names if _within(name, "rounds/", ".json")]
        if strange := [name for name in shown if name not in of]:
            raise Unreadable(f"{strange[0]}.json is of no round of the window")
        self._names, self._read = {of[name]: name for name in shown}, read

    def __getitem__(self, challenge_id: ChallengeId) -> RoundInputs:
        name = self._names[challenge_id]
        return read_round(f"{name}.json", self._read(f"{name}.json"), self._read(f"{name}.npy"))

    def __iter__(self) -> Iterator[ChallengeId]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _within(name: str, folder: str, suffix: str) -> bool:
    return name.startswith(folder) and name.endswith(suffix)


class _Names:
    """The score rows of the window."""

    def __init__(self, read: Read) -> None:
        self._read, said = read, read_json("window/names.json", read("window/names.json"))
        if not isinstance(said, dict) or tuple(sorted(said)) != tuple(sorted(NAMES)):
            raise Unreadable(f"window/names.json does not say {', '.join(NAMES)}")
        self._said: dict[str, Any] = {name: _texts(f"window/names.json: {name}", said[name]) for name in NAMES}

    @property
    def challenges(self) -> tuple[ChallengeId, ...]:
        return tuple(map(ChallengeId, self._said["challenges"]))

    def window(self) -> Window:
        said, read = self._said, self._read
        pairs = PairColumns(**_arrays_read("pairs", PAIRS, read))
        columns = _arrays_read("window", COLUMNS, read)
        challenges, hotkeys = said["challenges"], said["hotkeys"]
        return Window(
            columns=WindowColumns(challenges=challenges, hotkeys=hotkeys, **columns, pairs=pairs),
            version=tuple(map(ScorerVersion, said["version"])),
            inputs_digest=said["inputs_digest"],
            outcome=said["outcome"],
            **_arrays_read("window", WINDOW, read),
        )


def _arrays_read(folder: str, kinds: Mapping[str, str], read: Read) -> dict[str, Any]:
    names = {name: f"{folder}/{name}.npy" for name in kinds}
    return {name: read_array(names[name], read(names[name]), kind) for name, kind in kinds.items()}


def _looks(read: Read) -> Looks:
    hotkeys: Any = _texts("looks/hotkeys.json", read_json("looks/hotkeys.json", read("looks/hotkeys.json")))
    return Looks(hotkeys=hotkeys, **_arrays_read("looks", LOOKS, read))


def _texts(name: str, said: Any) -> tuple[str, ...]:
    if not isinstance(said, list) or not all(isinstance(each, str) for each in said):
        raise Unreadable(f"{name} is no list of texts")
    return tuple(said)


def _typed(kind: type[T], name: str, read: Read) -> T:
    return _as(kind, name, read_json(name, read(name)))


def _as(kind: type[T], name: str, said: Any) -> T:
    try:
        return typed(kind, said)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise Unreadable(f"{name} cannot be read: {str(error)[:200]}") from error


def _list(kind: type[T], name: str, read: Read) -> tuple[T, ...]:
    said = read_json(name, read(name))
    if not isinstance(said, list):
        raise Unreadable(f"{name} is no list")
    return tuple(_as(kind, name, each) for each in said)


def _mapped(kind: type[T], name: str, read: Read) -> dict[Any, T]:
    said = read_json(name, read(name))
    if not isinstance(said, dict):
        raise Unreadable(f"{name} is no object")
    return {key: _as(kind, name, each) for key, each in said.items()}
