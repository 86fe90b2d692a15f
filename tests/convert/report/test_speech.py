"""`edge-convert report` on a real Whisper checkpoint, and which precision suits which board."""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from agent.errors import RequestError
from agent.store.manifest import MemoryNeed
from convert.commands import report as command
from convert.quality.gates import check
from convert.quality.speech import SPEECH_GATES
from convert.quantization.choose import find_board
from convert.report import onnx
from convert.report.level import Level
from convert.report.onnx import read_precisions
from convert.report.recommend import recommend
from convert.report.speech import TRANSCRIPTION

SHARED = Path(__file__).resolve().parents[3].parent / "shared"


def run(*arguments: str | Path) -> int:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return command.run(parser.parse_args([str(argument) for argument in arguments]))


@pytest.fixture
def whisper() -> Path:
    path = SHARED / "models" / "whisper-commands-hf"
    if not path.is_dir():
        pytest.skip(f"{path} is not here")
    return path


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    source = SHARED / "audio" / "commands"
    if not source.is_dir():
        pytest.skip(f"{source} is not here")
    transcripts = json.loads((source / "transcripts.json").read_text("utf-8"))
    folder = tmp_path / "recordings"
    folder.mkdir()
    chosen = sorted(transcripts)[:2]
    for name in chosen:
        shutil.copyfile(source / name, folder / name)
    (folder / "transcripts.json").write_text(json.dumps({name: transcripts[name] for name in chosen}), "utf-8")
    return folder


def test_a_whisper_report_compares_precisions(
    whisper: Path, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx, "ROUNDS", 1)
    out = tmp_path / "report"
    options = ("--quants", "int8,fp32", "--profiles", "pi-5", "--threads", "1")
    assert run(whisper, "--recordings", recordings, "--out", out, *options) == 0
    value = json.loads((out / "report.json").read_text("utf-8"))
    int8, fp32 = value["levels"]
    assert (value["task"], value["measured_on"]) == ("transcribe", "recordings")
    assert (int8["level"], fp32["level"]) == ("int8", "fp32")
    assert int8["file_bytes"] < fp32["file_bytes"] / 2
    assert fp32["quality"]["wer_increase_points"] == 0
    assert int8["quality"]["token_agreement"] > 0.9
    assert all(level["speed"]["rate"]["median"] > 0 for level in value["levels"])
    assert "Word error rate" in (out / "report.md").read_text("utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recordings", "report"]


def test_a_whisper_report_needs_recordings(whisper: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="nothing to measure"):
        run(whisper, "--out", tmp_path / "report")
    with pytest.raises(RequestError, match="no precision"):
        run(whisper, "--out", tmp_path / "report", "--quants", "Q4_K_M", "--recordings", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_precisions_are_read_in_any_case_and_once() -> None:
    assert read_precisions("INT8, fp32,int8") == ("int8", "fp32")


@pytest.mark.parametrize(
    ("profile", "memory_mb", "asked", "taken"),
    [
        ("pi-5", 3400, ("fp32", "fp16", "int8"), "int8"),
        ("jetson-orin-nano", 7000, ("fp32", "fp16", "int8"), "fp16"),
        ("jetson-orin-nano", 7000, ("int8",), "int8"),
        ("pi-5", 3400, ("fp32", "fp16"), "fp32"),
    ],
)
def test_half_precision_is_for_cuda_and_integers_are_for_processors(
    profile: str, memory_mb: int, asked: tuple[str, ...], taken: str
) -> None:
    sizes = {"fp32": 400, "fp16": 200, "int8": 100}
    measured = {"wer_increase_points": 0.0, "token_agreement": 1.0}
    level = Level(
        name="fp32",
        file_bytes=0,
        memory=MemoryNeed(weights=10**8, per_1k_context=0, compute=0),
        quality=check(measured, SPEECH_GATES, accept=False),
    )
    levels = [replace(level, name=name, file_bytes=sizes[name]) for name in asked]
    choice = recommend(find_board(profile, memory_mb), levels, TRANSCRIPTION, trained_tokens=448)
    assert choice.level is not None
    assert choice.level.name == taken
