"""The `network` profile behind one function of plain values, to be compared with what another validator recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.scoring.network.evaluate import evaluate as evaluate_round
from loosh_pipeline.scoring.network.round import NetworkRound, Node, Reply, texts_to_embed
from loosh_pipeline.scoring.network.sybil import detect_sybils
from loosh_pipeline.scoring.vectors import Vectors

Embed = Callable[[list[str]], Vectors]


Entry = Sequence[str | None] | Mapping[str, str | None]
"""Address and coldkey of a miner: in this order, or by the names `ip` and `coldkey`."""


def evaluate(
    prompt: str, miners: Sequence[Mapping[str, Any]], node_map: Mapping[str, Entry] | None, embed: Embed
) -> dict[str, Any]:
    """Score a round with the functions that the pipeline calls.

    `miners`: uid, hotkey, response_time_ms and response_text of every reply, in order of arrival. `node_map`:
    hotkey → address and coldkey; None or empty when no owner is known. `embed`: texts → unit float32 rows, (n, d).
    Raises ValueError like `evaluate_round`.
    """
    round_ = _round(prompt, miners, node_map or {}, embed)
    evaluation = evaluate_round(round_)
    return {
        "consensus_score": evaluation.consensus_score,
        "emissions": {str(reply.hotkey): reply.emission for reply in evaluation.replies},
        "in_consensus_uids": [reply.uid for reply in evaluation.replies if reply.in_consensus],
        "sybil_pairs": len(detect_sybils(round_).pairs),
    }


def _round(
    prompt: str, miners: Sequence[Mapping[str, Any]], node_map: Mapping[str, Entry], embed: Embed
) -> NetworkRound:
    texts = texts_to_embed(prompt, [miner["response_text"] for miner in miners])
    return NetworkRound(
        prompt=prompt,
        replies=tuple(
            Reply(miner["uid"], Hotkey(miner["hotkey"]), miner["response_time_ms"], miner["response_text"])
            for miner in miners
        ),
        nodes={Hotkey(hotkey): _node(entry) for hotkey, entry in node_map.items()},
        vectors=dict(zip(texts, np.asarray(embed(texts)), strict=True)),
    )


def _node(entry: Entry) -> Node:
    # unpacked like a pair, a mapping would give every miner the same address: its keys
    ip, coldkey = (entry.get("ip"), entry.get("coldkey")) if isinstance(entry, Mapping) else entry
    return Node(ip or "", coldkey or "")
