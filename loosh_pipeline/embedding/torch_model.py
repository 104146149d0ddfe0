"""An embedding model run by torch, on the CPU or a GPU: the reference for every other way to run it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from loosh_pipeline.embedding.model import ModelFiles, batches, readable, stepped
from loosh_pipeline.embedding.port import Piece, Rows
from loosh_pipeline.errors import ModelError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BATCH_TOKENS, WIDTH_STEP = 512, 16
"""Padded tokens a batch on a CPU, where larger ones leave its caches; and how texts of like length come together."""
GPU_BATCH_TOKENS, GPU_WIDTH_STEP = 65_536, 64
"""The same on a GPU, which is idle most of the time with the small batches that suit a CPU."""


def load_torch(files: ModelFiles, threads: int, device: str = "cpu") -> TorchEmbedder:
    """The model in float32 on `device`, and on `threads` CPU threads (a setting of the whole process).

    Raises ModelError when the library cannot load the files. Never asks the network.
    """
    import torch

    torch.set_num_threads(threads)
    return TorchEmbedder(open_pipeline(files, device), files)


def open_pipeline(files: ModelFiles, device: str = "cpu", attention: str | None = None) -> SentenceTransformer:
    """The library's own model in float32, for inference; `attention` names another implementation of it."""
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
    options: dict[str, Any] = {"dtype": torch.float32, **({"attn_implementation": attention} if attention else {})}
    try:
        model = SentenceTransformer(
            str(files.directory), device=device, local_files_only=True, model_kwargs=options, trust_remote_code=False
        )
    except Exception as error:  # safetensors and tokenizers raise classes of their own, without a common base
        raise ModelError(f"cannot load the model in {files.directory}: {error}") from error
    return model.eval()


class TorchEmbedder:
    """An `Embedder` over a loaded model. Not for use by two threads at once: one batch has all threads."""

    lanes = 1

    def __init__(self, model: SentenceTransformer, files: ModelFiles) -> None:
        self._model = model
        self._files = files
        self._on_cpu = model.device.type == "cpu"
        self.batch_tokens = BATCH_TOKENS if self._on_cpu else GPU_BATCH_TOKENS
        self._width_step = WIDTH_STEP if self._on_cpu else GPU_WIDTH_STEP

    @property
    def model_id(self) -> str:
        return self._files.model_id

    @property
    def digest(self) -> str:
        return self._files.digest

    @property
    def short_digest(self) -> str:
        return self._files.digest[:12]

    @property
    def backend(self) -> str:
        return "torch" if self._on_cpu else f"torch-{self._model.device.type}"

    @property
    def dim(self) -> int:
        dim = self._model.get_embedding_dimension()
        if dim is None:
            raise ModelError(f"{self.model_id} does not say how wide its vectors are; use another EMBEDDING_MODEL")
        return int(dim)

    def count_tokens(self, texts: Sequence[str]) -> int:
        return sum(self._lengths(readable(texts)))

    def embed(self, texts: Sequence[str]) -> Rows:
        """(n, dim) float32 unit rows in the order given; a text's row differs by float rounding at most (1e-6)
        with what else is asked at the same time. What exceeds the model's length (256 tokens) is not read."""
        rows = np.zeros((len(texts), self.dim), dtype=np.float32)
        pieces = self.prepare(texts)
        for batch in batches([piece.width for piece in pieces], self.batch_tokens):
            rows[batch] = self.run([pieces[i] for i in batch])
        return rows

    def prepare(self, texts: Sequence[str]) -> list[Piece]:
        """The texts with their lengths; the library makes tokens of them when they are run."""
        asked = readable(texts)
        lengths = self._lengths(asked)
        return [Piece(n, stepped(n, self._width_step), text) for text, n in zip(asked, lengths, strict=True)]

    def run(self, pieces: Sequence[Piece]) -> Rows:
        """Unit rows of one batch, padded to the longest of it."""
        import torch

        with torch.inference_mode():
            asked = self._model.preprocess([piece.content for piece in pieces])
            features = {
                name: value.to(self._model.device) if isinstance(value, torch.Tensor) else value
                for name, value in asked.items()
            }
            rows: Rows = self._model(features)["sentence_embedding"].cpu().numpy()
        if self._files.pipeline[-1] == "Normalize":
            return rows
        unit: Rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        if not texts:
            return []
        limit = self._model.max_seq_length
        encoded = self._model.tokenizer(list(texts), truncation=True, max_length=limit)
        return [len(ids) for ids in encoded["input_ids"]]
