"""`loosh audit chain`: whether the chain of accepted challenges is whole, and a link of it the one that was given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from loosh_pipeline.audit.acceptances import Told
from loosh_pipeline.audit.canonical import link_bytes
from loosh_pipeline.chain.wallet import hotkey_of
from loosh_pipeline.cli.telling import AsJson, out, tell_json
from loosh_pipeline.errors import ConfigError, CryptoError
from loosh_pipeline.hotkeys import verify_signature
from loosh_pipeline.settings import get_settings

if TYPE_CHECKING:
    from sqlalchemy import Engine


def chain(
    link: Annotated[
        str | None,
        typer.Option(
            metavar="SEQ:DIGEST[:SIGNATURE]",
            help="also say whether this is a link of it, as X-Challenge-Link said, and signed by the wallet's hotkey",
        ),
    ] = None,
    links_only: Annotated[
        bool, typer.Option("--links-only", help="take the digests of requests as they are kept; reads no request")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Follow the chain of accepted challenges from its first link, and say which one breaks it.

    Ends with 0 when it is whole, nothing came beside it, and the given link is in it; with 1 otherwise.
    """
    given = _given(link)
    facts = _facts(given, links_only)
    if as_json:
        tell_json(facts)
    else:
        out.print(_said(facts), highlight=False, soft_wrap=True)
        if given is not None:
            verdict = "is a link of this chain" if facts["given_is_part"] else "is NOT a link of this chain"
            signed = {None: "", True: ", signed by this validator", False: ", NOT signed by this validator"}
            said = f"{escape(str(given.link))} {verdict}{signed[facts['given_is_signed']]}"
            out.print(said, highlight=False, soft_wrap=True)
    refuted = False in (facts["given_is_part"], facts["given_is_signed"])
    if facts["broken"] is not None or facts["beside_the_chain"] or refuted:
        raise typer.Exit(1)


def _given(text: str | None) -> Told | None:
    try:
        return None if text is None else Told.read(text)
    except ValueError as error:
        raise ConfigError(f"--link: {error}") from error


def _facts(given: Told | None, links_only: bool) -> dict[str, Any]:
    from loosh_pipeline.store.acceptances import first_broken_of, is_link
    from loosh_pipeline.store.inbox import Inbox

    inbox = Inbox.open(get_settings().inbox_url)
    followed = first_broken_of(inbox.engine, requests=not links_only)
    broken, back = followed.broken, followed.back
    return {
        "links": followed.links,
        "last": None if followed.last is None else str(followed.last),
        "requests_read": not links_only,
        "before_the_chain": followed.unchained,
        "beside_the_chain": followed.unlinked,
        "set_back": None if back is None else {"seq": back.seq, "id": back.challenge_id, "s": back.by.total_seconds()},
        "broken": None if broken is None else {"seq": broken.seq, "id": broken.challenge_id, "reason": broken.reason},
        "given_is_part": None if given is None else broken is None and is_link(inbox.engine, given.link),
        "given_is_signed": _is_signed(inbox.engine, given) if given is not None and given.signature else None,
    }


def _is_signed(engine: Engine, given: Told) -> bool:
    """Whether the wallet's hotkey signed a link for the challenge that has it here. Raises ConfigError without one."""
    from loosh_pipeline.store.acceptances import challenge_at

    settings = get_settings()
    own = hotkey_of(settings.wallet_path, settings.wallet_name, settings.hotkey_name)
    if own is None:
        raise ConfigError("no hotkey is in the wallet, so a signature cannot be checked; set WALLET_NAME, HOTKEY_NAME")
    challenge_id = challenge_at(engine, given.link.seq)
    if challenge_id is None:
        return False
    try:
        message = link_bytes(challenge_id, given.link.seq, given.link.digest)
        verify_signature(message, bytes.fromhex(given.signature), own)
    except CryptoError:
        return False
    return True


def _said(facts: dict[str, Any]) -> str:
    before = (
        f"; {facts['before_the_chain']} were accepted before there was a chain" if facts["before_the_chain"] else ""
    )
    if facts["set_back"] is not None:
        back = facts["set_back"]
        before += f"; at link {back['seq']} a clock had been set back by {back['s']:.0f} s"
    if facts["beside_the_chain"]:
        before += (
            f"; [red]{facts['beside_the_chain']} were accepted since it began, and are no part of it[/]: stop the "
            "ingress of an older release"
        )
    if facts["broken"] is not None:
        broken = facts["broken"]
        where = f"link {broken['seq']} (challenge {escape(broken['id'])})"
        return f"[red]broken[/] at {where}: {broken['reason']}; {facts['links']} links before it hold{before}"
    if not facts["links"]:
        return f"no challenge was accepted yet{before}"
    what = "each follows from the one before" + (", and has its request" if facts["requests_read"] else "")
    return f"[green]whole[/]: {facts['links']} links, {what}; the last is {facts['last']}{before}"
