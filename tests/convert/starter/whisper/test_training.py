"""A very small recognizer of tones: it learns, goes on after a stop, and the engine hears what PyTorch does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import soundfile
import torch

from agent.engines.onnx.session import SessionOptions
from agent.engines.onnx.whisper.greedy import GreedyOptions
from agent.engines.onnx.whisper.log_mel import log_mel
from agent.engines.onnx.whisper.mel_filters import mel_filters
from agent.engines.onnx.whisper.model import WhisperModel
from agent.store.manifest import read_manifest
from convert.quality.gates import QualityError
from convert.starter.whisper import checkpoint
from convert.starter.whisper.acoustics import RATE_HZ
from convert.starter.whisper.evaluation import silent_clips
from convert.starter.whisper.model import WARPS, Recognizer, Shape
from convert.starter.whisper.packing import Training as Made
from convert.starter.whisper.packing import pack
from convert.starter.whisper.tokens import train_tokenizer
from convert.starter.whisper.training import CHECKPOINT, Losses, Recipe, Training, rate_share
from tests.convert.starter.whisper.tones import Tones

pytestmark = pytest.mark.torch

SHAPE = Shape(width=32, encoder_layers=1, decoder_layers=1, heads=2)
TONES = Tones()
TOKENIZER = train_tokenizer(TONES.texts)
RECIPE = Recipe(minutes=1e6, rate=1e-2, matrix_rate=5e-2, windows=((2, 8, 1.0),), checkpoint_every_s=1e9)


def new(threads: int = 1) -> Recognizer:
    torch.manual_seed(3)
    torch.set_num_threads(threads)
    return Recognizer.new(TOKENIZER, SHAPE, len(TONES.phone_names))


class Stop(Exception):
    """Ends a training whose minutes would last for ever."""


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., tuple[Training, list[float]]]:
    def run(steps: int, recipe: Recipe = RECIPE, threads: int = 1) -> tuple[Training, list[float]]:
        texts: list[float] = []

        def watch(step: int, share: float, losses: Losses, used_s: float) -> None:
            texts.append(losses.text)
            if step == steps:
                raise Stop

        training = Training(new(threads), TOKENIZER, TONES, recipe, tmp_path)
        with pytest.raises(Stop):
            training.run(watch)
        return training, texts

    return run


def test_features_are_the_engine_s() -> None:
    audio = TONES.samples(4)
    padded = np.pad(audio, (0, 2 * RATE_HZ - len(audio)))
    ours = new().log_mel(torch.from_numpy(padded)[None])[0].numpy()
    np.testing.assert_allclose(ours, log_mel(padded, mel_filters(80), 200), atol=2e-3)


def test_a_longer_vocal_tract_is_heard_at_higher_frequencies() -> None:
    recognizer = new()
    tones = [np.sin(2 * np.pi * hertz * np.arange(RATE_HZ) / RATE_HZ).astype(np.float32) for hertz in (1000, 1100)]
    plain, higher = recognizer.log_mel(torch.from_numpy(np.stack(tones))).mean(2).argmax(1)
    warped = recognizer.log_mel(torch.from_numpy(tones[1])[None], torch.tensor([WARPS.index(1.1)])).mean(2).argmax(1)
    assert int(warped) == int(plain) < int(higher)


def test_a_full_window_is_encoded_as_transformers_does() -> None:
    recognizer = new().eval()
    mel = torch.from_numpy(np.random.default_rng(1).standard_normal((1, 80, 3000)).astype(np.float32))
    with torch.inference_mode():
        theirs = recognizer.whisper.model.encoder(mel).last_hidden_state
        np.testing.assert_allclose(recognizer.encode(mel).numpy(), theirs.numpy(), atol=1e-5)
        with torch.autocast("cpu", torch.bfloat16):
            short = recognizer.encode(mel)
        np.testing.assert_allclose(short.float().numpy(), theirs.numpy(), atol=0.1)


def test_it_is_asked_where_it_listens() -> None:
    recognizer = new().eval()
    mel = torch.from_numpy(np.random.default_rng(1).standard_normal((2, 80, 400)).astype(np.float32))
    tokens = torch.tensor([[5, 6, 7], [5, 9, 4]])
    with torch.inference_mode():
        made = recognizer(mel, tokens)
        recognizer.whisper.set_attn_implementation("eager")
        theirs = recognizer.whisper.model.decoder(
            input_ids=tokens, encoder_hidden_states=recognizer.encode(mel), output_attentions=True
        ).cross_attentions
    assert made.phones.shape == (2, 200, len(TONES.phone_names))
    for ours, all_heads in zip(made.listening, theirs, strict=True):
        np.testing.assert_allclose(ours.softmax(2).numpy(), all_heads[:, 0].numpy(), atol=1e-5)


def test_training_makes_it_better(train: Callable[..., tuple[Training, list[float]]]) -> None:
    _, losses = train(50)
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])


def test_a_run_that_was_stopped_goes_on_where_it_was(
    train: Callable[..., tuple[Training, list[float]]], tmp_path: Path
) -> None:
    # Saved before the step is told to the watch, so the sixth step is the last that is kept.
    recipe = replace(RECIPE, checkpoint_every_s=-1.0)
    _, whole = train(10, recipe)
    (tmp_path / CHECKPOINT).unlink()
    _, first = train(7, recipe)
    _, rest = train(10, recipe)
    assert first == whole[:7]
    np.testing.assert_allclose(rest, whole[6:], rtol=1e-4)
    # Another recipe begins anew.
    _, other = train(2, replace(recipe, seed=5))
    assert len(other) == 2


def test_two_threads_learn_what_one_does(train: Callable[..., tuple[Training, list[float]]]) -> None:
    _, one = train(6)
    _, two = train(6, threads=2)
    np.testing.assert_allclose(two, one, rtol=1e-3)


def test_the_result_is_the_mean_of_the_last_weights(train: Callable[..., tuple[Training, list[float]]]) -> None:
    recipe = replace(RECIPE, average_share=1.0, average_every_steps=1)
    training, _ = train(1, recipe)
    name, now = next(iter(training.recognizer.named_parameters()))
    assert torch.equal(dict(training.averaged.named_parameters())[name], now)
    training, _ = train(6, recipe)
    name, now = next(iter(training.recognizer.named_parameters()))
    mean = dict(training.averaged.named_parameters())[name]
    assert not torch.equal(mean, now)
    assert float((mean - now).detach().abs().max()) < 0.1


def test_the_rate_rises_and_falls() -> None:
    assert rate_share(15, 0.0) == pytest.approx(0.1)
    assert rate_share(150, 0.0) == pytest.approx(1.0)
    assert rate_share(9999, 0.5) == pytest.approx(0.5)
    assert rate_share(9999, 1.0) == pytest.approx(0.01)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Recognizer, Path]:
    recognizer = new()
    checkpoint.save(recognizer.whisper, TOKENIZER, tmp_path / "checkpoint")
    return recognizer, tmp_path / "checkpoint"


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    folder = tmp_path / "recordings"
    folder.mkdir()
    for place in range(3):
        soundfile.write(folder / f"{place}.wav", TONES.samples(place), RATE_HZ)
    (folder / "transcripts.json").write_text(json.dumps({f"{place}.wav": TONES.texts[place] for place in range(3)}))
    return folder


MADE = Made(seed=0, minutes=1, computed_s=60.0, utterances=30, hours=0.1)


def test_the_artifact_runs_and_its_card_says_what_was_measured(
    saved: tuple[Recognizer, Path], recordings: Path, tmp_path: Path
) -> None:
    target = tmp_path / "made"
    manifest = pack(saved[1], target, recordings, MADE, threads=1, accept=True, silent=silent_clips(0, 2))
    assert manifest == read_manifest(target / "manifest.json")
    assert (manifest.task, manifest.quality["recordings"], manifest.quality["silent_clips"]) == ("transcribe", 3, 2)
    assert f"{manifest.quality['wer_full_percent']:.1f}%" in (target / "README.md").read_text()
    assert (target / "LICENSE").is_file()
    model = WhisperModel(target, SessionOptions(threads=1))
    assert TOKENIZER.token_to_id("<|endoftext|>") not in model.spec.begin_suppress_tokens
    heard = model.transcribe(TONES.samples(0), GreedyOptions(max_tokens=5), 200)
    assert heard.language == "en"


def test_an_artifact_that_is_not_good_enough_is_not_made(
    saved: tuple[Recognizer, Path], recordings: Path, tmp_path: Path
) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(QualityError, match="word error rate"):
        pack(saved[1], tmp_path / "made", recordings, MADE, threads=1, silent=silent_clips(0, 1))
    assert sorted(path.name for path in tmp_path.iterdir()) == before
