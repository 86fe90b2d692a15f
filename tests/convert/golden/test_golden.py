"""Golden sets made by asking the artifact: a device accepts them, and what they were made from passes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.errors import ArtifactError
from agent.store.manifest import Manifest, MemoryNeed, read_manifest
from agent.updates.trial.golden import Cosine, Exact, Perplexity, Wer, gates_of, read_golden
from convert.artifact import new_artifact
from convert.cli import main
from tests.updates.trial.device import Device, running
from tests.updates.trial.test_trial import LIMITS

NEED = MemoryNeed(weights=1, per_1k_context=1, compute=1)


def artifact(folder: Path, model: Path, task: str, **fields: Any) -> Manifest:
    with new_artifact(folder) as staged:
        staged.copy(model, "model.gguf")
        known: dict[str, Any] = {"name": "m", "version": "2", "format": "gguf", "context": 512, "quantization": "F32"}
        return staged.finish(task=task, memory_bytes=NEED, **(known | fields))


async def test_a_model_that_generates_passes_its_own_set_on_a_device(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact(tmp_path / "plain", tiny_model, "generate", gates={"somebody": "else's"})
    text = tmp_path / "text.txt"
    text.write_text("Once upon a time.\n\n\n  There was a harbor.  \n")
    arguments = [
        "golden",
        str(tmp_path / "plain"),
        "--out",
        str(tmp_path / "made"),
        "--text",
        str(text),
        "--threads",
        "1",
    ]
    assert main([*arguments, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["cases"] == 10
    manifest = read_manifest(tmp_path / "made" / "manifest.json")
    assert manifest.gates["somebody"] == "else's"
    cases = read_golden(tmp_path / "made", manifest)
    assert [type(case) for case in cases] == [Exact] * 8 + [Perplexity] * 2
    device = Device(tmp_path / "device")
    device.add("1", tiny_model)
    device.store.import_folder(tmp_path / "made")
    async with running(device):
        limits = replace(LIMITS, speed_ratio=0.01)
        verdict = await device.trial.judge(device.store.get("m", "2"), device.store.active("m"), limits)
        assert verdict.passed, verdict.reasons
        assert verdict.figures["exact"] >= 0.6


def test_a_model_that_embeds(embedding_model: Path, tmp_path: Path) -> None:
    artifact(tmp_path / "plain", embedding_model, "embed", embedding_dim=64)
    assert (
        main(["golden", str(tmp_path / "plain"), "--out", str(tmp_path / "made"), "--version", "3", "--threads", "1"])
        == 0
    )
    manifest = read_manifest(tmp_path / "made" / "manifest.json")
    assert manifest.version == "3"
    cases = read_golden(tmp_path / "made", manifest)
    assert [type(case) for case in cases] == [Cosine] * 16
    assert gates_of(manifest).least_mean_cosine == 0.99


def test_own_cases_are_taken_as_they_are_and_an_earlier_set_is_replaced(tiny_model: Path, tmp_path: Path) -> None:
    artifact(tmp_path / "plain", tiny_model, "generate")
    own = tmp_path / "own.jsonl"
    own.write_text('{"kind": "json", "prompt": "JSON!", "schema": {}}\n\n')
    for source, target in (("plain", "first"), ("first", "second")):
        arguments = ["golden", str(tmp_path / source), "--out", str(tmp_path / target), "--cases", str(own)]
        assert main([*arguments, "--threads", "1"]) == 0
    manifest = read_manifest(tmp_path / "second" / "manifest.json")
    assert [case["kind"] for case in map(json.loads, (tmp_path / "second" / "golden.jsonl").open())] == [
        "json",
        "perplexity",
    ]
    assert [file.path for file in manifest.files] == ["golden.jsonl", "model.gguf"]


def test_a_model_that_transcribes(tmp_path: Path) -> None:
    from convert.golden.cases import Golden, _wav

    golden = Golden()
    golden.files["golden/01.wav"] = _wav(bytes(3200))
    golden.cases.append({"kind": "wer", "audio": "golden/01.wav", "text": "x"})
    with new_artifact(tmp_path / "made") as staged:
        (staged.folder / "golden").mkdir()
        (staged.folder / "golden" / "01.wav").write_bytes(golden.files["golden/01.wav"])
        (staged.folder / "golden.jsonl").write_bytes(golden.lines())
        (staged.folder / "encoder.onnx").write_bytes(b"x")
        manifest = staged.finish(
            name="m", version="1", task="transcribe", format="onnx", context=1, quantization="fp32",
            memory_bytes=NEED, gates=golden.gates,
        )  # fmt: skip
    (case,) = read_golden(tmp_path / "made", manifest)
    assert isinstance(case, Wer)


@pytest.mark.parametrize(
    ("content", "says"),
    [("{", "line 1"), ('{"prompt": "x"}', "line 1: it has no kind"), ("[]", "line 1"), (None, "cannot be read")],
)
def test_cases_that_are_none(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, says: str
) -> None:
    artifact(tmp_path / "plain", tiny_model, "generate")
    own = tmp_path / "own.jsonl"
    if content is not None:
        own.write_text(content)
    assert main(["golden", str(tmp_path / "plain"), "--out", str(tmp_path / "made"), "--cases", str(own)]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


def test_a_folder_that_is_no_artifact(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["golden", str(tmp_path), "--out", str(tmp_path / "made")]) == 1
    assert "manifest.json cannot be read" in capsys.readouterr().err
    (tmp_path / "made").mkdir()
    assert main(["golden", str(tmp_path), "--out", str(tmp_path / "made")]) == 1
    assert "exists already" in capsys.readouterr().err
    assert issubclass(ArtifactError, Exception)
