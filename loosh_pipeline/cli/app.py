"""`loosh`: run a validator, or a whole subnet on one machine, and see how it is."""

from __future__ import annotations

from collections.abc import Callable

import typer
from typer.core import TyperCommand

from loosh_pipeline.cli import (
    acceptances,
    alerts,
    audit,
    chain,
    challenges,
    config,
    counterfactual,
    explaining,
    keeping,
    moving,
    rescoring,
    restoring,
    running,
    state,
    wallet,
    weights,
)
from loosh_pipeline.cli.telling import main, told

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
app.callback()(main)

COMMANDS = (
    running.up,
    running.devnet,
    running.demo,
    state.status,
    state.doctor,
    state.retry,
    explaining.explain,
    rescoring.rescore,
    counterfactual.whatif,
    counterfactual.diff,
    keeping.backup,
    restoring.restore,
)

for command in COMMANDS:
    app.command()(told(command))
app.command("import-validator")(told(moving.import_validator))
app.command("move-database")(told(moving.move_database))

GROUPS: dict[str, tuple[str, dict[str, Callable[..., None]]]] = {
    "config": (
        "Settings: what holds, and what there is.",
        {"show": config.show, "check": config.check, "example": config.example},
    ),
    "wallet": ("Keys of this validator.", {"new": wallet.new}),
    "challenges": (
        "Challenges: pushing some, and what became of one.",
        {"send": challenges.send, "show": challenges.show},
    ),
    "weights": ("Weights, by hand.", {"set": weights.set_}),
    "audit": (
        "Showing that it was all done rightly, and checking that of others.",
        {"list": audit.list_, "export": audit.export, "verify": audit.verify, "chain": acceptances.chain},
    ),
    "chain": (
        "This validator on the chain.",
        {"status": chain.status, "serve": chain.serve, "acknowledge": chain.acknowledge},
    ),
}
"""Commands by group and verb."""
OWN: dict[Callable[..., None], type[TyperCommand]] = {audit.verify: audit.Verifying}
"""Commands that are read in a way of their own."""

app.add_typer(alerts.app, name="alerts")

for name, (about, commands) in GROUPS.items():
    group = typer.Typer(no_args_is_help=True, help=about)
    app.add_typer(group, name=name)
    for verb, command in commands.items():
        group.command(verb, cls=OWN.get(command))(told(command))
