"""`edge-convert report` on a text encoder."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from agent.errors import RequestError
from convert.commands import report as command
from convert.report import onnx
from tests.convert.embed.small_encoders import CASES, WORDS, write_encoder


def run(*arguments: str | Path) -> int:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return command.run(parser.parse_args([str(argument) for argument in arguments]))


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    return write_encoder(tmp_path / "encoder", CASES["bert"])


@pytest.fixture
def sentences(tmp_path: Path) -> Path:
    path = tmp_path / "sentences.txt"
    path.write_text("\n".join(" ".join(WORDS[(3 * i + 5 * j) % 32] for j in range(3 + i % 7)) for i in range(24)))
    return path


def test_a_report_on_an_encoder_compares_precisions_by_their_vectors(
    encoder: Path, sentences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(onnx, "ROUNDS", 2)
    out = tmp_path / "report"
    options = ("--quants", "fp32,int8", "--text", sentences, "--profiles", "pi-5", "--threads", "1", "--json")
    assert run(encoder, "--out", out, *options) == 0
    value = json.loads((out / "report.json").read_text("utf-8"))
    fp32, int8 = value["levels"]
    assert (value["task"], value["measured_on"], value["loss"]) == ("embed", "sentences.txt", "mean_cosine")
    assert (fp32["quality"]["mean_cosine"], fp32["quality"]["sentences"]) == (1.0, 24)
    assert 0.9 < int8["quality"]["mean_cosine"] < 1
    assert len(int8["speed"]["rate"]["rounds"]) == 2
    assert json.loads(capsys.readouterr().out)["levels"] == value["levels"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["encoder", "report", "sentences.txt"]
    page = (out / "report.md").read_text("utf-8")
    assert "Same neighbor" in page
    assert "KV cache" not in page


@pytest.mark.parametrize(
    ("options", "says"),
    [(("--quants", "Q4_K_M"), "no precision"), (("--text", "few.txt"), "few.txt has 2 different lines")],
)
def test_a_bad_order_for_an_encoder_leaves_nothing(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "few.txt").write_text("w1 w2\nw3\n")
    with pytest.raises(RequestError, match=says):
        run(encoder, *options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["encoder", "few.txt"]
