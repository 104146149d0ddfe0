"""Names that nobody reads: a misspelt setting would silently stay at its default."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from loosh_pipeline.errors import ConfigError
from loosh_pipeline.lock import PROCESS, SUPERVISED
from loosh_pipeline.settings.given import Given
from loosh_pipeline.settings.legacy import GONE, OF_SCRIPTS, RENAMED

OURS = ("LOOSH_", "INTAKE_", "WEIGHTS_", "EMISSIONS_", "EMBEDDER_", "SUBTENSOR_")
"""What the environment has under these is meant for us."""

OTHERS = (
    *("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "LANG", "LC_", "TZ", "HOME", "PATH", "TMPDIR", "LD_"),
    *("PYTHON", "PIP_", "UV_", "VIRTUAL_ENV", "DAGSTER_", "CELERY_", "BT_", "HF_", "TRANSFORMERS_", "TOKENIZERS_"),
    *("CUDA_", "NVIDIA_", "OMP_", "OPENBLAS_", "MKL_", "POLARS_", "DOCKER_", "COMPOSE_", "PM2_", "PORT_"),
    *("AWS_", "AZURE_", "GOOGLE_", "GCP_", "FSSPEC_", "PG", "POSTGRES_", "REDIS_", "GF_", "OTEL_", "OLLAMA_"),
)
"""Beginnings of names in a `.env` that other programs read, which may share the file."""
ALIKE = 0.9
"""How alike a name of the environment is to a setting's before it is taken for one that was misspelt."""


def refuse_unknown(names: Iterable[str], environment: Mapping[str, Given], dotenv: Mapping[str, Given]) -> None:
    """Raise ConfigError that names what neither we nor another program reads. `names`: of settings, upper case."""
    known = {*names, *RENAMED, *GONE, *OF_SCRIPTS, SUPERVISED, PROCESS}
    wrong = [given for name, given in dotenv.items() if name not in known and not name.startswith(OTHERS)]
    wrong += [given for name, given in environment.items() if name not in known and _meant_for_us(name, known)]
    if wrong:
        raise ConfigError("; ".join(_said(given, known) for given in wrong))


def _meant_for_us(name: str, known: set[str]) -> bool:
    return name.startswith(OURS) or bool(difflib.get_close_matches(name, known, 1, ALIKE) and "_" in name)


def _said(given: Given, known: set[str]) -> str:
    alike = difflib.get_close_matches(given.name.upper(), known, 1, 0.7)
    hint = f"did you mean {alike[0]}?" if alike else "`loosh config show` lists all settings"
    return f"{given.name} ({given.origin}) is no setting; {hint}"
