"""Every error this project raises on purpose.

    LooshError
    ├── ConfigError            a setting is missing or wrong
    ├── ModelError             the embedding model is missing, altered or unusable
    ├── EmbedderError          the embedder process could not be asked
    ├── ScoringError           a round cannot be scored as given
    ├── StoreError             inbox, outbox or tables
    │   ├── DuplicateChallenge the id is already known
    │   ├── NonceUsed          a signed request was sent before
    │   ├── UnknownChallenge   the id is not known
    │   ├── UnknownEpoch       no weights were set under the number
    │   ├── UnknownMiner       no hotkey or uid is meant by what was given, or several are
    │   ├── NotTheWriter       another process may write now
    │   ├── Overtaken          another run evaluates the challenge
    │   └── PartTaken          another compaction wrote a part of the day
    ├── WireError              the fiber protocol
    │   └── CryptoError        a key, signature or token was refused
    ├── ChainError             the chain could not be read or written
    │   ├── ChainTimeout       it did not answer within its deadline
    │   ├── StaleChain         its newest block is old, or ahead of this machine's clock
    │   ├── WrongChain         it is another chain than was meant
    │   ├── ChainRefusal       it cannot be had of this chain at all
    │   └── NotSubmitted       nothing was sent, for certain
    ├── LLMError               a language model could not be asked, or says nothing of use
    │   ├── UnknownLLM         no model is registered under the name
    │   ├── LLMUnreachable     it was not reached, or did not answer within its deadline
    │   ├── LLMRefused         it refuses: the key, the model, a parameter, or the rate
    │   └── LLMAnswerUnusable  its answer is cut off, overlong or not readable
    │       └── LLMAnswerEmpty it says nothing
    ├── ServiceError           a validator, or a process of it, cannot start now
    └── DevnetError            the subnet on one machine could not start

A message says what was wrong, with which value, and what to do about it.
"""

from __future__ import annotations


class LooshError(Exception):
    """Base of the tree."""


class ConfigError(LooshError):
    """A setting is missing or wrong."""


class ModelError(LooshError):
    """The embedding model is missing, altered or unusable."""


class EmbedderError(LooshError):
    """The embedder process could not be asked. `code`: of its refusal, where it gave one."""

    code: str = ""


class ScoringError(LooshError):
    """A round cannot be scored as given."""


class StoreError(LooshError):
    """The inbox, the outbox or the tables refused an operation."""


class DuplicateChallenge(StoreError):
    """A challenge of this id was accepted before."""


class NonceUsed(StoreError):
    """A nonce was used before: this is a signed request sent twice."""


class UnknownChallenge(StoreError):
    """No challenge of this id was accepted."""


class UnknownEpoch(StoreError):
    """No weights were submitted under this number, or none at all."""


class UnknownMiner(StoreError):
    """No hotkey of an epoch is meant by what was given, or several are."""


class NotTheWriter(StoreError):
    """Another process holds the lease, or has taken it over since."""


class Overtaken(StoreError):
    """Another run evaluates this challenge: this one must not ask its miners."""


class PartTaken(StoreError):
    """Another compaction wrote a part of the day meanwhile."""


class WireError(LooshError):
    """The fiber protocol was violated, by us or by the peer."""


class CryptoError(WireError):
    """A key, a signature or a token was refused."""


class ChainError(LooshError):
    """The chain could not be read or written."""


class ChainTimeout(ChainError):
    """The chain did not answer within its deadline."""


class StaleChain(ChainError):
    """The newest block that a node knows is old: what it says is no longer so."""


class WrongChain(ChainError):
    """A node serves another chain than the one that was meant: its genesis block is another."""


class ChainRefusal(ChainError):
    """What was asked for cannot be had of this chain, whichever node is asked; nothing was sent."""


class NotSubmitted(ChainError):
    """A submission failed before anything was sent, so that it may be tried elsewhere."""


class LLMError(LooshError):
    """A language model could not be asked, or says nothing of use. `reason`: in a few words, all ours."""

    reason = "it could not be asked"


class UnknownLLM(LLMError):
    """No model is registered under the name."""

    reason = "no such model is registered"


class LLMUnreachable(LLMError):
    """A model was not reached, or did not answer within its deadline."""

    reason = "it could not be reached, or did not answer in time"


class LLMRefused(LLMError):
    """A server refuses what it was asked: for the key, the model, a parameter, or the rate."""

    reason = "it refused the request"


class LLMAnswerUnusable(LLMError):
    """What a model answers is cut off, overlong or not readable."""

    reason = "its answer was cut off, overlong or not readable"


class LLMAnswerEmpty(LLMAnswerUnusable):
    """A model says nothing, or only what it thinks before it speaks."""

    reason = "it answered nothing"


class ServiceError(LooshError):
    """A validator, or a process of it, cannot start now; later, or once something was put right, it may."""


class DevnetError(LooshError):
    """The subnet on one machine could not be started."""
