"""`edge-convert gguf`: what it says to wrong usage, all of it before anything is downloaded or made."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

import pytest

from agent.errors import ArtifactError, EdgeAgentError, RequestError, UnavailableError
from convert.commands import gguf

without_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is installed")


def run(*arguments: str | Path) -> int:
    parser = argparse.ArgumentParser()
    gguf.configure(parser)
    return gguf.run(parser.parse_args([str(argument) for argument in arguments]))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "kind", "says"),
    [
        (("model", "--quant", "Q99"), RequestError, "no quantization 'Q99'"),
        (("model", "--quant", "Q8_0,"), RequestError, "no quantization ''"),
        (("model", "--quant", "COPY"), RequestError, "COPY says nothing here"),
        (("model", "--base", "x"), RequestError, "--base is for adapters"),
        (("model", "--threads", "-1"), RequestError, "expected 0 or more"),
        (("model", "--text", "absent.txt"), RequestError, "--text: absent.txt is not a file"),
        (("model", "--imatrix", "absent"), RequestError, "--imatrix: absent is not a file"),
        (("model", "--name", "../x"), ArtifactError, "cannot name a model"),
        (("model", "--version", "current"), ArtifactError, "cannot name a version"),
        (("model", "--out", "taken"), ArtifactError, "taken exists already"),
        (("org/model", "--quant", "Q8_0"), ArtifactError, "model-Q8_0 exists already"),
        (("model", "--lora", "--quant", "Q4_K_M"), RequestError, "cannot be written as 'Q4_K_M'"),
        (("model", "--lora", "--out", "folder"), RequestError, "does not end in .gguf"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], kind: type[EdgeAgentError], says: str) -> None:
    for name in ("taken", "model-Q8_0"):
        Path(name).mkdir()
    with pytest.raises(kind, match=says):
        run(*arguments)


@without_torch
@pytest.mark.parametrize("more", [(), ("--lora",)])
def test_without_torch_one_sentence_says_what_to_install(tmp_path: Path, more: tuple[str, ...]) -> None:
    with pytest.raises(UnavailableError, match="needs torch") as caught:
        run("org/model", *more)
    assert "pip install 'edge-agent[convert]'" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("quants", "out", "expected"),
    [
        (("Q8_0",), None, {"Q8_0": "m-Q8_0"}),
        (("Q8_0",), "x", {"Q8_0": "x"}),
        (("Q8_0", "F16"), "x", {"Q8_0": "x/m-Q8_0", "F16": "x/m-F16"}),
    ],
)
def test_where_artifacts_go(quants: tuple[str, ...], out: str | None, expected: dict[str, str]) -> None:
    order = gguf.Order("org/m", "m", quants, Path(out) if out else None)
    assert {quant: str(target) for quant, target in order.targets(quants).items()} == expected
    assert order.artifact_name("Q8_0", quants) == ("m" if len(quants) == 1 else "m-Q8_0")
