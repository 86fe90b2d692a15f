"""Golden sets: what is accepted of them, and what is asked."""

from __future__ import annotations

import array
import json
import wave
from pathlib import Path
from typing import Any

import pytest

from agent.errors import ArtifactError
from agent.runtime.wire.embedding import Embed
from agent.runtime.wire.generation import Generate
from agent.runtime.wire.transcription import Transcribe
from agent.store.manifest import ArtifactFile, Manifest, MemoryNeed
from agent.updates.trial.golden import (
    FILE,
    Cosine,
    Exact,
    Json,
    Perplexity,
    Wer,
    encode_vector,
    gates_of,
    read_golden,
    request_of,
)

NEED = MemoryNeed(weights=1, per_1k_context=0, compute=0)


def manifest_of(folder: Path, task: str, gates: dict[str, Any] | None = None, **fields: Any) -> Manifest:
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    files = tuple(ArtifactFile(path=n, bytes=(folder / n).stat().st_size, sha256="0" * 64) for n in sorted(names))
    known: dict[str, Any] = {
        "name": "m",
        "version": "2",
        "task": task,
        "format": "gguf",
        "context": 100,
        "quantization": "F32",
        "memory_bytes": NEED,
        "files": (*files, ArtifactFile(path="model.gguf", bytes=1, sha256="0" * 64)),
        "gates": {"golden": FILE} if gates is None else gates,
    }
    return Manifest(**(known | fields))


def write(folder: Path, *cases: Any) -> None:
    (folder / FILE).write_text("\n".join(one if isinstance(one, str) else json.dumps(one) for one in cases))


