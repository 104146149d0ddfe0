"""Whom somebody means by a hotkey, the beginning of one, or a uid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from loosh_pipeline.chain.records import SubmissionRow
from loosh_pipeline.domain import Hotkey, Metagraph
from loosh_pipeline.errors import CryptoError, UnknownMiner
from loosh_pipeline.wire.crypto import parse_hotkey
from loosh_pipeline.wire.text import printable

SHOWN = 10
MOST_UID_DIGITS = 5


def known_hotkeys(row: SubmissionRow, others: Iterable[Hotkey], subnet: Metagraph | None) -> dict[Hotkey, int | None]:
    """Everybody of a setting of weights, and others that are known of it, each with its uid where it had one; uids are
    those of the weights.
    """
    known: dict[Hotkey, int | None] = dict.fromkeys([*others, *row.plan.dropped])
    known |= {} if subnet is None else {each.hotkey: each.uid for each in subnet.neurons}
    return known | {hotkey: uid for uid, hotkey in row.plan.hotkeys.items()}


def named_miner(said: str, known: Mapping[Hotkey, int | None]) -> Hotkey:
    """The hotkey that is meant. `known`: those of an epoch, with their uids.

    A whole hotkey may be one that the epoch has nothing of. Raises UnknownMiner for nobody, and for several.
    """
    if said.isascii() and said.isdigit() and len(said) <= MOST_UID_DIGITS:
        return _at(int(said), known)
    if said in known:
        return Hotkey(said)
    found = sorted(hotkey for hotkey in known if said and hotkey.startswith(said))
    if len(found) == 1:
        return found[0]
    if found:
        named = ", ".join(found[:SHOWN])
        more = f" and {len(found) - SHOWN} more" if found[SHOWN:] else ""
        raise UnknownMiner(f"{len(found)} hotkeys begin with {printable(said)!r}: {named}{more}; give more of it")
    try:
        return parse_hotkey(said)
    except CryptoError as error:
        raise UnknownMiner(
            f"no hotkey of this epoch begins with {printable(said, 60)!r}, and it is none itself; {_there_are(known)}"
        ) from error


def _at(uid: int, known: Mapping[Hotkey, int | None]) -> Hotkey:
    found = next((hotkey for hotkey, at in known.items() if at == uid), None)
    if found is None:
        raise UnknownMiner(f"nobody had uid {uid} when these weights were made; {_there_are(known)}")
    return found


def _there_are(known: Mapping[Hotkey, int | None]) -> str:
    if not known:
        return "the epoch has nothing of anybody"
    uids = sorted(uid for uid in known.values() if uid is not None)
    slots = f", uids {uids[0]} to {uids[-1]}" if uids else ""
    return f"there are {len(known)} hotkeys{slots}, such as {', '.join(sorted(known)[:3])}"
