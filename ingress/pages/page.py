"""What all pages share: who sees them, what every template is given, and how a refusal looks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from fastapi.templating import Jinja2Templates
from starlette.exceptions import HTTPException

from ingress.callers import CALLER
from ingress.pages import dagster_ui
from ingress.pages.filters import FILTERS
from ingress.pages.loading import Loading
from ingress.pages.shown import challenges_are_open, is_operator
from ingress.pages.static import static_path
from ingress.pages.threads import in_own_thread
from ingress.parts import PartsOf
from ingress.version import VERSION
from ingress.viewers import COOKIE
from loosh_pipeline.audit.templates import TEMPLATES

logger = logging.getLogger(__name__)

HEADERS = {
    # Nothing of a stranger's text can be run or loaded, even if it were not escaped. Charts are drawn by expressions
    # that Vega interprets, so no page may evaluate code.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-cache",
}
PLAIN = {**HEADERS, "Content-Security-Policy": "default-src 'none'; sandbox"}
"""Of what is shown as it is stored: nothing in it is run or loaded, whatever a browser takes it for."""
NAV = (("", "Overview"), ("challenges", "Challenges"), ("miners", "Miners"), ("weights", "Weights"))
"""Where each entry of the navigation leads, from the root of the ingress."""

templates = Jinja2Templates([Path(__file__).with_name("templates"), TEMPLATES])
templates.env.filters.update(FILTERS)
templates.env.globals.update(version=VERSION, static=static_path, dagster_ui=dagster_ui)
templates.env.trim_blocks = templates.env.lstrip_blocks = True


def _load() -> None:
    """All templates, and the libraries that heatmaps are drawn with, as far as they load when the first is drawn."""
    for path in sorted(Path(__file__).with_name("templates").glob("*.html")):
        templates.env.get_template(path.name)
    from loosh_pipeline.heatmap import heatmap_chart, specification

    specification(heatmap_chart(["1", "2"], np.eye(2), ""))


LOADING = Loading(_load)


async def for_the_operator(request: Request, parts: PartsOf) -> None:
    """Refuse strangers, whom prompts and answers are no business of."""
    parts.door.sees(request.headers, request.scope[CALLER])
    LOADING.begin()


def page_router() -> APIRouter:
    """Routes of pages that only the operator sees, unless PAGES_PUBLIC says otherwise."""
    return APIRouter(include_in_schema=False, dependencies=[Depends(for_the_operator)], route_class=PageRoute)


BROKEN = "something that is stored here cannot be read; the operator sees what, and the log says it"
CLOSED = (
    "challenges are for the operator alone on this validator: some of what it asks has a known answer (CANARY_RATE), "
    "which miners could tell from the rest; sign in to see them"
)


def for_who_may_see_challenges(request: Request, parts: PartsOf) -> None:
    """Refuse strangers, PAGES_PUBLIC or not, where canaries are asked. In one way, whatever is asked for."""
    if not challenges_are_open(request, parts):
        raise HTTPException(HTTPStatus.FORBIDDEN, CLOSED)


def challenge_router() -> APIRouter:
    """Routes of pages that tell of single challenges."""
    either = [Depends(for_the_operator), Depends(for_who_may_see_challenges)]
    return APIRouter(include_in_schema=False, dependencies=either, route_class=PageRoute)


def show(request: Request, template: str, about: Mapping[str, Any], status: int = HTTPStatus.OK) -> HTMLResponse:
    """A page of a template. It is given, beside `about`:

    `up`, which leads from it to the root of the ingress, wherever a proxy mounts that; `nav`; `ours`, whether the
    operator looks on, who alone is told paths, addresses and what exactly went wrong; `dagster_url`, without a slash at
    its end, empty where there is none, and for strangers; `signed_in`, whether there is a cookie to be taken back;
    `version`; `static(name)`; `dagster_ui`; the filters of `pages/filters.py`.
    """
    parts, ours = getattr(request.app.state, "parts", None), _ours(request)
    url = parts.settings.dagster_url if parts is not None and ours else None
    around = {
        "ours": ours,
        "up": up_from(request),
        "nav": NAV,
        "dagster_url": str(url or "").rstrip("/"),
        "signed_in": COOKIE in request.cookies,
    }
    return templates.TemplateResponse(request, template, {**around, **about}, status, headers=HEADERS)


def _ours(request: Request) -> bool:
    parts = getattr(request.app.state, "parts", None)
    return parts is not None and is_operator(request, parts)


def up_from(request: Request) -> str:
    """The relative way to the root: every page links by it, so that a proxy may mount the ingress anywhere.

    By the path as it was sent: an id may hold a slash, which is then no step.
    """
    sent: bytes = request.scope.get("raw_path") or request.url.path.encode()
    return "../" * max(0, sent.partition(b"?")[0].count(b"/") - 1) or "./"


class PageRoute(APIRoute):
    """Refusals are pages for whoever prefers those, and JSON for all others. Pages have threads of their own."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **given: Any) -> None:
        super().__init__(path, in_own_thread(endpoint), **given)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except HTTPException as error:
                refusal = _as_told(request, error)
                if not prefers_html(request.headers.get("accept", "")):
                    raise refusal from error.__cause__
                return refused(request, refusal)

        return handled


def _as_told(request: Request, refusal: HTTPException) -> HTTPException:
    """Of what is broken here strangers are told no more than that."""
    if refusal.status_code != HTTPStatus.INTERNAL_SERVER_ERROR or _ours(request):
        return refusal
    logger.error("a page that a stranger asked for cannot be made: %s", refusal.detail)
    return HTTPException(refusal.status_code, BROKEN)


def refused(request: Request, refusal: HTTPException) -> HTMLResponse:
    """A refusal as a page; with a way to sign in, where that would help."""
    status = HTTPStatus(refusal.status_code)
    about = {"status": status, "detail": refusal.detail, "sign_in": status is HTTPStatus.FORBIDDEN}
    answer = show(request, "refusal.html", about, status)
    answer.headers.update(refusal.headers or {})
    return answer


def prefers_html(accept: str) -> bool:
    """Whether an Accept header asks for HTML by name, and for JSON less."""
    wanted = {"text/html": 0.0, "application/json": 0.0}
    for each in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in each.split(";"))
        if kind in wanted:
            wanted[kind] = next((_quality(one[2:]) for one in parameters if one.startswith("q=")), 1.0)
    return wanted["text/html"] > wanted["application/json"]


def _quality(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
