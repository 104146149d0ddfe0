"""Files of pages: styles, script and Vega, which are everybody's, and the pictures of rounds, which are not."""

from __future__ import annotations

import gzip
import logging
from functools import lru_cache

from fastapi import APIRouter, HTTPException, Request, Response, status
from fastapi.responses import FileResponse

from ingress.pages.page import PLAIN, challenge_router
from ingress.pages.shown import hidden
from ingress.pages.static import KINDS, VEGA, content, static_path
from ingress.parts import Parts, PartsOf
from ingress.vega import VegaError
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.store.tables import file_stem

FOR_GOOD = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
AS_IT_IS_NOW = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""Under the mark of another release, whose page is still open, or one that somebody made up: not to be kept as that."""

logger = logging.getLogger(__name__)
everybody = APIRouter(include_in_schema=False)
router = challenge_router()


@everybody.get("/static/{mark}/{name}")
def static(mark: str, name: str, request: Request, parts: PartsOf) -> Response:
    """A file of the pages, packed where the browser takes that. Blocks: Vega is made when it is first asked for."""
    try:
        packed = parts.vega.packed() if name == VEGA else _packed(name)
        kept = FOR_GOOD if f"static/{mark}/{name}" == static_path(name) else AS_IT_IS_NOW
    except KeyError:
        raise HTTPException(status.HTTP_404_NOT_FOUND, f"the pages have no file {name!r}") from None
    except VegaError as error:
        logger.error("%s", error)
        said = "the script that draws charts cannot be made; the log says why"
        raise HTTPException(status.HTTP_500_INTERNAL_SERVER_ERROR, said) from error
    headers = {**kept, "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(packed, media_type=_kind(name), headers={**headers, "Content-Encoding": "gzip"})
    return Response(gzip.decompress(packed), media_type=_kind(name), headers=headers)


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
    if hidden(parts, [ChallengeId(challenge_id)]) or not path.exists():
        raise HTTPException(status.HTTP_404_NOT_FOUND, f"no heatmap of {challenge_id!r} was drawn (yet)")
    return FileResponse(path, media_type=media_type, headers=PLAIN)
