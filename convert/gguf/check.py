"""What can be said of a checkpoint before llama.cpp's converter is started: each fault one clear sentence."""

from __future__ import annotations

import json
import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from agent.errors import ArtifactError
from agent.terminal import Progress
from convert.checkpoint import DTYPES, INDEX, SINGLE, open_checkpoint
from convert.config import Config, read_json
from convert.gguf.tools import Tools

Float = Literal["F32", "F16", "BF16"]

TOKENIZERS: Final = (
    "tokenizer.json",
    "tokenizer.model",
    "tekken.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "*.tiktoken",
    "vocab.json",
    "vocab.txt",
    "rwkv_vocab*.txt",
)
"""Any one of these is enough for some tokenizer that llama.cpp knows."""
WEIGHTS: Final = ("model*.safetensors", "pytorch_model*.bin")
PICKLE_INDEX: Final = "pytorch_model.bin.index.json"

_STORED_AS: Final[dict[str, Float]] = {"F64": "F32", "F32": "F32", "F16": "F16", "BF16": "BF16"}


@dataclass(frozen=True)
class Facts:
    """`architecture` as config.json names it; `floats` the type of most of the weights' bytes.

    `weights_bytes` is what all weights take as they are stored.
    """

    architecture: str
    floats: Float
    weights_bytes: int


def check_config(folder: Path, tools: Tools, version: str) -> str:
    """The architecture. Needs config.json only, so that it can be asked before the weights are downloaded.

    Raises `ArtifactError` where the file or `architectures` is missing, or llama.cpp does not know the architecture.
    """
    if not (folder / "config.json").is_file() and (folder / "adapter_config.json").is_file():
        raise ArtifactError(f"{folder.name} is a LoRA adapter, no whole model.", hint="Convert it with --lora.")
    names = Config(folder / "config.json").values.get("architectures")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ArtifactError(
            f"config.json: architectures: expected a list with the name of the model's class, got {ascii(names)[:80]}.",
            hint="Take config.json from where the checkpoint was published.",
            param="architectures",
        )
    if names[0] not in tools.architectures():
        raise ArtifactError(
            f"The llama.cpp of llama-cpp-python {version} does not know the architecture {ascii(names[0])[1:-1][:80]}.",
            hint=f"It knows {len(tools.architectures())} others.",
            param="architectures",
        )
    return str(names[0])


def check_weights(folder: Path, architecture: str) -> Facts:
    """Every shard is there and whole, no weight is NaN or infinite, and there is a tokenizer.

    Weights in PyTorch's pickle format are left to the converter, but for shards that are missing. Raises
    `ArtifactError`.
    """
    if not any(_any_file(folder, pattern) for pattern in TOKENIZERS):
        raise ArtifactError(
            f"{folder} has no tokenizer: none of {', '.join(TOKENIZERS)}.",
            hint="Take it from where the checkpoint was published; a fine-tune has that of its base model.",
        )
    if (folder / INDEX).is_file() or (folder / SINGLE).is_file() or not _any_file(folder, WEIGHTS[1]):
        return _check_safetensors(folder, architecture)
    return _check_pickles(folder, architecture)


def _check_safetensors(folder: Path, architecture: str) -> Facts:
    by_type: Counter[str] = Counter()
    with open_checkpoint(folder) as checkpoint, Progress(f"checking {folder.name}") as progress:
        dtypes = _stored(folder)
        done = 0
        for name in checkpoint.names():
            dtype, count = dtypes[name]
            if dtype in DTYPES:  # others are of a quantized checkpoint, which the converter may understand
                checkpoint.tensor(name)
            if len(checkpoint.shape(name)) > 1:
                by_type[dtype] += count
            done += count
            progress(done, checkpoint.total_bytes)
        most = max(sorted(by_type), key=lambda dtype: by_type[dtype], default="F32")
        return Facts(architecture, _STORED_AS.get(most, "BF16"), checkpoint.total_bytes)


def _check_pickles(folder: Path, architecture: str) -> Facts:
    if (folder / PICKLE_INDEX).is_file():
        weight_map = read_json(folder / PICKLE_INDEX).get("weight_map")
        named = {str(file) for file in weight_map.values()} if isinstance(weight_map, dict) else set()
        missing = sorted(name for name in named if not (folder / Path(name).name).is_file())
        if missing:
            raise ArtifactError(
                f"{len(missing)} of {len(named)} shards are missing from {folder}: {', '.join(missing[:5])}.",
                hint="Download the checkpoint again.",
            )
    config = Config(folder / "config.json").values
    said = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    floats: Float = "F16" if said == "float16" else "BF16" if said == "bfloat16" else "F32"
    return Facts(architecture, floats, sum(path.stat().st_size for path in folder.glob(WEIGHTS[1])))


def _stored(folder: Path) -> dict[str, tuple[str, int]]:
    """Type (as safetensors names it) and bytes of each tensor of a checkpoint that is open: its headers are sound."""
    index = read_json(folder / INDEX)["weight_map"] if (folder / INDEX).is_file() else {}
    found: dict[str, tuple[str, int]] = {}
    for shard in sorted(set(index.values())) or [SINGLE]:
        with (folder / shard).open("rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        for name, entry in header.items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                found[name] = (entry["dtype"], end - begin)
    return found


def _any_file(folder: Path, pattern: str) -> bool:
    return any(path.is_file() for path in folder.glob(pattern))
