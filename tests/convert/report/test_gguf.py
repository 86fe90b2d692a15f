"""`edge-convert report` on real GGUF models, and what it refuses."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agent.errors import ArtifactError, EdgeAgentError, RequestError
from convert.commands import report as command
from convert.quantization.quantize import quantize
from convert.quantization.recipe import Recipe
from convert.report import speed
from tests.engines.worker_process import REPO

WORDS = "the little robot found a lamp under the old stairs and asked the cat what light is for . "


def run(*arguments: str | Path) -> int:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return command.run(parser.parse_args([str(argument) for argument in arguments]))


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(WORDS * 12, "utf-8")
    return path


def test_a_report_has_its_page_its_numbers_and_its_picture(
    stories_model: Path,
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(speed, "_LEAST_S", 0.0)
    out = tmp_path / "report"
    options = ("--quants", "f32,q8_0,q4_k_m", "--text", text, "--profiles", "pi-5", "--threads", "1")
    assert run(stories_model, *options, "--out", out) == 0
    assert sorted(path.name for path in out.iterdir()) == ["report.json", "report.md", "report.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report", "text.txt"]
    value = json.loads((out / "report.json").read_text("utf-8"))
    f32, q8, q4 = value["levels"]
    assert [level["level"] for level in value["levels"]] == ["F32", "Q8_0", "Q4_K_M"]
    assert f32["file_bytes"] == stories_model.stat().st_size > q8["file_bytes"] > q4["file_bytes"]
    assert f32["quality"]["kl_mean"] == 0 < q8["quality"]["kl_mean"] < q4["quality"]["kl_mean"]
    assert (q8["quality"]["text"], q8["quality"]["against"]) == ("text.txt", stories_model.name)
    assert all(level["speed"]["decode"]["median"] > 0 for level in value["levels"])
    assert {choice["profile"] for choice in value["recommendations"]} == {"pi-5"}
    assert {choice["level"] for choice in value["recommendations"]} == {"Q8_0"}
    page = (out / "report.md").read_text("utf-8")
    assert "](report.png)" in page
    assert "on text.txt: " in page
    shown = capsys.readouterr()
    assert "LEVEL" in shown.out
    assert [line.split(":")[0] for line in shown.err.splitlines() if "kl divergence" in line] == [
        "F32",
        "Q8_0",
        "Q4_K_M",
    ]


def test_without_matplotlib_the_page_is_there_and_a_sentence_says_how_to_get_the_picture(
    tiny_model: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(speed, "_LEAST_S", 0.0)
    out = tmp_path / "report"
    assert run(tiny_model, "--quants", "F32", "--text", text, "--out", out, "--threads", "1", "--json") == 0
    assert sorted(path.name for path in out.iterdir()) == ["report.json", "report.md"]
    assert "report.png" not in (out / "report.md").read_text("utf-8")
    shown = capsys.readouterr()
    assert "pip install matplotlib" in shown.err
    assert json.loads(shown.out)["levels"][0]["level"] == "F32"


@pytest.mark.parametrize(
    ("arguments", "kind", "says"),
    [
        (("--profiles", "pi-9"), RequestError, "no profile 'pi-9'"),
        (("--quants", "Q4_K_M,Q99"), RequestError, "no quantization 'Q99'"),
        (("--quants", "COPY"), RequestError, "no level"),
        (("--threads", "-1"), RequestError, "--threads"),
        (("--text", "absent.txt"), RequestError, "absent.txt is not a file"),
        (("--imatrix", "absent.dat"), RequestError, "absent.dat is not a file"),
        (("--out", "taken"), ArtifactError, "exists already"),
        (("--out", "nowhere/report"), ArtifactError, "is not a folder"),
    ],
)
def test_a_bad_order_fails_before_anything_is_made(
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    kind: type[EdgeAgentError],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    with pytest.raises(kind, match=says):
        run(tiny_model, *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_model_that_is_quantized_already_cannot_say_what_is_lost(tiny_model: Path, tmp_path: Path) -> None:
    source = tmp_path / "small.gguf"
    quantize(tiny_model, source, Recipe(level="Q8_0", threads=1))
    with pytest.raises(RequestError, match="quantized already"):
        run(source, "--out", tmp_path / "report")


def test_an_embedding_model_is_refused_with_what_to_give_instead(embedding_model: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="embedding model"):
        run(embedding_model, "--out", tmp_path / "report")


def test_an_interrupted_report_leaves_nothing(tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    arguments = ("report", tiny_model, "--quants", "F32,Q8_0,Q4_0,Q5_0", "--out", out, "--threads", "1")
    process = subprocess.Popen(
        [sys.executable, "-m", "convert.cli", *map(str, arguments)],
        cwd=REPO,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("Q8_0:"):
            process.send_signal(signal.SIGINT)
            break
    rest = process.stderr.read()
    assert process.wait(timeout=60) == 130, rest
    assert "Traceback" not in rest
    assert list(tmp_path.iterdir()) == []
