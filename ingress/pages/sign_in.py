"""Signing in: a browser cannot send a token with each request, so it is given a cookie for it."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from ingress.callers import CALLER
from ingress.pages.page import PageRoute, show, up_from
from ingress.parts import PartsOf
from ingress.viewers import COOKIE, COOKIE_S

router = APIRouter(include_in_schema=False, route_class=PageRoute)

COST = 9.0
"""A try counts as ten requests of its address: nobody guesses for long."""


@router.get("/sign-in", response_class=HTMLResponse)
def ask(request: Request, parts: PartsOf) -> HTMLResponse:
    """The form, or what is to be set so that there is one."""
    return show(request, "sign_in.html", {"possible": parts.door.viewers.any, "wrong": False})


@router.post("/sign-in", response_class=HTMLResponse)
async def sign_in(request: Request, parts: PartsOf) -> Response:
    """Give whoever knows the token a cookie. Raises 429 for who tries too often."""
    parts.rates.count_address(request.scope[CALLER], COST)
    form = parse_qs((await request.body()).decode("utf-8", "replace"))
    token, viewers = form.get("token", [""])[0].strip(), parts.door.viewers
    if not viewers.knows(token):
        return show(request, "sign_in.html", {"possible": viewers.any, "wrong": True}, HTTPStatus.FORBIDDEN)
    answer = RedirectResponse(up_from(request), HTTPStatus.SEE_OTHER)
    secure = request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"
    answer.set_cookie(
        COOKIE, viewers.cookie(), max_age=COOKIE_S, httponly=True, samesite="lax", secure=secure, path="/"
    )
    return answer


@router.post("/sign-out")
def sign_out(request: Request) -> Response:
    """Take the cookie back."""
    answer = RedirectResponse(f"{up_from(request)}sign-in", HTTPStatus.SEE_OTHER)
    answer.delete_cookie(COOKIE, path="/")
    return answer
