"""Runs a converted Whisper as its contract says, with ONNX Runtime alone: no part of the engine's own code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from agent.terminal import Progress
from convert.checkpoint import open_checkpoint
from convert.onnx.layers import Precision
from convert.whisper.artifact import WhisperGraphs, read_model

Array = np.ndarray[Any, Any]
LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL")


def convert(source: Path, folder: Path, precision: Precision = "fp32") -> Path:
    """All files but the manifest."""
    folder.mkdir(parents=True)
    with open_checkpoint(source) as checkpoint:
        WhisperGraphs(read_model(checkpoint), precision).write(folder, Progress("converting"))
    return folder


class OnnxWhisper:
    """Both graphs, and the past of the tokens that were decoded since `listen`."""

    def __init__(self, folder: Path, level: str = "ORT_ENABLE_ALL", threads: int = 1) -> None:
        options = ort.SessionOptions()
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.encoder, self.decoder = (
            ort.InferenceSession(str(folder / name), options, providers=["CPUExecutionProvider"])
            for name in ("encoder.onnx", "decoder.onnx")
        )
        self._outputs = [one.name for one in self.decoder.get_outputs()]
        self._state: dict[str, Array] = {}

    def listen(self, features: Array) -> dict[str, Array]:
        """features [batch, n_mels, frames] -> the cross-attention keys and values; forgets all tokens."""
        names = [one.name for one in self.encoder.get_outputs()]
        cross = dict(zip(names, self.encoder.run(None, {"input_features": features}), strict=True))
        self._state = dict(cross)
        for one in self.decoder.get_inputs():
            if one.name.startswith("past_"):
                dtype = np.float16 if one.type == "tensor(float16)" else np.float32
                self._state[one.name] = np.zeros((0, len(features), one.shape[2]), dtype)
        return cross

    def step(self, ids: Any) -> dict[str, Array]:
        """ids [batch, n] -> all outputs; the new keys and values become part of the past."""
        values = self.decoder.run(None, {**self._state, "input_ids": np.asarray(ids, np.int64)})
        out = dict(zip(self._outputs, values, strict=True))
        for name, value in out.items():
            if name.startswith("new_"):
                past = name.replace("new_", "past_")
                self._state[past] = np.concatenate([self._state[past], value])
        return out
