"""Figures for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from ingress.callers import CALLER
from ingress.metrics import Busy
from ingress.parts import PartsOf

router = APIRouter(include_in_schema=False)


@router.get("/metrics", response_class=Response)
def metrics(request: Request, parts: PartsOf) -> Response:
    """Everything that is counted, in Prometheus' text format; for this machine and holders of the API key."""
    parts.door.measures(request.headers, request.scope[CALLER])
    try:
        text, content_type = parts.metrics.text(request.headers.get("accept", ""))
    except Busy as error:
        raise HTTPException(503, str(error), headers={"Retry-After": "5"}) from error
    return Response(text, headers={"Content-Type": content_type})