def write_wav(path: Path, *, rate_hz: int = 16_000, channels: int = 1, samples: int = 1600) -> None:
    path.parent.mkdir(exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(array.array("h", [-32768, 16384] * (samples * channels // 2)).tobytes())


def test_what_is_asked_of_a_model_that_generates(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"kind": "exact", "prompt": "Capital of France?", "answers": ["Paris"], "max_tokens": 4},
        "",
        {
            "kind": "json",
            "messages": [{"role": "user", "content": "JSON!"}],
            "keys": ["a"],
            "schema": {"type": "object"},
        },
        {"kind": "perplexity", "text": "Once upon a time"},
    )
    cases = read_golden(tmp_path, manifest_of(tmp_path, "generate"))
    assert [type(case) for case in cases] == [Exact, Json, Perplexity]
    requests = [request_of(case, tmp_path) for case in cases]
    assert all(isinstance(one, Generate) and one.sampling.temperature == 0 for one in requests)
    exact, constrained, scored = (one for one in requests if isinstance(one, Generate))
    assert (exact.prompt, exact.max_tokens, exact.json_schema) == ("Capital of France?", 4, None)
    assert constrained.json_schema == {"type": "object"}
    assert (scored.echo, scored.logprobs) == (True, 0)


def test_what_is_asked_of_a_model_that_embeds(tmp_path: Path) -> None:
    write(tmp_path, {"kind": "cosine", "text": "hello", "vector": encode_vector((0.5, -0.25)), "prompt_name": "query"})
    (case,) = read_golden(tmp_path, manifest_of(tmp_path, "embed", embedding_dim=2))
    assert isinstance(case, Cosine)
    assert case.reference() == (0.5, -0.25)
    assert request_of(case, tmp_path) == Embed(inputs=("hello",), prompt_name="query")


def test_what_is_asked_of_a_model_that_transcribes(tmp_path: Path) -> None:
    write_wav(tmp_path / "golden" / "1.wav")
    write(tmp_path, {"kind": "wer", "audio": "golden/1.wav", "text": "turn it on", "language": "en"})
    (case,) = read_golden(tmp_path, manifest_of(tmp_path, "transcribe"))
    assert isinstance(case, Wer)
    request = request_of(case, tmp_path)
    assert isinstance(request, Transcribe)
    samples = array.array("f", request.audio)
    assert (len(samples), samples[0], samples[1]) == (1600, -1.0, 0.5)


def test_an_artifact_without_a_golden_set_has_no_cases(tmp_path: Path) -> None:
    write(tmp_path, "not JSON, and nobody reads it")
    assert read_golden(tmp_path, manifest_of(tmp_path, "generate", {"min_mean_cosine": 0.98})) == ()


@pytest.mark.parametrize(
    ("task", "case", "says"),
    [
        ("generate", "{", "line 1: Input data was truncated"),
        ("generate", '"exact"', "line 1: Expected `object`"),
        ("generate", {"kind": "guess"}, "line 1: Invalid value 'guess'"),
        ("generate", {"kind": "exact", "prompt": "x"}, "missing required field `answers`"),
        ("generate", {"kind": "exact", "prompt": "x", "answers": ["y"], "extra": 1}, "unknown field `extra`"),
        ("generate", {"kind": "exact", "answers": ["y"]}, "either messages or prompt"),
        ("generate", {"kind": "exact", "prompt": "x", "messages": [], "answers": ["y"]}, "either messages or prompt"),
        ("generate", {"kind": "exact", "prompt": "x", "answers": ["y"], "max_tokens": 10**9}, "max_tokens"),
        ("generate", {"kind": "cosine", "text": "x", "vector": "AAAA"}, "a model to generate cannot be asked that"),
        ("embed", {"kind": "perplexity", "text": "x"}, "a model to embed cannot be asked that"),
        ("embed", {"kind": "cosine", "text": "x", "vector": "?!?!"}, "vector: "),
        ("embed", {"kind": "cosine", "text": "x", "vector": "AAAA"}, "vector: "),
        ("embed", {"kind": "cosine", "text": "x", "vector": "AAAAAA=="}, "vector: the vector has no direction"),
        ("embed", {"kind": "cosine", "text": "x", "vector": encode_vector((1.0, 0.0))}, "has 2 numbers, the model's 3"),
        ("transcribe", {"kind": "wer", "audio": "../x.wav", "text": "x"}, "is not a file of the artifact"),
        ("transcribe", {"kind": "wer", "audio": "none.wav", "text": "x"}, "is not a file of the artifact"),
        ("generate", "[" * 2000, "line 1: "),
        ("generate", "\n\n", "0 cases"),
    ],
)
def test_what_is_not_acceptable_is_named(tmp_path: Path, task: str, case: Any, says: str) -> None:
    write(tmp_path, case)
    with pytest.raises(ArtifactError) as error:
        read_golden(tmp_path, manifest_of(tmp_path, task, embedding_dim=3 if task == "embed" else 0))
    assert FILE in error.value.message
    assert says in error.value.message


def test_sets_that_are_too_large_are_not_read(tmp_path: Path) -> None:
    write(tmp_path, *[{"kind": "perplexity", "text": "x"}] * 501)
    with pytest.raises(ArtifactError, match="501 cases; 1 to 500"):
        read_golden(tmp_path, manifest_of(tmp_path, "generate"))
    with (tmp_path / FILE).open("wb") as file:
        file.truncate(9 * 1024 * 1024)
    with pytest.raises(ArtifactError, match="bytes; 8388608 are allowed"):
        read_golden(tmp_path, manifest_of(tmp_path, "generate"))


def test_a_set_that_is_no_file_of_the_artifact(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="not among its files"):
        read_golden(tmp_path, manifest_of(tmp_path, "generate"))


@pytest.mark.parametrize(
    "gates", [{"golden": "../x"}, {"least_exact": 2}, {"most_perplexity": "low"}, {"least_speed_ratio": 0}]
)
def test_gates_that_make_no_sense(tmp_path: Path, gates: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match=rf"gates: .*\$\.{next(iter(gates))}"):
        gates_of(manifest_of(tmp_path, "generate", gates))


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ({"rate_hz": 8000}, "1 channels of 16 bits, 8000 Hz"),
        ({"channels": 2}, "2 channels"),
        ({"samples": 0}, "0 samples"),
        ({"samples": 16_000 * 31}, "496000 samples"),
    ],
)
def test_recordings_of_another_shape(tmp_path: Path, shape: dict[str, int], says: str) -> None:
    write_wav(tmp_path / "1.wav", **shape)
    with pytest.raises(ArtifactError, match=says):
        request_of(Wer(audio="1.wav", text="x"), tmp_path)


def test_recordings_that_are_none(tmp_path: Path) -> None:
    for data in (b"", b"RIFF", b"RIFF\xff\xff\xff\xffWAVEfmt ", bytes(100)):
        (tmp_path / "1.wav").write_bytes(data)
        with pytest.raises(ArtifactError, match="not a WAV file"):
            request_of(Wer(audio="1.wav", text="x"), tmp_path)
