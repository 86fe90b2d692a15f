"""From the states of all tokens to one vector: the modules that `modules.json` lists after the transformer.

The semantics are sentence-transformers': https://github.com/UKPLab/sentence-transformers (models/Pooling.py, Dense.py,
Normalize.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

from agent.engines.onnx.embedding_folder import POOLING
from agent.errors import ArtifactError
from agent.store.names import path_fault
from convert.checkpoint import Checkpoint
from convert.config import LIMIT_BYTES, Config
from convert.embed.encoder import Shape
from convert.onnx.layers import Layers

_NEW_NAMES: Final = {"mean_sqrt_len_tokens": "mean_sqrt_len"}
NO_ROOT: Final = 1e-9
"""Least divisor of a mean, as Pooling.py has it."""
NO_LENGTH: Final = 1e-12
"""Least length of a vector that is divided by it, as torch.nn.functional.normalize has it."""
_AGAIN: Final = "Download the checkpoint again."
ACTIVATIONS: Final = {
    "Identity": None,
    "Tanh": "tanh",
    "ReLU": "relu",
    "GELU": "gelu",
    "SiLU": "silu",
}
"""Classes of torch.nn that a Dense module names, and what `Layers.activation` calls them."""


@dataclass(frozen=True)
class Dense:
    """A matrix after the pooling: a folder with its own config.json and weights."""

    folder: str
    inputs: int
    outputs: int
    bias: bool
    activation: str | None


@dataclass(frozen=True)
class Head:
    """What follows the transformer. `modes` are pooled side by side; `assumed` says that nothing was written down."""

    modes: tuple[str, ...]
    after: tuple[Dense | Literal["normalize"], ...]
    assumed: bool
    files: tuple[str, ...]

    @property
    def normalized(self) -> bool:
        """Whether the vectors that leave have length 1."""
        return bool(self.after) and self.after[-1] == "normalize"

    @property
    def dense(self) -> tuple[Dense, ...]:
        return tuple(module for module in self.after if isinstance(module, Dense))

    def dimension(self, width: int) -> int:
        """Of the vectors that leave."""
        return self.dense[-1].outputs if self.dense else width * len(self.modes)


def read_head(folder: Path, shape: Shape) -> Head:
    """What `modules.json` and the configurations that it names say. Without it: mean pooling, not normalized.

    Raises `ArtifactError` for a module or a pooling that is not built here.
    """
    if not (folder / "modules.json").is_file():
        pooling = "1_Pooling/config.json"
        if (folder / pooling).is_file():
            return Head(_modes(folder, pooling, shape), (), False, (pooling,))
        return Head(("mean",), (), True, ())
    files = ["modules.json"]
    modes: tuple[str, ...] = ()
    after: list[Dense | Literal["normalize"]] = []
    for position, (kind, path) in enumerate(_modules(folder)):
        if kind == "Transformer" and position == 0:
            if path not in ("", "."):
                raise ArtifactError(f"modules.json: the transformer is in {path!a}, expected beside modules.json.")
        elif kind == "Pooling" and not modes and position == 1:
            files.append(f"{path}/config.json")
            modes = _modes(folder, files[-1], shape)
        elif kind == "Dense" and modes:
            files.append(f"{path}/config.json")
            after.append(_dense(folder, path))
        elif kind == "Normalize" and modes:
            after.append("normalize")
        elif kind != "Dropout" or not modes:
            raise ArtifactError(
                f"modules.json: {kind} as module {position} is not supported.",
                hint="Supported: Transformer, Pooling, then any of Dense, Dropout and Normalize.",
            )
    if not modes:
        raise ArtifactError("modules.json lists no Pooling.", hint="Is it a model that makes one vector of a text?")
    _check_widths(modes, after, shape)
    return Head(modes, tuple(after), False, tuple(files))


def pooled(layers: Layers, head: Head, states: str, attention_mask: str, dense: Mapping[str, Checkpoint]) -> str:
    """states [B, n, width] and attention_mask int64 [B, n] -> float32 [B, dimension]. Computed in float32.

    `dense` has the open checkpoint of each Dense module by its folder; they must stay open until the graph is saved.
    """
    graph = layers.graph
    states = layers.to_float32(states)
    counted = graph.node("Cast", attention_mask, to=1)
    parts = [_MAKERS[mode](layers, states, attention_mask, counted) for mode in head.modes]
    x = parts[0] if len(parts) == 1 else graph.node("Concat", *parts, axis=-1)
    for module in head.after:
        x = _normalize(layers, x) if isinstance(module, str) else _apply(layers, x, module, dense[module.folder])
    return x


def _summed(layers: Layers, states: str, weights: str) -> tuple[str, str]:
    """The weighted sum [B, width] of the states, and the sum of the weights [B, 1]; weights are [B, n]."""
    graph = layers.graph
    row = graph.node("Unsqueeze", weights, graph.constant([1], np.int64))
    total = graph.node("Squeeze", graph.node("MatMul", row, states), graph.constant([1], np.int64))
    count = graph.node("ReduceSum", weights, graph.constant([1], np.int64), keepdims=1)
    return total, graph.node("Max", count, graph.constant(NO_ROOT, np.float32))


def _mean(layers: Layers, states: str, mask: str, counted: str) -> str:
    total, count = _summed(layers, states, counted)
    return layers.graph.node("Div", total, count)


def _mean_sqrt_len(layers: Layers, states: str, mask: str, counted: str) -> str:
    total, count = _summed(layers, states, counted)
    return layers.graph.node("Div", total, layers.graph.node("Sqrt", count))


def _weighted_mean(layers: Layers, states: str, mask: str, counted: str) -> str:
    graph = layers.graph
    # The weight of a token is its place, from 1: with padding at the end, that counts the tokens up to it.
    place = graph.node("CumSum", counted, graph.constant(1, np.int64))
    total, count = _summed(layers, states, graph.node("Mul", place, counted))
    return graph.node("Div", total, count)


def _cls(layers: Layers, states: str, mask: str, counted: str) -> str:
    return layers.graph.node("Gather", states, layers.graph.constant(0, np.int64), axis=1)


def _max(layers: Layers, states: str, mask: str, counted: str) -> str:
    graph = layers.graph
    padding = graph.node("Sub", counted, graph.constant(1.0, np.float32))
    lowered = graph.node("Mul", padding, graph.constant(1e9, np.float32))
    wide = graph.node("Unsqueeze", lowered, graph.constant([2], np.int64))
    return graph.node("ReduceMax", graph.node("Add", states, wide), axes=[1], keepdims=0)


def _last(layers: Layers, states: str, mask: str, counted: str) -> str:
    graph = layers.graph
    count = graph.node("ReduceSum", mask, graph.constant([1], np.int64), keepdims=1)
    place = graph.node("Max", graph.node("Sub", count, graph.constant(1, np.int64)), graph.constant(0, np.int64))
    return graph.node("GatherND", states, place, batch_dims=1)


_MAKERS: Final = {
    "cls": _cls,
    "max": _max,
    "mean": _mean,
    "mean_sqrt_len": _mean_sqrt_len,
    "weightedmean": _weighted_mean,
    "lasttoken": _last,
}


def _normalize(layers: Layers, x: str) -> str:
    graph = layers.graph
    length = graph.node("ReduceL2", x, axes=[-1], keepdims=1)
    return graph.node("Div", x, graph.node("Max", length, graph.constant(NO_LENGTH, np.float32)))


def _apply(layers: Layers, x: str, module: Dense, checkpoint: Checkpoint) -> str:
    """x float32 [B, inputs] -> float32 [B, outputs]."""
    own = Layers(layers.graph, checkpoint, "fp32")
    bias = "linear.bias" if module.bias else None
    y = own.linear(x, "linear.weight", bias, name=module.folder, shape=(module.outputs, module.inputs))
    return y if module.activation is None else own.activation(y, module.activation)


def _modules(folder: Path) -> list[tuple[str, str]]:
    """The class and the folder of each module, in their order."""
    try:
        listed = json.loads((folder / "modules.json").read_bytes()[:LIMIT_BYTES])
    except (ValueError, RecursionError) as error:
        raise ArtifactError(
            f"modules.json is not valid JSON: {error}.", hint="Download the checkpoint again."
        ) from None
    if not isinstance(listed, list):
        raise ArtifactError("modules.json is not a list of modules.", hint="Download the checkpoint again.")
    found = []
    for position, module in enumerate(listed):
        kind = module.get("type") if isinstance(module, dict) else None
        place = module.get("path") if isinstance(module, dict) else None
        if not isinstance(kind, str) or not isinstance(place, str):
            raise ArtifactError(f"modules.json: module {position} has no type or no path.", param="type")
        if place not in ("", ".") and (fault := path_fault(place)):
            raise ArtifactError(f"modules.json: the path {ascii(place)[:80]} {fault}.", param="path")
        found.append((kind.rpartition(".")[2], place))
    return found


def _modes(folder: Path, file: str, shape: Shape) -> tuple[str, ...]:
    config = Config(folder / file)
    if not config.flag("include_prompt", True):
        raise ArtifactError(f"{file}: include_prompt false is not supported.", param="include_prompt")
    width = config.integer("word_embedding_dimension", shape.width)
    if width != shape.width:
        raise ArtifactError(
            f"{file}: word_embedding_dimension is {width}, but the transformer's width is {shape.width}.",
            param="word_embedding_dimension",
        )
    named = config.values.get("pooling_mode")
    if isinstance(named, str):
        modes = tuple(_NEW_NAMES.get(mode, mode) for mode in named.lower().split("+"))
    else:
        modes = tuple(mode for key, mode in POOLING.items() if config.flag(key, False))
    unknown = [mode for mode in modes if mode not in _MAKERS]
    named_true = [key for key, value in config.values.items() if key.startswith("pooling_mode_") and value is True]
    unknown += [key for key in named_true if key not in POOLING]
    if unknown or not modes:
        raise ArtifactError(
            f"{file}: {ascii(unknown[0])[:60]} is no pooling that is supported."
            if unknown
            else f"{file} names no pooling.",
            hint=f"Supported: {', '.join(_MAKERS)}.",
            param="pooling_mode",
        )
    return modes


def _dense(folder: Path, path: str) -> Dense:
    config = Config(folder / path / "config.json")
    activation = config.text("activation_function", "torch.nn.modules.activation.Tanh").rpartition(".")[2]
    if activation not in ACTIVATIONS:
        raise ArtifactError(
            f"{path}/config.json: the activation {ascii(activation)[:60]} is not supported.",
            hint=f"Supported: {', '.join(ACTIVATIONS)}.",
            param="activation_function",
        )
    return Dense(
        path,
        config.integer("in_features"),
        config.integer("out_features"),
        config.flag("bias", True),
        ACTIVATIONS[activation],
    )


def _check_widths(modes: tuple[str, ...], after: list[Dense | Literal["normalize"]], shape: Shape) -> None:
    width = shape.width * len(modes)
    for module in after:
        if isinstance(module, Dense):
            if module.inputs != width:
                raise ArtifactError(
                    f"{module.folder}/config.json: in_features is {module.inputs}, but {width} come in.",
                    param="in_features",
                )
            width = module.outputs
