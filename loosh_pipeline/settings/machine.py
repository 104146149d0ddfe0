"""Settings of the machine a validator runs on: places, ports, who may push, processes."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from loosh_pipeline.settings.section import Section, address_with_secrets
from loosh_pipeline.settings.types import (
    EmbedderUrl,
    EmbeddingModel,
    HttpAddress,
    IntakeHotkeys,
    LogLevel,
    Networks,
    Port,
    ReportedVersion,
    Services,
)

FILES_BROKER = "loosh-files://"
"""Celery reads CELERY_BROKER_URL from the environment by itself, so it is never unset there."""

PORTS = ("api_port", "dagster_port", "code_server_port", "embedder_port")

AuthMode = Literal["required", "signature-optional", "open"]


class Present(StrEnum):
    """When pictures and narratives are made; scores and results never wait for them."""

    WITH_SCORES = "with-scores"
    LATER = "later"
    ON_DEMAND = "on-demand"


class Places(Section):
    """where things are kept"""

    loosh_home: Path = Field(
        Path(".loosh"), description="Databases, tables, pictures, logs and the Dagster instance of one validator."
    )
    db_path: Path | None = Field(
        None, description="The database of challenges, results and weights; LOOSH_HOME/validator.db."
    )
    users_db_path: Path | None = Field(
        None,
        description="The database of registered users; LOOSH_HOME/users.db. With DATABASE_URL they lie there, and "
        "those of this file are taken along.",
    )
    database_url: str | None = address_with_secrets(
        None,
        "A SQLAlchemy URL that takes the place of DB_PATH and USERS_DB_PATH, such as "
        "postgresql+psycopg2://user:password@host/loosh",
    )
    dagster_database_url: str | None = address_with_secrets(
        None,
        "Where Dagster keeps runs and events in place of files in LOOSH_HOME: a database of its own, such as "
        "postgresql+psycopg2://user:password@host/dagster",
    )
    tables_dir: str | None = Field(
        None,
        description="The asset tables: a path, or an fsspec URL such as s3://bucket/loosh; LOOSH_HOME/tables.",
    )
    heatmaps_dir: Path | None = Field(None, description="Pictures; LOOSH_HOME/heatmaps.")
    models_dir: Path | None = Field(
        None,
        description="What the embedding model was made into for ONNX Runtime, once; several validators may share it. "
        "LOOSH_HOME/models.",
    )

    @model_validator(mode="after")
    def _files_are_named_by_their_path(self) -> Self:
        if (self.database_url or "").startswith("sqlite"):
            raise ValueError(
                "DATABASE_URL names an SQLite file; name it with DB_PATH, and keep DATABASE_URL for Postgres"
            )
        return self


class Serving(Section):
    """what it serves"""

    api_host: str = Field("0.0.0.0", description="Address that the ingress binds.")
    api_port: Port = Field(8000, description="Port of the ingress: the one that the Challenge API reaches.")
    public_url: HttpAddress | None = Field(
        None,
        description="The address under which your browser reaches the ingress: pictures in the Dagster UI are linked "
        "with it. Unset: this machine's own, which is right through an SSH tunnel of API_PORT too; another host or "
        "port needs PAGES_PUBLIC=true.",
    )
    dagster_url: HttpAddress | None = Field(
        None, description="A Dagster webserver elsewhere that launches runs; `loosh up` fills in its own."
    )
    source_url: HttpAddress | None = Field(
        None,
        description="Where the files of this code are read on the web, such as "
        "https://github.com/OWNER/REPOSITORY/blob/TAG: the page of an asset in the Dagster UI links there too. Unset: "
        "to the file on this machine alone.",
    )
    embedder_url: EmbedderUrl | None = Field(
        None,
        description="An embedding server elsewhere, http(s)://… or unix:///path/to/socket; `loosh up` fills in its "
        "own. Unset without `loosh up`: a run embeds in its own process.",
    )
    dagster_host: str = Field(
        "127.0.0.1",
        description="Address that the Dagster UI binds. It asks nobody who they are: bind it to a network only where "
        "every machine in it is yours.",
    )
    embedder_host: str = Field(
        "127.0.0.1", description="Address that the embedder binds; it asks nobody who they are either."
    )
    dagster_port: Port = Field(3000, description="Port of the Dagster UI.")
    code_server_port: Port = Field(4266, description="Port of Dagster's code server, on loopback.")
    embedder_port: Port = Field(8801, description="Port of the embedder.")

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        ports = Counter(getattr(self, name) for name in PORTS)
        if shared := [name.upper() for name in PORTS if ports[getattr(self, name)] > 1]:
            raise ValueError(f"{', '.join(shared)} must all be different ports")
        return self


class Intake(Section):
    """who may push challenges, and how much"""

    intake_auth: AuthMode = Field(
        "required",
        description="required: a signature of one of INTAKE_HOTKEYS, or the API key. signature-optional: as on "
        "today's network, anybody, but a signature that is there must be right. open: no check; only with a loopback "
        "API_HOST.",
    )
    intake_hotkeys: IntakeHotkeys = Field(
        (),
        description="SS58 addresses, separated by commas: the Challenge API's hotkey. Without any, only this machine "
        "and holders of the API key push.",
    )
    challenge_push_api_key: SecretStr | None = Field(
        None, description="Whoever sends it as `Authorization: Bearer KEY` or `X-API-Key: KEY` may push unsigned."
    )
    intake_local_auth: bool = Field(
        False,
        description="A request from this machine needs no signature, unless this says so. Set it to true wherever a "
        "proxy or a tunnel on this machine passes requests on (nginx, Caddy, ssh -R, socat): what it passes on can "
        "look like a request from this machine.",
    )
    trusted_proxies: Networks = Field(
        (),
        description="Addresses or networks, separated by commas, of your own proxies on other machines: callers behind "
        "them are counted by the last address of X-Forwarded-For. Nobody else may reach API_PORT from there, and "
        "nobody becomes a program of this machine by it.",
    )
    intake_require_binding: bool = Field(
        False,
        description="With true, a signed key exchange is taken only with a binding_signature, which ties it to this "
        "validator's hotkey and to its key. Today's Challenge API sends none.",
    )
    pages_public: bool = Field(
        False,
        description="The pages show prompts and answers. They are for this machine (with INTAKE_LOCAL_AUTH not even "
        "for it), an SSH tunnel to its port, whoever signs in with PAGES_TOKEN, and who sends the API key; with true, "
        "for everybody who reaches API_PORT, and miners are among those: where canaries are asked (CANARY_RATE), or "
        "ever were, they are told nothing of challenges.",
    )
    pages_token: SecretStr | None = Field(
        None,
        min_length=16,
        description="Whoever signs in with it under /sign-in, or sends it as `Authorization: Bearer TOKEN`, sees the "
        "pages from elsewhere, and may do nothing else. At least 16 characters; behind TLS only.",
    )
    intake_window_s: float = Field(60.0, ge=1, le=600, description="How far a signed time may be from this clock.")
    intake_max_body_bytes: int = Field(4 * 1024 * 1024, ge=1024, description="The longest body of a challenge.")
    intake_max_prompt_chars: int = Field(200_000, ge=1, description="The longest prompt.")
    intake_max_message_chars: int = Field(200_000, ge=1, description="The longest text of one message.")
    intake_max_json_chars: int = Field(2_000_000, ge=1024, description="Messages, tools and metadata together.")
    intake_max_json_depth: int = Field(64, ge=8, le=200, description="How deep they may be nested.")
    intake_max_tokens: int = Field(131_072, ge=1, le=2**31 - 1, description="The most max_tokens of a challenge.")
    intake_rate_per_address: float = Field(
        50.0, gt=0, description="Requests a second of one address; ten seconds of it at once."
    )
    intake_rate_per_hotkey: float = Field(
        50.0, gt=0, description="Challenges a second of one hotkey; ten seconds of it at once."
    )
    intake_sessions_per_hotkey: int = Field(16, ge=1, description="Encrypted sessions of one hotkey and address.")
    intake_max_sessions: int = Field(10_000, ge=1, description="Encrypted sessions in all.")
    intake_max_backlog: int = Field(20_000, ge=1, description="Challenges that may wait for their scores.")
    reported_version: ReportedVersion | None = Field(
        None, description="The version that the network is told, at least 1.2.8; unset: this package's."
    )
    unconsumed_after_s: float = Field(
        120.0, gt=0, description="Unhealthy, and no challenge is taken, when one waited this long for a run."
    )
    chain_unseen_after_s: float = Field(
        3600.0, gt=0, description="Unhealthy, and no challenge is taken, when the chain was not seen for this long."
    )


class Embedding(Section):
    """the embedding model"""

    embedding_model: EmbeddingModel = Field(
        "builtin",
        description="builtin (all-MiniLM-L6-v2), the directory of a sentence-transformers model, such as "
        "all-mpnet-base-v2, or the URL of an OpenAI-compatible embedding server, which then takes the place of the "
        "embedder of `loosh up`.",
    )
    embedding_model_name: str | None = Field(
        None, description="For such a server: the model to ask it for; unset: its first."
    )
    embedding_api_key: SecretStr | None = Field(None, description="For such a server: its key.")
    embedder_backend: Literal["auto", "torch", "onnx"] = Field(
        "auto", description="auto takes torch on a GPU, else ONNX Runtime, else torch on the CPU; or torch, or onnx."
    )
    embedder_threads: int = Field(2, ge=1, description="Threads of the embedder on the CPU.")
    embedder_nice: int = Field(
        5,
        ge=0,
        le=19,
        description="How much the embedder yields to the other processes on a full machine: 0 not at all, up to 19.",
    )

    @model_validator(mode="after")
    def _server_is_named(self) -> Self:
        if self.embedding_url is None and (self.embedding_model_name or self.embedding_api_key):
            raise ValueError(
                "EMBEDDING_MODEL_NAME and EMBEDDING_API_KEY are for an embedding server, and EMBEDDING_MODEL "
                f"({self.embedding_model!r}) is not the URL of one"
            )
        return self

    @property
    def embedding_url(self) -> str | None:
        """The embedding server that EMBEDDING_MODEL names; None when it names a model on this machine."""
        return self.embedding_model if "://" in self.embedding_model else None


class Running(Section):
    """running evaluations"""

    max_concurrent_runs: int = Field(
        20,
        ge=1,
        le=512,
        description="Challenges evaluated at once; further ones wait in the inbox. A run mostly waits for its miners, "
        "so this is far above the cores. With several machines: on those of workers, what each takes; on those of "
        "ingress and Dagster, what all take together.",
    )
    worker_max_runs: int = Field(500, ge=1, description="Runs after which a worker process is replaced.")
    celery_broker_url: SecretStr = Field(
        SecretStr(FILES_BROKER),
        description="Redis (redis://HOST:6379/0) or RabbitMQ (amqp://…) in place of files in LOOSH_HOME/celery.",
    )
    max_run_attempts: int = Field(
        150,
        ge=1,
        description="Runs a challenge gets before it is parked until `loosh retry`. Pauses grow to ten minutes, so "
        "this is about a day.",
    )
    stalled_after_s: float = Field(30.0, gt=0, description="A challenge that does not move for this long is looked at.")
    present: Present = Field(
        Present.WITH_SCORES,
        description="Heatmaps and narratives: with-scores (in the challenge's own run, after its result was told), "
        "later (one run makes those of many, when no challenge waits), or on-demand (materialized by hand only).",
    )


class Machines(Section):
    """several machines"""

    loosh_services: Services = Field(
        (),
        description="Processes that `loosh up` starts here, separated by commas: ingress, code-server, embedder, "
        "worker, upkeep, dagster-webserver, dagster-daemon, alerts. Empty: all of them. docs/many-machines.md says "
        "what each machine must be told.",
    )


class Keeping(Section):
    """what is kept, and for how long"""

    retain_days: float = Field(
        14.0,
        ge=1,
        description="How long Dagster shows an evaluation: its runs, events and partition, and its picture, from when "
        "it was last run or restored. The tables keep everything; `loosh restore CHALLENGE` shows one again.",
    )
    retain_challenges: int = Field(
        20_000,
        ge=100,
        description="The most challenges that Dagster shows, however young they are; up to a tenth more until it is "
        "pruned.",
    )
    retain_upkeep_days: float = Field(
        2.0,
        ge=0.1,
        description="How long Dagster keeps runs that took snapshots, looked for miners or read weights back.",
    )
    retain_weights_days: float = Field(
        90.0,
        ge=1,
        description="How long Dagster keeps runs that set weights, those of several partitions or started by hand, and "
        "records of backfills.",
    )
    retain_tables_days: float | None = Field(
        None,
        ge=30,
        description="Days after which tables are deleted, and nothing of theirs can be explained or rescored; unset: "
        "never.",
    )
    compact_after_days: float = Field(
        2.0, ge=1, description="Age at which the small files of a day become a few large ones."
    )


class Seeing(Section):
    """seeing it run"""

    log_level: LogLevel = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")
    log_format: Literal["text", "json"] = Field(
        "text", description="text, or json: one object a line, which names the challenge and the run."
    )
    log_file: Path | None = Field(
        None,
        description="A file, absolute or within LOOSH_HOME, for all that the processes of `loosh up` say, together, "
        "rotated at 10 MB; each has its own in LOOSH_HOME/logs besides.",
    )
    metrics_public: bool = Field(
        False,
        description="Serve /metrics to everybody, and not only to this machine and to holders of "
        "CHALLENGE_PUSH_API_KEY.",
    )
    alert_webhook_url: SecretStr | None = Field(
        None,
        description="Where alerts are sent: an incoming webhook of Slack or Mattermost, or of Discord with /slack at "
        "its end. Unset: nowhere; `loosh alerts` lists them all the same.",
    )
    alert_repeat_h: float = Field(
        6.0, ge=0.1, le=168, description="Hours after which an alert that still stands is told again."
    )

    @field_validator("alert_webhook_url")
    @classmethod
    def _is_web_address(cls, url: SecretStr | None) -> SecretStr | None:
        parts = urlsplit("" if url is None else url.get_secret_value())
        if url is not None and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ValueError("ALERT_WEBHOOK_URL begins with https:// (or http://) and names a host")
        return url
