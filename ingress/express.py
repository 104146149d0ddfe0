"""POST /challenges without the way through the router: that costs as much again as all that is done with a challenge.

The route itself is there all the same, for the documentation and for whoever mounts the router elsewhere.
"""

from __future__ import annotations

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from ingress.limits import answer
from ingress.problems import unprocessable
from ingress.routers.challenges import receive_challenge

PATH = "/challenges"


class Express:
    """ASGI middleware that calls the endpoint itself, and answers what it refuses as the app's own handlers do."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            response = await receive_challenge(request)
        except HTTPException as refusal:
            await answer(refusal, scope, receive, send)
        except ClientDisconnect:
            return
        except RequestValidationError as error:
            await (await unprocessable(request, error))(scope, receive, send)
        else:
            await response(scope, receive, send)
