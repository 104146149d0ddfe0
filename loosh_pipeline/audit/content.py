"""What a bundle holds: everything that decided the weights of one epoch, as values, without a file format.

An *epoch* here is one setting of weights. Nothing in this module and in what it imports needs more than numpy, scipy
and scikit-learn: a verifier works on these values alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loosh_pipeline.audit.canonical import FIRST_LINK
from loosh_pipeline.domain import ChallengeId, Hotkey, Metagraph, Proposal, Response, ScorerVersion, WeightPlan
from loosh_pipeline.emissions import Terms
from loosh_pipeline.policy.inputs import Inputs
from loosh_pipeline.presence import Looks
from loosh_pipeline.scoring.columns import WindowColumns
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.signals import Flags, Floats, Ints


@dataclass(frozen=True, slots=True)
class Epoch:
    """One setting of weights: which it was, whose, and where it went.

    `number`: of the submission, as `loosh audit list` shows it. `digest`: of the plan, as it was signed for the chain.
    """

    number: int
    validator: Hotkey
    netuid: int
    genesis_hash: str | None
    submitted_at: datetime
    block: int
    digest: str
    extrinsic_hash: str | None = None
    included_block: int | None = None


@dataclass(frozen=True, slots=True)
class Seal:
    """What the validator signs as soon as weights are set, before anybody knows what will be asked for.

    `root`: Merkle root over `parts`, each of which has a root over its own leaves. `sealed_block`: the chain's block
    when it was made; the hash of `sample_block`, which lies ahead then, draws the rounds that are to be shown.
    `release` and `code_version`: of the program that scored.
    """

    format: str
    epoch: Epoch
    parts: Mapping[str, PartRoot]
    root: str
    sealed_at: datetime
    sealed_block: int
    sample_block: int
    release: str
    code_version: int


@dataclass(frozen=True, slots=True)
class PartRoot:
    """The Merkle root of one part's leaves, in hexadecimal, and how many there are."""

    root: str
    leaves: int


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A link of the chain of accepted challenges. `digest` = `link_digest` of the digest before and the other fields.

    `commitment`: to what it is, pushed or a canary, by `commitment_of` of `salt` and `known`, which are told when it no
    longer has to be hidden. `known`: what stands for a canary's question and answers; empty of one that was pushed.
    `became`: what it was when emissions were made (`terms.made_at`): `scored` when its round is in the window, else why
    it is not: `canary`, `waiting`, `failed: …`, or `before` for one that came before the window. No part of the link,
    which is older.
    """

    seq: int
    challenge_id: ChallengeId
    received_at: datetime
    request_sha256: str
    digest: str
    became: str = ""
    commitment: str = ""
    salt: str = ""
    known: str = ""


@dataclass(frozen=True, eq=False)
class Window:
    """The score rows of every round of the lookback, those left out included: what emissions are made of.

    `columns`: as settling takes them, rounds by challenge; of the network's profile its pairs are empty. Of each round,
    (r,): `at_ms` when it came, `version` of its scorer, `left_out`, `inputs_digest` of what was scored (empty where
    that was not known then). Of each row, (m,): `answered`, `measured`, and the `payout` that the round alone says.
    """

    columns: WindowColumns
    at_ms: Ints
    version: tuple[ScorerVersion, ...]
    left_out: Flags
    inputs_digest: tuple[str, ...]
    outcome: tuple[str, ...]
    answered: Flags
    measured: Flags
    payout: Floats


@dataclass(frozen=True, slots=True)
class Digests:
    """What stands for the texts of a redacted round, in hexadecimal; of each response, in their order.

    `request`: `request_digest`. `prompt` and `texts`: `leaves.text_digest`. `tool_calls`: empty where there were none.
    """

    request: str
    prompt: str
    texts: tuple[str, ...]
    tool_calls: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class RoundInputs:
    """Everything that one round was scored from.

    `request`: as it was accepted; None when it was redacted. Then prompt and texts are words that stand for those of
    the originals, there are no tool calls, and `digests` says what the originals were. `vectors`: (n, d) float16, of
    `keys`: (hotkey, kind, position, sha256 of the text).
    """

    challenge_id: ChallengeId
    received_at: datetime
    request: Mapping[str, Any] | None
    prompt: str
    responses: tuple[Response, ...]
    keys: tuple[tuple[Hotkey, str, int, str], ...]
    vectors: NDArray[np.float16]
    model_digest: str
    context_digest: str
    digests: Digests | None = None


@dataclass(frozen=True, slots=True)
class Scorer:
    """What a scorer version stands for."""

    profile: str
    parameters: Mapping[str, float]
    code_version: int
    model_digest: str


@dataclass(frozen=True, eq=False)
class Content:
    """Everything that decided the weights of an epoch.

    `subnet`: the snapshot in which the plan looked up uids. `inputs`: of the proposal, with what was earned. `rounds`:
    those that are shown whole, all or a sample; of all others the digest in `window` stands. `acceptances`: without
    gap, from the last that came before the window (or the very first) to the last before the seal; `link_before`: the
    digest before the first of them. `contexts`: by the digest in the rounds; of a redacted bundle with its words.
    """

    epoch: Epoch
    terms: Terms
    inputs: Inputs
    proposal: Proposal
    plan: WeightPlan
    subnet: Metagraph
    window: Window
    looks: Looks
    acceptances: tuple[Acceptance, ...]
    scorers: Mapping[ScorerVersion, Scorer]
    link_before: str = FIRST_LINK
    contexts: Mapping[str, ScoringContext] = field(default_factory=dict)
    rounds: Mapping[ChallengeId, RoundInputs] = field(default_factory=dict)
