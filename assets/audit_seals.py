"""Seals on what decided weights, before anybody knows what will be asked for."""

import dagster as dg

from assets.about import DECIDES_NOTHING, REACHES, of_table, page_of_weights
from assets.challenges import OWNERS
from assets.weights import weights
from loosh_pipeline.audit.sealing_epochs import NotSealed, seal, unsealed
from loosh_pipeline.chain.port import Chain
from loosh_pipeline.domain import Hotkey
from loosh_pipeline.errors import ChainError
from loosh_pipeline.release import RELEASE
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.seals import KeptSeal
from loosh_pipeline.weight_setting import utc_now
from loosh_pipeline.wire.crypto import Signer
from resources.store import Store


@dg.asset(
    description=(
        "A root over everything that decided the weights that were submitted, signed by the hotkey: every row of the "
        "window, what each round was scored from as a digest, terms, policy, proposal and plan. Made once for each "
        "submission, a row and a file each, and served to anybody at /audit/seals; a block that lies ahead then draws "
        "the rounds to be shown."
    ),
    deps=[weights],
    group_name="weights",
    owners=OWNERS,
    kinds={"bittensor", "parquet"},
    tags=DECIDES_NOTHING | {REACHES: "chain"},
    metadata=of_table("audit_seals"),
    code_version="1",
)
def audit_seals(
    context: dg.AssetExecutionContext,
    store: dg.ResourceParam[Store],
    chain: dg.ResourceParam[Chain],
    signer: dg.ResourceParam[Signer],
) -> dg.MaterializeResult[None]:
    netuid, own = get_settings().netuid, Hotkey(signer.ss58_address)
    waiting = unsealed(store.tables, store.submitted(netuid, own))
    if not waiting:
        return dg.MaterializeResult(metadata={"sealed": 0, "not_sealed": "none"})
    try:
        block = chain.snapshot(netuid).block
    except ChainError as error:  # weights are set all the same, and the next run seals these too
        context.log.warning("nothing is sealed: without the chain nobody knows which block draws: %s", error)
        return dg.MaterializeResult(metadata={"sealed": 0, "not_sealed": str(error)})
    done: list[KeptSeal] = []
    left: list[NotSealed] = []
    for row in waiting:
        found = seal(store.tables, store.inbox.engine, row, signer, block, utc_now(), RELEASE)
        if isinstance(found, NotSealed):
            context.log.warning("submission %d is not sealed: %s", found.number, found.reason)
            left.append(found)
        else:
            done.append(found)
    return dg.MaterializeResult(metadata=_said(done, left))


def _said(done: list[KeptSeal], left: list[NotSealed]) -> dict[str, dg.MetadataValue]:
    about: dict[str, dg.MetadataValue] = {
        "sealed": dg.MetadataValue.int(len(done)),
        "not_sealed": dg.MetadataValue.text("; ".join(f"{each.number}: {each.reason}" for each in left) or "none"),
    }
    if done:
        newest = done[-1].signed.seal
        about |= {
            "submission": dg.MetadataValue.int(newest.epoch.number),
            **page_of_weights(newest.epoch.number),
            "root": dg.MetadataValue.text(newest.root),
            "rounds": dg.MetadataValue.int(newest.parts["rounds"].leaves),
            "challenges": dg.MetadataValue.int(newest.parts["challenges"].leaves),
            "sample_block": dg.MetadataValue.int(newest.sample_block),
        }
    return about


@dg.asset_check(asset=audit_seals, description="Everything that was submitted lately is sealed.")
def all_sealed(store: dg.ResourceParam[Store], signer: dg.ResourceParam[Signer]) -> dg.AssetCheckResult:
    rows = store.submitted(get_settings().netuid, Hotkey(signer.ss58_address))
    left = [row.id for row in unsealed(store.tables, rows)]
    reason = f"of the last {len(rows)} submissions, all that must be are sealed"
    if left:
        named = ", ".join(map(str, left))
        reason = f"without a seal: submissions {named}. Materialize audit_seals; not_sealed says what is in the way"
    return dg.AssetCheckResult(passed=not left, severity=dg.AssetCheckSeverity.WARN, metadata={"reason": reason})
