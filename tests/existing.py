"""Databases as the existing validator (1.2.8) writes them, from its schema: rollback journal, naive UTC, salted ids."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from bittensor_core import Keypair

SCHEMA = """
CREATE TABLE miners (
    id INTEGER NOT NULL PRIMARY KEY, hotkey VARCHAR NOT NULL UNIQUE, node_id INTEGER {unique_node_id},
    ip VARCHAR NOT NULL, port INTEGER NOT NULL, stake FLOAT NOT NULL, is_available INTEGER NOT NULL,
    last_success DATETIME, error TEXT, last_updated DATETIME NOT NULL, created_at DATETIME, updated_at DATETIME);
CREATE TABLE inference_challenges (
    id INTEGER NOT NULL PRIMARY KEY, prompt TEXT NOT NULL, model VARCHAR NOT NULL, max_tokens INTEGER NOT NULL,
    temperature FLOAT NOT NULL, top_p FLOAT NOT NULL, created_at DATETIME, completed_at DATETIME);
CREATE TABLE inference_responses (
    id INTEGER NOT NULL PRIMARY KEY, challenge_id INTEGER NOT NULL REFERENCES inference_challenges (id),
    miner_id INTEGER NOT NULL REFERENCES miners (id), response_text TEXT NOT NULL, response_time_ms INTEGER NOT NULL,
    created_at DATETIME);
CREATE TABLE evaluation_results (
    id INTEGER NOT NULL PRIMARY KEY, challenge_id INTEGER NOT NULL, consensus_score FLOAT NOT NULL,
    heatmap_path VARCHAR, narrative TEXT, emissions JSON, created_at DATETIME);
CREATE TABLE miner_scores (
    id INTEGER NOT NULL PRIMARY KEY, miner_id INTEGER NOT NULL, score FLOAT NOT NULL, created_at DATETIME);
CREATE TABLE sybil_detection_results (
    id INTEGER NOT NULL PRIMARY KEY, challenge_id INTEGER, suspicious_pairs_count INTEGER NOT NULL,
    suspicious_groups_count INTEGER NOT NULL, suspicious_pairs JSON, suspicious_groups JSON, analysis_report TEXT,
    high_similarity_threshold FLOAT NOT NULL, very_high_similarity_threshold FLOAT NOT NULL, created_at DATETIME);
"""
USERS = """
CREATE TABLE users (
    id INTEGER NOT NULL PRIMARY KEY, hotkey VARCHAR NOT NULL UNIQUE, is_available INTEGER NOT NULL,
    created_at DATETIME, updated_at DATETIME);
"""


def hotkeys(count: int) -> list[str]:
    return [Keypair.create_from_uri(f"//existing//{i}").ss58_address for i in range(count)]


def naive(at: datetime) -> str:
    """As SQLAlchemy writes a naive datetime.utcnow() to SQLite."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def evaluation(at: datetime, emissions: Mapping[str, float], number: int | None = None) -> tuple[Any, ...]:
    """One row: its challenge_id is a hash that says nothing."""
    salted = hash((naive(at), tuple(emissions))) >> 1
    return number, salted, 0.83, None, None, json.dumps(dict(emissions)), naive(at)


def rounds(
    names: Sequence[str], count: int, until: datetime, every: timedelta, seed: int = 0
) -> Iterable[tuple[Any, ...]]:
    """So many evaluations of seven miners each, the newest at `until`."""
    luck = np.random.default_rng(seed)
    skill = luck.uniform(0.3, 1.0, len(names))
    for i in range(count):
        drawn = luck.choice(len(names), min(7, len(names)), replace=False)
        at = until - (count - 1 - i) * every
        yield evaluation(at, {names[who]: round(float(skill[who] * luck.uniform(0.8, 1.1)), 6) for who in drawn})


def build(
    path: Path,
    evaluations: Iterable[tuple[Any, ...]] = (),
    miners: Sequence[str] = (),
    *,
    responses: int = 0,
    old_unique: bool = False,
    at: datetime | None = None,
) -> Path:
    """A validator.db. `old_unique`: with the UNIQUE on node_id of older versions."""
    now = naive(at or datetime.now(UTC))
    with closing(sqlite3.connect(path)) as db, db:
        db.executescript(SCHEMA.format(unique_node_id="UNIQUE" if old_unique else ""))
        add(db, evaluations)
        db.executemany(
            "INSERT INTO miners (hotkey, node_id, ip, port, stake, is_available, last_success, error, last_updated, "
            "created_at, updated_at) VALUES (?, ?, '1680356206', 8091, 1.5, 1, ?, 'HTTP 503: ', ?, ?, ?)",
            [(hotkey, uid, now, now, now, now) for uid, hotkey in enumerate(miners)],
        )
        db.executemany(
            "INSERT INTO inference_responses (challenge_id, miner_id, response_text, response_time_ms, created_at) "
            "VALUES (?, 1, 'an answer', 812, ?)",
            [(str(uuid.uuid4()), now) for _ in range(responses)],
        )
    return path


def add(db: sqlite3.Connection, evaluations: Iterable[tuple[Any, ...]]) -> None:
    db.executemany(
        "INSERT INTO evaluation_results (id, challenge_id, consensus_score, heatmap_path, narrative, emissions, "
        "created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        evaluations,
    )


def build_users(path: Path, registered: Iterable[tuple[str, datetime]]) -> Path:
    with closing(sqlite3.connect(path)) as db, db:
        db.executescript(USERS)
        db.executemany(
            "INSERT INTO users (hotkey, is_available, created_at, updated_at) VALUES (?, 1, ?, ?)",
            [(hotkey, naive(at), naive(at)) for hotkey, at in registered],
        )
    return path
