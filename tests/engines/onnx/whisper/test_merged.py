"""An imported folder (merged decoder) decodes to what the artifact of the same weights decodes to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from agent.engines.onnx.whisper.decode import DecodingOptions, decode
from agent.engines.onnx.whisper.imported import read_imported_spec
from agent.engines.onnx.whisper.log_mel import log_mel
from agent.engines.onnx.whisper.model import WhisperModel
from agent.errors import ArtifactError, ContextOverflowError, ModelLoadError, RequestError
from tests.engines.onnx.whisper.conftest import OPTIONS
from tests.engines.onnx.whisper.made_audio import glide
from tests.engines.onnx.whisper.merged_graph import write_import
from tests.engines.onnx.whisper.tiny import CAPACITY, EN, NO_TIMESTAMPS, SOT, TRANSCRIBE

FRAMES = 100
TOKENS = [SOT, EN, TRANSCRIBE, NO_TIMESTAMPS, 5, 9, 30, 12]
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_import(tmp_path_factory.mktemp("import"))


@pytest.fixture(scope="module")
def imported(folder: Path) -> WhisperModel:
    return WhisperModel(folder, OPTIONS)


@pytest.fixture
def artifact(models: dict[str, WhisperModel]) -> WhisperModel:
    return models["fp32"]


def facts(model: WhisperModel) -> dict[str, Any]:
    """Lists of tokens without their order, in which nothing lies."""
    values = {name: getattr(model.spec, name) for name in model.spec.__struct_fields__}
    return {name: sorted(value) if name.endswith("suppress_tokens") else value for name, value in values.items()}


def feed(model: WhisperModel, *parts: list[int], sequences: int = 1) -> np.ndarray:
    for part in parts:
        logits = model.decoder.step([part] * sequences)
    return logits.copy()


def test_the_files_say_what_whisper_json_says(imported: WhisperModel, artifact: WhisperModel) -> None:
    assert facts(imported) == facts(artifact) | {"alignment_heads": ()}
    assert np.array_equal(imported.filters, artifact.filters)
    assert not imported.fits
    assert artifact.fits


@pytest.mark.parametrize("at_once", [1, 2, 3, 8])
def test_logits_are_those_of_the_artifact(imported: WhisperModel, artifact: WhisperModel, at_once: int) -> None:
    parts = [TOKENS[start : start + at_once] for start in range(0, len(TOKENS), at_once)]
    results = []
    for model in (imported, artifact):
        model.decoder.begin(model.encode(glide(12_000), FRAMES))
        results.append(feed(model, *parts))
        assert model.decoder.length == len(TOKENS)
    assert np.abs(results[0] - results[1]).max() <= TOLERANCE


@pytest.mark.parametrize("length", [0, 1, 3, 7])
def test_going_back_leaves_nothing_of_what_was_undone(imported: WhisperModel, length: int) -> None:
    cross = imported.encode(glide(12_000), FRAMES)
    imported.decoder.begin(cross)
    expected = feed(imported, *([token] for token in [*TOKENS[:length], 7, 8]))
    imported.decoder.begin(cross)
    feed(imported, *([token] for token in TOKENS))
    imported.decoder.rollback(length)
    assert np.abs(feed(imported, [7], [8]) - expected).max() <= TOLERANCE


@pytest.mark.parametrize(
    "options",
    [
        DecodingOptions(),
        DecodingOptions(language="de", task="translate", timestamps=True),
        DecodingOptions(language="en", beam_size=4),
        DecodingOptions(language="en", temperature=0.7, best_of=3, seed=5),
        DecodingOptions(language=None, previous=(4, 5, 6)),
    ],
)
def test_every_way_of_decoding_says_the_same(
    imported: WhisperModel, artifact: WhisperModel, options: DecodingOptions
) -> None:
    heard = [
        decode(model.decoder, model.spec, model.encode(glide(12_000), FRAMES), options)
        for model in (imported, artifact)
    ]
    assert heard[0].tokens == heard[1].tokens
    assert heard[0].language == heard[1].language
    assert heard[0].average_logprob == pytest.approx(heard[1].average_logprob, abs=1e-4)


def test_several_windows_at_once(imported: WhisperModel) -> None:
    features = np.stack([log_mel(glide(12_000)[shift:], imported.filters, FRAMES) for shift in (0, 300)])
    imported.decoder.begin(imported.encoder.run(features))
    both = feed(imported, TOKENS[:4], TOKENS[4:5], sequences=2)
    for row, window in enumerate(features):
        imported.decoder.begin(imported.encoder.run(window[None]))
        assert np.abs(feed(imported, TOKENS[:4], TOKENS[4:5])[0] - both[row]).max() <= TOLERANCE


def test_it_is_full_when_the_model_is_and_never_before(imported: WhisperModel) -> None:
    imported.decoder.begin(imported.encode(glide(8_000), FRAMES))
    for _ in range(CAPACITY):
        imported.decoder.step([[5]])
    with pytest.raises(ContextOverflowError):
        imported.decoder.step([[5]])


def test_windows_of_another_length_are_refused(imported: WhisperModel) -> None:
    with pytest.raises(RequestError, match="100"):
        imported.encode(glide(8_000), 60)


def test_there_is_no_attention_for_words(imported: WhisperModel) -> None:
    assert not imported.decoder.aligns
    with pytest.raises(ValueError):
        imported.decoder.attend([[SOT]])


def test_graphs_beside_the_configuration_are_found(tmp_path: Path) -> None:
    assert WhisperModel(write_import(tmp_path, place="."), OPTIONS).spec.vocab_size == 224


def test_the_manifest_of_the_import_says_which_graphs(folder: Path, tmp_path: Path) -> None:
    write_import(tmp_path)
    for name in ("encoder_model", "decoder_model_merged"):
        (tmp_path / "onnx" / f"{name}_quantized.onnx").rename(tmp_path / f"{name}_other.onnx")
    graphs = {name: f"{name}_other.onnx" for name in ("encoder_model", "decoder_model_merged")}
    (tmp_path / "manifest.json").write_text(json.dumps({"metadata": {"graphs": graphs}}))
    assert WhisperModel(tmp_path, OPTIONS).spec.vocab_size == 224


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        ("config.json", None, r"config\.json is missing"),
        ("config.json", "[]", r"config\.json is not a JSON object"),
        ("config.json", "{}", r"config\.json: d_model"),
        ("tokenizer.json", None, r"tokenizer\.json is missing"),
        ("tokenizer.json", "{}", r"tokenizer\.json: model\.vocab"),
        ("generation_config.json", '{"suppress_tokens": [9999], "is_multilingual": true}', r"suppress_tokens\[0\]"),
        ("generation_config.json", '{"is_multilingual": true, "lang_to_id": {}}', "languages"),
    ],
)
def test_a_file_that_is_missing_or_wrong_is_named(tmp_path: Path, file: str, content: str | None, named: str) -> None:
    write_import(tmp_path)
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_text(content)
    with pytest.raises(ArtifactError, match=named):
        read_imported_spec(tmp_path)


def test_another_graph_is_refused(tmp_path: Path) -> None:
    write_import(tmp_path)
    graph = tmp_path / "onnx" / "encoder_model_quantized.onnx"
    graph.replace(tmp_path / "onnx" / "decoder_model_merged_quantized.onnx")
    onnx.save(onnx.load(str(tmp_path / "onnx" / "decoder_model_merged_quantized.onnx")), str(graph))
    with pytest.raises(ArtifactError, match=r"decoder_model_merged_quantized\.onnx has no"):
        WhisperModel(tmp_path, OPTIONS)
    graph.write_bytes(b"nonsense")
    with pytest.raises(ModelLoadError):
        WhisperModel(tmp_path, OPTIONS)
