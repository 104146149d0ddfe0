"""What should be looked at on the chain, as checks beside the assets that it concerns."""

import dagster as dg

from loosh_pipeline.chain.alerts import Standing, Topic, alerts
from loosh_pipeline.chain.port import Chain
from loosh_pipeline.errors import ConfigError
from resources.store import Store


def told(store: Store, chain: Chain, topic: Topic) -> dg.AssetCheckResult:
    """A warning for every alert of a topic, with what to do; none passes, and says what was seen."""
    try:
        own_hotkey = chain.identity()
    except ConfigError:
        own_hotkey = None  # which is an alert of its own
    standing = store.standing(own_hotkey)
    found = [each for each in alerts(standing) if each.topic == topic]
    said = "; ".join(f"{each.text}. To do: {each.action}" for each in found)
    codes = {"alerts": ", ".join(dict.fromkeys(each.code for each in found))} if found else {}
    return dg.AssetCheckResult(
        passed=not found,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"reason": said or _seen(standing, topic), **codes},
    )


def _seen(standing: Standing, topic: Topic) -> str:
    """What there is nothing to do about."""
    subnet, own = standing.subnet, standing.own
    if topic == "receipts":
        row = next(iter(standing.rows), None)
        return "nothing was submitted yet" if row is None else f"the weights of block {row.plan.block} are {row.state}"
    if subnet is None or own is None:
        return "nothing is known of this validator on the chain yet"
    if topic == "weights":
        blocks = subnet.block - own.last_update
        said = f"were last set {blocks} blocks before block {subnet.block}" if own.last_update else "were never set"
        return (
            f"weights {said}; WEIGHTS_INTERVAL_BLOCKS is {standing.interval_blocks}, and the chain's "
            f"activity cutoff {subnet.activity_cutoff_blocks} blocks"
        )
    return (
        f"uid {own.uid} with a stake of {own.stake:.9g}, of which {subnet.stake_threshold:.9g} is needed; runtime "
        f"{subnet.spec_version} at block {subnet.block}"
    )
