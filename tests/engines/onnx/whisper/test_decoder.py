"""The decoder's buffers: written in place, rolled back, shared by a batch. A tiny model with random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.engines.onnx.whisper.encoder import CrossAttention
from agent.engines.onnx.whisper.log_mel import log_mel
from agent.engines.onnx.whisper.model import WhisperModel
from agent.engines.onnx.whisper.steps import StepDecoder
from agent.errors import ArtifactError, ContextOverflowError, EdgeAgentError, ModelLoadError, RequestError
from tests.engines.onnx.whisper.conftest import OPTIONS
from tests.engines.onnx.whisper.made_audio import glide
from tests.engines.onnx.whisper.tiny import (
    CAPACITY,
    DE,
    EN,
    NO_TIMESTAMPS,
    SOT,
    TRANSCRIBE,
    TRANSLATE,
    write_artifact,
)

TOKENS = [SOT, EN, TRANSCRIBE, NO_TIMESTAMPS, 5, 9, 30, 12]
TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2, "int8": 0.25}
"""Of logits with a spread of about 2. In int8 each run scales its activations by their own largest."""
FRAMES = 76
PRECISIONS = sorted(TOLERANCE)


def hear(model: WhisperModel, *, shift: int = 0) -> CrossAttention:
    return model.encode(glide(12_000)[shift:], FRAMES)


def feed(decoder: StepDecoder, tokens: list[int], *, at_once: int) -> np.ndarray:
    """The logits after the last token, fed `at_once` at a time."""
    for start in range(0, len(tokens), at_once):
        logits = decoder.step([tokens[start : start + at_once]])
    return logits[0].copy()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_tokens_fed_in_steps_give_what_they_give_at_once(
    models: dict[str, WhisperModel], precision: str, at_once: int
) -> None:
    model = models[precision]
    cross = hear(model)
    model.decoder.begin(cross)
    expected = feed(model.decoder, TOKENS, at_once=len(TOKENS))
    model.decoder.begin(cross)
    stepped = feed(model.decoder, TOKENS, at_once=at_once)
    assert model.decoder.length == len(TOKENS)
    assert np.abs(stepped - expected).max() <= TOLERANCE[precision]
    assert np.ptp(expected) > 1


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("length", range(len(TOKENS)))
def test_after_going_back_nothing_is_left_of_what_was_undone(
    models: dict[str, WhisperModel], precision: str, length: int
) -> None:
    decoder, cross = models[precision].decoder, hear(models[precision])
    rest = [7, 8, 9]
    decoder.begin(cross)
    feed(decoder, TOKENS[:length], at_once=1) if length else None
    expected = feed(decoder, rest, at_once=1)
    decoder.begin(cross)
    feed(decoder, TOKENS, at_once=1)
    decoder.rollback(length)
    assert decoder.length == length
    # Bit for bit: the same rows, made by the same steps.
    assert np.array_equal(feed(decoder, rest, at_once=1), expected)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_each_sequence_of_a_batch_is_as_it_is_alone(models: dict[str, WhisperModel], precision: str) -> None:
    model = models[precision]
    texts = [[SOT, EN, TRANSCRIBE, 5, 6], [SOT, DE, TRANSLATE, 20, 21], [SOT, EN, TRANSCRIBE, 30, 3]]
    crosses = [hear(model), hear(model, shift=300), hear(model)]
    alone = []
    for cross, text in zip(crosses, texts, strict=True):
        model.decoder.begin(cross)
        alone.append(feed(model.decoder, text, at_once=1))
    features = [log_mel(glide(12_000)[shift:], model.filters, FRAMES) for shift in (0, 300, 0)]
    model.decoder.begin(model.encoder.run(np.stack(features)))
    columns = np.array(texts).T
    for column in columns:
        together = model.decoder.step(column[:, None])
    assert together.shape == (3, model.spec.vocab_size)
    assert np.abs(together - np.stack(alone)).max() <= TOLERANCE[precision]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_beams_hear_the_window_that_was_repeated_for_them(models: dict[str, WhisperModel], precision: str) -> None:
    model = models[precision]
    cross = hear(model)
    model.decoder.begin(cross)
    expected = feed(model.decoder, TOKENS, at_once=4)
    repeated = cross.repeated(3)
    assert (repeated.batch, repeated.positions) == (3, cross.positions)
    model.decoder.begin(repeated)
    beams = model.decoder.step([TOKENS] * 3)
    assert np.abs(beams - expected).max() <= TOLERANCE[precision]


def test_beginning_again_forgets_what_was_heard_and_said(models: dict[str, WhisperModel]) -> None:
    model = models["fp32"]
    first, second = hear(model), hear(model, shift=4_000)
    results = []
    for cross in (first, second, first):
        model.decoder.begin(cross)
        assert model.decoder.length == 0
        results.append(feed(model.decoder, TOKENS, at_once=2))
    assert np.array_equal(results[0], results[2])
    assert not np.allclose(results[0], results[1], atol=1e-2)


def test_two_windows_can_be_decoded_in_turn(models: dict[str, WhisperModel]) -> None:
    """What the encoder made of one is not overwritten by its next run."""
    model = models["fp32"]
    first = hear(model)
    model.decoder.begin(first)
    expected = feed(model.decoder, TOKENS, at_once=1)
    hear(model, shift=4_000)
    model.decoder.begin(first)
    assert np.array_equal(feed(model.decoder, TOKENS, at_once=1), expected)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_alignment_weights_are_shares_of_the_audio_and_leave_the_past_as_a_step_does(
    models: dict[str, WhisperModel], precision: str
) -> None:
    decoder, cross = models[precision].decoder, hear(models[precision])
    decoder.begin(cross)
    decoder.step([TOKENS[:2]])
    weights = decoder.attend([TOKENS[2:6]])
    assert weights.shape == (1, 3, 4, cross.positions)
    assert weights.dtype == np.float32
    assert np.abs(weights.sum(axis=-1) - 1).max() < 5e-3
    after = feed(decoder, TOKENS[6:], at_once=2)
    decoder.begin(cross)
    expected = feed(decoder, TOKENS, at_once=2)
    assert np.abs(after - expected).max() <= TOLERANCE[precision]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_sequences_go_on_from_what_others_were(models: dict[str, WhisperModel], precision: str) -> None:
    model = models[precision]
    cross = hear(model)
    decoder = model.decoder
    texts = [[SOT, EN], [SOT, EN], [SOT, EN]]
    decoder.begin(cross)
    decoder.step([[SOT, EN]])
    # More of them, then each from another, then fewer: (rows, tokens).
    for rows, tokens in (
        ([0, 0, 0], [5, 6, 7]),
        ([2, 0, 2], [8, 9, 10]),
        ([1, 2], [11, 12]),
        ([1, 0, 0, 1], [1, 2, 3, 4]),
    ):
        decoder.reorder(rows)
        logits = decoder.step([[token] for token in tokens]).copy()
        texts = [[*texts[row], token] for row, token in zip(rows, tokens, strict=True)]
    for row, text in enumerate(texts):
        decoder.begin(cross)
        assert np.abs(feed(decoder, text, at_once=1) - logits[row]).max() <= TOLERANCE[precision]


def test_sequences_of_several_windows_stay_where_they_are(models: dict[str, WhisperModel]) -> None:
    model = models["fp32"]
    model.decoder.begin(model.encoder.run(np.zeros((2, 80, 20), dtype=np.float32)))
    model.decoder.step([[SOT], [SOT]])
    model.decoder.reorder([0, 1])
    for rows in ([1, 0], [0], [0, 0, 1]):
        with pytest.raises(ValueError):
            model.decoder.reorder(rows)


@pytest.mark.parametrize("rows", [[], [1], [-1], [0, 1]])
def test_a_sequence_that_is_not_there_is_a_mistake(models: dict[str, WhisperModel], rows: list[int]) -> None:
    decoder = models["fp32"].decoder
    decoder.begin(hear(models["fp32"]))
    with pytest.raises(ValueError):
        decoder.reorder(rows)


def test_after_the_end_nothing_is_kept_and_another_can_begin(models: dict[str, WhisperModel]) -> None:
    model = models["fp32"]
    cross = hear(model)
    model.decoder.begin(cross)
    expected = feed(model.decoder, TOKENS, at_once=3)
    model.decoder.end()
    assert model.decoder.length == 0
    with pytest.raises(ValueError):
        model.decoder.step([[SOT]])
    model.decoder.begin(cross)
    assert np.array_equal(feed(model.decoder, TOKENS, at_once=3), expected)


def test_the_buffers_hold_what_the_model_holds_and_not_one_more(models: dict[str, WhisperModel]) -> None:
    decoder = models["fp32"].decoder
    decoder.begin(hear(models["fp32"]))
    assert decoder.capacity == CAPACITY
    for _ in range(decoder.capacity):
        decoder.step([[5]])
    with pytest.raises(ContextOverflowError, match=f"{CAPACITY} tokens"):
        decoder.step([[5]])
    assert decoder.length == decoder.capacity
    decoder.rollback(decoder.capacity - 1)
    decoder.step([[5]])


@pytest.mark.parametrize("tokens", [[[224]], [[-1]], [5], [[]], [[5], [5]], [[[5]]]])
def test_tokens_that_are_not_of_the_vocabulary_or_the_batch_are_a_mistake(
    models: dict[str, WhisperModel], tokens: Any
) -> None:
    decoder = models["fp32"].decoder
    decoder.begin(hear(models["fp32"]))
    with pytest.raises(ValueError):
        decoder.step(tokens)
    assert decoder.length == 0


@pytest.mark.parametrize("length", [-1, 3])
def test_going_back_to_where_it_never_was_is_a_mistake(models: dict[str, WhisperModel], length: int) -> None:
    decoder = models["fp32"].decoder
    decoder.begin(hear(models["fp32"]))
    decoder.step([[SOT, EN]])
    with pytest.raises(ValueError):
        decoder.rollback(length)


def test_nothing_can_be_fed_before_there_is_something_to_hear(artifacts: dict[str, Path]) -> None:
    model = WhisperModel(artifacts["fp32"], OPTIONS)
    with pytest.raises(ValueError):
        model.decoder.step([[SOT]])
    with pytest.raises(ValueError):
        model.decoder.attend([[SOT]])


@pytest.mark.parametrize("shape", [(80, 10), (1, 79, 10), (1, 80, 9), (1, 80, 0), (1, 80, 102), (0, 80, 10)])
def test_features_of_another_shape_are_refused(models: dict[str, WhisperModel], shape: tuple[int, ...]) -> None:
    with pytest.raises(RequestError):
        models["fp32"].encoder.run(np.zeros(shape, dtype=np.float32))


@pytest.mark.parametrize("frames", [2, 50, 100])
def test_the_window_may_have_any_even_length(models: dict[str, WhisperModel], frames: int) -> None:
    cross = models["fp32"].encoder.run(np.zeros((1, 80, frames), dtype=np.float32))
    assert cross.positions == frames // 2
    assert {tuple(value.shape()) for value in cross.values.values()} == {
        (1, 3, 16, frames // 2),
        (1, 3, frames // 2, 16),
    }


@pytest.mark.parametrize(
    ("file", "content", "error"),
    [
        ("decoder.onnx", None, EdgeAgentError),
        ("encoder.onnx", b"", ModelLoadError),
        ("decoder.onnx", b"not a graph", ModelLoadError),
        ("tokenizer.json", None, ArtifactError),
        ("tokenizer.json", b"{}", ArtifactError),
        ("tokenizer.json", b"\xff", ArtifactError),
        ("mel_filters.npy", None, ArtifactError),
        ("whisper.json", None, ArtifactError),
    ],
)
def test_a_file_that_is_missing_or_broken_is_an_error_that_names_it(
    artifacts: dict[str, Path], tmp_path: Path, file: str, content: bytes | None, error: type[EdgeAgentError]
) -> None:
    folder = shutil.copytree(artifacts["fp32"], tmp_path / "copy")
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    with pytest.raises(error, match=file.replace(".", r"\.")):
        WhisperModel(folder, OPTIONS)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"decoder_layers": 3}, "cross_key_2"),
        ({"decoder_layers": 1, "alignment_heads": []}, "cross_key_1"),
        ({"d_model": 96}, "cross_key_0"),
        ({"n_mels": 128}, r"mel_filters\.npy"),
        ({"vocab_size": 225}, "logits"),
        ({"alignment_heads": [[0, 0]]}, "cross_attention"),
        ({"decoder_heads": 6}, "cross_key_0"),
    ],
)
def test_graphs_that_are_not_the_ones_whisper_json_describes_are_refused(
    artifacts: dict[str, Path], tmp_path: Path, changes: dict[str, object], named: str
) -> None:
    folder = shutil.copytree(artifacts["fp32"], tmp_path / "copy")
    spec = json.loads((folder / "whisper.json").read_text())
    (folder / "whisper.json").write_text(json.dumps(spec | changes))
    with pytest.raises(ArtifactError, match=named):
        WhisperModel(folder, OPTIONS)


def test_graphs_of_two_models_do_not_pass_for_one(artifacts: dict[str, Path], tmp_path: Path) -> None:
    """A float16 encoder beside a float32 decoder."""
    folder = shutil.copytree(artifacts["fp32"], tmp_path / "copy")
    for path in artifacts["fp16"].glob("encoder.onnx*"):
        shutil.copyfile(path, folder / path.name)
    with pytest.raises(ArtifactError, match=r"encoder\.onnx makes float16, decoder\.onnx takes float32"):
        WhisperModel(folder, OPTIONS)


def test_an_english_only_model_decodes_too(tmp_path: Path) -> None:
    model = WhisperModel(write_artifact(tmp_path, is_multilingual=False), OPTIONS)
    assert not model.spec.multilingual
    model.decoder.begin(hear(model))
    assert np.isfinite(model.decoder.step([[SOT, NO_TIMESTAMPS]])).all()
