"""What should be looked at on the chain, as checks beside the assets that it concerns."""

import dagster as dg

from loosh_pipeline.chain.alerts import Topic, alerts
from loosh_pipeline.chain.port import Chain
from loosh_pipeline.errors import ConfigError
from resources.store import Store


def told(store: Store, chain: Chain, topic: Topic) -> dg.AssetCheckResult:
    """A warning for every alert of a topic; none passes."""
    try:
        own_hotkey = chain.identity()
    except ConfigError:
        own_hotkey = None  # which is an alert of its own
    found = [each for each in alerts(store.standing(own_hotkey)) if each.topic == topic]
    texts: dict[str, str] = {}
    for each in found:
        said = f"{each.text}. To do: {each.action}"
        texts[each.code] = f"{texts[each.code]}; {said}" if each.code in texts else said
    return dg.AssetCheckResult(
        passed=not found, severity=dg.AssetCheckSeverity.WARN, metadata=texts or {"alerts": "none"}
    )
