"""Understanding the body of a challenge, and saying what is wrong with it in FastAPI's shape."""

from __future__ import annotations

from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from loosh_pipeline.errors import WireError
from loosh_pipeline.requests import LIMITS, ChallengeRequest, Limits
from loosh_pipeline.wire.codec import decode_json


def plain_challenge(body: bytes, limits: Limits) -> ChallengeRequest:
    """The challenge in a plain body. Raises RequestValidationError, which is answered with 422."""
    try:
        value = decode_json(body, "the body", limits.json_depth)
    except WireError as error:
        raise RequestValidationError([{"type": "json_invalid", "loc": ("body",), "msg": str(error)}]) from error
    try:
        return understood(value, limits)
    except ValidationError as error:
        problems = [{**each, "loc": ("body", *each["loc"])} for each in error.errors(include_url=False)]
        raise RequestValidationError(problems) from error


def understood(value: Any, limits: Limits) -> ChallengeRequest:
    """The challenge in a JSON value. Raises pydantic's ValidationError."""
    return ChallengeRequest.model_validate(value, context={LIMITS: limits})


def problems(error: ValidationError) -> str:
    """What is wrong, in one line, without the input."""
    lines = (f"{'.'.join(map(str, each['loc'])) or 'challenge'}: {each['msg']}" for each in error.errors()[:5])
    return "; ".join(lines)[:1000]
