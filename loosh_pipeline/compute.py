"""What hardware a validator needs, read from `min_compute.yml`: GB are 10^9 bytes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from loosh_pipeline.errors import ConfigError

FILE = "min_compute.yml"
_PLACES = (Path(__file__).with_name(FILE), Path(__file__).parents[1] / FILE)
"""In an installed package beside this module, in a checkout at its root."""

Source = Literal["measured", "estimated"]
PROFILES = ("minimum_without_gpu", "minimum_with_gpu", "recommended_without_gpu", "recommended_with_gpu")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Cpu(_Part):
    """Speeds are in GHz."""

    min_cores: int = Field(gt=0)
    min_speed: float = Field(gt=0)
    recommended_cores: int = Field(gt=0)
    recommended_speed: float = Field(gt=0)
    architecture: str


class GpuNeeds(_Part):
    """Video memory is in GB."""

    required: bool
    min_vram: float = Field(gt=0)
    recommended_vram: float = Field(gt=0)
    min_compute_capability: float = Field(gt=0)
    recommended_compute_capability: float = Field(gt=0)
    recommended_gpu: str


class Memory(_Part):
    min_ram: float = Field(gt=0)
    recommended_ram: float = Field(gt=0)
    min_swap: float = Field(ge=0)
    recommended_swap: float = Field(ge=0)
    ram_type: str


class Storage(_Part):
    min_space: float = Field(gt=0)
    recommended_space: float = Field(gt=0)
    type: str
    min_iops: int = Field(gt=0)


class OperatingSystem(_Part):
    name: str
    version: float


class Role(_Part):
    """What one role on the network needs, in the words that subnets use for it."""

    cpu: Cpu
    gpu: GpuNeeds
    memory: Memory
    storage: Storage
    os: OperatingSystem


class Bandwidth(_Part):
    """Mbit/s."""

    download: float = Field(gt=0)
    upload: float = Field(gt=0)


class Network(_Part):
    bandwidth: Bandwidth


class Gpu(_Part):
    """One card: its memory in GB."""

    name: str
    vram: float = Field(gt=0)
    compute_capability: float = Field(gt=0)


class Throughput(_Part):
    miners_per_challenge: int = Field(gt=0)
    challenges_per_hour: int = Field(gt=0)
    memory_peak_mb: int = Field(gt=0)
    source: Source


class ValidatorProfile(_Part):
    """One machine that runs a validator, and what it evaluates."""

    cores: int = Field(gt=0)
    ram: float = Field(gt=0)
    space: float = Field(gt=0)
    gpu: Gpu | None
    performance: tuple[Throughput, ...] = Field(min_length=1)


class ValidatorStorage(_Part):
    mb_per_challenge: float = Field(gt=0)
    miners_per_challenge: int = Field(gt=0)
    source: Source


class InferencePerformance(_Part):
    """Tokens are those generated; `concurrent_requests` are the ones of `tokens_per_s_batched`."""

    source: Source
    tokens_per_s_single: float = Field(gt=0)
    tokens_per_s_batched: float = Field(gt=0)
    concurrent_requests: int = Field(gt=1)
    first_token_ms: float = Field(gt=0)


class InferenceProfile(_Part):
    """A model, the card that serves it, and what to expect of both."""

    model: str
    quantisation: str
    servers: tuple[str, ...] = Field(min_length=1)
    continuous_batching: bool
    gpu: Gpu
    cores: int = Field(gt=0)
    ram: float = Field(gt=0)
    space: float = Field(gt=0)
    weights_gb: float = Field(gt=0)
    kv_cache_kb_per_token: float = Field(gt=0)
    max_model_len: int = Field(gt=0)
    command: str
    performance: InferencePerformance

    @model_validator(mode="after")
    def _fits(self) -> InferenceProfile:
        """The weights and the batched requests, each of half the longest length, fit into nine tenths of the card."""
        tokens = self.performance.concurrent_requests * self.max_model_len / 2
        needed_gb = self.weights_gb + tokens * self.kv_cache_kb_per_token / 1e6
        if needed_gb > 0.9 * self.gpu.vram:
            raise ValueError(f"{self.model} needs {needed_gb:.1f} GB, more than nine tenths of {self.gpu.name}")
        return self


class LocalInference(_Part):
    recommended: InferenceProfile
    minimum: InferenceProfile


class MinCompute(_Part):
    """The whole file."""

    version: str
    compute_spec: Mapping[Literal["validator", "miner"], Role]
    network_spec: Network
    validator_profiles: Mapping[str, ValidatorProfile]
    validator_storage: ValidatorStorage
    local_inference: LocalInference

    @property
    def validator(self) -> Role:
        return self.compute_spec["validator"]

    @model_validator(mode="after")
    def _whole(self) -> MinCompute:
        if set(self.compute_spec) != {"validator", "miner"}:
            raise ValueError("compute_spec must speak of validator and miner")
        if set(self.validator_profiles) != set(PROFILES):
            raise ValueError(f"validator_profiles must be {', '.join(PROFILES)}")
        return self


@cache
def min_compute() -> MinCompute:
    """The hardware this release asks for. Raises ConfigError when the file is missing or is not as it must be."""
    path = next((place for place in _PLACES if place.is_file()), None)
    if path is None:
        raise ConfigError(f"{FILE} is missing from {_PLACES[0].parent}; install the package again")
    return read(path)


def read(path: Path) -> MinCompute:
    """The hardware that a file asks for. Raises ConfigError that names what is wrong in it."""
    try:
        return MinCompute.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise ConfigError(f"{path} cannot be used: {error}; take it from this release again") from error
