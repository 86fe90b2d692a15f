"""What the converter gets to see of a checkpoint, and that what comes out is looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import ArtifactError
from convert.gguf.base import link_source, probe_made


@pytest.mark.parametrize("code", [True, False])
def test_programs_are_left_out_unless_trusted(tmp_path: Path, code: bool) -> None:
    source = tmp_path / "0123456789abcdef"
    (source / "1_Pooling").mkdir(parents=True)
    for name in ("config.json", "tokenization_x.py", ".hidden", "1_Pooling/config.json"):
        (source / name).write_text(name)
    linked = link_source(source, tmp_path / "work" / "Model-1B", code=code)
    names = {path.name for path in linked.iterdir()}
    assert names == {"config.json", "1_Pooling", *(["tokenization_x.py"] if code else [])}
    assert (linked / "1_Pooling" / "config.json").read_text() == "1_Pooling/config.json"
    assert linked.name == "Model-1B"


def test_what_cannot_be_loaded_is_not_passed_on(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ArtifactError, match="What came out of tiny cannot be loaded"):
        probe_made(tmp_path / "model.gguf", "tiny")


def test_what_can_be_loaded(tiny_model: Path) -> None:
    assert probe_made(tiny_model, "tiny").task == "generate"
