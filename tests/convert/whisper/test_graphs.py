"""The graphs answer what transformers answers, in every way in which they may be run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest

from convert.onnx.layers import Precision
from tests.convert.whisper.onnx_whisper import LEVELS, OnnxWhisper, convert
from tests.convert.whisper.small_whisper import (
    FIXTURE,
    PROMPT,
    SHORT_FRAMES,
    config,
    features,
    generation_config,
    tokenizer,
    weights,
    write_whisper,
)

CONFIGS: dict[str, dict[str, Any]] = {
    "tied": config(),
    "untied": config(tie_word_embeddings=False),
    "english": config(num_mel_bins=24, d_model=24, vocab_size=221),
}
HEADS = [(0, 1), (1, 0), (1, 2)]
FRAMES = {"full": 40, "short": SHORT_FRAMES}
IDS = np.array(PROMPT)


@pytest.fixture(scope="module")
def expected() -> Any:
    return np.load(FIXTURE)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """fp32 artifacts of all variants."""
    made = {}
    for name, settings in CONFIGS.items():
        folder = tmp_path_factory.mktemp(name)
        files = {"generation_config.json": generation_config(is_multilingual=name != "english")}
        source = write_whisper(folder / "hf", settings=settings, files=files)
        made[name] = convert(source, folder / "onnx")
    return made


@pytest.mark.parametrize("window", FRAMES)
@pytest.mark.parametrize("variant", CONFIGS)
def test_logits_are_those_of_transformers(variant: str, window: str, artifacts: dict[str, Path], expected: Any) -> None:
    whisper = OnnxWhisper(artifacts[variant])
    logits = expected[f"{variant}_{window}_logits"]
    for length in range(1, IDS.shape[1] + 1):
        whisper.listen(features(CONFIGS[variant], FRAMES[window]))
        found = whisper.step(IDS[:, :length])["logits"]
        np.testing.assert_allclose(found, logits[:, length - 1], atol=2e-5)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("cuts", [(1, 1, 1, 1, 1), (5,), (2, 3), (4, 1)])
def test_tokens_may_come_one_by_one_or_together_at_every_level_of_optimization(
    cuts: tuple[int, ...], level: str, artifacts: dict[str, Path], expected: Any
) -> None:
    whisper = OnnxWhisper(artifacts["tied"], level)
    whisper.listen(features(CONFIGS["tied"], FRAMES["full"]))
    start = 0
    for cut in cuts:
        logits = whisper.step(IDS[:, start : start + cut])["logits"]
        start += cut
        np.testing.assert_allclose(logits, expected["tied_full_logits"][:, start - 1], atol=2e-5)


@pytest.mark.parametrize("window", FRAMES)
def test_cross_attention_is_that_of_the_alignment_heads(window: str, artifacts: dict[str, Path], expected: Any) -> None:
    whisper = OnnxWhisper(artifacts["tied"])
    whisper.listen(features(CONFIGS["tied"], FRAMES[window]))
    found = whisper.step(IDS)["cross_attention"]
    every = expected[f"tied_{window}_attention"]  # [layer, batch, head, n, T]
    np.testing.assert_allclose(found, np.stack([every[layer, :, head] for layer, head in HEADS], axis=1), atol=2e-6)


def test_what_is_beside_a_sequence_in_its_batch_does_not_matter(artifacts: dict[str, Path]) -> None:
    heard = features(CONFIGS["tied"], FRAMES["full"])
    whisper = OnnxWhisper(artifacts["tied"])
    whisper.listen(heard)
    together = whisper.step(IDS)["logits"]
    for row in range(2):
        whisper.listen(heard[row : row + 1])
        np.testing.assert_allclose(whisper.step(IDS[row : row + 1])["logits"][0], together[row], atol=1e-5)


def test_inputs_and_outputs_are_those_of_the_contract(artifacts: dict[str, Path]) -> None:
    whisper = OnnxWhisper(artifacts["tied"])
    shapes = {
        one.name: one.shape
        for session in (whisper.encoder, whisper.decoder)
        for one in (*session.get_inputs(), *session.get_outputs())
    }
    layers = {
        name.format(i): shape
        for i in range(2)
        for name, shape in {
            "cross_key_{}": ["windows", 3, 16, "positions"],
            "cross_value_{}": ["windows", 3, "positions", 16],
            "past_key_{}": ["t", "batch", 48],
            "past_value_{}": ["t", "batch", 48],
            "new_key_{}": ["n", "batch", 48],
            "new_value_{}": ["n", "batch", 48],
        }.items()
    }
    assert shapes == {
        **layers,
        "input_features": ["batch", 16, "frames"],
        "input_ids": ["batch", "n"],
        "logits": ["batch", 224],
        "cross_attention": ["batch", 3, "n", "positions"],
    }


@pytest.mark.parametrize(
    ("precision", "tolerance", "kept_in"), [("fp16", 0.02, np.float16), ("int8", 0.35, np.float32)]
)
@pytest.mark.parametrize("variant", ["tied", "untied"])
def test_smaller_precisions_are_close(
    variant: str, precision: Precision, tolerance: float, kept_in: Any, tmp_path: Path, expected: Any
) -> None:
    source = write_whisper(tmp_path / "hf", settings=CONFIGS[variant])
    whisper = OnnxWhisper(convert(source, tmp_path / "onnx", precision))
    cross = whisper.listen(features(CONFIGS[variant], FRAMES["full"]))
    whisper.step(IDS[:, :4])
    out = whisper.step(IDS[:, 4:])
    assert np.abs(out["logits"] - expected[f"{variant}_full_logits"][:, -1]).max() < tolerance
    assert out["logits"].dtype == out["cross_attention"].dtype == np.float32
    assert {value.dtype for name, value in out.items() if name.startswith("new_")} == {np.dtype(kept_in)}
    assert {value.dtype for value in cross.values()} == {np.dtype(kept_in)}


@pytest.mark.parametrize(("precision", "item_bytes"), [("fp32", 4), ("fp16", 2), ("int8", 1)])
def test_the_token_table_is_stored_once(precision: Precision, item_bytes: int, tmp_path: Path) -> None:
    settings = config(vocab_size=2000)
    source = write_whisper(tmp_path / "hf", settings=settings)
    folder = convert(source, tmp_path / "onnx", precision)
    model = onnx.load(folder / "decoder.onnx", load_external_data=False)
    tables = [tensor for tensor in model.graph.initializer if sorted(tensor.dims) == [48, 2000]]
    assert len(tables) == 1
    lengths = [int(entry.value) for entry in tables[0].external_data if entry.key == "length"]
    assert lengths == [48 * 2000 * item_bytes]


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_shards_make_the_same_graphs_as_one_file_of_their_values(dtype: Any, tmp_path: Path) -> None:
    halves = {name: array.astype(dtype) for name, array in weights(config()).items()}
    whole = {name: array.astype(np.float32) for name, array in halves.items()}
    sharded = convert(write_whisper(tmp_path / "a", tensors=halves, shards=3), tmp_path / "from-a")
    single = convert(write_whisper(tmp_path / "b", tensors=whole), tmp_path / "from-b")
    assert _contents(sharded) == _contents(single)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_same_checkpoint_twice_is_the_same_bytes(precision: Precision, tmp_path: Path) -> None:
    source = write_whisper(tmp_path / "hf")
    first, second = (_contents(convert(source, tmp_path / name, precision)) for name in ("one", "two"))
    assert first == second


def test_a_model_saved_without_its_projection_has_names_without_prefix(tmp_path: Path) -> None:
    bare = {name.removeprefix("model."): array for name, array in weights(config()).items()}
    with_prefix = convert(write_whisper(tmp_path / "a"), tmp_path / "from-a")
    without = convert(write_whisper(tmp_path / "b", tensors=bare), tmp_path / "from-b")
    files = ("encoder.onnx.data", "decoder.onnx.data")
    assert [(with_prefix / name).read_bytes() for name in files] == [(without / name).read_bytes() for name in files]


def test_english_only_vocabularies_have_no_languages(artifacts: dict[str, Path]) -> None:
    assert b'"languages": {}' in (artifacts["english"] / "whisper.json").read_bytes()
    assert tokenizer()["added_tokens"][2]["content"] == "<|en|>"  # it has the token all the same, as tiny.en has


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
