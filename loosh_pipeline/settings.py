"""Every setting, read from the environment and from `.env`, under the network's own names.

Empty values count as unset, so a variable in `env.example` can stay empty. Paths default to one data
directory, `LOOSH_HOME` (`.loosh` in the working directory), so that a first run needs no configuration.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from enum import StrEnum
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, HttpUrl, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.profiles import PROFILES
from loosh_pipeline.setting_types import (
    BurnHotkey,
    ChainEndpoint,
    ChainEndpoints,
    EmbedderUrl,
    EmbeddingModel,
    IntakeHotkeys,
    LogLevel,
    Names,
    Port,
    ReportedVersion,
)

UNSET = "<unset>"
"""Written by `environment` for what has no value: an empty variable would let `.env` decide."""

PORTS = ("api_port", "dagster_port", "code_server_port", "embedder_port")

FILES_BROKER = "loosh-files://"
NO_RESULTS = "disabled://"
"""Values that Celery reads from the environment by itself, so they are never unset."""


class Present(StrEnum):
    """When pictures and narratives are made; scores and results never wait for them."""

    WITH_SCORES = "with-scores"
    LATER = "later"
    ON_DEMAND = "on-demand"


AuthMode = Literal["required", "signature-optional", "open"]


class Settings(BaseSettings):
    """Configuration of a validator. Raises `pydantic.ValidationError` that names a wrong variable."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        env_parse_none_str=UNSET,
        extra="ignore",
        case_sensitive=False,
        frozen=True,
        allow_inf_nan=False,
    )

    # where things are kept
    loosh_home: Path = Path(".loosh")
    db_path: Path | None = Field(None, description="inbox and outbox; LOOSH_HOME/validator.db")
    users_db_path: Path | None = Field(None, description="registered users; LOOSH_HOME/users.db")
    database_url: str | None = Field(None, repr=False, description="SQLAlchemy URL that replaces DB_PATH, for Postgres")
    tables_dir: str | None = Field(None, description="asset tables: a path or an fsspec URL; LOOSH_HOME/tables")
    heatmaps_dir: Path | None = Field(None, description="heatmap pictures; LOOSH_HOME/heatmaps")
    models_dir: Path | None = Field(None, description="embedding models as ONNX Runtime reads them; LOOSH_HOME/models")

    # what it serves
    api_host: str = "0.0.0.0"
    api_port: Port = 8000
    public_url: HttpUrl | None = Field(None, description="address of the ingress as browsers reach it")
    dagster_url: HttpUrl | None = Field(None, description="Dagster webserver the ingress asks to launch runs")
    embedder_url: EmbedderUrl | None = Field(
        None, description="embedding server: http(s)://… or unix:///path/to/socket; unset: embed in the process"
    )
    embedder_threads: int = Field(2, ge=1)
    embedder_nice: int = Field(5, ge=0, le=19, description="how much the embedder yields to other processes")

    # who may push challenges, and how much
    intake_auth: AuthMode = Field("required", description="required, signature-optional (today's network) or open")
    intake_hotkeys: IntakeHotkeys = Field((), description="hotkeys that may push challenges, separated by commas")
    challenge_push_api_key: SecretStr | None = Field(None, description="whoever knows it may push without a signature")
    intake_local_auth: bool = Field(False, description="ask this machine for a signature too")
    intake_require_binding: bool = Field(
        False, description="take signed key exchanges only that are bound to this validator's hotkey"
    )
    pages_public: bool = Field(False, description="show overview and heatmaps to everybody")
    intake_window_s: float = Field(60.0, ge=1, le=600, description="how far a signed time may be from the server's")
    intake_max_body_bytes: int = Field(4 * 1024 * 1024, ge=1024)
    intake_max_prompt_chars: int = Field(200_000, ge=1)
    intake_max_message_chars: int = Field(200_000, ge=1, description="text of one message")
    intake_max_json_chars: int = Field(2_000_000, ge=1024, description="messages, tools and metadata together")
    intake_max_json_depth: int = Field(64, ge=8, le=200)
    intake_max_tokens: int = Field(131_072, ge=1, le=2**31 - 1)
    intake_rate_per_address: float = Field(50.0, gt=0, description="requests a second")
    intake_rate_per_hotkey: float = Field(50.0, gt=0, description="pushed challenges a second")
    intake_sessions_per_hotkey: int = Field(16, ge=1)
    intake_max_sessions: int = Field(10_000, ge=1)
    intake_max_backlog: int = Field(20_000, ge=1, description="challenges that may wait for their scores")
    reported_version: ReportedVersion | None = Field(
        None, description="version that the network is told; unset: this package's"
    )
    unconsumed_after_s: float = Field(120.0, gt=0, description="when a challenge that nobody runs makes us unhealthy")
    chain_unseen_after_s: float = Field(3600.0, gt=0, description="when a chain that is not seen makes us unhealthy")

    # the embedding model
    embedding_model: EmbeddingModel = Field(
        "builtin", description="builtin, a model's directory, or the URL of another server"
    )
    embedding_model_name: str | None = Field(None, description="model to ask that other server for; unset: its first")
    embedding_api_key: SecretStr | None = Field(None, description="key of that other server")
    embedder_backend: Literal["auto", "torch", "onnx"] = "auto"

    # where `loosh up` puts the other processes, on loopback
    dagster_port: Port = 3000
    code_server_port: Port = 4266
    embedder_port: Port = 8801

    # running evaluations
    max_concurrent_runs: int = Field(20, ge=1, le=512, description="challenges evaluated at once")
    worker_max_runs: int = Field(500, ge=1, description="runs after which a worker process is replaced")
    celery_broker_url: SecretStr = Field(
        SecretStr(FILES_BROKER), description="Redis or RabbitMQ that hands out runs; unset: files in LOOSH_HOME"
    )
    celery_result_backend: SecretStr = Field(
        SecretStr(NO_RESULTS), description="where workers on other machines tell how runs are; unset: nowhere"
    )
    max_run_attempts: int = Field(150, ge=1, description="runs a challenge gets before it is parked; about a day")
    stalled_after_s: float = Field(30.0, gt=0, description="when a challenge that does not move is looked at")

    present: Present = Field(
        Present.WITH_SCORES, description="pictures and narratives: with-scores, later (many in a run) or on-demand"
    )

    # the chain
    netuid: int = Field(78, ge=0)
    subtensor_address: ChainEndpoint = "ws://127.0.0.1:9945"
    wallet_path: Path = Path("~/.bittensor/wallets")
    wallet_name: str = "validator"
    hotkey_name: str = "validator"
    subtensor_fallbacks: ChainEndpoints = Field(
        (), description="endpoints to turn to when SUBTENSOR_ADDRESS fails, separated by commas"
    )
    chain_timeout_s: float = Field(60.0, gt=0, le=150, description="one chain operation; a read has 40 s at most")
    chain_stale_after_s: float = Field(120.0, ge=24, description="age of its newest block that makes a node useless")
    metagraph_refresh_s: float = Field(300.0, gt=0)

    # asking miners
    min_miners: int = Field(3, ge=1)
    max_miners: int = Field(7, ge=1)
    availability_refresh_s: float = Field(120.0, ge=10, description="age at which miners are looked for again")
    challenge_timeout_s: float = Field(60.0, gt=0)
    max_response_bytes: int = Field(4 * 1024 * 1024, ge=1024)
    allow_private_addresses: bool = Field(False, description="devnet only: ask miners on loopback and LANs")

    # telling the network
    challenge_api_url: HttpUrl | None = None
    challenge_api_key: SecretStr | None = None
    allow_clear_text_fallback: bool = Field(
        False, description="tell results unencrypted where the encrypted route fails"
    )
    heatmap_upload: bool = Field(False, description="upload the picture of every round to the Challenge API")
    test_mode: bool = Field(False, description="tell the fastest answer alone, unevaluated, in place of the batch")
    network_view_refresh_s: float = Field(300.0, ge=30, description="age at which the API is asked about hotkeys again")

    # scores and weights
    scoring_profiles: Names = Field(
        (RobustProfile.name,), description="scorers that run on every challenge, separated by commas: robust, network"
    )
    pay_profile: str = Field(RobustProfile.name, description="the one of them that decides pay; others are shadows")
    context_rounds: int = Field(500, ge=20, description="newest rounds that word weights and background are taken from")
    context_refresh_h: float = Field(6.0, gt=0, description="age at which they are taken again")
    emissions_lookback_h: float = Field(24.0, gt=0)
    weights_interval_blocks: int = Field(360, ge=1)
    weights_min_rounds: int = Field(3, ge=1, description="scored rounds in the lookback before weights are set")

    # from emissions to weights: docs/weights.md
    emissions_half_life_h: float = Field(
        12.0, gt=0, description="age at which a round counts half as much as a new one"
    )
    emissions_full_evidence_rounds: float = Field(
        10.0, ge=1, description="effective rounds from which pay is full, at most"
    )
    emissions_emergency_lookback_h: float = Field(168.0, gt=0, description="the longest lookback, in an emergency")
    weights_degraded_at: float = Field(0.8, gt=0, le=1, description="part of the activity cutoff that has passed")
    weights_emergency_at: float = Field(0.9, gt=0, le=1, description="part of the activity cutoff that has passed")
    weights_min_evidence_rounds: int = Field(3, ge=1, description="times a miner must have been asked, at most")
    weights_sybil_evidence: bool = Field(True, description="penalise only whom our own evidence speaks against too")
    weights_max_penalised_share: float = Field(0.33, ge=0, le=1, description="of serving miners, at most")
    weights_entity_cap: float = Field(0.25, gt=0, le=1, description="most that one coldkey or address gets of all")
    weights_max_share: float = Field(1.0, gt=0, le=1, description="most that one miner gets of all")
    weights_burn_hotkey: BurnHotkey | None = Field(None, description="who gets WEIGHTS_BURN_SHARE; both or none")
    weights_burn_share: float = Field(0.0, ge=0, le=1, description="part of all that goes to WEIGHTS_BURN_HOTKEY")
    weights_emergency_uniform: bool = Field(False, description="all known miners alike, when nothing else is left")
    weights_min_miners: int = Field(1, ge=1, description="miners that weights must be for, at least")
    weights_max_flagged_share: float = Field(0.5, ge=0, le=1, description="of earning miners, at most")
    weights_max_change: float = Field(0.5, gt=0, le=1, description="against the last weights, below this")
    weights_mixed_scorers: bool = Field(False, description="take rounds of several scorer versions together")

    # narratives
    llm_api_url: HttpUrl | None = Field(None, description="OpenAI-compatible base URL; unset: composed text")
    llm_api_key: SecretStr | None = None
    llm_model: str = ""
    llm_timeout_s: float = Field(30.0, gt=0)

    log_level: LogLevel = "INFO"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_miners > self.max_miners:
            raise ValueError(f"MIN_MINERS ({self.min_miners}) exceeds MAX_MINERS ({self.max_miners})")
        if unknown := [name for name in self.scoring_profiles if name not in PROFILES]:
            raise ValueError(f"SCORING_PROFILES names {', '.join(unknown)}; there are {', '.join(PROFILES)}")
        if self.pay_profile not in self.scoring_profiles:
            raise ValueError(
                f"PAY_PROFILE is {self.pay_profile!r}, which SCORING_PROFILES ({','.join(self.scoring_profiles)}) does "
                "not name; only a scorer that runs can decide pay"
            )
        if (self.weights_burn_hotkey is None) != (self.weights_burn_share == 0):
            raise ValueError(
                f"WEIGHTS_BURN_HOTKEY is {self.weights_burn_hotkey} and WEIGHTS_BURN_SHARE is "
                f"{self.weights_burn_share:g}; set both, or neither"
            )
        if self.weights_degraded_at > self.weights_emergency_at:
            raise ValueError(
                f"WEIGHTS_DEGRADED_AT ({self.weights_degraded_at:g}) exceeds WEIGHTS_EMERGENCY_AT "
                f"({self.weights_emergency_at:g})"
            )
        if self.llm_api_url and not self.llm_model:
            raise ValueError("LLM_API_URL is set but LLM_MODEL is not; name the model to ask")
        if self.embedding_url is None and (self.embedding_model_name or self.embedding_api_key):
            raise ValueError(
                "EMBEDDING_MODEL_NAME and EMBEDDING_API_KEY are for an embedding server, and EMBEDDING_MODEL "
                f"({self.embedding_model!r}) is not the URL of one"
            )
        if (self.database_url or "").startswith("sqlite"):
            raise ValueError(
                "DATABASE_URL names an SQLite file; name it with DB_PATH, and keep DATABASE_URL for Postgres"
            )
        if self.intake_auth == "open" and not _is_loopback(self.api_host):
            raise ValueError(
                f"INTAKE_AUTH=open lets anybody push who reaches API_HOST ({self.api_host}); bind it to 127.0.0.1, or "
                "use required or signature-optional"
            )
        ports = Counter(getattr(self, name) for name in PORTS)
        shared = [name for name in PORTS if ports[getattr(self, name)] > 1]
        if shared:
            raise ValueError(f"{', '.join(name.upper() for name in shared)} must all be different ports")
        return self

    @property
    def home(self) -> Path:
        return self.loosh_home.expanduser().absolute()

    @property
    def version_told(self) -> str:
        """The version that the network is told."""
        return self.reported_version or version("loosh-pipeline")

    @property
    def chain_endpoints(self) -> tuple[str, ...]:
        """Where the chain is asked, in order; each once."""
        return tuple(dict.fromkeys((self.subtensor_address, *self.subtensor_fallbacks)))

    @property
    def inbox_url(self) -> str:
        return self.database_url or _sqlite(self.db_path or self.home / "validator.db")

    @property
    def users_url(self) -> str:
        return _sqlite(self.users_db_path or self.home / "users.db")

    @property
    def tables_root(self) -> str:
        return self.tables_dir or str(self.home / "tables")

    @property
    def heatmaps_root(self) -> Path:
        return (self.heatmaps_dir or self.home / "heatmaps").expanduser()

    @property
    def models_root(self) -> Path:
        return (self.models_dir or self.home / "models").expanduser().absolute()

    @property
    def embedding_url(self) -> str | None:
        """The embedding server that EMBEDDING_MODEL names; None when it names a model on this machine."""
        return self.embedding_model if "://" in self.embedding_model else None

    @property
    def api_reached_at(self) -> str:
        """Host at which this machine reaches the ingress: the one it binds, or loopback when it binds all."""
        return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(self.api_host, self.api_host)

    @property
    def ingress_url(self) -> str:
        """Address of the ingress for links, without a trailing slash."""
        return str(self.public_url or self.local_url).rstrip("/")

    @property
    def local_url(self) -> str:
        """Address of the ingress for programs on this machine, which may push without a signature."""
        host = f"[{self.api_reached_at}]" if ":" in self.api_reached_at else self.api_reached_at
        return f"http://{host}:{self.api_port}"

    def environment(self) -> dict[str, str]:
        """These settings as environment variables, so that another process has exactly the same ones."""
        values = ((name.upper(), getattr(self, name)) for name in type(self).model_fields)
        return {name: _as_text(value) for name, value in values}


def _sqlite(path: Path) -> str:
    return f"sqlite:///{path.expanduser()}"


def _as_text(value: object) -> str:
    if value is None:
        return UNSET
    if isinstance(value, tuple):
        return ",".join(value)
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()
