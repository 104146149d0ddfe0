"""A whole epoch as an honest validator would bundle it, and as another would: made by production's own functions.

Miners answer with essays, one of them copies another's, one fails now and then; there is a context, a canary, a
challenge that failed and, where `Size.lost` says so, rounds whose pairs were lost.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import polars as pl
from bittensor_core import Keypair

from loosh_pipeline.audit.canonical import FIRST_LINK, commitment_of, known_digest, link_digest, request_digest
from loosh_pipeline.audit.completeness import ms_of
from loosh_pipeline.audit.content import Acceptance, Content, Epoch, RoundInputs, Scorer, Window
from loosh_pipeline.audit.file import Level, write
from loosh_pipeline.audit.leaves import PAIR_FLAGS, PAIR_NUMBERS, round_digest
from loosh_pipeline.audit.sealing import Sample, SignedSeal, drawn, seal_of, signed
from loosh_pipeline.chain.records import plan_digest
from loosh_pipeline.chain.weights import plan_weights
from loosh_pipeline.devnet.essays import essay
from loosh_pipeline.domain import ChallengeId, Hotkey, Metagraph, Mode, Outcome, Response, ScorerVersion
from loosh_pipeline.embedding.fake import HashingEmbedder
from loosh_pipeline.embedding.round_vectors import embed_round, unpack
from loosh_pipeline.emissions import EmissionRule, Terms, since_of
from loosh_pipeline.paid import settles
from loosh_pipeline.paying import as_earned, earnings_of
from loosh_pipeline.policy.inputs import Inputs
from loosh_pipeline.policy.propose import propose
from loosh_pipeline.presence import Looks
from loosh_pipeline.scoring.columns import WindowColumns, columns_of
from loosh_pipeline.scoring.context import ScoringContext, build_context
from loosh_pipeline.scoring.profile import CODE_VERSION, parameters_of, scorer_version
from loosh_pipeline.scoring.profiles import ScoringProfile, profile_of
from loosh_pipeline.scoring.result import RoundScores
from loosh_pipeline.scoring.score import score
from loosh_pipeline.store.frames import UTC_MS
from loosh_pipeline.store.score_tables import WindowRows
from tests.builders import NOON, metagraph, neuron

VALIDATOR = Keypair.create_from_uri("//loosh-audit//validator")
STRANGER = Keypair.create_from_uri("//loosh-audit//stranger")
MINERS = tuple(Hotkey(Keypair.create_from_uri(f"//loosh-audit//miner{i}").ss58_address) for i in range(8))
BLOCK_HASH = "0x" + "5e" * 32
MADE_AT = NOON + timedelta(hours=20)
RULE = EmissionRule()


@dataclass(frozen=True)
class Size:
    rounds: int = 21
    miners: int = 5
    dim: int = 24
    words: int = 60
    profile: str = "robust"
    lost: int = 0
    """Rounds whose pairs were lost, the last ones."""


def honest(size: Size = Size()) -> Content:
    """The content of an epoch, all rounds whole; the network's has no pairs."""
    profile, embedder = profile_of(size.profile), HashingEmbedder(size.dim)
    version = scorer_version(profile, embedder.digest)
    context = _context(embedder, size)
    shown = {each.challenge_id: each for each in (_inputs(i, embedder, context, size) for i in range(size.rounds))}
    scored = [_scored(shown[name], context, profile) for name in sorted(shown)]
    rounds = [shown[name] for name in sorted(shown)]
    window = window_of(
        scored,
        rounds,
        version,
        lost=set(range(len(rounds) - size.lost, len(rounds))) if settles(profile) else set(range(len(rounds))),
    )
    window = replace(window, left_out=window.left_out & settles(profile))
    content = Content(
        **weighed(window, looks_at(size), profile, subnet_of(size)),
        acceptances=(),
        scorers={version: Scorer(profile.name, parameters_of(profile), CODE_VERSION, embedder.digest)},
        contexts={context.digest: context},
        rounds=shown,
    )
    return replace(content, acceptances=chained(content))


def _context(embedder: HashingEmbedder, size: Size) -> ScoringContext:
    texts = [[essay("rivers", Random(f"past-{i}-{j}"), size.words) for j in range(3)] for i in range(25)]
    return build_context([(each, np.asarray(embedder.embed(each), dtype=float)) for each in texts], size.dim)


def _inputs(i: int, embedder: HashingEmbedder, context: ScoringContext, size: Size) -> RoundInputs:
    name = ChallengeId(f"challenge-{i:04}")
    prompt = f"Why does the river number {i} bend to the left before it reaches the sea?"
    request = {"id": name, "prompt": prompt, "model": "m", "metadata": {"tries": 1}}
    responses = tuple(_response(name, i, j, size) for j in range(size.miners))
    vectors = embed_round(embedder, name, prompt, responses)
    keys = tuple((key.hotkey, key.kind, key.position, key.text_sha256) for key in vectors.keys)
    came = MADE_AT - timedelta(hours=2) + i * timedelta(minutes=100) / size.rounds + timedelta(milliseconds=7)
    return RoundInputs(name, came, request, prompt, responses, keys, vectors.vectors, embedder.digest, context.digest)


