"""Names that nobody reads: a misspelt setting would silently stay at its default."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Set

from loosh_pipeline.errors import ConfigError
from loosh_pipeline.lock import PROCESS, SUPERVISED
from loosh_pipeline.settings.given import Given, Names
from loosh_pipeline.settings.legacy import GONE, OF_SCRIPTS, OURS_BEFORE, RENAMED

OURS = ("LOOSH_", "INTAKE_", "WEIGHTS_", "EMISSIONS_", "EMBEDDER_")
"""What the environment has under these is meant for us."""

OTHERS = frozenset(
    {
        *("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "LANG", "TZ", "HOME", "PATH", "TMPDIR", "VIRTUAL_ENV"),
        *("PORT", "UID", "GID", "USER", "HOSTNAME", "NODE_ENV", "SSL_CERT_FILE", "SSL_CERT_DIR", "DEBIAN_FRONTEND"),
    }
)
OTHERS_BEGIN = (
    *("LC_", "LD_", "PYTHON", "PIP_", "UV_", "BT_", "BITTENSOR_", "HF_", "TRANSFORMERS_"),
    *("TOKENIZERS_", "CUDA_", "NVIDIA_", "OMP_", "OPENBLAS_", "MKL_", "POLARS_", "DOCKER_", "COMPOSE_", "PM2_", "AWS_"),
    *(
        "AZURE_",
        "GOOGLE_",
        "GCP_",
        "FSSPEC_",
        "PGPASS",
        "PGHOST",
        "PGUSER",
        "PGDATABASE",
        "PGPORT",
        "POSTGRES_",
        "REDIS_",
    ),
    *("POSTGRES_", "REDIS_", "GF_", "OTEL_", "OLLAMA_", "OPENAI_", "WANDB_", "TORCH_"),
)
"""Names in a `.env` that other programs read, which may share the file, and beginnings of such names."""
SHARED_BEGIN = ("DAGSTER_", "CELERY_")
"""Beginnings that names of ours have too, so that one may be misspelt."""
SERVICE_LINK = re.compile(r".+_(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_\d+_(TCP|UDP).*)?)")
"""What Docker and Kubernetes tell a container of its neighbours, by their names."""
ALIKE = 0.85
"""How alike a name is to a setting's before it is taken for one that was misspelt."""


def refuse_unknown(names: Iterable[str], environment: Names, dotenv: Names) -> None:
    """Raise ConfigError that names what neither we nor another program reads. `names`: of settings, upper case."""
    known = _known(names)
    wrong = [given for name, given in dotenv.items() if name not in known and not _anothers(name, known)]
    wrong += [given for name, given in environment.items() if name not in known and _meant_for_us(name)]
    if wrong:
        raise ConfigError("; ".join(_said(given, known) for given in wrong))


def misspelt(names: Iterable[str], environment: Names) -> list[str]:
    """A line for each name in the environment that looks like a setting's: it may be another program's all the same."""
    known = _known(names)
    odd = [g for n, g in environment.items() if n not in known and not _anothers(n, known) and not _meant_for_us(n)]
    return [
        f"{given.name} ({given.origin}) is no setting; did you mean {alike[0]}?"
        for given in odd
        if (alike := _alike(given.name.upper(), known, ALIKE))
    ]


def _known(names: Iterable[str]) -> Set[str]:
    return {*names, *RENAMED, *GONE, *OURS_BEFORE, *OF_SCRIPTS, SUPERVISED, PROCESS}


def _anothers(name: str, known: Collection[str]) -> bool:
    if name in OTHERS or name.startswith(OTHERS_BEGIN) or SERVICE_LINK.fullmatch(name):
        return True
    return name.startswith(SHARED_BEGIN) and not _alike(name, known, ALIKE)


def _meant_for_us(name: str) -> bool:
    return name.startswith(OURS) and not SERVICE_LINK.fullmatch(name)


def _alike(name: str, known: Collection[str], how: float) -> list[str]:
    return difflib.get_close_matches(name, known, 1, how)


def _said(given: Given, known: Collection[str]) -> str:
    alike = _alike(given.name.upper(), known, 0.7)
    hint = f"did you mean {alike[0]}?" if alike else "`loosh config show` lists all settings"
    return f"{given.name} ({given.origin}) is no setting; {hint}"
