"""What the page of an asset says of it beyond its description: columns, code, what it decides, how fresh it must be."""

import warnings
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from loosh_pipeline import page_links
from loosh_pipeline.chain.alerts import LATE_AFTER_INTERVALS
from loosh_pipeline.chain_status import BLOCK_S
from loosh_pipeline.described_tables import TABLES
from loosh_pipeline.settings import Settings, get_settings

ROOT = Path(__file__).resolve().parent.parent
"""Of the code, be it a checkout or where a wheel was installed."""
DECIDES = "loosh/decides"
DECIDES_PAY = {DECIDES: "pay"}
"""What weights are made of or can come to be made of, or a part of how they get to the chain and are kept there."""
DECIDES_NOTHING = {DECIDES: "nothing"}
"""For people, or to keep the house: whatever goes wrong with it, nobody is paid otherwise."""
REACHES = "loosh/reaches"
"""Tag of an asset that speaks with someone outside while it is made."""
LEAST_FRESH = timedelta(minutes=10)


def of_table(name: str) -> Mapping[str, Any]:
    """Metadata of an asset that writes a table: what it is called, and what its columns are."""
    columns = [dg.TableColumn(each.name, each.type, each.said) for each in TABLES[name].columns()]
    return {"dagster/table_name": name, "dagster/column_schema": dg.TableSchema(columns)}


def page_of(challenge_id: str) -> dict[str, dg.MetadataValue]:
    """Metadata that leads from a partition to the page of its challenge."""
    return {"page": dg.MetadataValue.url(page_links.of_challenge(get_settings().ingress_url, challenge_id))}


def page_of_miners() -> dict[str, dg.MetadataValue]:
    return {"page": dg.MetadataValue.url(page_links.of_miners(get_settings().ingress_url))}


def page_of_weights(submission: int | None = None) -> dict[str, dg.MetadataValue]:
    """To what one submission set; to the newest where none is named."""
    return {"page": dg.MetadataValue.url(page_links.of_weights(get_settings().ingress_url, submission))}


def fresh_in_time(settings: Settings) -> dg.FreshnessPolicy:
    """How old the newest emissions may be: late after as many intervals as alerts say so of weights after.

    `weights` has none: a run that finds that none may be set is a materialization, too. In time and not in blocks, by
    what a block takes on the network; a chain of slower blocks is told too early.
    """
    interval = timedelta(seconds=settings.weights_interval_blocks * BLOCK_S)
    late = max(LATE_AFTER_INTERVALS * interval, 2 * LEAST_FRESH)
    return dg.FreshnessPolicy.time_window(fail_window=late, warn_window=max(late - interval, LEAST_FRESH))


def with_code(found: Iterable[Any]) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """Assets with where their code is: the file here and, where SOURCE_URL is set, the same on the web."""
    return list(dg.map_asset_specs(lambda spec: spec.merge_attributes(metadata=_code_of(spec.key)), found))


def _code_of(key: dg.AssetKey) -> Mapping[str, Any]:
    """One file an asset, named as it is: that is the rule of this package."""
    name = key.to_user_string()
    path, starts = ROOT / "assets" / f"{name}.py", (f"def {name}(", f"{name} = dg.AssetSpec(")
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError:
        return {}  # a validator that has its code in another form runs all the same
    line = next((number for number, text in enumerate(lines, start=1) if text.startswith(starts)), 1)
    url = get_settings().source_url
    with warnings.catch_warnings():  # at each start: Dagster calls these a beta feature
        warnings.simplefilter("ignore", dg.BetaWarning)
        here: list[Any] = [dg.LocalFileCodeReference(file_path=str(path), line_number=line)]
        if url is not None:
            address = f"{str(url).rstrip('/')}/{path.relative_to(ROOT).as_posix()}#L{line}"
            here.append(dg.UrlCodeReference(url=address, label="source"))
        return {"dagster/code_references": dg.CodeReferencesMetadataValue(code_references=here)}