def _response(name: ChallengeId, i: int, j: int, size: Size) -> Response:
    about: dict[str, Any] = {"coldkey": f"coldkey-{j}", "uid": j + 1, "ip": f"8.8.8.{j}", "port": 9000}
    if j == 1 and i % 3 == 0:
        return Response(name, MINERS[j], outcome=Outcome.TIMEOUT, **about)
    whose = 0 if j == size.miners - 1 else j  # the last copies the first
    text = essay("the river", Random(f"{i}-{whose}"), size.words)
    facts = {"elapsed_ms": 500.0 + 31 * j + i, "handshake_ms": 20.0, "sha256": f"{i:032}{j:032}"}
    return Response(name, MINERS[j], outcome=Outcome.ANSWERED, text=text, **about, **facts)


def _scored(inputs: RoundInputs, context: ScoringContext, profile: ScoringProfile) -> RoundScores:
    stored = embed_round(HashingEmbedder(inputs.vectors.shape[1]), inputs.challenge_id, inputs.prompt, inputs.responses)
    return score(unpack(stored, inputs.prompt, inputs.responses), context, profile, inputs.model_digest)


def window_of(scored: list[RoundScores], rounds: list[RoundInputs], version: ScorerVersion, lost: set[int]) -> Window:
    """Without the pairs of the rounds at the places `lost`."""
    columns = columns_of(scored)
    rows = np.lexsort((columns.miner, columns.round))
    scores = [score for each in scored for score in each.scores]
    pairs = np.lexsort((columns.pairs.second, columns.pairs.first, columns.pairs.round))
    pairs = pairs[~np.isin(columns.pairs.round[pairs], sorted(lost))]
    everyone = np.arange(len(columns.hotkeys) + 1)
    return Window(
        columns=WindowColumns(
            challenges=columns.challenges,
            hotkeys=columns.hotkeys,
            **{name: getattr(columns, name)[rows] for name in ROWS},
            pairs=columns.pairs.at(pairs, np.arange(len(rounds)), everyone),
        ),
        at_ms=np.array([ms_of(each.received_at) for each in rounds], dtype=np.int64),
        version=(version,) * len(rounds),
        left_out=np.isin(np.arange(len(rounds)), sorted(lost)),
        inputs_digest=tuple(round_digest(each) for each in rounds),
        outcome=tuple(scores[row].outcome.value for row in rows.tolist()),
        answered=np.array([scores[row].outcome is Outcome.ANSWERED for row in rows.tolist()]),
        measured=np.array([scores[row].measure is not None for row in rows.tolist()]),
        payout=np.array([scores[row].payout for row in rows.tolist()]),
    )


ROWS = ("round", "miner", "compared", "words", "elapsed_ms", "relevance", "baseline")


def looks_at(size: Size, looks: int = 12) -> Looks:
    """Everybody is there but the third miner, now and then."""
    hotkeys = tuple(sorted(MINERS[: size.miners]))
    times = [ms_of(MADE_AT - timedelta(minutes=125)) + 600_000 * i for i in range(looks)]
    rows = [(at, i) for at in times for i in range(len(hotkeys))]
    there = [not (hotkeys[i] == MINERS[2] and k % 4 == 1) for k in range(looks) for i in range(len(hotkeys))]
    return Looks(hotkeys, np.array([i for _, i in rows]), np.array([at for at, _ in rows]), np.array(there))


def subnet_of(size: Size, **fields: Any) -> Metagraph:
    own = neuron(0, hotkey=VALIDATOR.ss58_address, coldkey="own", ip=None, port=0, validator_permit=True, stake=5e3)
    miners = [neuron(j + 1, hotkey=MINERS[j], coldkey=f"coldkey-{j}", ip=f"8.8.8.{j}") for j in range(size.miners)]
    return metagraph((own, *miners), **({"block": 1000} | fields))


def weighed(
    window: Window,
    looks: Looks,
    profile: ScoringProfile,
    subnet: Metagraph,
    rule: EmissionRule = RULE,
    mode: Mode = Mode.NORMAL,
) -> dict[str, Any]:
    """From rows to weights, by what production does it with."""
    terms = Terms(
        profile=profile.name,
        parameters=parameters_of(profile),
        made_at=MADE_AT,
        since=since_of(profile, MADE_AT, 24.0),
        lookback_h=24.0,
        mode=mode,
        rule=rule,
        rounds=0,
        looks_until=_at(int(looks.at_ms.max())) if len(looks.at_ms) else None,
    )
    earnings = earnings_of(_stored(window), looks, profile, terms)
    inputs = Inputs(
        at=MADE_AT + timedelta(seconds=5),
        profile=profile.name,
        subnet=subnet,
        own=Hotkey(VALIDATOR.ss58_address),
        earned=replace(as_earned(earnings), table="2026-01-03/run"),
        known=frozenset(each.hotkey for each in earnings.emissions),
        answered_at={each.hotkey: each.ip for each in subnet.neurons if each.ip},
    )
    proposal = propose(inputs)
    plan = plan_weights(proposal.shares, subnet, inputs.own)
    epoch = Epoch(
        number=7,
        validator=inputs.own,
        netuid=subnet.netuid,
        genesis_hash=subnet.genesis_hash,
        submitted_at=MADE_AT + timedelta(seconds=20),
        block=plan.block,
        digest=plan_digest(plan),
    )
    about = {"inputs": inputs, "proposal": proposal, "plan": plan, "subnet": subnet, "epoch": epoch}
    return about | {"terms": earnings.terms, "window": window, "looks": looks}


