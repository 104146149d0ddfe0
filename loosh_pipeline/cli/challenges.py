"""`loosh challenges …`: for whoever tries a validator or a Challenge API out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from loosh_pipeline.cli.telling import NOT_YET, AsJson, err, out, tell_json
from loosh_pipeline.domain import ChallengeId, ChallengeState
from loosh_pipeline.errors import ConfigError, CryptoError
from loosh_pipeline.sending import Summary, challenges, push_all, read_prompts, summarised
from loosh_pipeline.settings import Settings, get_settings
from loosh_pipeline.wire.crypto import Signer, parse_hotkey
from loosh_pipeline.wire.pushing import CHALLENGE_API_PATH, FiberSender, PlainSender, Pushed, Sender

ANONYMOUS = "5C4hrfjw9DjXZTzV3MwzrrAr9P1MJhSrvWGWqi1eSuyUpnhM"
"""The hotkey of 32 zero bytes: whom an unsigned key exchange names."""
SHOWN_REASONS = 20
SHOWN_IDS = 10
HOTKEY_CHARS = 48


def send(
    file: Annotated[
        Path | None,
        typer.Argument(
            exists=True,
            dir_okay=False,
            help="prompts, one a line; or rows of JSON in a .jsonl file: prompt, instruction or question, or messages, "
            "and id, max_tokens, temperature, top_p, model, tools, metadata; built-in prompts without a file",
        ),
    ] = None,
    to: Annotated[str | None, typer.Option(help="URL of a validator; this machine's by default")] = None,
    to_api: Annotated[str | None, typer.Option(help="URL of a Challenge API, instead of a validator")] = None,
    fiber: Annotated[bool, typer.Option("--fiber", help="encrypt, as the Challenge API does")] = False,
    recipient: Annotated[
        str | None,
        typer.Option(help="hotkey of the validator, to which --fiber is then bound; the wallet's own without --to"),
    ] = None,
    unsigned: Annotated[
        bool, typer.Option("--unsigned", help="send CHALLENGE_PUSH_API_KEY, if it is set, and no signature")
    ] = False,
    count: Annotated[
        int | None, typer.Option(min=1, help="how many; prompts are used again when there are fewer")
    ] = None,
    rate: Annotated[float, typer.Option(min=0.001, help="challenges a second")] = 1.0,
    max_tokens: Annotated[int, typer.Option(min=1)] = 512,
    temperature: Annotated[float, typer.Option(min=0.0, max=2.0)] = 0.7,
    as_json: AsJson = False,
) -> None:
    """Push challenges to a validator or a Challenge API, and say which were accepted, and why others were not."""
    settings = get_settings()
    to, to_api = _base_url(to, "--to", "/challenges"), _base_url(to_api, "--to-api", "/challenge")
    if to is not None and to_api is not None:
        raise ConfigError("--to and --to-api are two different receivers; give one")
    if fiber and to_api is not None:
        raise ConfigError("a Challenge API takes plain challenges; --fiber is for a validator")
    prompts = read_prompts(file) if file is not None else _built_in()
    signer = None if unsigned else _signer(settings)
    recipient = _recipient(recipient, signer if to is None else None)
    sender = _sender(settings, to or settings.local_url, to_api, fiber, signer, recipient)
    parameters = {"max_tokens": max_tokens, "temperature": temperature}
    wanted = list(challenges(prompts, count, parameters, hexadecimal=to_api is not None))
    summary = _pushed(wanted, sender, rate)
    shown = err if as_json else out
    shown.print(_table(summary))
    _print_hints(shown, summary)
    if as_json:
        tell_json(summary.to_dict())
    if summary.failed:
        raise typer.Exit(1)


def _base_url(url: str | None, option: str, path: str) -> str | None:
    """Without a trailing slash, or the path that is added anyway."""
    if url is not None and not url.startswith(("http://", "https://")):
        raise ConfigError(f"{option} {url} is no URL of a server; write it like http://127.0.0.1:8000")
    return url and url.rstrip("/").removesuffix(path)


def _recipient(hotkey: str | None, own: Signer | None) -> str | None:
    """The hotkey of the validator that is sent to, on this machine that of its wallet; None when it is not known."""
    if hotkey is None:
        return None if own is None else own.ss58_address
    try:
        return parse_hotkey(hotkey)
    except CryptoError as error:
        raise ConfigError(f"--recipient: {error}") from error


def _print_hints(shown: Console, summary: Summary) -> None:
    """The ids that can be followed up, and what to do about the commonest refusals."""
    if summary.accepted:
        first = summary.accepted[:SHOWN_IDS]
        more = (
            f" and {len(summary.accepted) - len(first)} more (--json lists all)" if summary.accepted[SHOWN_IDS:] else ""
        )
        shown.print(f"accepted: {', '.join(map(escape, first))}{more}", highlight=False, soft_wrap=True)
    if summary.links:
        shown.print("links (X-Challenge-Link), to keep and compare with bundles (--link):", highlight=False)
        for challenge_id, link in list(summary.links.items())[:SHOWN_IDS]:
            shown.print(f"  {escape(challenge_id)}  {escape(link)}", highlight=False, soft_wrap=True)
        if len(summary.links) > SHOWN_IDS:
            shown.print(f"  … and {len(summary.links) - SHOWN_IDS} more (--json lists all)", highlight=False)
    statuses = {status for status, _ in summary.refused}
    if None in statuses:
        shown.print("No answer: is `loosh up` running there, and is the URL its base URL?", highlight=False)
    if httpx.codes.NOT_FOUND in statuses:
        shown.print(
            "404: that is no validator; a Challenge API is given with --to-api, and neither with a path.",
            highlight=False,
        )


def _built_in() -> Sequence[Mapping[str, Any]]:
    from loosh_pipeline.devnet.answers import AnswerBook

    return [{"prompt": prompt} for prompt in AnswerBook.load().prompts]


def _signer(settings: Settings) -> Signer:
    from loosh_pipeline.chain.wallet import load_signer

    return load_signer(settings.wallet_path, settings.wallet_name, settings.hotkey_name)


def _sender(
    settings: Settings, to: str, to_api: str | None, fiber: bool, signer: Signer | None, recipient: str | None
) -> Sender:
    if fiber:
        return FiberSender(to, signer, ANONYMOUS, recipient)
    if to_api is not None:
        key = settings.challenge_api_key
        return PlainSender(to_api, CHALLENGE_API_PATH, signer, key.get_secret_value() if key else None)
    push_key = settings.challenge_push_api_key
    return PlainSender(to, signer=signer, api_key=push_key.get_secret_value() if push_key and signer is None else None)


def _pushed(wanted: Sequence[Mapping[str, Any]], sender: Sender, rate: float) -> Summary:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("challenges answered", total=len(wanted))
        advance: Callable[[Pushed], None] = lambda _: bar.advance(task)  # noqa: E731
        started_s = time.perf_counter()
        pushed = asyncio.run(push_all(wanted, sender, rate, progress=advance))
        return summarised(pushed, time.perf_counter() - started_s)


def _table(summary: Summary) -> Table:
    table = Table("challenges", "status", "what was said", title="pushed")
    if summary.accepted:
        table.add_row(str(len(summary.accepted)), "201", "accepted")
    ordered = sorted(summary.refused.items(), key=lambda each: -each[1])
    for (status, said), count in ordered[:SHOWN_REASONS]:
        table.add_row(str(count), str(status or "no answer"), escape(said))
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        if (took := summary.percentile_ms(share)) is not None:
            table.caption = f"{table.caption or ''} {name} {took:.1f} ms".strip()
    return table


def show(
    challenge: Annotated[str, typer.Argument(metavar="ID", help="as it was accepted")],
    wait: Annotated[bool, typer.Option("--wait", help="until the network was told, or it is given up")] = False,
    within_s: Annotated[float, typer.Option(min=0.0, help="how long --wait waits")] = 120.0,
    as_json: AsJson = False,
) -> None:
    """Say what became of one challenge: how far it is, who was paid what, and whether the network was told.

    Ends with 0 when it has scores, 3 while it has none yet, 1 when it was given up.
    """
    from loosh_pipeline.following import challenge_facts, waited_for
    from loosh_pipeline.store.inbox import Inbox

    settings = get_settings()
    inbox = Inbox.open(settings.inbox_url)
    facts = waited_for(lambda: challenge_facts(settings, inbox, ChallengeId(challenge)), within_s if wait else 0.0)
    if as_json:
        tell_json(facts)
    else:
        _print_facts(facts)
    if facts["state"] == ChallengeState.FAILED:
        raise typer.Exit(1)
    if facts["scored_at"] is None:
        raise typer.Exit(NOT_YET)


def _print_facts(facts: Mapping[str, Any]) -> None:
    rows = {
        "state": f"{facts['state']} since {facts['state_changed_at']}",
        "received": facts["received_at"],
        "link": facts["link_header"] or "none: it was accepted before there was a chain",
        "attempts": str(facts["attempts"]),
        "run": facts["run_id"] or "none yet",
        "miners": f"{facts['asked']} asked, {facts['answered']} answered",
        "network": _told(facts),
    } | ({"failure": facts["failure"]} if facts["failure"] else {})
    table = Table(show_header=False, title=escape(f"challenge {facts['id']}"))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, escape(value.strip()))
    out.print(table)
    paid = Table(box=None, title="paid by this round alone")
    paid.add_column("hotkey", no_wrap=True, min_width=HOTKEY_CHARS)
    for name in ("outcome", "ms", "payout"):
        paid.add_column(name)
    for each in facts["payouts"]:
        elapsed = "" if each["elapsed_ms"] is None else f"{each['elapsed_ms']:.0f}"
        paid.add_row(each["hotkey"], each["reason"] or each["outcome"], elapsed, f"{each['payout']:.4f}")
    if facts["payouts"]:
        out.print(paid)


def _told(facts: Mapping[str, Any]) -> str:
    if facts["canary"]:
        return "never: it is a canary"
    return "not told yet" if facts["told"] is None else _delivery(facts["told"])


def _delivery(told: Mapping[str, Any]) -> str:
    times = "once" if told["attempts"] == 1 else f"{told['attempts']} times"
    return ", ".join(filter(None, (told["state"], f"tried {times}", told["answer"])))
