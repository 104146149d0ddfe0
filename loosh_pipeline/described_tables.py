"""What a row and the columns of each asset's table are, in words; their types are those of the schemas that write them.

Said once for each table, for whoever looks at it: Dagster shows it beside the asset. A column that means the same in
several tables is said in `COMMON`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from loosh_pipeline.audit.scorer_diff import SHADOW_DIFF
from loosh_pipeline.store import canary_accuracy, imported, seals, vector_frames
from loosh_pipeline.store.asking_frames import AVAILABILITY
from loosh_pipeline.store.frames import (
    ANSWERED,
    EMISSIONS,
    METAGRAPH,
    NETWORK_VIEW,
    PAYROLL,
    PROPOSAL,
    RESPONSES,
    UTC_MS,
)
from loosh_pipeline.store.narrative_frames import NARRATIVES
from loosh_pipeline.store.score_frames import ACCUSATIONS, CONTEXT, SCORES
from loosh_pipeline.store.weight_frames import RECEIPTS, WEIGHTS


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: str
    said: str


@dataclass(frozen=True, slots=True)
class DescribedTable:
    """`row`: what one row is; `own`: what its columns mean, of those that `COMMON` does not say."""

    row: str
    schema: Mapping[str, Any]
    own: Mapping[str, str]

    def columns(self) -> Iterator[Column]:
        """Raises KeyError for a column that nobody described."""
        for name, kind in self.schema.items():
            yield Column(name, type_of(kind), self.own[name] if name in self.own else COMMON[name])


def type_of(kind: Any) -> str:
    """A polars type in a word or a few."""
    return "timestamp, UTC" if kind == UTC_MS else str(kind).lower()


COMMON: Mapping[str, str] = {
    "challenge_id": "Id of the challenge, the partition in Dagster.",
    "hotkey": "Hotkey (SS58 address) of the miner.",
    "coldkey": "Coldkey (SS58 address) that owns the hotkey.",
    "uid": "The miner's slot on the subnet when the row was made. Slots change hands: miners are known by hotkey.",
    "ip": "Address at which the miner serves, as the chain says.",
    "port": "Port at which the miner serves, as the chain says.",
    "outcome": "What became of asking: `answered`, or why there is no answer (timeout, refused, unreachable, …).",
    "netuid": "Number of the subnet.",
    "taken_at": "When this was looked at.",
    "made_at": "When this was worked out.",
    "profile": "Scoring profile: `robust` or `network`.",
    "scorer_version": "Hash of profile, parameters and code: the same version scores the same round alike.",
    "context_digest": "Digest of the scoring context that the round was compared with.",
    "model_digest": "Digest of the embedding model.",
    "rounds": "How many rounds this rests on.",
    "state": "How far the submission is, from `planned` to `observed`; or how it failed.",
    "submission_id": "Number of the submission in this validator's ledger.",
    "prompt_tokens": "Tokens of the prompt, as the model's server counted; null where it did not say.",
    "completion_tokens": "Tokens of the answer, as the model's server counted; null where it did not say.",
    "total_tokens": "Both together, as the model's server counted; null where it did not say.",
    "finish_reason": "Why the model stopped, by its own word: `stop`, `length`, …",
    "same_address": "Whether the two serve at one address.",
    "same_coldkey": "Whether the two belong to one coldkey.",
}

RESPONSES_SAID = {
    "detail": "What went wrong, in words; empty for an answer.",
    "text": "The answer, as the miner gave it.",
    "elapsed_ms": "Milliseconds at the socket from sending the challenge to the end of the answer; null without one.",
    "handshake_ms": "Milliseconds of the key exchange before that; null when an earlier session served.",
    "tool_calls": "Calls of tools that the answer asks for, as JSON.",
    "sha256": "Digest of the decrypted answer; empty when there was none.",
    "asked_at": "When the miners of this round were asked, all at once.",
    "metagraph_block": "Block of the snapshot that said who is registered, and where.",
}

VECTORS_SAID = {
    "hotkey": "Whose answer it is of; empty for the prompt.",
    "kind": "What was embedded: the prompt, a window of at most 90 words, a sentence, …",
    "position": "Place of the text among those of its kind, from 0.",
    "text_sha256": "Digest of the text that was embedded.",
    "vector": "The vector, as little-endian float16 bytes.",
}

SCORES_SAID = {
    "typical_score": "The score that earns a payout of 1 in this round; 0 when nobody earned anything.",
    "consensus_score": "The network's method: mean and spread of the similarities in consensus; null where not found.",
    "consensus_mean": "Mean similarity of the answers in consensus.",
    "consensus_spread": "Standard deviation of these similarities.",
    "consensus_reached": "Whether the network's method finds consensus.",
    "garbage_alert": "Whether the network's method takes the round for garbage.",
    "received_at": "When the challenge was accepted.",
    "inputs_digest": "Digest of all that the round was scored from.",
    "scored": "Whether the answer was scored; if not, it is paid 0, and `reason` says why.",
    "reason": "Why it is unscored; empty when scored.",
    "words": "Words of the answer.",
    "elapsed_ms": "Milliseconds that the answer took; null without one.",
    "relevance": "Cosine of answer and question.",
    "relevance_gate": "Relevance below which an answer is not paid in this round.",
    "relevance_margin": "Relevance above that gate.",
    "meaning": "Likeness in meaning to the peers, weighted by their votes, the question's part removed.",
    "coverage": "How much of what the peers say it says too, at equal length, from 0 to 1.",
    "wording": "How alike the words are that it and the peers use, from 0 to 1.",
    "baseline": "Likeness to answers of other challenges, the question removed: what any answer would have.",
    "agreement": "How far it agrees with independent, relevant peers: the views above, less the baseline.",
    "votes": "Sum of the votes of the independent peers that it was compared with.",
    "vote_weight": "Weight of its own vote; copies split one.",
    "copy_group_size": "What its vote is divided by: 1 for an independent answer, n for one of n exact copies.",
    "copies": "Who gave the same answer, all but for details.",
    "share": "Part of one pay left after sharing it with copies; 0 when unscored.",
    "speed_factor": "Factor for speed; 1 is neutral.",
    "score": "Agreement shaped, times the speed factor.",
    "payout": "What it is paid: 1 for an average independent answer, exactly 0 when unscored.",
    "quality": "The network's method: the six signals shaped and summed, 0 below its gate of relevance.",
    "quality_threshold": "Quality that consensus asks for.",
    "quality_margin": "Quality above that threshold.",
    "signal_relevance": "The network's method: how near answer and sentences are to the question.",
    "signal_coherence": "The network's method: how well sentence follows sentence.",
    "signal_coverage": "The network's method: how much of the question's parts it covers.",
    "signal_complexity": "The network's method: how many steps its sentences take, and how little they repeat.",
    "signal_density": "The network's method: part of the words that carry content.",
    "signal_specificity": "The network's method: how specific its words are.",
    "outlier": "Whether the network's method takes it for an outlier.",
    "cluster": "The network's method: number of its cluster; null without one.",
    "entity_weight": "The network's method: its vote, below 1 when others share its address or coldkey.",
    "length_kept": "Whether it passed the network's filter of lengths; null when that did not look.",
    "in_consensus": "Whether it is among the answers of the network's consensus.",
    "removed_by": "The first filter that took it out of consensus; empty when none did.",
    "composite": "The network's method: likeness to the consensus and quality in one figure, by which it pays.",
    "emission": "What the network's method would pay.",
}

NARRATIVES_SAID = {
    "source": "`composed` from the figures, or `llm:` and the model; or why a model's text was not taken.",
    "text": "The text that is shown.",
    "composed": "The text from the figures alone, which is `text` where no model's was taken.",
    "provider": "Provider of the language model; null where none answered.",
    "model": "The language model; null where none answered.",
    "elapsed_ms": "Milliseconds that the model took; null where none answered.",
}

METAGRAPH_SAID = {
    "block": "Height of the chain at which all of this was read.",
    "block_hash": "Hash of that block.",
    "spec_version": "Version of the chain's runtime.",
    "tempo_blocks": "Blocks of an epoch.",
    "activity_cutoff_blocks": "Blocks without new weights after which a validator counts as inactive.",
    "weights_rate_limit_blocks": "Least number of blocks between two weights of one hotkey.",
    "min_allowed_weights": "Least number of weights that the chain takes at once.",
    "weights_version_key": "Version that weights must name, so that the chain takes them.",
    "commit_reveal": "Whether weights are committed first and shown an epoch later.",
    "hotkey": "Hotkey (SS58 address) of the neuron, be it a miner or a validator.",
    "ip": "Address at which it serves; null when it serves nothing.",
    "validator_permit": "Whether it may set weights as a validator.",
    "stake": "Its stake on the subnet.",
    "last_update": "Block at which it last set weights.",
    "registered_block": "Block at which this hotkey took its slot.",
    "reveal_period_epochs": "Epochs after which committed weights are revealed.",
    "max_weight_share": "Most that one weight may be of all.",
    "stake_threshold": "Stake below which a validator may not set weights.",
    "block_time": "When the block was made, by the chain's clock.",
    "owner_hotkey": "Hotkey of the subnet's owner.",
    "owner_coldkey": "Coldkey of the subnet's owner.",
    "genesis_hash": "Hash of block 0, which tells one chain from another.",
}

AVAILABILITY_SAID = {
    "available": "Whether it said that it is there.",
    "reason": "Why it counts as not there; empty when it does.",
    "latency_ms": "Milliseconds until it said so; null when it did not.",
}

NETWORK_VIEW_SAID = {
    "hotkey": "Hotkey (SS58 address) that the Challenge API spoke of.",
    "validator": "Whether it takes the hotkey for a validator.",
    "sybil_score": "How far it suspects the hotkey of being one of many, from 0 to 1; null when it did not say.",
    "priority_weight": "How often it wants the miner asked, beside one of weight 1; null when it did not say.",
}

CONTEXT_SAID = {
    "words": "All words of the answers of these rounds.",
    "rounds_seen": "In how many of the rounds each of them occurred.",
    "background": "Mean answer vector over the rounds, as little-endian float64 bytes; null is zero.",
    "digest": "Digest of all of this, which stands in every score row.",
    "built_at": "From when on challenges are compared with it.",
}

EMISSIONS_SAID = {
    "asked": "Rounds of the lookback in which it was asked.",
    "answered": "Those in which it answered.",
    "answered_share": "Part of its asks that it answered, in which newer ones count more as in the mean payout.",
    "paid": "Those in which it was paid anything.",
    "mean_payout": "Mean payout of its rounds, in which newer ones count more and unanswered ones count 0.",
    "evidence": "How many rounds of equal age its rounds are worth.",
    "ramp": "Factor for newcomers, from 0 to 1: how much of full evidence it has.",
    "coverage": "Part of the time in which it was there, from 0 to 1.",
    "emission": "Mean payout, times ramp and coverage.",
    "weight": "Its share of all emissions, before policy.",
    "last_answered_at": "When it last answered.",
    "rounds": "How many rounds the lookback had.",
    "lookback_h": "Hours that the lookback went back.",
    "versions": "Which scorer versions scored these rounds, and how many each.",
}

PROPOSAL_SAID = {
    "block": "Height of the chain that the proposal is for.",
    "mode": "How pressing it is: `normal`, `degraded` or `emergency`, by the chain's activity cutoff.",
    "basis": "What it was made of: `lookback`, or in need a longer one, imported emissions, the last weights, …",
    "rounds": "How many rounds stand behind it.",
    "overrides": "Checks that an operator waived for it.",
    "hotkey": "Hotkey of the miner that was considered; empty in a proposal for nobody.",
    "share": "Its share of all pay after policy, from 0 to 1.",
}

WEIGHTS_SAID = {
    "block": "Block at which hotkeys were resolved to uids.",
    "version_key": "Version that the weights name.",
    "digest": "Digest of the whole plan.",
    "submitted_at": "When it was put on record, before anything was signed.",
    "success": "Whether the chain took it.",
    "included_block": "Block that holds the submission; null when unknown.",
    "extrinsic_hash": "Hash of what was signed and sent; null when nothing was.",
    "commit_reveal": "Whether it was committed, for the chain to reveal later.",
    "error_code": "The chain's name for what went wrong; null when nothing did.",
    "error": "What went wrong, in words; null when nothing did.",
    "reveal_round": "Round of the drand beacon at which a commit is revealed.",
    "weight": "The weight, a share of all.",
}

RECEIPTS_SAID = {
    "reason": "What is known of it, in words.",
    "validator": "Hotkey of this validator.",
    "observed_block": "Final block at which the chain's row was read.",
    "last_update": "Block at which the chain says the row was last set.",
    "observed_at": "When it was read.",
    "hotkey": "Hotkey that the weight was meant for; empty for one that was not planned.",
    "planned": "The weight that was submitted, a share of all.",
    "observed": "The weight that the chain holds, a share of all.",
    "uid_state": "What that says of this weight: the submission's state, `recycled` or `not ours`.",
}

SHADOW_DIFF_SAID = {
    "epoch": "Number of the submission whose policy both were weighed by.",
    "a": "The profile that pays.",
    "b": "The shadow profile.",
    "rounds": "How many rounds both scored.",
    "total_variation": "Part of all weight that would go to others under `b`, from 0 to 1.",
    "rank_correlation": "How alike the two rank miners, from -1 to 1; null where that says nothing.",
    "expected_vtrust": "Trust that would be left if all other validators paid by `b`, from 0 to 1.",
    "weight_a": "The miner's weight under `a`, a share of all.",
    "weight_b": "Its weight under `b`.",
    "change": "The second less the first.",
}

ACCUSATIONS_SAID = {
    "first": "Hotkey of one of the two, the smaller.",
    "second": "Hotkey of the other.",
    "rounds": "Rounds in which both answered.",
    "evidence": "How many of these prove anything, by the length of the answers.",
    "wording": "How alike their words are, a mean weighted by that evidence.",
    "mean_wording": "The same, drawn towards that of honest pairs where there is little evidence: this is what counts.",
    "report": "The record of all pairs in the network's shape, as JSON.",
}

SEALS_SAID = {
    "number": "Number of the submission that is sealed.",
    "root": "Merkle root over all that decided it.",
    "sealed_at": "When it was sealed.",
    "sealed_block": "Height of the chain then.",
    "sample_block": "Block whose hash, then unknown, draws the rounds to be shown.",
    "record": "The seal with its signature, as JSON.",
    "became": "What had become of accepted challenges at that moment, by their number, as JSON.",
}

CANARIES_SAID = {
    "asked": "Canaries of the week that it was asked.",
    "answered": "Those that it answered.",
    "right": "Those that it answered rightly.",
    "accuracy": "Right ones of those asked, from 0 to 1.",
    "low": "Lower end of the interval in which the true share lies with 95 % (Wilson's).",
    "high": "Upper end of that interval.",
}

IMPORTED_SAID = {
    "evaluation_id": "Number of the evaluation in the existing validator.",
    "evaluated_at": "When that evaluation was made.",
    "emission": "What it paid the miner.",
    "source_sha256": "Digest of the file that said so.",
    "imported_at": "When it was taken over.",
}

SCORE_ROW = "what one miner was scored in one round under one scorer version"
TABLES: Mapping[str, DescribedTable] = {
    "miner_responses": DescribedTable("one miner that was asked one challenge", RESPONSES, RESPONSES_SAID),
    "embeddings": DescribedTable("the vector of one text of a round", vector_frames.SCHEMA, VECTORS_SAID),
    "consensus_scores": DescribedTable(SCORE_ROW, SCORES, SCORES_SAID),
    "narratives": DescribedTable("the text of one round", NARRATIVES, NARRATIVES_SAID),
    "metagraph": DescribedTable("one neuron at one block", METAGRAPH, METAGRAPH_SAID),
    "miner_availability": DescribedTable("one miner that was looked for", AVAILABILITY, AVAILABILITY_SAID),
    "network_view": DescribedTable("one hotkey that was spoken of", NETWORK_VIEW, NETWORK_VIEW_SAID),
    "scoring_context": DescribedTable("one context", CONTEXT, CONTEXT_SAID),
    "emissions": DescribedTable("one miner over the lookback", {**EMISSIONS, **ANSWERED, **PAYROLL}, EMISSIONS_SAID),
    "shadow_emissions": DescribedTable(
        "one miner under one shadow profile", {**EMISSIONS, **ANSWERED, **PAYROLL}, EMISSIONS_SAID
    ),
    "weight_proposals": DescribedTable("one miner that was considered", PROPOSAL, PROPOSAL_SAID),
    "weights": DescribedTable("one weight of one submission", WEIGHTS, WEIGHTS_SAID),
    "weight_receipts": DescribedTable("one slot that was planned or is on the chain", RECEIPTS, RECEIPTS_SAID),
    "shadow_diff": DescribedTable("one miner under one shadow profile", SHADOW_DIFF, SHADOW_DIFF_SAID),
    "accusations": DescribedTable("one accused pair", ACCUSATIONS, ACCUSATIONS_SAID),
    seals.SEALS: DescribedTable("one sealed submission", seals.SEAL, SEALS_SAID),
    canary_accuracy.CANARY_ACCURACY: DescribedTable(
        "one miner that was asked any canary", canary_accuracy.COLUMNS, CANARIES_SAID
    ),
    imported.IMPORTED_EMISSIONS: DescribedTable(
        "what one evaluation paid one miner", imported.IMPORTED_COLUMNS, IMPORTED_SAID
    ),
}
"""By the name of the table, which is that of its views and directories."""
