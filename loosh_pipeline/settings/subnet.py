"""Settings of the subnet: chain, miners, Challenge API, scores, weights, narratives."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator

from loosh_pipeline.errors import ConfigError
from loosh_pipeline.llm.addresses import Provider
from loosh_pipeline.llm.config import LONGEST_TIMEOUT_S, MAX_TOKENS, TEMPERATURE, TIMEOUT_S
from loosh_pipeline.llm.configured import llm_config
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.profiles import PROFILES
from loosh_pipeline.settings.section import Section, address_with_secrets
from loosh_pipeline.settings.types import BurnHotkey, ChainEndpoint, ChainEndpoints, HttpAddress, JsonObject, Names


class ChainAccess(Section):
    """the chain"""

    netuid: int = Field(78, ge=0, description="The subnet.")
    subtensor_address: ChainEndpoint = address_with_secrets(
        "ws://127.0.0.1:9945",
        "A node of the chain. finney: wss://entrypoint-finney.opentensor.ai:443   test: "
        "wss://test.finney.opentensor.ai:443",
    )
    subtensor_fallbacks: ChainEndpoints = address_with_secrets(
        (),
        "Endpoints of the same network to turn to when that one fails, separated by commas. Keys in addresses are "
        "shown nowhere.",
    )
    chain_stale_after_s: float = Field(
        120.0, ge=24, description="A node whose newest block is older than this has failed too."
    )
    wallet_path: Path = Field(
        Path("~/.bittensor/wallets"), description="Directory of wallets; only hotkey and coldkeypub.txt are read."
    )
    wallet_name: str = Field("validator", description="The wallet: a directory in WALLET_PATH.")
    hotkey_name: str = Field("validator", description="Its hotkey: a file in the wallet's directory hotkeys.")
    chain_timeout_s: float = Field(
        60.0, gt=0, le=150, description="One chain operation, at most; reading has 40 s at most, over all endpoints."
    )
    metagraph_refresh_s: float = Field(300.0, gt=0, description="Age at which the subnet is looked at again.")


class Asking(Section):
    """asking miners"""

    min_miners: int = Field(3, ge=1, description="With fewer that are available, a challenge waits and is tried again.")
    max_miners: int = Field(7, ge=1, description="How many miners a challenge is put to, at most.")
    availability_refresh_s: float = Field(
        120.0,
        ge=10,
        description="How often serving miners are asked whether they are available; five times as long ago, all of "
        "them count as there.",
    )
    challenge_timeout_s: float = Field(60.0, gt=0, description="How long all miners of a challenge have.")
    max_response_bytes: int = Field(4 * 1024 * 1024, ge=1024, description="The longest answer of a miner.")
    allow_private_addresses: bool = Field(
        False, description="For a devnet only: miners on loopback and private networks may be asked."
    )

    @model_validator(mode="after")
    def _fewest_below_most(self) -> Self:
        if self.min_miners > self.max_miners:
            raise ValueError(f"MIN_MINERS ({self.min_miners}) exceeds MAX_MINERS ({self.max_miners})")
        return self


class Telling(Section):
    """telling the network"""

    challenge_api_url: HttpAddress | None = Field(
        None,
        description="The Challenge API's base URL. Without it, results are kept in the outbox until it is set. Live "
        "network: https://challenge.loosh.ai",
    )
    challenge_api_key: SecretStr | None = Field(
        None, description="Sent along with results, over https or to this machine only."
    )
    allow_clear_text_fallback: bool = Field(
        False,
        description="With true, a result goes out unencrypted where the encrypted route does not work: everyone in "
        "between can read it.",
    )
    heatmap_upload: bool = Field(False, description="Also upload the picture of every round to the Challenge API.")
    test_mode: bool = Field(
        False, description="Tell the fastest answer alone, unevaluated, in place of the whole round."
    )
    network_view_refresh_s: float = Field(
        300.0,
        ge=30,
        description="How often the API is asked who validates, who is suspected, and who is to be asked how often.",
    )


class Scores(Section):
    """scores"""

    scoring_profiles: Names = Field(
        (RobustProfile.name,),
        description="Scorers that run on every challenge, separated by commas. robust pays the better miner; network "
        "pays as the network's existing validators do. With robust,network the cost of paying unlike the others is "
        "known: `loosh doctor`, and the metadata of emissions.",
    )
    pay_profile: str = Field(
        RobustProfile.name, description="The one of them that decides pay; the others are shadows."
    )
    shadow_max_change: float = Field(
        0.25,
        gt=0,
        le=1,
        description="A shadow profile under which more of the weight would go to other miners is told as a warning "
        "on the page of shadow_diff.",
    )
    context_rounds: int = Field(
        500,
        ge=20,
        description="Word weights and background come from this many of the newest rounds, from the 20th on.",
    )
    context_refresh_h: float = Field(6.0, gt=0, description="Age at which they are taken again.")

    @model_validator(mode="after")
    def _paying_scorer_runs(self) -> Self:
        if unknown := [name for name in self.scoring_profiles if name not in PROFILES]:
            raise ValueError(f"SCORING_PROFILES names {', '.join(unknown)}; there are {', '.join(PROFILES)}")
        if self.pay_profile not in self.scoring_profiles:
            raise ValueError(
                f"PAY_PROFILE is {self.pay_profile!r}, which SCORING_PROFILES ({','.join(self.scoring_profiles)}) does "
                "not name; only a scorer that runs can decide pay"
            )
        return self


class Canaries(Section):
    """canaries: challenges with known answers; docs/operating/canaries.md says how to write them"""

    canaries_file: Path | None = Field(
        None, description="Questions with their right answers, JSON Lines; keep it secret, or miners learn it."
    )
    canary_rate: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="How many of them are put in to each challenge that is pushed, in the mean, such as 0.02. Never "
        "paid, and nobody is told of them.",
    )

    canary_times: int = Field(
        1, ge=1, le=1000, description="How often each question is put in, in all; a miner knows one that it saw before."
    )

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if self.canary_rate and self.canaries_file is None:
            raise ValueError(
                f"CANARY_RATE is {self.canary_rate:g} and CANARIES_FILE names no file; set both, or neither"
            )
        return self


LONGEST_LOOKBACK_H = 24.0 * 365


class Weights(Section):
    """from emissions to weights; docs/weights.md says what each rule does and why"""

    emissions_lookback_h: float = Field(
        24.0, gt=0, le=LONGEST_LOOKBACK_H, description="Rounds of this long make weights."
    )
    emissions_half_life_h: float = Field(
        12.0, gt=0, description="Age at which a round counts half as much as a new one."
    )
    emissions_full_evidence_rounds: float = Field(
        10.0, ge=1, description="Effective rounds from which pay is full; less where the window makes less attainable."
    )
    emissions_emergency_lookback_h: float = Field(
        168.0, gt=0, le=LONGEST_LOOKBACK_H, description="The longest lookback, in an emergency."
    )
    weights_interval_blocks: int = Field(
        360, ge=1, description="How often weights are set, in blocks: 72 minutes on a chain of 12 s a block."
    )
    weights_min_rounds: int = Field(3, ge=1, description="Scored rounds in the lookback before weights are set.")
    weights_degraded_at: float = Field(
        0.8, gt=0, le=1, description="Part of the chain's activity cutoff without new weights from which more is done."
    )
    weights_emergency_at: float = Field(0.9, gt=0, le=1, description="The same, from which still more is done.")
    weights_min_evidence_rounds: int = Field(
        3, ge=1, description="Times a miner must have been asked; less where the window makes less attainable."
    )
    weights_sybil_evidence: bool = Field(
        True, description="Penalise only those of whom the network speaks badly whom our own evidence speaks against."
    )
    weights_max_penalised_share: float = Field(
        0.33, ge=0, le=1, description="Part of the serving miners that may be penalised, at most."
    )
    weights_entity_cap: float = Field(0.25, gt=0, le=1, description="The most that one coldkey or address gets of all.")
    weights_max_share: float = Field(1.0, gt=0, le=1, description="The most that one miner gets of all.")
    weights_burn_hotkey: BurnHotkey | None = Field(
        None,
        description="Who gets WEIGHTS_BURN_SHARE, such as the subnet owner's hotkey, whose share the chain burns. "
        "Both or neither.",
    )
    weights_burn_share: float = Field(0.0, ge=0, le=1, description="Part of all that goes to WEIGHTS_BURN_HOTKEY.")
    weights_emergency_uniform: bool = Field(
        False,
        description="Consent: in an emergency, when nothing is known, weigh all miners alike that ever answered.",
    )
    weights_min_miners: int = Field(1, ge=1, description="Weights for fewer miners are not set.")
    weights_max_flagged_share: float = Field(
        0.5, ge=0, le=1, description="Weights of which more earners are flagged are not set."
    )
    weights_max_change: float = Field(
        0.5, gt=0, le=1, description="Weights that differ more from the last ones are not set."
    )
    weights_mixed_scorers: bool = Field(
        False, description="With true, weights of rounds of several scorer versions together are set all the same."
    )

    @model_validator(mode="after")
    def _thresholds_and_burning(self) -> Self:
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
        return self


class Narratives(Section):
    """narratives"""

    enable_narrative_generation: bool = Field(
        True,
        description="With false no language model is asked: the text is composed from the stored figures, as it is "
        "where no LLM_MODEL is set.",
    )
    llm_provider: Provider = Field(
        "openai",
        description="openai (any OpenAI-compatible server: OpenAI, vLLM, llama.cpp, …), azure_openai or ollama.",
    )
    llm_api_url: HttpAddress | None = Field(
        None,
        description="Where the model is asked. Unset: OpenAI, where LLM_API_KEY is set, or Ollama on this machine. "
        "Azure: the resource's endpoint, such as https://NAME.openai.azure.com.",
    )
    llm_api_key: SecretStr | None = Field(None, description="Its key. Ollama and most servers of one's own need none.")
    llm_model: str = Field("", description="The model to ask; unset: none.")
    llm_api_version: str | None = Field(None, description="Azure: version of its API, such as 2024-10-21.")
    llm_deployment: str | None = Field(None, description="Azure: name of the deployment. Unset: LLM_MODEL.")
    llm_temperature: float = Field(TEMPERATURE, ge=0, le=2, description="How freely it chooses its words.")
    llm_max_tokens: int = Field(
        MAX_TOKENS,
        ge=1,
        le=100_000,
        description="Length of its answer, at most. A model that reasons first needs a few thousand.",
    )
    llm_timeout_s: float = Field(
        TIMEOUT_S,
        gt=0,
        le=LONGEST_TIMEOUT_S,
        description="How long it has, every try included; then the text is composed.",
    )
    llm_params: JsonObject | None = Field(
        None,
        repr=False,
        description='Further parameters of a request, as a JSON object: {"top_p": 0.9}. null leaves one out: '
        '{"temperature": null}.',
    )

    @model_validator(mode="after")
    def _model_can_be_asked(self) -> Self:
        try:
            llm_config(self)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self
