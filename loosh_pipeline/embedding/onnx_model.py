"""An embedding model run by ONNX Runtime: the same weights and vectors as with torch, sooner, without importing torch.

The model is exported once, by a process of its own (`export.py`), into a folder named after its digest and the
versions that made it. Beside it lie the vectors that torch made of a few texts: every start embeds these texts again
and refuses the export when a vector has turned.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from loosh_pipeline.embedding.model import ModelFiles, batches, readable, stepped
from loosh_pipeline.embedding.port import Piece, Rows
from loosh_pipeline.errors import ModelError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession  # type: ignore[import-untyped]
    from tokenizers import Tokenizer

EXPORTED_PIPELINE = ("Transformer", "Pooling", "Normalize")
MADE_WITH = ("torch", "transformers", "onnxruntime")
"""Packages whose version decides what an export is: another version, another folder."""
MODEL_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"
CARD_FILE = "export.json"
CHECK_FILE = "check.npy"
OUTPUT = "sentence_embedding"
MIN_COSINE = 0.99999
EXPORT_WITHIN_S = 900.0
BATCH_TOKENS = 256
"""Padded tokens a batch: each is run by one thread, and fits the caches of its core."""
WIDTH_STEP = 4
"""A text is padded to the next multiple, by its own length alone: a vector's bits change with the padding. Eight would
cost 3 % more, no padding at all 4 %, in batches of few texts."""
SLOWER_WHEN_FUSED = ["SkipLayerNormFusion"]
"""On a CPU the fused operation takes three times as long as the two it replaces: a tenth of the whole."""

CHECK_TEXTS = (
    "sky",
    "Why does the sky look blue during the day and red in the evening?",
    "Light of short wavelengths is scattered more by the molecules of the air than light of long ones. " * 30,
    "天空为什么是蓝色的？ Ľudia sa pýtajú: prečo je obloha modrá? 🌅 Ответ прост.",
    "1. def f(x): return x ** 2\n2. SELECT * FROM t WHERE a = 'b';\t<html>&amp;</html>",
    "Trains run on rails, and their timetable has nothing to do with the colour of the sky.",
)
"""One word, short, longer than 256 tokens, several scripts, markup, and another subject."""


@dataclass(frozen=True, slots=True)
class ExportCard:
    """What is needed to run an export: the model it was made of, its inputs, and how texts become tokens.

    `max_tokens` is what the model reads of a text, None for all of it.
    """

    model_digest: str
    inputs: tuple[str, ...]
    dim: int
    max_tokens: int | None
    pad_id: int
    check_texts: tuple[str, ...] = CHECK_TEXTS

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Raises OSError, ValueError or TypeError when the folder holds no such card."""
        values = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
        card = cls(**values)
        return cls(**{**values, "inputs": tuple(card.inputs), "check_texts": tuple(card.check_texts)})

    def write(self, folder: Path) -> None:
        (folder / CARD_FILE).write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")


def load_onnx(files: ModelFiles, threads: int, models_dir: Path) -> OnnxEmbedder:
    """The model from its export in `models_dir`, which is made first when there is none.

    Raises ModelError when the model cannot be exported, or when the export does not give torch's vectors.
    """
    if files.pipeline != EXPORTED_PIPELINE:
        raise ModelError(
            f"the pipeline of {files.model_id} is {', '.join(files.pipeline)}; "
            f"only {', '.join(EXPORTED_PIPELINE)} is exported for ONNX Runtime"
        )
    folder = export_folder(files, models_dir)
    if not folder.is_dir():
        _export(files, models_dir, threads)
    embedder = _open(files, folder, threads)
    _check(embedder, folder)
    return embedder


def export_folder(files: ModelFiles, models_dir: Path) -> Path:
    """Where the export of a model belongs, made with the installed versions. Raises ModelError when one is missing."""
    try:
        made_with = [f"{name}{version(name)}" for name in MADE_WITH]
    except PackageNotFoundError as error:
        raise ModelError(f"{error.name} is not installed; install the project again") from error
    return models_dir / "-".join([files.digest[:16], *made_with])


def _export(files: ModelFiles, models_dir: Path, threads: int) -> None:
    """Export in a process of its own: torch would stay in this one's memory for good."""
    program = [sys.executable, "-m", "loosh_pipeline.embedding.export"]
    command = [*program, files.name, str(models_dir), "--threads", str(threads)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=EXPORT_WITHIN_S)
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"the export of {files.model_id} did not end within {EXPORT_WITHIN_S:g} s") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise ModelError(f"{files.model_id} cannot be exported for ONNX Runtime: {last}")


