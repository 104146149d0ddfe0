"""The embedder and its model, and the LLM that writes narratives."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from loosh_pipeline.doctor.finding import Finding, look, ok, parts, wrong
from loosh_pipeline.embedding.client import HttpEmbedder
from loosh_pipeline.embedding.model import find_model
from loosh_pipeline.errors import EmbedderError, LooshError, ModelError
from loosh_pipeline.settings import Settings

EMBEDDER_WITHIN_S = 6.0
LLM_WITHIN_S = 10.0
LOADING = "model_loading"
"""The code of our server's refusal while it loads."""
_SEE = "see LOOSH_HOME/logs/embedder.log; challenges wait meanwhile"


def embedder(settings: Settings, runs: bool) -> Iterator[Finding]:
    """The embedding server that is used, and whether its model is the one of the settings. `runs`: the validator."""
    if (url := settings.embedding_url) is not None:
        yield _served(settings, url, None)
        return
    try:
        digest = find_model(settings.embedding_model).digest
    except ModelError as error:
        yield wrong("embedder", *parts(error))
        return
    if settings.embedder_url is not None or runs:
        yield _served(settings, str(settings.embedder_url or settings.own_embedder_url), digest, runs)
    else:
        yield ok("embedder", f"not running; its model {settings.embedding_model} is whole (digest {digest[:12]})")


def _served(settings: Settings, url: str, expected: str | None, own_runs: bool = False) -> Finding:
    key = settings.embedding_api_key.get_secret_value() if settings.embedding_api_key and expected is None else None
    name = settings.embedding_model_name if expected is None else None
    try:
        with HttpEmbedder(url, EMBEDDER_WITHIN_S, model=name, api_key=key) as server:
            digest, model_id, width = server.digest, server.model_id, server.embed(["width"]).shape[1]
    except EmbedderError as error:
        said, todo = parts(error)
        if own_runs and error.code == LOADING:
            return look("embedder", f"the embedder at {url} is loading its model", f"wait, and look again; else {_SEE}")
        return wrong("embedder", said, todo or _SEE)
    if expected is not None and digest != expected:
        said = f"{url} has model {model_id} (digest {digest[:12]}), EMBEDDING_MODEL is another ({expected[:12]})"
        return wrong("embedder", said, "restart `loosh up`, or set EMBEDDING_MODEL or EMBEDDER_URL right")
    return ok("embedder", f"{model_id} at {url}, {width} numbers a text, digest {digest[:12]}")


def answering_llm(settings: Settings) -> str | None:
    """What the LLM says, asked with less patience than narratives have."""
    from loosh_pipeline.llm.check import check_llm

    hurried = min(settings.llm_timeout_s, LLM_WITHIN_S)
    return check_llm(settings.model_copy(update={"llm_timeout_s": hurried}))


def llm(settings: Settings, check: Callable[[Settings], str | None]) -> Iterator[Finding]:
    """`check`: what answers, None where no LLM is set; raises LooshError. Narratives never hold anything up."""
    try:
        said = check(settings)
    except LooshError as error:
        fault, todo = parts(error)
        yield look("llm", f"{fault}; narratives are composed without it", todo)
        return
    yield ok("llm", said or "none is set: narratives are composed from the figures")
