"""The decoder, one step at a time, with its self-attention keys and values written in place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from agent.engines.onnx.session import SessionOptions, open_session, translated
from agent.engines.onnx.whisper.artifact import WhisperSpec
from agent.engines.onnx.whisper.encoder import CrossAttention
from agent.engines.onnx.whisper.graph import (
    FLOAT32,
    FLOATS,
    INT64,
    Tensor,
    check_graph,
    cross_tensors,
    device_of,
    kind_of,
)
from agent.engines.onnx.whisper.steps import Logits, Tokens, Weights, checked_rows, checked_tokens

DECODER_FILE: Final = "decoder.onnx"


class Decoder:
    """One session on `decoder.onnx` and the memory of the sequences that it is decoding: one batch at a time.

    Self-attention keys and values live in one buffer each per layer, [max_target_positions, batch, d_model]. Time comes
    first, so the past is a prefix of the buffer and what a step adds is the rows after it: both are bound by address,
    nothing is copied, and going back is a smaller number. Cross-attention is bound once per `begin`. `element` is the
    type of all of them. `steps.StepDecoder` says what each method does.
    """

    def __init__(self, folder: Path, spec: WhisperSpec, options: SessionOptions) -> None:
        """Raises `ModelLoadError` (the file), `ArtifactError` (a graph that is not the one whisper.json describes)."""
        self._spec = spec
        self._session = open_session(folder / DECODER_FILE, options)
        takes = self._session.get_inputs()
        kind = kind_of(DECODER_FILE, takes, "past_key_0")
        names = [f"{what}_{layer}" for layer in range(spec.decoder_layers) for what in ("key", "value")]
        self._pairs = [(f"past_{name}", f"new_{name}") for name in names]
        rows: Tensor = (kind, (None, None, spec.d_model))
        inputs: dict[str, Tensor] = {"input_ids": (INT64, (None, None)), **cross_tensors(spec, kind)}
        outputs: dict[str, Tensor] = {"logits": (FLOAT32, (None, spec.vocab_size))}
        for past, new in self._pairs:
            inputs[past] = outputs[new] = rows
        if spec.alignment_heads:
            outputs["cross_attention"] = (FLOAT32, (None, len(spec.alignment_heads), None, None))
        check_graph(DECODER_FILE, self._session, inputs, outputs)
        self.element = FLOATS[kind]
        # A graph that calls the batch of sequences and that of windows by two names lets all sequences share a window.
        batches = {one.name: one.shape[0] for one in takes if one.name in ("input_ids", "cross_key_0")}
        self._shares_window = len(set(batches.values())) == len(batches)
        self._device = device_of(self._session)
        self._binding = self._session.io_binding()
        self._window: CrossAttention | None = None
        self._cross: CrossAttention | None = None
        self._buffers: list[ort.OrtValue] = []
        self._logits: Logits = np.empty((0, spec.vocab_size), dtype=np.float32)
        self._input: Tokens = np.empty((0, 0), dtype=np.int64)
        self._length = 0

    @property
    def length(self) -> int:
        return self._length

    @property
    def capacity(self) -> int:
        return self._spec.max_target_positions

    @property
    def aligns(self) -> bool:
        return bool(self._spec.alignment_heads)

    def begin(self, cross: CrossAttention) -> None:
        if self._logits.shape[0] != cross.batch:
            self._buffers = self._new_buffers(cross.batch)
        self._window = cross
        self._length = 0
        self._bind(cross, cross.batch)

    def step(self, tokens: npt.ArrayLike) -> Logits:
        fed = self._checked(tokens)
        if fed.shape == self._input.shape:
            self._input[...] = fed
        else:
            self._input = fed
            self._binding.bind_cpu_input("input_ids", self._input)
        self._bind_rows(self._binding, fed.shape[1])
        with translated(DECODER_FILE):
            self._session.run_with_iobinding(self._binding)
        self._length += fed.shape[1]
        return self._logits

    def attend(self, tokens: npt.ArrayLike) -> Weights:
        if not self.aligns or self._cross is None:
            raise ValueError("the model has no alignment heads, or nothing has begun")
        fed = self._checked(tokens)
        binding = self._new_binding(self._cross)
        binding.bind_cpu_input("input_ids", fed)
        self._bind_rows(binding, fed.shape[1])
        binding.bind_output("cross_attention", "cpu")
        with translated(DECODER_FILE):
            self._session.run_with_iobinding(binding)
        self._length += fed.shape[1]
        weights: Weights = binding.get_outputs()[-1].numpy()
        return weights

    def end(self) -> None:
        self._window = self._cross = None
        self._buffers = []
        self._logits = np.empty((0, self._spec.vocab_size), dtype=np.float32)
        self._input = np.empty((0, 0), dtype=np.int64)
        self._binding = self._session.io_binding()
        self._length = 0

    def rollback(self, length: int) -> None:
        if not 0 <= length <= self._length:
            raise ValueError(f"cannot go back from {self._length} tokens to {length}")
        self._length = length

    def reorder(self, rows: Sequence[int]) -> None:
        batch = self._logits.shape[0]
        taken = checked_rows(rows, batch)
        if taken == list(range(batch)):
            return
        if self._window is None or (self._window.batch != 1 and len(taken) != batch):
            raise ValueError("only the sequences of one window can become more or fewer")
        if self._window.batch != 1:
            raise ValueError("sequences that hear different windows cannot take each other's place")
        into = self._buffers if len(taken) == batch else self._new_buffers(len(taken))
        for source, target in zip(self._buffers, into, strict=True):
            values = target.numpy()  # the memory itself where the device is the CPU, else a copy of it
            values[: self._length] = source.numpy()[: self._length, taken]
            if self._device != "cpu":
                target.update_inplace(values)
        self._buffers = into
        if len(taken) != batch:
            shared = self._shares_window or len(taken) == 1
            self._bind(self._window if shared else self._window.repeated(len(taken)), len(taken))

    def _checked(self, tokens: npt.ArrayLike) -> Tokens:
        return checked_tokens(
            tokens,
            batch=self._logits.shape[0],
            vocab_size=self._spec.vocab_size,
            length=self._length,
            capacity=self.capacity,
        )

    def _new_buffers(self, batch: int) -> list[ort.OrtValue]:
        shape = [self.capacity, batch, self._spec.d_model]
        return [ort.OrtValue.ortvalue_from_shape_and_type(shape, self.element, self._device, 0) for _ in self._pairs]

    def _bind(self, cross: CrossAttention, batch: int) -> None:
        """`batch` sequences hear `cross` from now on."""
        if self._logits.shape[0] != batch:
            self._logits = np.empty((batch, self._spec.vocab_size), dtype=np.float32)
        self._cross = cross
        self._input = np.empty((0, 0), dtype=np.int64)
        self._binding = self._new_binding(cross)

    def _new_binding(self, cross: CrossAttention) -> ort.IOBinding:
        binding = self._session.io_binding()
        for name, value in cross.values.items():
            binding.bind_ortvalue_input(name, value)
        logits = self._logits
        binding.bind_output("logits", "cpu", 0, np.float32, list(logits.shape), logits.ctypes.data)
        return binding

    def _bind_rows(self, binding: ort.IOBinding, count: int) -> None:
        """The past is the rows before `length`, what is new goes to the `count` rows after it."""
        batch, d_model = self._logits.shape[0], self._spec.d_model
        past, new = [self._length, batch, d_model], [count, batch, d_model]
        offset_bytes = self._length * batch * d_model * np.dtype(self.element).itemsize
        for (past_name, new_name), buffer in zip(self._pairs, self._buffers, strict=True):
            address = buffer.data_ptr()
            binding.bind_input(past_name, self._device, 0, self.element, past, address)
            binding.bind_output(new_name, self._device, 0, self.element, new, address + offset_bytes)
