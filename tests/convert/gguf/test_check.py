"""What is wrong with a checkpoint is said before llama.cpp's converter is started."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from agent.errors import ArtifactError
from convert.gguf.check import check_config, check_weights
from convert.gguf.tools import Tools
from tests.convert.hf_folder import write_checkpoint

CONFIG = {"architectures": ["LlamaForCausalLM"], "hidden_size": 4}
TOKENIZER = {"tokenizer.json": {}}


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    folder = tmp_path / "tools"
    (folder / "conversion").mkdir(parents=True)
    table = 'import torch\nTEXT_MODEL_MAP: dict[str, str] = {\n    "LlamaForCausalLM": "llama",\n}\nOTHER: int = 1\n'
    (folder / "conversion" / "__init__.py").write_text(table)
    return Tools(folder)


def tensors(dtype: object = np.float32) -> dict[str, np.ndarray]:
    return {
        "embed.weight": np.ones((8, 4), dtype),
        "layer.weight": np.ones((4, 4), dtype),
        "norm.weight": np.ones(4, np.float32),
    }


@pytest.mark.parametrize(
    ("dtype", "floats"),
    [(np.float32, "F32"), (np.float16, "F16"), (ml_dtypes.bfloat16, "BF16"), (np.float64, "F32")],
)
@pytest.mark.parametrize("shards", [1, 2])
def test_the_type_of_the_matrices_decides(tmp_path: Path, dtype: object, floats: str, shards: int) -> None:
    made = tensors(dtype)
    folder = write_checkpoint(tmp_path / "m", CONFIG, made, shards=shards, files=TOKENIZER)
    facts = check_weights(folder, "LlamaForCausalLM")
    assert (facts.floats, facts.weights_bytes) == (floats, sum(array.nbytes for array in made.values()))


def test_weights_of_a_quantized_checkpoint_are_left_to_the_converter(tmp_path: Path) -> None:
    made = {**tensors(np.float16), "layer.qweight": np.full((4, 4), -1, np.int64)}
    folder = write_checkpoint(tmp_path / "m", CONFIG, made, files=TOKENIZER)
    assert check_weights(folder, "LlamaForCausalLM").weights_bytes == sum(array.nbytes for array in made.values())


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({}, "architectures: expected a list"),
        ({"architectures": []}, "architectures: expected a list"),
        ({"architectures": "Llama"}, "architectures: expected a list"),
        ({"architectures": ["FooForCausalLM"]}, "does not know the architecture FooForCausalLM"),
        ({"architectures": ["\x1b[31m"]}, r"does not know the architecture \\x1b\[31m"),
        (None, "config.json is missing"),
    ],
)
def test_the_architecture_must_be_named_and_known(
    tmp_path: Path, tools: Tools, config: dict[str, object] | None, says: str
) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match=says):
        check_config(tmp_path, tools, "1.0")


def test_a_known_architecture(tmp_path: Path, tools: Tools) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    assert check_config(tmp_path, tools, "1.0") == "LlamaForCausalLM"


def test_an_adapter_is_told_from_a_model(tmp_path: Path, tools: Tools) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ArtifactError, match="is a LoRA adapter") as caught:
        check_config(tmp_path, tools, "1.0")
    assert "--lora" in caught.value.hint


def cut_off(folder: Path) -> None:
    path = folder / "model-00001-of-00002.safetensors"
    path.write_bytes(path.read_bytes()[:-8])


def spoil(folder: Path) -> None:
    path = folder / "model-00002-of-00002.safetensors"
    data = bytearray(path.read_bytes())
    data[-4:] = np.array([np.nan], np.float32).tobytes()
    path.write_bytes(data)


def say_another_hash(folder: Path) -> None:
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["metadata"]["sha256"] = {"model-00001-of-00002.safetensors": "0" * 64}
    path.write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer"),
        (lambda folder: (folder / "model-00002-of-00002.safetensors").unlink(), "1 of 2 shards are missing"),
        (cut_off, "model-00001-of-00002.safetensors was cut off"),
        (spoil, "NaN or infinite"),
        (say_another_hash, "SHA-256"),
        (lambda folder: [path.unlink() for path in folder.glob("model*")], "neither model.safetensors nor"),
    ],
)
def test_a_broken_checkpoint(tmp_path: Path, breaks: Callable[[Path], object], says: str) -> None:
    folder = write_checkpoint(tmp_path / "m", CONFIG, tensors(), shards=2, files=TOKENIZER)
    breaks(folder)
    with pytest.raises(ArtifactError, match=says):
        check_weights(folder, "LlamaForCausalLM")


@pytest.mark.parametrize(
    ("said", "floats"), [({"torch_dtype": "bfloat16"}, "BF16"), ({"dtype": "float16"}, "F16"), ({}, "F32")]
)
def test_old_pickled_weights_are_not_read_here(tmp_path: Path, said: dict[str, str], floats: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, **said}))
    (tmp_path / "vocab.json").touch()
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    facts = check_weights(tmp_path, "LlamaForCausalLM")
    assert (facts.floats, facts.weights_bytes) == (floats, 8)


def test_pickled_shards_must_all_be_there(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "tokenizer.model").touch()
    (tmp_path / "pytorch_model-00001-of-00002.bin").touch()
    weight_map = {"a": "pytorch_model-00001-of-00002.bin", "b": "pytorch_model-00002-of-00002.bin"}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(ArtifactError, match="1 of 2 shards are missing"):
        check_weights(tmp_path, "LlamaForCausalLM")
