"""`loosh`: run a validator, or a whole subnet on one machine, and see how it is."""

from __future__ import annotations

import asyncio
import functools
import signal
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from loosh_pipeline import cli_chain
from loosh_pipeline.cli_challenges import send
from loosh_pipeline.cli_weights import set_
from loosh_pipeline.errors import ConfigError, LooshError
from loosh_pipeline.scorers import model_warning
from loosh_pipeline.settings import Settings, get_settings

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
wallet_app = typer.Typer(no_args_is_help=True, help="Keys of this validator.")
app.add_typer(wallet_app, name="wallet")
challenges_app = typer.Typer(no_args_is_help=True, help="Challenges, for whoever tries a validator out.")
app.add_typer(challenges_app, name="challenges")
weights_app = typer.Typer(no_args_is_help=True, help="Weights, by hand.")
app.add_typer(weights_app, name="weights")
chain_app = typer.Typer(no_args_is_help=True, help="This validator on the chain.")
app.add_typer(chain_app, name="chain")
out = Console()
err = Console(stderr=True)

P = ParamSpec("P")
SECRETS = {
    "DATABASE_URL",
    "CHALLENGE_API_KEY",
    "CHALLENGE_PUSH_API_KEY",
    "EMBEDDING_API_KEY",
    "LLM_API_KEY",
    "SUBTENSOR_ADDRESS",
    "SUBTENSOR_FALLBACKS",
}
"""Settings whose value is never shown; endpoints of the chain may hold keys."""


