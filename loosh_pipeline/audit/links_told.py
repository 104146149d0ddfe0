"""Whether links that senders were told are in the chain that a bundle shows, and who signed them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from loosh_pipeline.audit.acceptances import Told
from loosh_pipeline.audit.canonical import link_bytes
from loosh_pipeline.audit.completeness import PART
from loosh_pipeline.audit.content import Content
from loosh_pipeline.audit.report import Findings, How
from loosh_pipeline.errors import CryptoError
from loosh_pipeline.hotkeys import verify_signature


def verify_links(content: Content, links: Sequence[Told], findings: Findings) -> None:
    """Whether links that senders were given are in the chain, and signed by the epoch's validator where signed."""
    before, said = findings.found, list[str]()
    digests = {each.seq: each.digest for each in content.acceptances}
    if content.acceptances:
        digests[content.acceptances[0].seq - 1] = content.link_before
    for told in links:
        if told.link.seq not in digests:
            span = f"{min(digests)} to {max(digests)}" if digests else "none"
            findings.unverifiable(PART, f"link {told.link.seq} cannot be compared: the bundle has {span}")
        elif digests[told.link.seq] != told.link.digest:
            findings.mismatch(PART, _elsewhere(content, told, digests[told.link.seq]))
        else:
            said.append(_within(content, told, findings))
    if links and findings.found == before:
        findings.done("links", How.COMPARED, ", ".join(said))


def _within(content: Content, told: Told, findings: Findings) -> str:
    """Of a link that is in the chain: its number, and who signed it."""
    seq, validator = told.link.seq, content.epoch.validator
    if not told.signature:
        return str(seq)
    named = [each.challenge_id for each in content.acceptances if each.seq == seq]
    if not named:
        return f"{seq} (its signature is not checked: its challenge came before those of the bundle)"
    if not list(_signed(told, validator, named)):
        findings.mismatch(PART, f"link {seq} is in the chain; its signature is not that of {validator} for {named[0]}")
    return f"{seq} (signed)"


def _elsewhere(content: Content, told: Told, here: str) -> str:
    """Of a link that another has the place of. Who signs names the challenge, which may be any, or be missing here."""
    link, validator = told.link, content.epoch.validator
    said = f"link {link.seq} was told as {link.digest[:12]}…, and is {here[:12]}… here"
    said = f"{said}: this is another chain than its senders were told of"
    if not told.signature:
        return said
    for challenge_id in _signed(told, validator, (each.challenge_id for each in content.acceptances)):
        return f"{said}, and {validator} signed that link for {challenge_id}: a right signature of a link not in it"
    return f"{said}; its signature is that of {validator} for no challenge of the bundle (the sender knows for which)"


def _signed(told: Told, validator: str, challenges: Iterable[str]) -> Iterator[str]:
    """Those of the challenges that the validator signed this link for."""
    for challenge_id in challenges:
        try:
            message = link_bytes(challenge_id, told.link.seq, told.link.digest)
            verify_signature(message, bytes.fromhex(told.signature), validator)
        except CryptoError:
            continue
        yield challenge_id
