"""The chain of accepted challenges: what was left out, added, changed or moved is found, and where."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from loosh_pipeline.audit.acceptances import BEFORE_ALL, Link, Told, first_broken, next_link
from loosh_pipeline.audit.canonical import commitment_of
from loosh_pipeline.audit.content import Acceptance
from loosh_pipeline.domain import ChallengeId

SALT = "00112233445566778899aabbccddeeff"
NOW = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)


def chain(count: int, after: Link = BEFORE_ALL, canaries: Collection[int] = ()) -> list[Acceptance]:
    made = []
    for number in range(count):
        about = f"c-{after.seq + 1}", NOW + timedelta(seconds=number), f"{number:064x}"
        known = f"{number:064x}" if number in canaries else ""
        commitment = commitment_of(SALT, known)
        after = next_link(after, *about, commitment)
        shown = {"commitment": commitment, "salt": SALT, "known": known}
        made.append(Acceptance(after.seq, ChallengeId(about[0]), about[1], about[2], after.digest, **shown))
    return made


def test_a_digest_is_worked_out_by_hand() -> None:
    """sha256 of `["000…0",1,"c-1","2026-01-02T03:04:05.678901Z","000…0","4d1d…"]`, by sha256sum; the last is that of
    `["00112233445566778899aabbccddeeff","pushed"]`.
    """
    first = chain(1)[0]
    assert first.commitment == "4d1dc0c993c24dec86e726ba0c9f115c7d81a1e075b60e2a79fdf99b344aaafe"
    assert first.digest == "57e872289769bc260a30f2027b7ba48ec74598e62091c8a7ce4938d4abba3b27"


def test_a_whole_chain_and_any_range_of_it_hold() -> None:
    whole = chain(6)
    assert first_broken(whole) is None
    assert first_broken(whole, BEFORE_ALL) is None
    assert first_broken(whole[2:5]) is None
    assert first_broken(whole[2:5], Link(2, whole[1].digest)) is None
    assert first_broken([]) is None


@pytest.mark.parametrize("place", range(1, 5))
def test_what_was_left_out_is_named(place: int) -> None:
    whole = chain(6)
    broken = first_broken(whole[:place] + whole[place + 1 :])
    assert broken is not None
    assert (broken.seq, broken.challenge_id) == (place + 2, f"c-{place + 2}")
    assert f"link {place + 1} is missing" in str(broken)


def test_the_first_of_a_range_is_missed_by_the_link_before_it() -> None:
    whole = chain(6)
    assert first_broken(whole[1:]) is None, "nothing says that there was one"
    assert "links 2 to 3 are missing" in str(first_broken(whole[3:], Link(1, whole[0].digest)))


@pytest.mark.parametrize(
    "change",
    [
        {"challenge_id": ChallengeId("c-other")},
        {"received_at": NOW - timedelta(microseconds=1)},
        {"request_sha256": "f" * 64},
        {"digest": "f" * 64},
        {"commitment": commitment_of(SALT, "f" * 64), "known": "f" * 64},
    ],
)
def test_any_field_that_was_changed_breaks_its_link(change: dict[str, object]) -> None:
    whole = chain(5)
    whole[2] = replace(whole[2], **change)  # type: ignore[arg-type]
    broken = first_broken(whole)
    assert broken is not None
    assert broken.seq == 3
    assert "one of them was changed" in broken.reason


def test_links_out_of_order_and_twice_are_found() -> None:
    whole = chain(4)
    assert "out of order" in str(first_broken([whole[0], whole[0], whole[1]]))
    assert "link 2 is missing" in str(first_broken([whole[0], whole[2], whole[1], whole[3]]))


def test_one_that_was_put_in_with_links_of_its_own_does_not_lead_on() -> None:
    """Whoever rewrites one link must rewrite all later ones, of which senders hold digests."""
    whole = chain(5)
    forged = chain(2, Link(1, whole[0].digest))
    broken = first_broken([whole[0], *forged, *whole[3:]])
    assert broken is not None
    assert broken.seq == 4


def test_what_became_of_one_is_no_part_of_its_link() -> None:
    assert first_broken([replace(each, became="failed: no miner answered") for each in chain(3)]) is None


@pytest.mark.parametrize(
    "change",
    [
        {"known": "f" * 64},  # called a canary afterwards
        {"salt": "f" * 32},
        {"salt": ""},
        {"salt": f"{SALT}0"},
    ],
)
def test_what_it_was_committed_to_be_cannot_be_changed_afterwards(change: dict[str, str]) -> None:
    whole = chain(5, canaries=(3,))
    assert first_broken(whole, BEFORE_ALL) is None
    whole[2] = replace(whole[2], **change)  # type: ignore[arg-type]
    broken = first_broken(whole)
    assert broken is not None
    assert broken.seq == 3
    assert "committed" in broken.reason


def test_a_canary_cannot_be_called_pushed_afterwards_or_have_other_answers() -> None:
    whole = chain(5, canaries=(3,))
    for known in ("", "e" * 64):
        broken = first_broken([*whole[:3], replace(whole[3], known=known), whole[4]])
        assert broken is not None
        assert (broken.seq, "committed to something else" in broken.reason) == (4, True)


def test_a_signed_link_is_read_as_it_is_said() -> None:
    told = Told(Link(7, "ab" * 32), "cd" * 64)
    assert Told.read(str(told)) == told
    assert Told.read(str(told.link)) == Told(told.link)
    for text in (f"{told}0", f"{told.link}:", f"{told.link}:{'cd' * 63}", f"{told.link}:{'CD' * 64}"):
        with pytest.raises(ValueError, match="SEQ:DIGEST"):
            Told.read(text)


@pytest.mark.parametrize("text", ["", "1", "1:", ":" + "a" * 64, "-1:" + "a" * 64, "1:" + "A" * 64, "١:" + "a" * 64])
def test_what_is_no_link_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="SEQ:DIGEST"):
        Link.read(text)


def test_a_link_is_read_as_it_is_said() -> None:
    link = Link(7, "ab" * 32)
    assert Link.read(str(link)) == link


def test_checking_needs_the_standard_library_alone() -> None:
    code = (
        "import sys\nbefore = set(sys.modules)\nimport loosh_pipeline.audit.acceptances\n"
        "print(sorted({n.partition('.')[0] for n in set(sys.modules) - before} - set(sys.stdlib_module_names)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "['loosh_pipeline']"