def _told(command: Callable[P, None]) -> Callable[P, None]:
    """Tell the errors we raise on purpose in one line; anything else is a bug and keeps its traceback."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except ValidationError as error:
            problems = "; ".join(_problem(each) for each in error.errors())
            err.print(f"[red]error:[/] wrong settings: {escape(problems)}", highlight=False)
            raise typer.Exit(2) from error
        except LooshError as error:
            err.print(f"[red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
            raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from error

    return wrapper


def _problem(error: Mapping[str, Any]) -> str:
    """One wrong setting: its name and value, and what is wrong with it."""
    name = ".".join(map(str, error["loc"])).upper()
    said = error["msg"].removeprefix("Value error, ")
    if not name or name in SECRETS:
        return f"{name} {said}".strip()
    return f"{name}={error['input']!r}: {said}"


@app.command()
@_told
def up() -> None:
    """Run this validator: start every process, restart what dies, stop all of them on Ctrl-C."""
    from loosh_pipeline.running import run_validator

    settings = get_settings()
    _require_wallet(settings)
    _interruptible()
    say = functools.partial(out.print, highlight=False, soft_wrap=True)
    if warning := model_warning(settings):
        err.print(f"[yellow]warning:[/] {escape(warning)}", highlight=False)
    try:
        run_validator(settings, say, lambda: _print_pages(settings))
    except KeyboardInterrupt:
        out.print("stopped")


@app.command()
@_told
def devnet(
    miners: Annotated[int, typer.Option(min=1, max=255, help="how many miners serve")] = 10,
    answers: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="JSONL of instruction, model, output")
    ] = None,
    chain_port: Annotated[int, typer.Option(help="0 takes any free port")] = 9945,
    challenge_api_port: Annotated[int, typer.Option(help="0 takes any free port")] = 8080,
    miner_port: Annotated[int, typer.Option(help="port of the first miner; 0 takes free ones")] = 9100,
    block_time_s: Annotated[float, typer.Option(min=0.05, help="seconds a block")] = 0.25,
    tempo: Annotated[int, typer.Option(min=1, max=65_535, help="blocks an epoch")] = 360,
    commit_reveal: Annotated[bool, typer.Option("--commit-reveal", help="commit weights, then reveal")] = False,
    chain_fault: Annotated[
        list[str] | None, typer.Option(help="a fault the chain starts with, such as silence; may be repeated")
    ] = None,
    push_to: Annotated[str | None, typer.Option(help="URL of a validator to push challenges to")] = None,
    every_s: Annotated[float, typer.Option(min=0.1, help="seconds between pushed challenges")] = 30.0,
    fault: Annotated[
        list[str] | None, typer.Option(help="one more miner with this fault, such as hang; may be repeated")
    ] = None,
    behaviour: Annotated[
        str | None, typer.Option(help="of all miners, such as steady; otherwise of every kind some")
    ] = None,
    delay_s: Annotated[
        float | None, typer.Option(min=0.0, max=60.0, help="how long miners think; otherwise 0.2 to 1 s")
    ] = None,
    info_file: Annotated[Path | None, typer.Option(help="where to write what is served, as JSON")] = None,
) -> None:
    """Serve a subnet on this machine: chain, miners of several behaviours, and a Challenge API."""
    from loosh_pipeline.devnet.answers import SHIPPED_ANSWERS
    from loosh_pipeline.devnet.behaviours import DELAY_RANGE_S, behaviour_named
    from loosh_pipeline.devnet.subnet import DevnetInfo, devnet_config, run_subnet

    config = devnet_config(
        get_settings(),
        {"block_time_s": block_time_s, "tempo_blocks": tempo, "commit_reveal": commit_reveal},
        fault or (),
        chain_fault or (),
        chain_port=chain_port,
        challenge_api_port=challenge_api_port,
        miner_port=miner_port,
        miners=miners,
        answers=answers or SHIPPED_ANSWERS,
        behaviour=None if behaviour is None else behaviour_named(behaviour),
        delay_range_s=DELAY_RANGE_S if delay_s is None else (delay_s, delay_s),
    )

    def started(info: DevnetInfo) -> None:
        if info_file is not None:
            info.write(info_file)
        _print_devnet(info)

    asyncio.run(run_subnet(config, started, push_to=push_to, every_s=every_s))


@app.command()
@_told
def demo(
    once: Annotated[bool, typer.Option("--once", help="end by itself, with a JSON summary as the last line")] = False,
    challenges: Annotated[int, typer.Option(min=1, help="how many challenges are pushed")] = 12,
    miners: Annotated[int, typer.Option(min=3, max=255, help="how many miners are asked each")] = 10,
    answers: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="JSONL of instruction, model, output")
    ] = None,
) -> None:
    """Show everything at work on this machine: a subnet, a validator, challenges, scores, weights on a chain."""
    from loosh_pipeline.demo import DemoPlan, run_demo

    _interruptible()
    try:
        run_demo(DemoPlan(challenges=challenges, miners=miners, answers=answers, once=once), out)
    except KeyboardInterrupt:
        err.print("stopped")
        if once:
            raise typer.Exit(130) from None


@app.command()
@_told
def status() -> None:
    """Say how far accepted challenges have come, what waits to be told, and which pages answer."""
    from loosh_pipeline.status import status_tables

    for table in status_tables(get_settings()):
        out.print(table)


@app.command()
@_told
def doctor() -> None:
    """Say what an operator should know: what the chosen profile costs, and what the figures hang on."""
    from loosh_pipeline.doctor import findings

    table = Table("", "", show_header=False, title="doctor")
    for found in findings(get_settings()):
        mark = "[green]ok[/]" if found.verdict == "ok" else "[yellow]look[/]"
        table.add_row(mark, found.subject, escape(found.said))
    out.print(table)


@app.command()
@_told
def retry() -> None:
    """Take up again what was given up: challenges parked as failed, and results that the Challenge API refused."""
    from loosh_pipeline.store.inbox import Inbox
    from loosh_pipeline.store.outbox import Outbox

    now = datetime.now(UTC)
    inbox = Inbox.open(get_settings().inbox_url)
    challenges, results = inbox.unpark(now), Outbox(inbox.engine).unpark(now)
    out.print(f"{challenges} challenges get another run, {results} results are told again")


@wallet_app.command("new")
@_told
def wallet_new(
    name: Annotated[str | None, typer.Option(help="WALLET_NAME by default")] = None,
    hotkey: Annotated[str | None, typer.Option(help="HOTKEY_NAME by default")] = None,
) -> None:
    """Create a hotkey (and a coldkey when there is none) in the standard place. No secret is printed."""
    from loosh_pipeline.chain.wallet import create_wallet

    settings = get_settings()
    info = create_wallet(settings.wallet_path, name or settings.wallet_name, hotkey or settings.hotkey_name)
    table = Table(title=f"wallet {info.name} in {info.directory}", show_header=False)
    table.add_row(f"hotkey {info.hotkey_name}", info.hotkey)
    table.add_row("coldkey" + (" (new)" if info.coldkey_created else ""), info.coldkey)
    out.print(table)
    if info.coldkey_created:
        out.print("On a real network, move the file `coldkey` to a safe machine: the validator never reads it.")


challenges_app.command("send")(_told(send))
weights_app.command("set")(_told(set_))
chain_app.command("status")(_told(cli_chain.status))
chain_app.command("serve")(_told(cli_chain.serve))
chain_app.command("acknowledge")(_told(cli_chain.acknowledge))


def _interruptible() -> None:
    """Ctrl-C and a service manager's SIGTERM both stop us, also as a background job that ignores Ctrl-C."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _require_wallet(settings: Settings) -> None:
    """Fail at start, and clearly, rather than in every run."""
    from loosh_pipeline.chain.wallet import load_signer

    load_signer(settings.wallet_path, settings.wallet_name, settings.hotkey_name)


def _print_pages(settings: Settings) -> None:
    table = Table(title="running; Ctrl-C stops", show_header=False)
    table.add_row("Dagster UI", f"http://127.0.0.1:{settings.dagster_port}")
    table.add_row("ingress", settings.ingress_url)
    table.add_row("API", f"{settings.ingress_url}/docs")
    table.add_row("logs", str(settings.home / "logs"))
    out.print(table)


def _print_devnet(info: object) -> None:
    from loosh_pipeline.devnet.subnet import DevnetInfo

    assert isinstance(info, DevnetInfo)
    table = Table("uid", "hotkey", "behaviour", "port", title=f"subnet {info.netuid}; Ctrl-C stops")
    for miner in info.miners:
        what = f"{miner.behaviour}, {miner.fault}" if miner.fault else miner.behaviour
        table.add_row(str(miner.uid), miner.hotkey, what, str(miner.port))
    out.print(table)
    out.print("Settings for a validator on this subnet (put them in `.env`, or export them):")
    for name, value in info.environment().items():
        out.print(f"{name}={value}", highlight=False, soft_wrap=True)
    page = info.chain_url.replace("ws://", "http://", 1)
    out.print(f"The chain as JSON: {page}/ and a fault of it: {page}/switch?fault=silence&on=1", soft_wrap=True)
    sys.stdout.flush()


if __name__ == "__main__":
    app()
