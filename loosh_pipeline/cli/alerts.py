"""`loosh alerts`: what should be looked at now, and whether the webhook is told."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from loosh_pipeline.cli.telling import err, out, told
from loosh_pipeline.errors import ConfigError, LooshError
from loosh_pipeline.settings import Settings, get_settings

if TYPE_CHECKING:
    from loosh_pipeline.alerting.book import Entry
    from loosh_pipeline.alerting.conditions import Alert

app = typer.Typer(help="What should be looked at now; and `test`, which sends one message.")

Json = Annotated[bool, typer.Option("--json", help="one JSON object")]


@app.callback(invoke_without_command=True)
def alerts(context: typer.Context, as_json: Json = False) -> None:
    """List what should be looked at now, and say whether the webhook is told. Ends with 1 when there is something."""
    if context.invoked_subcommand is None:
        told(list_alerts)(as_json)


def list_alerts(as_json: bool) -> None:
    from loosh_pipeline.alerting.book import noted, read
    from loosh_pipeline.alerting.conditions import standing_alerts
    from loosh_pipeline.alerting.look import Watch
    from loosh_pipeline.redaction import redactor

    settings, now = get_settings(), datetime.now(UTC)
    watch, redact = Watch.of(settings), redactor(settings)
    try:
        seen = watch.look(now)
    finally:
        watch.close()
    found = standing_alerts(seen)
    kept = read(settings.home)
    book = noted(kept, found, now, seen.blind)
    rows = [
        {
            "key": alert.key,
            "severity": alert.severity.value,
            "since": _iso(_since(kept.entries.get(alert.key), alert, now)),
            "told_at": _iso(book.entries[alert.key].told_at),
            "text": redact(alert.text),
            "action": alert.action,
        }
        for alert in found
    ]
    _say(settings, rows, {name: _plain(value) for name, value in asdict(book.hook).items()}, as_json)
    if rows:
        raise typer.Exit(1)


def _say(settings: Settings, rows: list[dict[str, Any]], hook: dict[str, Any], as_json: bool) -> None:
    hook = {"set": settings.alert_webhook_url is not None, **hook}
    if as_json:
        typer.echo(json.dumps({"alerts": rows, "webhook": hook}))
        return
    for row in rows:
        colour = "red" if row["severity"] == "critical" else "yellow"
        times = [f"{word} {_minute(row[name])} UTC" for word, name in (("since", "since"), ("told", "told_at"))
                 if row[name] is not None]  # fmt: skip
        when = f" ({', '.join(times)})" if times else ""
        out.print(f"[{colour}]{row['severity']:<8}[/]  {escape(row['text'] + when)}", highlight=False, soft_wrap=True)
        out.print(f"{'':<8}  → {escape(row['action'])}", highlight=False, soft_wrap=True)
    if not rows:
        out.print("nothing to look at")
    if not hook["set"]:
        err.print("ALERT_WEBHOOK_URL is not set: nobody is told", highlight=False)
    elif hook["failing_since"]:
        err.print(
            f"[yellow]the webhook was not told since {_minute(hook['failing_since'])}:[/] {escape(hook['said'])}",
            highlight=False,
        )


def send_test(as_json: Json = False) -> None:
    """Send one message to ALERT_WEBHOOK_URL, now, and say what was answered."""
    from loosh_pipeline.alerting.__main__ import who
    from loosh_pipeline.alerting.message import as_body, plain
    from loosh_pipeline.alerting.webhook import send
    from loosh_pipeline.redaction import redactor

    settings = get_settings()
    hook = settings.alert_webhook_url
    if hook is None:
        raise ConfigError("ALERT_WEBHOOK_URL is not set; set it to an incoming webhook of Slack or Mattermost")
    sent = send(hook.get_secret_value(), as_body(plain(f"{who(settings)}: this is a test; all is well with alerts")))
    if not sent.ok:
        raise LooshError(redactor(settings)(sent.said))
    if as_json:
        typer.echo(json.dumps({"sent": True}))
    else:
        out.print("the webhook took it")


app.command("test")(told(send_test))


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _since(before: Entry | None, alert: Alert, now: datetime) -> datetime | None:
    """Since when it stands by the book of who watches; where nobody does, by what it is of."""
    if before is None or before.over_at is not None or before.gone(now):
        return alert.began_at
    return before.since


def _minute(text: str) -> str:
    return text[:16].replace("T", " ")
