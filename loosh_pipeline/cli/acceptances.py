"""`loosh audit chain`: whether the chain of accepted challenges is whole, and a link of it the one that was given."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape

from loosh_pipeline.audit.acceptances import Link
from loosh_pipeline.cli.telling import AsJson, out, tell_json
from loosh_pipeline.errors import ConfigError
from loosh_pipeline.settings import get_settings


def chain(
    link: Annotated[
        str | None,
        typer.Option(metavar="SEQ:DIGEST", help="also say whether this is a link of it, as X-Challenge-Link said"),
    ] = None,
    links_only: Annotated[
        bool, typer.Option("--links-only", help="take the digests of requests as they are kept; reads no request")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Follow the chain of accepted challenges from its first link, and say which one breaks it.

    Ends with 0 when it is whole, and the given link is in it; with 1 otherwise.
    """
    given = _given(link)
    facts = _facts(given, links_only)
    if as_json:
        tell_json(facts)
    else:
        out.print(_said(facts), highlight=False, soft_wrap=True)
        if given is not None:
            verdict = "is a link of this chain" if facts["given_is_part"] else "is NOT a link of this chain"
            out.print(f"{escape(str(given))} {verdict}", highlight=False, soft_wrap=True)
    if facts["broken"] is not None or facts["given_is_part"] is False:
        raise typer.Exit(1)


def _given(text: str | None) -> Link | None:
    try:
        return None if text is None else Link.read(text)
    except ValueError as error:
        raise ConfigError(f"--link: {error}") from error


def _facts(given: Link | None, links_only: bool) -> dict[str, Any]:
    from loosh_pipeline.store.acceptances import first_broken_of, is_link
    from loosh_pipeline.store.inbox import Inbox

    inbox = Inbox.open(get_settings().inbox_url)
    followed = first_broken_of(inbox.engine, requests=not links_only)
    broken = followed.broken
    return {
        "links": followed.links,
        "last": None if followed.last is None else str(followed.last),
        "requests_read": not links_only,
        "before_the_chain": followed.unchained,
        "broken": None if broken is None else {"seq": broken.seq, "id": broken.challenge_id, "reason": broken.reason},
        "given_is_part": None if given is None else broken is None and is_link(inbox.engine, given),
    }


def _said(facts: dict[str, Any]) -> str:
    before = (
        f"; {facts['before_the_chain']} were accepted before there was a chain" if facts["before_the_chain"] else ""
    )
    if facts["broken"] is not None:
        broken = facts["broken"]
        where = f"link {broken['seq']} (challenge {escape(broken['id'])})"
        return f"[red]broken[/] at {where}: {broken['reason']}; {facts['links']} links before it hold{before}"
    if not facts["links"]:
        return f"no challenge was accepted yet{before}"
    what = "each follows from the one before" + (", and has its request" if facts["requests_read"] else "")
    return f"[green]whole[/]: {facts['links']} links, {what}; the last is {facts['last']}{before}"
