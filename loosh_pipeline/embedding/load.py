"""Which way a model on this machine is run: torch on a GPU, ONNX Runtime, or torch on the CPU."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Literal

from loosh_pipeline.embedding.model import ModelFiles, find_model
from loosh_pipeline.embedding.onnx_model import load_onnx
from loosh_pipeline.embedding.port import ServableEmbedder
from loosh_pipeline.embedding.torch_model import load_torch
from loosh_pipeline.errors import ModelError

log = logging.getLogger(__name__)

Backend = Literal["auto", "torch", "onnx"]
NVIDIA_DRIVER = Path("/dev/nvidiactl")


def load_model(name: str, backend: Backend, threads: int, models_dir: Path) -> ServableEmbedder:
    """The model `name` (`builtin`, or a directory), with exports for ONNX Runtime kept in `models_dir`.

    `auto` takes a GPU when torch can use one, else ONNX Runtime, else torch on the CPU. The vectors of all three are
    the same but for float rounding. Raises ModelError when the model, or the backend asked for, cannot be used.
    """
    files = find_model(name)
    embedder = _load(files, backend, threads, models_dir)
    log.info("%s (digest %s) is run by %s", embedder.model_id, embedder.digest[:12], embedder.backend)
    return embedder


def _load(files: ModelFiles, backend: Backend, threads: int, models_dir: Path) -> ServableEmbedder:
    if backend == "onnx":
        return load_onnx(files, threads, models_dir)
    if cuda_available():
        return load_torch(files, threads, "cuda")
    if backend == "auto":
        try:
            return load_onnx(files, threads, models_dir)
        except ModelError as error:
            log.warning("torch runs the model, which is slower than ONNX Runtime: %s", error)
    return load_torch(files, threads)


def cuda_available() -> bool:
    """Whether torch can use a GPU. Torch is imported to ask only where there is a driver: it takes a second."""
    if not (NVIDIA_DRIVER.exists() or shutil.which("nvidia-smi")):
        return False
    import torch

    return torch.cuda.is_available()
