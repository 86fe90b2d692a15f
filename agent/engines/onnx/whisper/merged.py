"""The graphs of an imported folder: an encoder that gives its states, and a decoder with both branches in one file.

Without `use_cache_branch` the decoder takes all tokens at once and makes the keys and values of the audio, too; with
it, one token at a time, and those of the audio come back empty: the ones it was given stay valid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from agent.engines.onnx.session import SessionOptions, dtype_of, open_session, translated
from agent.engines.onnx.whisper.artifact import WhisperSpec
from agent.engines.onnx.whisper.encoder import CrossAttention
from agent.engines.onnx.whisper.graph import device_of, tidy_run_options
from agent.engines.onnx.whisper.imported import ImportedGraphs
from agent.engines.onnx.whisper.log_mel import Features
from agent.engines.onnx.whisper.steps import Logits, Weights, checked_rows, checked_tokens
from agent.errors import ArtifactError, RequestError

STATES: Final = "encoder_hidden_states"
_HINT: Final = "Convert the checkpoint with `edge-convert whisper`."

Values = dict[str, ort.OrtValue]


class MergedEncoder:
    """One session on `encoder_model*.onnx`. It takes the whole window: its positions are built in."""

    def __init__(self, graphs: ImportedGraphs, spec: WhisperSpec, options: SessionOptions) -> None:
        """Raises `ModelLoadError`, `ArtifactError` for a graph with other inputs or outputs."""
        self._spec = spec
        self._file = graphs.encoder.name
        self._session = open_session(graphs.encoder, replace(options, arena=True))
        self._run_options = tidy_run_options(device_of(self._session))
        _require(self._file, self._session, {"input_features"}, {"last_hidden_state"})
        inputs = {one.name: one for one in self._session.get_inputs()}
        self._dtype = dtype_of(inputs["input_features"].type)

    def run(self, features: Features) -> CrossAttention:
        """`features` is float32 [batch, n_mels, `spec.max_frames`]. Raises `RequestError` for another shape."""
        wanted = (self._spec.n_mels, self._spec.max_frames)
        if features.ndim != 3 or features.shape[1:] != wanted:
            raise RequestError(f"Features of shape {list(features.shape)} are not [batch, {wanted[0]}, {wanted[1]}].")
        given = ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(features, dtype=self._dtype))
        with translated(self._file):
            (states,) = self._session.run_with_ort_values(
                ["last_hidden_state"], {"input_features": given}, self._run_options
            )
        return CrossAttention(values={STATES: states}, batch=features.shape[0], positions=states.shape()[1])


class MergedDecoder:
    """One session on `decoder_model_merged*.onnx`, as a `steps.StepDecoder`; `attend` is what it cannot do."""

    def __init__(self, graphs: ImportedGraphs, spec: WhisperSpec, options: SessionOptions) -> None:
        """Raises `ModelLoadError`, `ArtifactError` for a graph with other inputs or outputs."""
        self._spec = spec
        self._file = graphs.decoder.name
        self._session = open_session(graphs.decoder, options)
        self._own = [f"{layer}.decoder.{kind}" for layer in range(spec.decoder_layers) for kind in ("key", "value")]
        self._audio = [f"{layer}.encoder.{kind}" for layer in range(spec.decoder_layers) for kind in ("key", "value")]
        parts = [*self._own, *self._audio]
        past = {f"past_key_values.{part}" for part in parts}
        inputs = _require(
            self._file,
            self._session,
            {"input_ids", STATES, "use_cache_branch", *past},
            {"logits", *(f"present.{part}" for part in parts)},
        )
        self._dtype = dtype_of(inputs["past_key_values.0.decoder.key"].type)
        self._states_dtype = dtype_of(inputs[STATES].type)
        self._past: Values = {}
        self._states: ort.OrtValue | None = None
        self._batch = 0
        self._windows = 0
        self._length = 0

    @property
    def length(self) -> int:
        return self._length

    @property
    def capacity(self) -> int:
        return self._spec.max_target_positions

    @property
    def aligns(self) -> bool:
        return False

    def begin(self, cross: CrossAttention) -> None:
        self._states = _value(cross.values[STATES].numpy(), self._states_dtype)
        self._batch = self._windows = cross.batch
        self._forget()

    def step(self, tokens: npt.ArrayLike) -> Logits:
        fed = checked_tokens(
            tokens,
            batch=self._batch,
            vocab_size=self._spec.vocab_size,
            length=self._length,
            capacity=self.capacity,
        )
        if not self._length:
            return self._run(fed, cached=False)
        # The branch with a cache was exported for one token: with more, the later ones may hear the earlier not.
        for column in range(fed.shape[1] - 1):
            self._run(fed[:, column : column + 1], cached=True)
        return self._run(fed[:, -1:], cached=True)

    def attend(self, tokens: npt.ArrayLike) -> Weights:
        raise ValueError("this graph gives no attention")

    def end(self) -> None:
        self._states = None
        self._batch = self._windows = self._length = 0
        self._past = {}

    def rollback(self, length: int) -> None:
        if not 0 <= length <= self._length:
            raise ValueError(f"cannot go back from {self._length} tokens to {length}")
        if not length:
            self._forget()
        else:
            for part in self._own:
                self._past[part] = _value(self._past[part].numpy()[:, :, :length])
        self._length = length

    def reorder(self, rows: Sequence[int]) -> None:
        taken = checked_rows(rows, self._batch)
        if taken == list(range(self._batch)):
            return
        if self._windows != 1 or self._states is None:
            raise ValueError("sequences that hear different windows cannot take each other's place")
        # They all hear the same: the keys and values of the audio change in number only.
        changed = self._own if len(taken) == self._batch else [*self._own, *self._audio]
        for part in changed if self._length else ():
            self._past[part] = _value(self._past[part].numpy()[taken])
        if len(taken) != self._batch:
            self._states = _value(self._states.numpy()[taken])
        self._batch = len(taken)
        if not self._length:
            self._forget()

    def _forget(self) -> None:
        self._length = 0
        heads, dim = self._spec.decoder_heads, self._spec.d_model // self._spec.decoder_heads
        nothing = np.empty((self._batch, heads, 0, dim), dtype=self._dtype)
        self._past = {part: ort.OrtValue.ortvalue_from_numpy(nothing) for part in (*self._own, *self._audio)}

    def _run(self, fed: npt.NDArray[np.int64], *, cached: bool) -> Logits:
        if self._states is None:
            raise ValueError("nothing has begun")
        feeds = {f"past_key_values.{part}": value for part, value in self._past.items()}
        feeds["input_ids"] = ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(fed))
        feeds[STATES] = self._states
        feeds["use_cache_branch"] = ort.OrtValue.ortvalue_from_numpy(np.array([cached]))
        parts = self._own if cached else [*self._own, *self._audio]
        with translated(self._file):
            logits, *present = self._session.run_with_ort_values(
                ["logits", *(f"present.{part}" for part in parts)], feeds
            )
        self._past.update(zip(parts, present, strict=True))
        self._length += fed.shape[1]
        return np.array(logits.numpy()[:, -1], dtype=np.float32)


def _require(file: str, session: ort.InferenceSession, inputs: set[str], outputs: set[str]) -> dict[str, ort.NodeArg]:
    """The inputs by name. Raises `ArtifactError` naming what is missing, or not known here."""
    takes = {one.name: one for one in session.get_inputs()}
    makes = {one.name for one in session.get_outputs()}
    for name in sorted((inputs - set(takes)) | (outputs - makes)):
        raise ArtifactError(f"{file} has no {name}: it is not such a graph of this model.", hint=_HINT)
    for name in sorted(set(takes) - inputs):
        raise ArtifactError(f"{file} wants an input {ascii(name)[1:41]} that is not known.", hint=_HINT)
    return takes


def _value(values: npt.NDArray[np.generic], dtype: npt.DTypeLike | None = None) -> ort.OrtValue:
    """Its own copy, in one piece."""
    return ort.OrtValue.ortvalue_from_numpy(np.array(values, dtype=dtype, order="C"))
