"""Files of pages: styles, script and Vega, which are everybody's, and the pictures of rounds, which are not."""

from __future__ import annotations

import gzip
from functools import lru_cache

from fastapi import APIRouter, HTTPException, Request, Response, status
from fastapi.responses import FileResponse

from ingress.pages.page import challenge_router
from ingress.pages.static import KINDS, content
from ingress.parts import Parts, PartsOf
from loosh_pipeline.store.tables import file_stem

FOR_GOOD = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}

everybody = APIRouter(include_in_schema=False)
router = challenge_router()


@everybody.get("/static/{mark}/{name}")
def static(mark: str, name: str, request: Request) -> Response:
    """A file of the pages, packed where the browser takes that. Blocks: Vega is made when it is first asked for."""
    try:
        found = content(name)
    except KeyError:
        raise HTTPException(status.HTTP_404_NOT_FOUND, f"the pages have no file {name!r}") from None
    headers = {**FOR_GOOD, "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(_packed(name), media_type=_kind(name), headers={**headers, "Content-Encoding": "gzip"})
    return Response(found, media_type=_kind(name), headers=headers)


@lru_cache(maxsize=16)
def _packed(name: str) -> bytes:
    return gzip.compress(content(name), mtime=0)


def _kind(name: str) -> str:
    return KINDS[name.rpartition(".")[2]]


@router.get("/heatmaps/{challenge_id:path}.png")
def heatmap_png(challenge_id: str, parts: PartsOf) -> FileResponse:
    return _picture(parts, challenge_id, "png", "image/png")


@router.get("/heatmaps/{challenge_id:path}.json")
def heatmap_spec(challenge_id: str, parts: PartsOf) -> FileResponse:
    return _picture(parts, challenge_id, "json", "application/json")


def _picture(parts: Parts, challenge_id: str, kind: str, media_type: str) -> FileResponse:
    path = parts.settings.heatmaps_root / f"{file_stem(challenge_id)}.{kind}"
    if not path.exists():
        raise HTTPException(status.HTTP_404_NOT_FOUND, f"no heatmap of {challenge_id!r} was drawn (yet)")
    return FileResponse(path, media_type=media_type)
