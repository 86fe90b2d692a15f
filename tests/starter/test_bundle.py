"""The models that ship with edge-agent: which are there, and which of them are served."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from agent.errors import ArtifactError
from agent.starter.bundle import Choice, bundled, serving
from agent.store.manifest import ArtifactFile, Manifest, MemoryNeed, encode_manifest


def put(folder: Path, name: str, task: str, data: bytes = b"weights") -> Path:
    place = folder / name
    place.mkdir(parents=True)
    (place / "model.onnx").write_bytes(data)
    file = ArtifactFile(path="model.onnx", bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    manifest = Manifest(
        name=name,
        version="1",
        task=task,  # type: ignore[arg-type]
        format="onnx",
        files=(file,),
        context=128,
        quantization="int8",
        memory_bytes=MemoryNeed(weights=len(data), per_1k_context=0, compute=0),
    )
    (place / "manifest.json").write_bytes(encode_manifest(manifest))
    return place


def test_an_installation_without_models_has_none(tmp_path: Path) -> None:
    assert bundled(tmp_path / "nothing") == []


def test_models_are_found_by_their_manifests(tmp_path: Path) -> None:
    put(tmp_path, "starter-whisper", "transcribe")
    put(tmp_path, "starter-embed", "embed")
    (tmp_path / "notes.txt").write_text("not a model")
    found = bundled(tmp_path)
    assert [(model.name, model.version, model.active) for model in found] == [
        ("starter-embed", "1", True),
        ("starter-whisper", "1", True),
    ]
    assert found[0].main_path == tmp_path / "starter-embed" / "model.onnx"


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda place: (place / "model.onnx").unlink(), "No such file"),
        (lambda place: (place / "model.onnx").write_bytes(b"short"), "another length"),
        (lambda place: (place / "manifest.json").write_text("{"), "not valid JSON"),
    ],
)
def test_a_broken_one_means_a_broken_installation(tmp_path: Path, harm: object, said: str) -> None:
    harm(put(tmp_path, "starter-embed", "embed"))  # type: ignore[operator]
    with pytest.raises(ArtifactError, match=said) as error:
        bundled(tmp_path)
    assert "Install edge-agent again" in error.value.hint


@pytest.mark.parametrize(
    ("choice", "names", "tasks", "served"),
    [
        ("auto", (), (), ["starter-chat", "starter-embed"]),
        ("auto", ("qwen",), ("generate",), ["starter-embed"]),
        ("auto", ("qwen", "minilm"), ("generate", "embed"), []),
        ("always", ("qwen", "minilm"), ("generate", "embed"), ["starter-chat", "starter-embed"]),
        ("always", ("starter-chat",), ("generate",), ["starter-embed"]),
        ("auto", ("starter-chat",), ("embed",), []),
        ("never", (), (), []),
    ],
)
def test_which_are_served(
    tmp_path: Path, choice: Choice, names: tuple[str, ...], tasks: tuple[str, ...], served: list[str]
) -> None:
    put(tmp_path, "starter-chat", "generate")
    put(tmp_path, "starter-embed", "embed")
    assert [model.name for model in serving(bundled(tmp_path), choice, names=names, tasks=tasks)] == served