def _open(files: ModelFiles, folder: Path, threads: int) -> OnnxEmbedder:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        import onnxruntime
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ModelError(f"ONNX Runtime cannot be imported: {error}; install the project again") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # batches run side by side instead
    options.log_severity_level = 3
    try:
        card = ExportCard.read(folder)
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
        session = onnxruntime.InferenceSession(
            str(folder / MODEL_FILE), options, ["CPUExecutionProvider"], disabled_optimizers=SLOWER_WHEN_FUSED
        )
    except Exception as error:  # onnxruntime and tokenizers raise classes of their own, without a common base
        raise ModelError(f"the export in {folder} cannot be read: {error}; delete it to have it made again") from error
    if card.model_digest != files.digest:
        raise ModelError(
            f"the export in {folder} was made of a model with digest {card.model_digest}, not {files.digest}; delete it"
        )
    return OnnxEmbedder(session, tokenizer, card, files, threads)


def _check(embedder: OnnxEmbedder, folder: Path) -> None:
    """Raises ModelError when the export does not give the vectors that torch gave of the same texts."""
    try:
        expected = np.load(folder / CHECK_FILE)
        found = embedder.embed(embedder.card.check_texts)
        cosine = float((found * expected).sum(axis=1).min())
    except Exception as error:  # what an unreadable or altered model raises is of the runtime's own classes
        raise ModelError(f"the export in {folder} cannot be run: {error}; delete it to have it made again") from error
    if not cosine >= MIN_COSINE:
        raise ModelError(
            f"the export in {folder} does not give torch's vectors: the least cosine is {cosine:.6f}, below "
            f"{MIN_COSINE}; delete it to have it made again, or set EMBEDDER_BACKEND=torch"
        )


class OnnxEmbedder:
    """An `Embedder` over an exported model. Batches are run by `threads` threads side by side.

    That is faster than all threads in one batch, which wait for each other after every operation. On one kind of
    processor a text has the same bits whatever is embedded beside it: how far it is padded is decided by its length
    alone, and none is run alone that might have had company, as a lone row is summed in another order.
    """

    backend = "onnx"
    batch_tokens = BATCH_TOKENS

    def __init__(
        self, session: InferenceSession, tokenizer: Tokenizer, card: ExportCard, files: ModelFiles, threads: int
    ) -> None:
        self._session = session
        self.lanes = threads
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="onnx")
        self._tokenizer = tokenizer
        self._files = files
        self.card = card
        tokenizer.no_padding()
        if card.max_tokens is None:
            tokenizer.no_truncation()
        else:
            tokenizer.enable_truncation(card.max_tokens)

    @property
    def model_id(self) -> str:
        return self._files.model_id

    @property
    def digest(self) -> str:
        return self._files.digest

    @property
    def dim(self) -> int:
        return self.card.dim

    def count_tokens(self, texts: Sequence[str]) -> int:
        return sum(piece.tokens for piece in self.prepare(texts))

    def embed(self, texts: Sequence[str]) -> Rows:
        """(n, dim) float32 unit rows in the order given. What exceeds the model's length (256 tokens) is not read."""
        pieces = self.prepare(texts)
        made = list(batches([piece.width for piece in pieces], BATCH_TOKENS))
        rows = np.zeros((len(texts), self.dim), dtype=np.float32)
        parts = self._threads.map(lambda batch: self.run([pieces[i] for i in batch]), made)
        for batch, part in zip(made, parts, strict=True):
            rows[batch] = part
        return rows

    def prepare(self, texts: Sequence[str]) -> list[Piece]:
        """The texts as ids and type ids of their tokens."""
        encoded = self._tokenizer.encode_batch_fast(readable(texts))
        return [Piece(len(e.ids), _width(len(e.ids)), np.array((e.ids, e.type_ids), dtype=np.int64)) for e in encoded]

    def run(self, pieces: Sequence[Piece]) -> Rows:
        """Unit rows of one batch of one width."""
        width = pieces[0].width
        company = len(pieces) == 1 and 2 * width <= BATCH_TOKENS
        shape = (len(pieces) + company, width)
        asked = {
            "input_ids": np.full(shape, self.card.pad_id, dtype=np.int64),
            "attention_mask": np.zeros(shape, dtype=np.int64),
            "token_type_ids": np.zeros(shape, dtype=np.int64),
        }
        for row, piece in enumerate([*pieces, *pieces] if company else pieces):
            read = slice(piece.tokens)
            asked["input_ids"][row, read], asked["token_type_ids"][row, read] = piece.content
            asked["attention_mask"][row, read] = 1
        rows: Rows = self._session.run([OUTPUT], {name: asked[name] for name in self.card.inputs})[0]
        return rows[: len(pieces)]


def _width(tokens: int) -> int:
    """How far a text is padded: not at all where no second one has room in its batch."""
    width = stepped(tokens, WIDTH_STEP)
    return width if 2 * width <= BATCH_TOKENS else tokens
