"""Choices of the operator that cost something, or let somebody in.

`devnet`: on a subnet on this machine nobody else pushes or pays, and defaults cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import polars as pl
from pydantic import SecretStr
from sqlalchemy.exc import SQLAlchemyError

from loosh_pipeline.canaries.questions import Question, read_questions
from loosh_pipeline.canaries.templates import templates_of
from loosh_pipeline.doctor.finding import Finding, look, ok, parts, wrong
from loosh_pipeline.domain import Hotkey
from loosh_pipeline.errors import ConfigError, StoreError
from loosh_pipeline.pushers import who_may_push
from loosh_pipeline.scorers import clipping_warning, model_warning
from loosh_pipeline.scoring.network.profile import NetworkProfile
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.canaries import LATELY, LIKE_ONE_OF, Canaries, questions_left
from loosh_pipeline.store.database import stands_at
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.tables import Tables

SHORTEST_KEY = 12
_SIGN_HERE = "set INTAKE_LOCAL_AUTH=true: what it passes on can look like a request of this machine"


def intake(settings: Settings, devnet: bool = False) -> Finding:
    """Who may push challenges; on a real network the Challenge API must be among them."""
    said = who_may_push(settings)
    if settings.intake_auth != "required":
        return look("intake", said, "set INTAKE_AUTH=required once the Challenge API signs its key exchanges")
    if settings.intake_hotkeys:
        return ok("intake", said)
    who, _, todo = said.partition("; ")
    if settings.challenge_push_api_key is not None or (devnet and not settings.intake_local_auth):
        return ok("intake", who)
    return look("intake", who, todo)


def proxy(settings: Settings, devnet: bool = False) -> Finding:
    """Whether what a proxy on this machine passes on could pass for a program of this machine."""
    subject, if_there = "proxy", "if a proxy or tunnel on this machine (nginx, Caddy, ssh -R, socat) passes requests on"
    if settings.intake_local_auth:
        return ok(subject, "who is on this machine signs too (INTAKE_LOCAL_AUTH=true)")
    url = settings.public_url
    if url is not None and (url.scheme == "https" or url.port != settings.api_port):
        return look(subject, f"PUBLIC_URL ({url}) is not this server's own port", f"{if_there}, {_SIGN_HERE}")
    return ok(subject, f"programs on this machine push unsigned and may stop it; {if_there}, {_SIGN_HERE}")


def pages(settings: Settings, devnet: bool = False) -> Finding:
    """Whether the browsers that PUBLIC_URL is for may see what is linked with it."""
    subject, url = "pages", settings.public_url
    if settings.pages_public:
        said = "everybody who reaches the ingress sees prompts and answers (PAGES_PUBLIC=true)"
        return look(subject, said, "meant so, nothing; else set PAGES_PUBLIC=false")
    if url is not None and url.host not in ("localhost", "127.0.0.1", "[::1]"):
        return look(
            subject,
            f"browsers are refused pictures at PUBLIC_URL ({url})",
            f"leave it empty and reach port {settings.api_port} through an SSH tunnel, or set PAGES_PUBLIC=true",
        )
    return ok(subject, "overview and pictures are for this machine and holders of the API key")


def pay(settings: Settings, devnet: bool = False) -> Finding:
    """What paying by this profile costs where the others pay by the network's."""
    subject, network = "pay", NetworkProfile.name
    if settings.pay_profile == network:
        return ok(subject, f"paid by {network}, like the network's existing validators")
    paid_by = f"paid by {settings.pay_profile}"
    if devnet:
        return ok(subject, f"{paid_by}; nobody else pays on a subnet on this machine")
    shadow = f"SCORING_PROFILES={settings.pay_profile},{network}"
    if network not in settings.scoring_profiles:
        said = f"{paid_by}; whoever pays unlike the other validators loses trust"
        return look(subject, said, f"set {shadow} to learn how much")
    tables = Tables(settings.tables_root)
    own, others = tables.latest("emissions"), tables.latest("shadow_emissions")
    if own is None or others is None:
        return look(subject, f"{paid_by}; the cost is known after the first emissions")
    paid = _weights(own, settings.pay_profile)
    cost = clipping_warning(paid, settings.pay_profile, _weights(others, network), network)
    return look(subject, cost, f"meant so, nothing; else set PAY_PROFILE={network}")


def _weights(emissions: pl.DataFrame, profile: str) -> dict[Hotkey, float]:
    rows = emissions.filter(pl.col("profile") == profile).select("hotkey", "weight").rows()
    return {Hotkey(hotkey): weight for hotkey, weight in rows}


def model(settings: Settings, devnet: bool = False) -> Finding:
    """Whether the network's profile runs on the model of the network."""
    warning = model_warning(settings)
    if warning is None:
        return ok("embedding model", settings.embedding_model)
    said, _, todo = warning.rpartition(". ")
    return look("embedding model", said, todo)


def keys(settings: Settings, devnet: bool = False) -> Finding:
    """Whether keys are long enough not to be guessed, and to be found wherever a log line would hold one."""
    given = ((name, value) for name, value in settings if name.endswith("api_key") and isinstance(value, SecretStr))
    short = [name.upper() for name, value in given if 0 < len(value.get_secret_value()) < SHORTEST_KEY]
    if short and not devnet:
        said = f"{', '.join(short)} {'has' if len(short) == 1 else 'have'} less than {SHORTEST_KEY} characters"
        return look("keys", said, "take longer ones; where a server of your own asks for none, leave it out")
    return ok("keys", "no API key is short")


def canaries(settings: Settings, devnet: bool = False) -> Finding:
    """Whether the file of canaries can be used, and is."""
    subject, path, rate = "canaries", settings.canaries_path, settings.canary_rate
    if path is None:
        return ok(subject, "none are put in (CANARIES_FILE)")
    try:
        questions = read_questions(path)
    except ConfigError as error:
        return wrong(subject, *parts(error))
    if not rate:
        return look(subject, f"{path} has {len(questions)} questions, and CANARY_RATE is 0: none are put in")
    said = f"{len(questions)} questions of {path}, {rate:g} to each challenge that is pushed"
    return _supply(settings, questions, said)


def _supply(settings: Settings, questions: Sequence[Question], said: str) -> Finding:
    """Whether any of the questions is left, and any challenge was pushed that one can be made after."""
    subject, now = "canaries", datetime.now(UTC)
    try:
        if stands_at(settings.inbox_url, "inbox") != "up to date":
            return ok(subject, said)
        engine = Inbox.open(settings.inbox_url).engine
        kept = Canaries(engine)
        left = questions_left(questions, kept, settings.canary_times)
        pushed = kept.pushed_lately(now - LATELY, LIKE_ONE_OF)
        engine.dispose()
    except (StoreError, SQLAlchemyError):
        return ok(subject, said)  # what is wrong with the inbox is said by its own finding
    if not left:
        todo = "write others, or set CANARY_TIMES higher"
        return look(subject, f"{said}; each was put in {settings.canary_times} times, and none is left", todo)
    fit, unfit = templates_of(pushed)
    if pushed and not fit:
        why = "; ".join(f"{count} × {reason}" for reason, count in unfit.most_common(3))
        todo = "see docs/operating/canaries.md"
        return look(subject, f"{said}; none can be made like those pushed lately: {why}", todo)
    return ok(subject, f"{said}; {len(left)} are left")


CHOICES: Mapping[str, Callable[[Settings, bool], Finding]] = {
    "intake": intake,
    "proxy": proxy,
    "pages": pages,
    "keys": keys,
    "pay": pay,
    "embedding model": model,
    "canaries": canaries,
}
"""By subject, in the order in which they matter."""
