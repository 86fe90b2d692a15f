"""What encoder and decoder have in common: checking a graph against whisper.json, and where it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import onnxruntime as ort

from agent.engines.onnx.whisper.artifact import WhisperSpec
from agent.errors import ArtifactError

Float = type[np.floating[Any]]
Tensor = tuple[str, tuple[int | None, ...]]
"""ONNX Runtime's name of a type, and a shape in which None may be anything."""

FLOAT32: Final = "tensor(float)"
INT64: Final = "tensor(int64)"
FLOATS: Final[dict[str, Float]] = {FLOAT32: np.float32, "tensor(float16)": np.float16}
"""What keys and values may be kept in."""

_DEVICES: Final = {"CUDAExecutionProvider": "cuda", "TensorrtExecutionProvider": "cuda"}
_HINT: Final = "Convert the model again with `edge-convert whisper`."


def cross_tensors(spec: WhisperSpec, kind: str) -> dict[str, Tensor]:
    """What the encoder makes and the decoder takes, in the order in which they are bound."""
    heads, dim = spec.decoder_heads, spec.d_model // spec.decoder_heads
    tensors: dict[str, Tensor] = {}
    for layer in range(spec.decoder_layers):
        tensors[f"cross_key_{layer}"] = (kind, (None, heads, dim, None))
        tensors[f"cross_value_{layer}"] = (kind, (None, heads, None, dim))
    return tensors


def kind_of(file: str, arguments: list[ort.NodeArg], name: str) -> str:
    """The type of the input or output `name`: one of `FLOATS`. Raises `ArtifactError`."""
    kind = next((one.type for one in arguments if one.name == name), None)
    if kind not in FLOATS:
        said = f"keeps {name} in {kind}" if kind else f"has no {name}"
        raise ArtifactError(f"{file} {said}: it is not the graph of a Whisper artifact.", hint=_HINT)
    return str(kind)


def check_graph(
    file: str, session: ort.InferenceSession, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]
) -> None:
    """The graph takes exactly `inputs` and makes at least `outputs`. Raises `ArtifactError` naming what differs."""
    takes = {one.name: one for one in session.get_inputs()}
    makes = {one.name: one for one in session.get_outputs()}
    if unknown := sorted(set(takes) - set(inputs)):
        raise ArtifactError(
            f"{file} wants an input {unknown[0][:40]!a} that whisper.json does not explain.", hint=_HINT
        )
    for expected, there in ((inputs, takes), (outputs, makes)):
        for name, (kind, shape) in expected.items():
            found = there.get(name)
            if found is None:
                raise ArtifactError(f"{file} has no {name}: it does not fit whisper.json.", hint=_HINT)
            if found.type != kind or not _fits(found.shape, shape):
                wanted = [size if size is not None else "any" for size in shape]
                raise ArtifactError(
                    f"{file}: {name} is a {found.type} {found.shape}, and whisper.json needs a {kind} {wanted}.",
                    hint=_HINT,
                )


def _fits(found: list[int | str | None], wanted: tuple[int | None, ...]) -> bool:
    """A dimension that the graph leaves open (a name) is found out at run time."""
    return len(found) == len(wanted) and all(
        size is None or not isinstance(there, int) or there == size for there, size in zip(found, wanted, strict=True)
    )


def device_of(session: ort.InferenceSession) -> str:
    """Where the session computes, as ONNX Runtime calls devices: memory that stays between runs belongs there."""
    return next((_DEVICES[name] for name in session.get_providers() if name in _DEVICES), "cpu")


def tidy_run_options(device: str) -> ort.RunOptions:
    """For sessions with an arena that run now and then: what a run leaves free goes back to the operating system."""
    options = ort.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0" if device == "cpu" else "cpu:0;gpu:0")
    return options
