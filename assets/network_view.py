"""What the network thinks of its hotkeys."""

from datetime import UTC, datetime

import dagster as dg

from assets.about import DECIDES_PAY, REACHES, of_table
from assets.challenges import OWNERS, READ_ONCE
from assets.metagraph import metagraph
from loosh_pipeline.domain import DeliveryKind, Hotkey, Metagraph, NetworkView
from loosh_pipeline.errors import StoreError
from loosh_pipeline.wire.challenge_api_client import ChallengeApi
from loosh_pipeline.wire.codec import encode_json
from loosh_pipeline.wire.crypto import Signer
from loosh_pipeline.wire.network_view import ScoresSaid
from loosh_pipeline.wire.reports import build_network_report, observed
from resources.store import Store, run_key, written


@dg.asset(
    description=(
        "What the Challenge API says of the subnet's hotkeys: who validates, who is suspected, who is to be asked how "
        "often. A row is one hotkey that it spoke of, a file each time. While it does not answer, the last view "
        "stands. It is told where everyone serves in return."
    ),
    deps=[metagraph],
    group_name="network",
    owners=OWNERS,
    kinds={"python", "http", "parquet"},
    tags=DECIDES_PAY | {REACHES: "challenge-api"},
    metadata=of_table("network_view"),
    code_version="1",
)
def network_view(
    context: dg.AssetExecutionContext,
    store: dg.ResourceParam[Store],
    challenge_api: dg.ResourceParam[ChallengeApi],
    signer: dg.ResourceParam[Signer],
) -> dg.MaterializeResult[None]:
    subnet, now, own = _newest(store), datetime.now(UTC), Hotkey(signer.ss58_address)
    report = {run_key(now, context.run.run_id).name: encode_json(build_network_report(subnet, own))}
    store.outbox.keep_reports(DeliveryKind.NETWORK_REPORT, report, now)
    serving = [neuron.hotkey for neuron in observed(subnet, own)]
    validators = challenge_api.validators()
    scores = challenge_api.sybil_scores(serving) if serving else ScoresSaid()
    view = NetworkView(now, validators.hotkeys, scores.sybil_scores, scores.priority_weights)
    return dg.MaterializeResult(
        data_version=READ_ONCE,
        metadata={
            "block": subnet.block,
            "asked_about": len(serving),
            "validators": len(view.validators),
            "sybil_scores": len(view.sybil_scores),
            "priority_weights": len(view.priority_weights),
            "suspected": sum(score > 0 for score in view.sybil_scores.values()),
            "not_understood": validators.dropped + scores.dropped,
            **written(store.save_network_view(view)),
        },
    )


def _newest(store: Store) -> Metagraph:
    newest = store.newest_metagraph()
    if newest is None:
        raise StoreError("no metagraph is stored, so nobody is known to be asked about; materialize metagraph first")
    return newest
