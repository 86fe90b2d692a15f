"""Asking the probe: a child that crashes, hangs, lies or says nothing costs an error and nothing else."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import msgspec
import pytest

from agent.errors import ArtifactError, EdgeAgentError, ModelLoadError
from agent.runtime.probe import probe_gguf


def child(program: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-c", program)


@pytest.fixture
def some_file(tmp_path: Path) -> Path:
    path = tmp_path / "some.gguf"
    path.write_bytes(b"GGUF")
    return path


@pytest.mark.parametrize(
    ("program", "kind", "words"),
    [
        ("import os; os.kill(os.getpid(), 11)", ModelLoadError, ["some.gguf", "crashes", "SIGSEGV", "SHA-256"]),
        ("import os; os.kill(os.getpid(), 9)", ModelLoadError, ["SIGKILL"]),
        ("import sys; sys.exit(3)", ModelLoadError, ["status 3"]),
        ("import sys; sys.exit('ggml: it broke')", ModelLoadError, ["ggml: it broke"]),
        ("raise SystemExit('No module named llama_cpp')", ModelLoadError, ["not installed", "edge-agent doctor"]),
        ("print('garbage')", ArtifactError, ["report cannot be read"]),
        ("print('{}')", ArtifactError, ["architecture"]),
        ("print('x' * 2_000_000)", ArtifactError, ["larger than"]),
        ("pass", ArtifactError, ["report cannot be read"]),
        ("print('{\"error\": 3}'); raise SystemExit(1)", ModelLoadError, ["status 1"]),
        ("print('[' * 100_000); raise SystemExit(1)", ModelLoadError, ["status 1"]),
    ],
)
def test_whatever_the_child_does_is_one_clear_error(
    some_file: Path, program: str, kind: type[EdgeAgentError], words: list[str]
) -> None:
    with pytest.raises(kind) as caught:
        probe_gguf(some_file, command=child(program))
    for word in words:
        assert word in str(caught.value)


def test_the_probe_s_own_error_is_passed_on_without_control_characters(some_file: Path) -> None:
    program = (
        "import json; print(json.dumps({'error': {'code': 'invalid_artifact', 'message': 'no\\x1b[2J\\nheads', "
        "'hint': 'Try another.'}})); raise SystemExit(1)"
    )
    with pytest.raises(ArtifactError) as caught:
        probe_gguf(some_file, command=child(program))
    assert (caught.value.message, caught.value.hint) == ("no [2J heads", "Try another.")


def test_a_child_that_hangs_is_killed(some_file: Path) -> None:
    began = time.monotonic()
    with pytest.raises(ModelLoadError, match=r"within 0\.3 s"):
        probe_gguf(some_file, 0.3, command=child("import time; time.sleep(60)"))
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_a_path_that_is_no_file_starts_no_child(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.gguf"
    if kind == "folder":
        path.mkdir()
    with pytest.raises(ArtifactError, match=r"x\.gguf"):
        probe_gguf(path, command=("/nonexistent",))


def test_a_split_model_is_probed_by_its_first_part(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"m-0000{number}-of-00002.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelLoadError, match="m-00001-of-00002"):
        probe_gguf(tmp_path / "m-00002-of-00002.gguf", command=child("import sys; sys.exit(sys.argv[1])"))


def test_the_child_gets_no_secret(some_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_AGENT_API_KEY", "secret-key")
    program = "import os, sys; sys.exit('seen ' + os.environ.get('EDGE_AGENT_API_KEY', 'nothing'))"
    with pytest.raises(ModelLoadError, match="seen nothing"):
        probe_gguf(some_file, command=child(program))


def test_a_real_model(tiny_model: Path) -> None:
    report = probe_gguf(tiny_model)
    assert report.task == "generate"
    assert report.has_chat_template
    assert report.size_bytes > 0


def test_a_real_embedding_model(embedding_model: Path) -> None:
    report = probe_gguf(embedding_model)
    assert (report.task, report.pooling) == ("embed", "mean")


@pytest.mark.parametrize("damage", ["empty", "truncated", "text", "hostile count"])
def test_a_damaged_file(tiny_model: Path, tmp_path: Path, damage: str) -> None:
    data = tiny_model.read_bytes()
    path = tmp_path / "bad.gguf"
    path.write_bytes(
        {
            "empty": b"",
            "truncated": data[: len(data) // 3],
            "text": b"<!doctype html>",
            "hostile count": data[:8] + b"\xff" * 16 + data[24:],
        }[damage]
    )
    with pytest.raises(EdgeAgentError) as caught:
        probe_gguf(path)
    assert "bad.gguf" in str(caught.value)
    assert msgspec.json.encode(str(caught.value)).isascii()
