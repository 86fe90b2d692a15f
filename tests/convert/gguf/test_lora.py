"""What is checked of an adapter before it is converted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.errors import ArtifactError, EdgeAgentError, RequestError
from convert.config import Config
from convert.gguf.lora import check_adapter, find_base

GOOD = {"peft_type": "LORA", "lora_alpha": 8, "base_model_name_or_path": "org/base"}


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "adapter_config.json is missing"),
        ({"config.json": {}}, "is a whole model"),
        ({"adapter_config.json": {**GOOD, "peft_type": "IA3"}}, "peft_type: expected LORA"),
        ({"adapter_config.json": {"peft_type": "LORA"}}, "has no lora_alpha"),
        ({"adapter_config.json": GOOD}, "neither adapter_model.safetensors nor adapter_model.bin"),
    ],
)  # fmt: skip
def test_what_is_no_adapter(tmp_path: Path, files: dict[str, Any], says: str) -> None:
    for name, value in files.items():
        (tmp_path / name).write_text(json.dumps(value))
    with pytest.raises(ArtifactError, match=says):
        check_adapter(tmp_path)


def config(tmp_path: Path, **values: object) -> Config:
    (tmp_path / "adapter_config.json").write_text(json.dumps({**GOOD, **values}))
    return Config(tmp_path / "adapter_config.json")


def test_the_base_that_is_given_wins(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    assert find_base(config(tmp_path), str(tmp_path / "base")) == tmp_path / "base"


def test_a_folder_that_the_adapter_names(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    found = find_base(config(tmp_path, base_model_name_or_path=str(tmp_path / "base")), None)
    assert found == tmp_path / "base"


@pytest.mark.parametrize(
    ("named", "kind"), [(None, RequestError), ("/home/someone/base", RequestError), ("org/base", ArtifactError)]
)
def test_a_base_that_cannot_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str | None, kind: type[EdgeAgentError]
) -> None:
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(kind) as caught:
        find_base(config(tmp_path, base_model_name_or_path=named), None)
    assert "--base" in caught.value.hint
