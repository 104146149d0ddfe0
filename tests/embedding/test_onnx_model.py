"""ONNX Runtime gives torch's vectors, or is not used."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from loosh_pipeline.devnet.answers import AnswerBook
from loosh_pipeline.embedding import load
from loosh_pipeline.embedding.load import cuda_available, load_model
from loosh_pipeline.embedding.model import ModelFiles, find_model
from loosh_pipeline.embedding.onnx_model import CARD_FILE, CHECK_TEXTS, OnnxEmbedder, export_folder, load_onnx
from loosh_pipeline.embedding.torch_model import TorchEmbedder
from loosh_pipeline.errors import ModelError
from loosh_pipeline.scoring.text import chunks, sentences


def texts() -> list[str]:
    book = AnswerBook.load()
    answers = [book.answer(model, prompt) for prompt in book.prompts[:2] for model in book.models[:2]]
    return [text for answer in answers for text in (answer * 2, *chunks(answer), *sentences(answer)[:3])]


def test_its_vectors_are_torchs(model: TorchEmbedder, onnx_model: OnnxEmbedder) -> None:
    asked = [*texts(), *CHECK_TEXTS, ""]
    assert max(len(text.split()) for text in asked) > 256
    found, expected = onnx_model.embed(asked), model.embed(asked)
    assert (found * expected).sum(axis=1).min() >= 0.99999
    assert np.abs(found - expected).max() < 1e-5
    assert (onnx_model.model_id, onnx_model.digest, onnx_model.dim) == (model.model_id, model.digest, model.dim)
    assert onnx_model.count_tokens(asked) == model.count_tokens(asked)


def test_a_vector_does_not_depend_on_the_batch_to_the_last_bit(onnx_model: OnnxEmbedder) -> None:
    asked = texts()
    together = onnx_model.embed(asked)
    assert (together == np.concatenate([onnx_model.embed([text]) for text in asked])).all()
    assert (together == onnx_model.embed(asked[::-1])[::-1]).all()
    assert (together[::3] == onnx_model.embed(asked[::3])).all()


def test_two_exports_at_once_leave_one_whole_one(
    exporters: list[subprocess.CompletedProcess[str]], export: Path, onnx_model: OnnxEmbedder
) -> None:
    assert [each.returncode for each in exporters] == [0, 0]
    assert exporters[0].stdout == exporters[1].stdout
    assert export == export_folder(find_model(), export.parent)
    assert [path for path in export.parent.iterdir() if path.is_dir()] == [export]


def test_a_start_with_an_export_imports_no_torch(export: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from loosh_pipeline.embedding.load import load_model\n"
        f"model = load_model('builtin', 'auto', 2, Path({str(export.parent)!r}))\n"
        "model.embed(['sky']); print(model.backend, 'torch' in sys.modules, 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["onnx", "False", "False"], done.stderr


def turned_weights(folder: Path) -> None:
    graph = onnx.load(folder / "model.onnx")
    random = np.random.default_rng(0)
    for weight in graph.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.ndim == 2 and values.dtype == np.float32:
            noisy = values + np.float32(0.1 * values.std()) * random.standard_normal(values.shape, dtype=np.float32)
            weight.CopyFrom(numpy_helper.from_array(noisy, weight.name))
    (folder / "model.onnx.data").unlink()
    onnx.save(graph, folder / "model.onnx")


def other_tokens(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["normalizer"]["lowercase"] = False
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


def cut_off(folder: Path) -> None:
    weights = folder / "model.onnx.data"
    weights.write_bytes(weights.read_bytes()[:1000])


def no_reference(folder: Path) -> None:
    (folder / "check.npy").unlink()


def of_another_model(folder: Path) -> None:
    card = json.loads((folder / CARD_FILE).read_text())
    (folder / CARD_FILE).write_text(json.dumps({**card, "model_digest": "0" * 64}))


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (turned_weights, r"does not give torch's vectors: the least cosine is 0\.\d+, below 0\.99999"),
        (other_tokens, "does not give torch's vectors"),
        (cut_off, "cannot be read: .*; delete it to have it made again"),
        (no_reference, r"cannot be run: .*check\.npy"),
        (of_another_model, "made of a model with digest 000"),
    ],
)
def test_an_export_that_is_not_the_model_is_refused(
    export: Path, tmp_path: Path, tamper: Callable[[Path], None], said: str
) -> None:
    shutil.copytree(export, tmp_path / export.name)
    tamper(tmp_path / export.name)
    with pytest.raises(ModelError, match=said):
        load_model("builtin", "onnx", 2, tmp_path)


def test_auto_says_why_torch_runs_the_model(
    export: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, model: TorchEmbedder
) -> None:
    shutil.copytree(export, tmp_path / export.name)
    turned_weights(tmp_path / export.name)
    found = load_model("builtin", "auto", 2, tmp_path)
    assert (found.backend, found.digest) == ("torch", model.digest)
    assert "torch runs the model, which is slower than ONNX Runtime: the export in" in caplog.text
    assert (found.embed(["sky"]) == model.embed(["sky"])).all()


def test_another_pipeline_is_not_exported(model_copy: Path, tmp_path: Path) -> None:
    files = find_model(str(model_copy))
    dense = ModelFiles(files.name, files.directory, files.model_id, files.digest, ("Transformer", "Pooling", "Dense"))
    with pytest.raises(ModelError, match="pipeline of my-model is Transformer, Pooling, Dense; only"):
        load_onnx(dense, 2, tmp_path)


def test_an_export_that_fails_is_told_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file, not a directory")
    with pytest.raises(ModelError, match=r"all-MiniLM-L6-v2 cannot be exported for ONNX Runtime: .*File exists"):
        load_model("builtin", "onnx", 2, tmp_path / "models")


def test_torch_is_asked_for_a_gpu_only_where_there_is_a_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(load, "NVIDIA_DRIVER", tmp_path / "nvidiactl")
    assert not cuda_available()
    (tmp_path / "nvidiactl").touch()
    assert cuda_available()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not cuda_available()


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_a_gpu_is_used_where_there_is_one(
    backend: load.Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def load_torch(files: ModelFiles, threads: int, device: str = "cpu") -> TorchEmbedder:
        asked.append(device)
        raise ModelError("no GPU here")

    monkeypatch.setattr(load, "cuda_available", lambda: True)
    monkeypatch.setattr(load, "load_torch", load_torch)
    with pytest.raises(ModelError, match="no GPU here"):
        load_model("builtin", backend, 2, tmp_path)
    assert asked == ["cuda"]
