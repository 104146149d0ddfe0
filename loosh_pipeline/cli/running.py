"""`loosh up`, `loosh devnet`, `loosh demo`: what runs until it is stopped."""

from __future__ import annotations

import asyncio
import functools
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from loosh_pipeline.cli import config
from loosh_pipeline.cli.allowed import allowing, behaviours, chain_faults, completing, miner_faults
from loosh_pipeline.cli.telling import AsJson, err, out, tell_json
from loosh_pipeline.errors import ConfigError
from loosh_pipeline.log_files import Say
from loosh_pipeline.log_lines import printed_line
from loosh_pipeline.redaction import redactor
from loosh_pipeline.scorers import model_warning
from loosh_pipeline.settings import Settings, get_settings
from loosh_pipeline.settings.roles import INGRESS, KEEPS
from loosh_pipeline.supervisor import INTERRUPTIONS

ENV_FILE_HEAD = "# Settings of a validator on a devnet, written by `loosh devnet --env-file`."


def up(as_json: AsJson = False) -> None:
    """Run this validator: start every process, restart what dies, stop all of them on Ctrl-C."""
    from loosh_pipeline.doctor.at_start import check_obstacles, looking_around
    from loosh_pipeline.running import run_validator

    settings = get_settings()
    config.warn()
    _require_wallet(settings)
    check_obstacles(settings)
    _interruptible()
    say = _sayer(settings, aside=as_json)
    if warning := model_warning(settings):
        err.print(f"[yellow]warning:[/] {escape(warning)}", highlight=False)
    try:
        with looking_around(say if settings.log_format == "json" else _warn) as around:

            def started() -> None:
                if as_json:
                    tell_json({name.lower().replace(" ", "_"): at for name, at in _pages(settings).items()})
                else:
                    _say_pages(settings, say)
                around.begin()

            run_validator(settings, say, started)
    except KeyboardInterrupt:
        say("stopped")


def _warn(said: str) -> None:
    err.print(f"[yellow]warning:[/] {escape(said)}", highlight=False, soft_wrap=True)


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
        list[str] | None,
        typer.Option(
            help="a fault the chain starts with, such as silence; may be repeated",
            callback=allowing(chain_faults),
            autocompletion=completing(chain_faults),
        ),
    ] = None,
    push_to: Annotated[str | None, typer.Option(help="URL of a validator to push challenges to")] = None,
    every_s: Annotated[float, typer.Option(min=0.1, help="seconds between pushed challenges")] = 30.0,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            help="one more miner with this fault, such as hang; may be repeated",
            callback=allowing(miner_faults),
            autocompletion=completing(miner_faults),
        ),
    ] = None,
    behaviour: Annotated[
        str | None,
        typer.Option(
            help="of all miners, such as steady; otherwise of every kind some",
            callback=allowing(behaviours),
            autocompletion=completing(behaviours),
        ),
    ] = None,
    delay_s: Annotated[
        float | None, typer.Option(min=0.0, max=60.0, help="how long miners think; otherwise 0.2 to 1 s")
    ] = None,
    info_file: Annotated[Path | None, typer.Option(help="where to write what is served, as JSON")] = None,
    env_file: Annotated[
        Path | None, typer.Option(dir_okay=False, help="where to write a validator's settings, such as .env")
    ] = None,
    as_json: AsJson = False,
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

    if env_file is not None:
        _require_replaceable(env_file)

    def started(info: DevnetInfo) -> None:
        if info_file is not None:
            info.write(info_file)
        if env_file is not None:
            lines = [ENV_FILE_HEAD, *(f"{name}={value}" for name, value in info.environment().items())]
            env_file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        if as_json:
            typer.echo(info.to_json())
        else:
            _print_devnet(info)

    asyncio.run(run_subnet(config, started, push_to=push_to, every_s=every_s))


def demo(
    once: Annotated[bool, typer.Option("--once", help="end by itself, with a JSON summary as the last line")] = False,
    challenges: Annotated[int, typer.Option(min=1, help="how many challenges are pushed")] = 12,
    miners: Annotated[int, typer.Option(min=3, max=255, help="how many miners are asked each")] = 10,
    answers: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="JSONL of instruction, model, output")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="only the JSON summary on stdout")] = False,
) -> None:
    """Show everything at work on this machine: a subnet, a validator, challenges, scores, weights on a chain."""
    from loosh_pipeline.demo import DemoPlan, run_demo

    _interruptible()
    try:
        run_demo(DemoPlan(challenges=challenges, miners=miners, answers=answers, once=once), err if as_json else out)
    except KeyboardInterrupt:
        err.print("stopped")
        if once:
            raise typer.Exit(130) from None


def _sayer(settings: Settings, aside: bool) -> Say:
    """How `loosh up` speaks: as its processes log, where that is JSON. `aside`: on stderr."""
    if settings.log_format == "json":
        return lambda text: typer.echo(printed_line("loosh-up", redactor(settings)(text)), err=aside)
    return functools.partial((err if aside else out).print, highlight=False, soft_wrap=True)


def _say_pages(settings: Settings, say: Say) -> None:
    if settings.log_format == "json":
        say("running; " + ", ".join(f"{what} {where}" for what, where in _pages(settings).items()))
    else:
        _print_pages(settings)


def _interruptible() -> None:
    """Ctrl-C and a service manager's SIGTERM both stop us, also as a background job that ignores Ctrl-C."""
    for number in INTERRUPTIONS:
        signal.signal(number, _interrupt)


def _interrupt(_number: int, _frame: object) -> None:
    """Stop, once: whoever asks again does not make it leave processes behind."""
    for number in INTERRUPTIONS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _require_wallet(settings: Settings) -> None:
    """Fail at start, and clearly, rather than in every run. A machine of the embedder alone needs none."""
    if not settings.runs_here(*KEEPS):
        return
    from loosh_pipeline.chain.wallet import load_signer

    load_signer(settings.wallet_path, settings.wallet_name, settings.hotkey_name)


def _pages(settings: Settings) -> dict[str, str]:
    """Where a running validator is looked at, of what runs here."""
    pages = {}
    if settings.runs_here("dagster-webserver"):
        pages["Dagster UI"] = settings.own_dagster_url
    if settings.runs_here(INGRESS):
        pages |= {"ingress": settings.ingress_url, "API": f"{settings.ingress_url}/docs"}
    return {**pages, "logs": str(settings.home / "logs")}


def _print_pages(settings: Settings) -> None:
    table = Table(title="running; Ctrl-C stops", show_header=False)
    for what, where in _pages(settings).items():
        table.add_row(what, where)
    out.print(table)


def _require_replaceable(env_file: Path) -> None:
    """An operator's settings are never overwritten. Raises ConfigError."""
    if env_file.exists() and not env_file.read_text(encoding="utf-8").startswith(ENV_FILE_HEAD):
        raise ConfigError(f"{env_file} exists, and `loosh devnet` did not write it; name another file, or move it away")


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
