"""The commands that train starter-embed and starter-whisper, where something is wrong before they begin."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from convert.starter.embed.__main__ import main as embed
from convert.starter.whisper.__main__ import main as whisper

Main = Callable[[list[str]], int]
BOTH = pytest.mark.parametrize("main", [embed, whisper], ids=["embed", "whisper"])


@BOTH
def test_what_is_there_is_not_touched(main: Main, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "made").mkdir()
    assert main(["--out", str(tmp_path / "made")]) == 1
    assert "exists already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


@BOTH
@pytest.mark.parametrize("option", [["--minutes", "0"], ["--threads", "-1"], ["--minutes", "-3"]])
def test_numbers_are_checked(main: Main, option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path / "made"), *option]) == 2
    assert option[0] in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@BOTH
def test_without_pytorch_it_says_what_to_install(
    main: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["--out", str(tmp_path / "made")]) == 1
    assert "pip install 'edge-agent[convert]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
