"""On what weights rest, put on record as they are made: nothing of it can be told afterwards from tables that change.

counted_rounds/day=…/RUN.parquet     which version of which rounds was paid, and which were left out
emission_terms/day=…/RUN.parquet     by what terms: profile, parameters, lookback, mode, how age counts
proposal_inputs/day=…/RUN.parquet    everything that a proposal hung on besides, and of which emissions it was made

A run's tables of emissions have one name, and so have those of its proposal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any, TypeVar

import polars as pl

from loosh_pipeline.emissions import Terms
from loosh_pipeline.errors import StoreError
from loosh_pipeline.plain import plain, typed
from loosh_pipeline.policy.inputs import Earned, Inputs
from loosh_pipeline.store.tables import TableKey, Tables
from loosh_pipeline.store.weighing import earned_at

T = TypeVar("T")

COUNTED_ROUNDS = "counted_rounds"
EMISSION_TERMS = "emission_terms"
PROPOSAL_INPUTS = "proposal_inputs"
UNPAID_ASKS = "unpaid_asks"
RECORD: Mapping[str, Any] = {"record": pl.String}
"""One row: the record as JSON."""


def write_terms(tables: Tables, key: TableKey, terms: Terms) -> None:
    _write(tables, EMISSION_TERMS, key, terms)


def read_terms(tables: Tables, key: TableKey) -> Terms:
    """Raises StoreError when they are missing or cannot be read."""
    return _read(tables, EMISSION_TERMS, key, Terms)


def write_inputs(tables: Tables, key: TableKey, inputs: Inputs) -> None:
    """Of what was earned only the name of its tables."""
    _write(tables, PROPOSAL_INPUTS, key, replace(inputs, earned=Earned(table=inputs.earned.table)))


def read_inputs(tables: Tables, key: TableKey) -> Inputs:
    """With what was earned, from its tables. Raises StoreError when anything is missing or cannot be read."""
    inputs = _read(tables, PROPOSAL_INPUTS, key, Inputs)
    earned = inputs.earned.table
    return replace(inputs, earned=earned_at(tables, key_of(earned))) if earned else inputs


def earned_table(tables: Tables, key: TableKey) -> str | None:
    """Which tables of emissions a proposal was made of, as `Earned.table` names them; empty for none.

    None where the proposal has no such record: it is of release 1.3.0.
    """
    if not tables.exists(PROPOSAL_INPUTS, key):
        return None
    (said,) = tables.read(PROPOSAL_INPUTS, key).row(0)
    try:
        # Not as typed values: they hold a whole subnet, and pages look at dozens of epochs.
        table: str = json.loads(said)["earned"]["table"]
    except (ValueError, TypeError, KeyError) as error:
        raise _unreadable(PROPOSAL_INPUTS, key, error) from error
    return table


def key_of(table: str) -> TableKey:
    """Where the tables lie that `Earned.table` names."""
    day, _, name = table.partition("/")
    return TableKey(date.fromisoformat(day), name)


def _write(tables: Tables, asset: str, key: TableKey, record: Any) -> None:
    said = json.dumps(plain(record), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    tables.write(asset, key, pl.DataFrame([(said,)], schema=RECORD, orient="row"))


def _read(tables: Tables, asset: str, key: TableKey, kind: type[T]) -> T:
    (said,) = tables.read(asset, key).row(0)
    try:
        return typed(kind, json.loads(said))
    except (ValueError, TypeError) as error:
        raise _unreadable(asset, key, error) from error


def _unreadable(asset: str, key: TableKey, error: Exception) -> StoreError:
    return StoreError(f"{asset}/{key.name} cannot be read: {error}; it was written by another release")
