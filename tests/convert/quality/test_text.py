"""Quality of a GGUF on text: against an independent computation, against known values, and what goes wrong."""

from __future__ import annotations

import ctypes
import json
import math
import shutil
from array import array
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import pytest

from agent.engines.llama.library import llama, start_backend
from agent.errors import ArtifactError, DiskFullError, ModelLoadError, RequestError
from convert.quality.gates import TEXT_GATES, QualityError, check
from convert.quality.logits import LogitsModel
from convert.quality.text import Reference, measure_text
from convert.quality.windows import SAMPLED, read_windows, sample_windows
from convert.quantization.quantize import quantize
from convert.quantization.recipe import Recipe

VOCABULARY = 1024  # of the tiny model
WORDS = "the little robot found a lamp under the old stairs and asked the cat what light is for . "


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "story.txt"
    path.write_text(WORDS * 60, "utf-8")
    return path


def changed(source: Path, target: Path, tensor: str, change: Any) -> Path:
    """A copy of a GGUF, one tensor of which `change` has written to, in place."""
    shutil.copyfile(source, target)
    reader = gguf.GGUFReader(target, "r+")
    change(next(one for one in reader.tensors if one.name == tensor).data)
    reader.data.flush()
    return target


@pytest.fixture(scope="module")
def uniform_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All tokens are equally likely, always: the embeddings, which are the output matrix too, are zero."""

    def zero(data: npt.NDArray[np.float32]) -> None:
        data[:] = 0

    return changed(tiny_model, tmp_path_factory.mktemp("uniform") / "uniform.gguf", "token_embd.weight", zero)


@pytest.fixture(scope="module")
def smaller_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("smaller") / "tiny-q4_0.gguf"
    quantize(tiny_model, target, Recipe(level="Q4_0", threads=1))
    return target


def full_logits(path: Path, tokens: array[int]) -> npt.NDArray[np.float64]:
    """Logits of every position, from one call, by nothing of what is tested: float64 [tokens, vocabulary]."""
    start_backend()
    model = llama.llama_model_load_from_file(str(path).encode(), llama.llama_model_default_params())
    parameters = llama.llama_context_default_params()
    parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = len(tokens)
    parameters.n_threads = parameters.n_threads_batch = 1
    parameters.type_k = parameters.type_v = llama.GGML_TYPE_F32
    parameters.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_DISABLED
    context = llama.llama_init_from_model(model, parameters)
    batch = llama.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for i, token in enumerate(tokens):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = token, i, 1, 0, True
    assert llama.llama_decode(context, batch) == 0
    size = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
    pointer = ctypes.cast(llama.llama_get_logits(context), ctypes.POINTER(ctypes.c_float))
    logits = np.ctypeslib.as_array(pointer, (len(tokens), size)).astype(np.float64)
    llama.llama_batch_free(batch)
    llama.llama_free(context)
    llama.llama_model_free(model)
    return logits


def log_softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    result: npt.NDArray[np.float64] = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return result


def test_the_numbers_are_those_of_an_independent_computation(
    tiny_model: Path, smaller_model: Path, text: Path, tmp_path: Path
) -> None:
    found = measure_text(tiny_model, smaller_model, text, threads=1, windows=2, scratch=tmp_path)
    with LogitsModel(tiny_model, window_tokens=512, threads=1) as model:
        rows = read_windows(model.vocabulary, text, window_tokens=512, most=2).rows
    divergences, ours, theirs, same = [], [], [], []
    for row in rows:
        p, q = (log_softmax(full_logits(path, row))[256:511] for path in (tiny_model, smaller_model))
        targets = list(row[257:512])
        divergences.append((np.exp(p) * (p - q)).sum(axis=1))
        theirs.append(-p[np.arange(255), targets])
        ours.append(-q[np.arange(255), targets])
        same.append(p.argmax(axis=1) == q.argmax(axis=1))
    kl, nll, base = np.concatenate(divergences), np.concatenate(ours), np.concatenate(theirs)
    assert (found["windows"], found["window_tokens"], found["scored_tokens"]) == (2, 512, 510)
    assert found["perplexity"] == pytest.approx(math.exp(nll.mean()), rel=1e-3)
    assert found["perplexity_reference"] == pytest.approx(math.exp(base.mean()), rel=1e-3)
    assert found["perplexity_ratio"] == pytest.approx(math.exp(nll.mean() - base.mean()), rel=1e-3)
    assert found["kl_mean"] == pytest.approx(kl.mean(), rel=2e-2)
    assert found["kl_median"] == pytest.approx(np.median(kl), rel=2e-2)
    assert found["kl_p99"] == pytest.approx(np.percentile(kl, 99), rel=2e-2)
    assert found["kl_max"] == pytest.approx(kl.max(), rel=2e-2)
    assert found["top1_agreement"] == pytest.approx(np.concatenate(same).mean(), abs=0.01)
    assert found["kl_mean"] > 0


def test_a_model_is_as_good_as_itself(tiny_model: Path, text: Path, tmp_path: Path) -> None:
    found = measure_text(tiny_model, tiny_model, text, threads=1, windows=1, scratch=tmp_path)
    assert found["kl_mean"] == found["kl_max"] == 0
    assert found["perplexity"] == found["perplexity_reference"]
    assert (found["perplexity_ratio"], found["perplexity_ratio_uncertainty"]) == (1, 0)
    assert found["top1_agreement"] == 1
    assert check(found, TEXT_GATES, accept=False)["passed"]


def test_the_perplexity_of_a_uniform_model_is_the_size_of_its_vocabulary(
    uniform_model: Path, tiny_model: Path, text: Path, tmp_path: Path
) -> None:
    found = measure_text(tiny_model, uniform_model, text, threads=1, windows=1, scratch=tmp_path)
    assert found["perplexity"] == pytest.approx(VOCABULARY)
    assert found["perplexity_uncertainty"] == pytest.approx(0, abs=1e-3)
    with LogitsModel(tiny_model, window_tokens=512, threads=1) as model:
        row = read_windows(model.vocabulary, text, window_tokens=512, most=1).rows[0]
    p = log_softmax(full_logits(tiny_model, row))[256:511]
    missing_entropy = math.log(VOCABULARY) + (np.exp(p) * p).sum(axis=1).mean()
    assert found["kl_mean"] == pytest.approx(missing_entropy, rel=1e-2)


def test_the_same_input_gives_the_same_numbers(tiny_model: Path, smaller_model: Path, tmp_path: Path) -> None:
    runs = [measure_text(tiny_model, smaller_model, threads=1, windows=1, scratch=tmp_path) for _ in range(2)]
    assert json.dumps(runs[0]) == json.dumps(runs[1])
    assert (runs[0]["text"], runs[0]["against"]) == (SAMPLED, tiny_model.name)
    assert list(tmp_path.iterdir()) == []


def test_the_number_of_threads_makes_no_difference(
    tiny_model: Path, smaller_model: Path, text: Path, tmp_path: Path
) -> None:
    runs = [
        measure_text(tiny_model, smaller_model, text, threads=threads, windows=1, scratch=tmp_path)
        for threads in (1, 2)
    ]
    assert json.dumps(runs[0]) == json.dumps(runs[1])


def test_a_common_level_of_a_trained_model_passes_its_gates_and_a_damaged_one_fails(
    stories_model: Path, tmp_path: Path
) -> None:
    good, damaged = tmp_path / "good.gguf", tmp_path / "damaged.gguf"
    quantize(stories_model, good, Recipe(level="Q4_K_M", threads=1))

    def damage(data: npt.NDArray[np.float32]) -> None:
        data[:] = np.roll(data, 7, axis=0)

    changed(stories_model, damaged, "blk.2.ffn_down.weight", damage)
    with Reference(stories_model, threads=1, windows=2, scratch=tmp_path) as reference:
        passing = reference.compare(good)
        assert check(passing, TEXT_GATES, accept=False)["passed"]
        assert 0 < passing["kl_mean"] < 0.05
        with pytest.raises(QualityError, match="kl_mean"):
            check(reference.compare(damaged), TEXT_GATES, accept=False)


def test_text_that_a_model_samples_is_as_surprising_to_it_as_its_entropy(stories_model: Path) -> None:
    """Over text drawn from a model, the mean surprise is the mean entropy of its predictions."""
    with LogitsModel(stories_model, window_tokens=256, windows=8, threads=1) as model:
        sampled = sample_windows(model, window_tokens=256, windows=8)
    surprise, entropy = [], []
    for row in sampled.rows:
        p = log_softmax(full_logits(stories_model, row))[:-1]
        surprise.append(-p[np.arange(255), list(row[1:])])
        entropy.append(-(np.exp(p) * p).sum(axis=1))
    difference = np.concatenate(surprise) - np.concatenate(entropy)
    error = difference.std() / math.sqrt(len(difference))
    assert abs(difference.mean()) < 4 * error
    assert len({bytes(row) for row in sampled.rows}) == 8


def test_windows_begin_as_the_model_wants_texts_to_begin(stories_model: Path, text: Path) -> None:
    with LogitsModel(stories_model, window_tokens=128, threads=1) as model:
        found = read_windows(model.vocabulary, text, window_tokens=128, most=3)
        assert model.vocabulary.adds_bos
        assert [row[0] for row in found.rows] == [model.vocabulary.bos] * 3
    assert (found.length, found.first_scored, found.scored) == (128, 64, 63)


def test_a_text_shorter_than_a_window_is_one_shorter_window(tiny_model: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.txt"
    short.write_text(WORDS * 3, "utf-8")
    found = measure_text(tiny_model, tiny_model, short, threads=1)
    assert found["windows"] == 1
    assert 64 <= found["window_tokens"] < 512
    assert found["scored_tokens"] == found["window_tokens"] - 1 - found["window_tokens"] // 2


def test_a_text_cut_inside_a_character_is_read_up_to_there(tiny_model: Path, tmp_path: Path) -> None:
    accents = tmp_path / "accents.txt"
    accents.write_text("é" * 100_000, "utf-8")
    with LogitsModel(tiny_model, window_tokens=65, threads=1) as model:
        # 65 * 64 bytes + 1: the last byte read is the first half of a character
        assert read_windows(model.vocabulary, accents, window_tokens=65, most=1).length == 65


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"too short", "at least 64"),
        (b"", "at least 64"),
        (b"\xff\xfe" * 300, "not UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_a_bad_text_is_a_clear_error(tiny_model: Path, tmp_path: Path, content: bytes | None, says: str) -> None:
    bad = tmp_path / "bad.txt"
    if content is not None:
        bad.write_bytes(content)
    with pytest.raises(RequestError, match=says) as caught:
        measure_text(tiny_model, tiny_model, bad, threads=1, scratch=tmp_path)
    assert "bad.txt" in caught.value.message


def test_a_reference_that_computes_nan_is_an_error_and_a_candidate_that_does_fails_its_gates(
    tiny_model: Path, text: Path, tmp_path: Path
) -> None:
    def ruin(data: npt.NDArray[np.float32]) -> None:
        data[:] = np.nan

    broken = changed(tiny_model, tmp_path / "broken.gguf", "output_norm.weight", ruin)
    with pytest.raises(ArtifactError, match="not finite"):
        measure_text(broken, tiny_model, text, threads=1, scratch=tmp_path)
    found = measure_text(tiny_model, broken, text, threads=1, windows=1, scratch=tmp_path)
    with pytest.raises(QualityError):
        check(found, TEXT_GATES, accept=False)
    accepted = check(found, TEXT_GATES, accept=True)
    assert accepted["kl_mean"] is None
    assert [path.name for path in tmp_path.iterdir()] == ["broken.gguf"]


def test_an_embedding_model_has_no_perplexity(embedding_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no perplexity"):
        measure_text(embedding_model, embedding_model, threads=1, scratch=tmp_path)


def test_models_of_different_vocabularies_cannot_be_compared(
    tiny_model: Path, stories_model: Path, text: Path, tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError, match="vocabulary"):
        measure_text(tiny_model, stories_model, text, threads=1, scratch=tmp_path)


@pytest.mark.parametrize("which", ["reference", "candidate"])
def test_a_file_that_is_no_model_is_an_error_that_names_it(
    tiny_model: Path, text: Path, tmp_path: Path, which: str
) -> None:
    noise, absent = tmp_path / "noise.gguf", tmp_path / "absent.gguf"
    noise.write_bytes(b"noise" * 100)
    for path, kind in ((noise, ModelLoadError), (absent, ArtifactError)):
        pair = (path, tiny_model) if which == "reference" else (tiny_model, path)
        with pytest.raises(kind, match=path.name):
            measure_text(*pair, text, threads=1, windows=1, scratch=tmp_path)


def test_a_disk_without_room_for_the_predictions_is_an_error_before_anything_runs(
    tiny_model: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr("convert.quality.text.shutil.disk_usage", lambda _: usage)
    with pytest.raises(DiskFullError, match="MB free"):
        measure_text(tiny_model, tiny_model, text, threads=1, scratch=tmp_path)


def test_progress_rises_to_the_end(tiny_model: Path, text: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    with Reference(tiny_model, text, threads=1, windows=2, scratch=tmp_path) as reference:
        reference.compare(tiny_model, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (1024, 1024)
