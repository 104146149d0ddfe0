"""What a failed try means: whether another may help, and what an operator does about it."""

from __future__ import annotations

import email.utils
import json
import math
import time
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

import openai

from loosh_pipeline.errors import LLMAnswerUnusable, LLMError, LLMRefused, LLMUnreachable
from loosh_pipeline.llm.answers import one_line
from loosh_pipeline.llm.config import LLMConfig
from loosh_pipeline.llm.transport import OverlongAnswer

BUSY = (408, 409, 425, 429)
NO_CREDIT = ("insufficient_quota", "billing_hard_limit_reached")
CONTENT_FILTER = "content_filter"


def may_pass(error: openai.APIError) -> bool:
    """Whether the same request may be answered a little later."""
    if isinstance(error, openai.APIStatusError):
        return (error.status_code in BUSY or error.status_code >= 500) and error.code not in NO_CREDIT
    return isinstance(error, openai.APIConnectionError)


def retry_after_s(error: openai.APIError) -> float | None:
    """Seconds that a server wants us to wait, as it says by `Retry-After`; None when it says nothing of use."""
    if not isinstance(error, openai.APIStatusError):
        return None
    said = error.response.headers.get("retry-after", "").strip()
    try:
        wait_s = float(said)
    except ValueError:
        at = email.utils.parsedate_tz(said)
        wait_s = math.nan if at is None else email.utils.mktime_tz(at) - time.time()
    return None if math.isnan(wait_s) else max(0.0, wait_s)


def refused_parameter(error: openai.APIError) -> str | None:
    """The one of our own parameters that a model does not take, by what its server says; None for anything else."""
    if not isinstance(error, openai.APIStatusError) or error.status_code not in (400, 422):
        return None
    if error.code not in (None, "unsupported_parameter", "unsupported_value"):
        return None
    said = f"{error.param or ''} {error.message}"
    if "max_completion_tokens" in said and "max_tokens" in said:
        return "max_tokens"
    return "temperature" if error.param == "temperature" else None


def explained(error: Exception, config: LLMConfig) -> LLMError:
    """The error that says what went wrong with `config`, and what to do. No key stands in it."""
    asked = f"model {config.model!r} at {config.endpoint.root}"
    for cause in _causes(error):
        if isinstance(cause, OverlongAnswer):
            return LLMAnswerUnusable(f"{asked}: {cause}; is LLM_API_URL the address of an OpenAI-compatible API?")
    if isinstance(error, openai.APIStatusError):
        return _of_status(error, config, asked)
    if isinstance(error, TimeoutError | openai.APITimeoutError):
        return LLMUnreachable(
            f"{asked} did not answer within {config.timeout_s:g} s; see whether it is up, raise LLM_TIMEOUT_S, or take "
            "a smaller model"
        )
    return LLMUnreachable(f"{asked} cannot be reached: {_said(error, config)}; {_start(config)}")


def _of_status(error: openai.APIStatusError, config: LLMConfig, asked: str) -> LLMError:
    status, said = error.status_code, _said(error, config)
    if error.code == CONTENT_FILTER:
        return LLMAnswerUnusable(f"{asked}: a content filter took offence at the round's texts")
    if status in (401, 403):
        return LLMRefused(f"{asked} refused the key: {said}; correct LLM_API_KEY")
    if error.code in NO_CREDIT:
        return LLMRefused(f"{asked}: no credit is left: {said}; top the account up, or take another key")
    if status == 404:
        return LLMRefused(f"{asked} is not there: {said}; correct {_name_of_model(config)} or LLM_API_URL")
    if 300 <= status < 400:
        return LLMRefused(f"{asked} answers a redirect ({status}), which is not followed; correct LLM_API_URL")
    if may_pass(error):
        return LLMUnreachable(f"{asked} is busy or broken: {said}; see its own log")
    return LLMRefused(f"{asked} refused the request: {said}; what it does not take can be changed by LLM_PARAMS")


def _name_of_model(config: LLMConfig) -> str:
    if config.provider == "ollama":
        return f"LLM_MODEL (or `ollama pull {config.model}`)"
    return "LLM_DEPLOYMENT" if config.provider == "azure_openai" else "LLM_MODEL"


def _start(config: LLMConfig) -> str:
    if config.provider == "ollama":
        return "start it (`ollama serve`), or correct LLM_API_URL"
    return "see whether it is up, or correct LLM_API_URL"


def _said(error: Exception, config: LLMConfig) -> str:
    """What a server or the network says, in one line. A server may repeat the key that it was given."""
    if isinstance(error, openai.APIStatusError):
        told = f"{error.message} {_unnamed(error.body)}".strip()
    else:
        told = next((str(cause) for cause in reversed(list(_causes(error))) if str(cause)), type(error).__name__)
    return one_line(_without_key(told, config.api_key) if config.api_key else told)


def _without_key(told: str, key: str) -> str:
    """Without the key, also as Python, JSON or an address would write it."""
    doubled = key.replace("\\", "\\\\")
    forms = {key, doubled, doubled.replace("'", "\\'"), json.dumps(key)[1:-1], quote(key), quote_plus(key)}
    for written in sorted(forms, key=len, reverse=True):
        told = told.replace(written, "***")
    return told


def _unnamed(body: object) -> str:
    """What a server says of an error in another place than OpenAI's, which the client leaves out."""
    if not isinstance(body, dict):
        return str(body or "")
    return next((said for name in ("detail", "error") if isinstance(said := body.get(name), str)), "")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came of, the outermost first."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__
