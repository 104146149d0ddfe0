"""`python -m loosh_pipeline.embedding.export MODEL FOLDER`: make the form of a model that ONNX Runtime reads.

The embedder does it by itself at its first start; by hand it serves to build an image that starts at once.
"""

from __future__ import annotations

import argparse
import fcntl
import shutil
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from loosh_pipeline.embedding.model import BUILTIN, ModelFiles, find_model
from loosh_pipeline.embedding.onnx_model import (
    CHECK_FILE,
    CHECK_TEXTS,
    MODEL_FILE,
    OUTPUT,
    TOKENIZER_FILE,
    ExportCard,
    export_folder,
)
from loosh_pipeline.embedding.torch_model import load_torch, open_pipeline
from loosh_pipeline.errors import ModelError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

KNOWN_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
NO_LIMIT = 1_000_000
"""A tokenizer that knows no limit states a huge number."""


def export_model(files: ModelFiles, models_dir: Path, threads: int) -> Path:
    """The folder of a model's export, made when it does not exist. Of two processes at once, one waits for the other.

    A folder appears complete or not at all. Raises ModelError when the model has inputs other than tokens.
    """
    folder = export_folder(files, models_dir)
    models_dir.mkdir(parents=True, exist_ok=True)
    with (models_dir / f".{folder.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel's: it ends with the process that holds it
        if not folder.is_dir():
            partial = models_dir / f".{folder.name}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            _write(files, partial, threads)
            partial.rename(folder)
    return folder


def _write(files: ModelFiles, folder: Path, threads: int) -> None:
    np.save(folder / CHECK_FILE, load_torch(files, threads).embed(CHECK_TEXTS))
    # Plain attention is made of operations that ONNX has; the fused one is not.
    model = open_pipeline(files, attention="eager")
    inputs = _write_graph(model, folder / MODEL_FILE)
    model.tokenizer.backend_tokenizer.save(str(folder / TOKENIZER_FILE))
    limit = model.max_seq_length
    card = ExportCard(
        model_digest=files.digest,
        inputs=inputs,
        dim=int(model.get_embedding_dimension() or 0),
        max_tokens=None if limit is None or limit > NO_LIMIT else int(limit),
        pad_id=int(model.tokenizer.pad_token_id or 0),
    )
    card.write(folder)


def _write_graph(model: SentenceTransformer, path: Path) -> tuple[str, ...]:
    """Export all modules of a model as one graph from tokens to unit vectors; the names of its inputs."""
    import torch

    features = model.preprocess(["sky", "The sky is blue."])
    names = tuple(name for name, value in features.items() if isinstance(value, torch.Tensor))
    if not set(names) <= KNOWN_INPUTS:
        raise ModelError(f"the model takes {', '.join(names)}; only {', '.join(sorted(KNOWN_INPUTS))} can be exported")

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
            vectors: torch.Tensor = self.model(dict(zip(names, tensors, strict=True)))[OUTPUT]
            return vectors

    any_size = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the exporter; the check tells whether it worked
        torch.onnx.export(
            Whole().eval(),
            tuple(features[name] for name in names),
            path,
            input_names=names,
            output_names=[OUTPUT],
            dynamic_shapes=(tuple(any_size for _ in names),),
            dynamo=True,
            external_data=True,
            verbose=False,
        )
    return names


def main() -> int:
    """Export a model, unless it has been. Exit status 1 when it cannot be."""
    parser = argparse.ArgumentParser(prog="python -m loosh_pipeline.embedding.export", description=main.__doc__)
    parser.add_argument("model", help=f"{BUILTIN}, or the directory of a sentence-transformers model")
    parser.add_argument("folder", type=Path, help="where exports are kept, such as LOOSH_HOME/models")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    chosen = parser.parse_args()
    try:
        print(export_model(find_model(chosen.model), chosen.folder, chosen.threads))
    except (ModelError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
