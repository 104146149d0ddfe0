"""Rounds and cases recorded with the network's existing validator, 1.2.8, and the vectors they were recorded with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from loosh_pipeline.embedding.model import find_model
from loosh_pipeline.embedding.torch_model import load_torch
from loosh_pipeline.scoring.network.round import texts_to_embed
from loosh_pipeline.scoring.vectors import Vectors

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def cases() -> dict[str, dict[str, Any]]:
    """Worked cases by id."""
    content = json.loads((DATA / "reference_scoring_cases.json").read_text(encoding="utf-8"))
    return {case["id"]: case for case in content["cases"]}


@pytest.fixture(scope="session")
def recorded() -> dict[str, dict[str, Any]]:
    """Whole rounds by name."""
    content = json.loads((DATA / "reference_rounds.json").read_text(encoding="utf-8"))
    return {case["name"]: case for case in content["cases"]}


@pytest.fixture(scope="session")
def vectors(recorded: dict[str, dict[str, Any]]) -> Mapping[str, Vectors]:
    """The pinned model's vector of every text of the recorded rounds."""
    texts: dict[str, None] = {}
    for case in recorded.values():
        replies = [miner["response_text"] for miner in case["miners"]]
        texts |= dict.fromkeys(texts_to_embed(case["prompt"], replies))
    return dict(zip(texts, load_torch(find_model(), threads=2).embed(list(texts)), strict=True))
