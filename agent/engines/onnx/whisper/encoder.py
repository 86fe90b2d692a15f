"""The encoder: log-mel in, cross-attention keys and values of every decoder layer out, left where they were made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime as ort

from agent.engines.onnx.session import SessionOptions, open_session, translated
from agent.engines.onnx.whisper.artifact import WhisperSpec
from agent.engines.onnx.whisper.graph import (
    FLOAT32,
    FLOATS,
    check_graph,
    cross_tensors,
    device_of,
    kind_of,
    tidy_run_options,
)
from agent.engines.onnx.whisper.log_mel import Features
from agent.errors import RequestError

ENCODER_FILE: Final = "encoder.onnx"


@dataclass(frozen=True)
class CrossAttention:
    """What the encoder made of a batch of windows; the decoder binds it as it is, for all its steps.

    `values` maps `cross_key_{i}` ([batch, heads, head_dim, positions]) and `cross_value_{i}` ([batch, heads, positions,
    head_dim]) to their memory. A position is two frames, 20 ms.
    """

    values: dict[str, ort.OrtValue]
    batch: int
    positions: int

    def repeated(self, count: int) -> CrossAttention:
        """Each window `count` times over, next to each other: for as many sequences (beams) that hear the same."""
        values = {
            name: ort.OrtValue.ortvalue_from_numpy(np.repeat(value.numpy(), count, axis=0), value.device_name(), 0)
            for name, value in self.values.items()
        }
        return CrossAttention(values=values, batch=self.batch * count, positions=self.positions)


class Encoder:
    """One session on `encoder.onnx`. Not for two threads at once. `element` is the type of what it makes.

    It has an arena whatever the options say, which is emptied after each run: without one, each of the large tensors of
    a run is mapped, filled with zeros and unmapped, which takes as long again as the computation.
    """

    def __init__(self, folder: Path, spec: WhisperSpec, options: SessionOptions) -> None:
        """Raises `ModelLoadError` (the file), `ArtifactError` (a graph that is not the one whisper.json describes)."""
        self._spec = spec
        self._session = open_session(folder / ENCODER_FILE, replace(options, arena=True))
        kind = kind_of(ENCODER_FILE, self._session.get_outputs(), "cross_key_0")
        outputs = cross_tensors(spec, kind)
        features = (FLOAT32, (None, spec.n_mels, None))
        check_graph(ENCODER_FILE, self._session, {"input_features": features}, outputs)
        self._outputs = list(outputs)
        self.element = FLOATS[kind]
        self._device = device_of(self._session)
        self._run_options = tidy_run_options(self._device)

    def run(self, features: Features) -> CrossAttention:
        """`features` is float32 [batch, n_mels, frames], frames even, 2 to `spec.max_frames`.

        Raises `RequestError` for another shape, `EngineError` if the run fails.
        """
        batch, frames = self._check(features)
        binding = self._session.io_binding()
        binding.bind_cpu_input("input_features", np.ascontiguousarray(features, dtype=np.float32))
        heads, dim = self._spec.decoder_heads, self._spec.d_model // self._spec.decoder_heads
        values = {}
        for name in self._outputs:
            sizes = [dim, frames // 2] if name.startswith("cross_key") else [frames // 2, dim]
            # Memory of its own: what lies in the session's arena would keep that from shrinking.
            value = ort.OrtValue.ortvalue_from_shape_and_type([batch, heads, *sizes], self.element, self._device, 0)
            binding.bind_ortvalue_output(name, value)
            values[name] = value
        with translated(ENCODER_FILE):
            self._session.run_with_iobinding(binding, self._run_options)
        return CrossAttention(values=values, batch=batch, positions=frames // 2)

    def _check(self, features: Features) -> tuple[int, int]:
        spec = self._spec
        if features.ndim != 3 or features.shape[0] < 1 or features.shape[1] != spec.n_mels:
            raise RequestError(f"Features of shape {list(features.shape)} are not [batch, {spec.n_mels}, frames].")
        frames = features.shape[2]
        if frames % 2 or not 2 <= frames <= spec.max_frames:
            raise RequestError(f"{frames} frames do not fit: the encoder takes an even number, 2 to {spec.max_frames}.")
        return features.shape[0], frames