def _stored(window: Window) -> WindowRows:
    """The rows of a window as tables keep them."""
    columns, pairs = window.columns, window.columns.pairs
    of_round, of_pair = columns.round.tolist(), pairs.round.tolist()
    scores = pl.DataFrame(
        {
            "challenge_id": [columns.challenges[i] for i in of_round],
            "hotkey": [columns.hotkeys[i] for i in columns.miner.tolist()],
            "scorer_version": [window.version[i] for i in of_round],
            "received_at": pl.Series(window.at_ms[columns.round]).cast(UTC_MS),
            "outcome": list(window.outcome),
            "payout": window.payout,
            "quality_threshold": pl.Series(
                [0.0 if each else None for each in window.measured.tolist()], dtype=pl.Float64
            ),
            **{name: getattr(columns, name) for name in ("words", "elapsed_ms", "baseline", "relevance")},
        }
    ).with_columns(pl.col("words", "elapsed_ms", "baseline", "relevance").fill_nan(None))
    of_pairs = {name: getattr(pairs, name) for name in (*PAIR_NUMBERS, *PAIR_FLAGS)}
    named = {name: [columns.hotkeys[i] for i in getattr(pairs, name).tolist()] for name in ("first", "second")}
    return WindowRows(
        scores, pl.DataFrame({"challenge_id": [columns.challenges[i] for i in of_pair], **named, **of_pairs})
    )


def _at(ms: int) -> datetime:
    return MADE_AT + timedelta(milliseconds=ms - ms_of(MADE_AT))


SALT = "5" * 32
Came = tuple[datetime, str, str, str]
"""When a challenge was accepted, its id, the digest of its request, what became of it."""


def chained(content: Content, **others: str) -> tuple[Acceptance, ...]:
    """The chain of all rounds of a content, from one that came before its window; `others`: what became of more."""
    others = others or {"canary": "canary", "failed": "failed: nobody was there"}
    since, first = content.terms.since, min((each.received_at for each in content.rounds.values()), default=MADE_AT)
    came: list[tuple[datetime, str, str, str]] = [
        (since - timedelta(minutes=3), "before", request_digest({}), "before")
    ]
    came += [
        (e.received_at, e.challenge_id, request_digest(e.request or {}), "scored") for e in content.rounds.values()
    ]
    came += [
        (first + timedelta(seconds=i), name, request_digest({"id": name}), became)
        for i, (name, became) in enumerate(others.items(), start=1)
    ]
    return linked(sorted(came))


def linked(came: list[Came], before: str = FIRST_LINK) -> tuple[Acceptance, ...]:
    found = []
    for seq, (at, name, request, became) in enumerate(came, start=1):
        known = known_digest(SALT, "question", [seq]) if became == "canary" else ""
        commitment = commitment_of(SALT, known)
        digest = link_digest(before, seq, name, at, request, commitment)
        fields = {"became": became, "commitment": commitment, "salt": SALT, "known": known}
        found.append(Acceptance(seq, ChallengeId(name), at, request, digest, **fields))
        before = digest
    return tuple(found)


def sealed(content: Content, signer: Any = VALIDATOR, **fields: Any) -> SignedSeal:
    about: dict[str, Any] = {"sealed_at": MADE_AT + timedelta(minutes=1), "sealed_block": 1005, "release": ""}
    return signed(seal_of(content, **(about | fields)), signer)


def bundled(
    path: Path,
    content: Content,
    level: Level = Level.FULL,
    seal: SignedSeal | None = None,
    rounds: int | None = None,
    **fields: Any,
) -> Path:
    """A file of a content, sealed unless `seal` is given; of a sample only the drawn rounds."""
    seal, sample = seal or sealed(content), None
    if level is Level.SAMPLE:
        challenges = content.window.columns.challenges
        sample = Sample(seal.seal.sample_block, BLOCK_HASH, len(challenges) if rounds is None else rounds)
        names = drawn(seal.seal.root, BLOCK_HASH, challenges, sample.rounds)
        content = replace(content, rounds={name: content.rounds[name] for name in names})
    if level is Level.ROWS:
        content = replace(content, rounds={}, contexts={})
    write(path, content, seal, VALIDATOR, level, sample=sample, **fields)
    return path
