"""A Whisper in ONNX served by a worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime

from agent.engines.onnx.session import CPU, SessionOptions
from agent.engines.onnx.whisper.decode import DecodingOptions, decode
from agent.engines.onnx.whisper.engine import WhisperEngine
from agent.engines.onnx.whisper.memory import predict_memory
from agent.engines.onnx.whisper.model import WhisperModel
from agent.engines.onnx.whisper.request import check, checked_audio
from agent.engines.onnx.whisper.transcriber import WindowPolicy
from agent.engines.process import give_large_blocks_back, release_free_memory, resident_bytes
from agent.errors import ArtifactError, ModelLoadError, RequestError
from agent.runtime.wire import (
    Cancel,
    FromWorker,
    Loaded,
    Memory,
    OnnxOptions,
    Pong,
    Request,
    SetPace,
    SetThreads,
    Transcribe,
)

_WARM_UP_TOKENS: Final = 2


def predict(path: Path, options: OnnxOptions) -> Memory:
    """What loading and the largest request would take. Raises `ModelLoadError`."""
    give_large_blocks_back()
    return predict_memory(path)


class WhisperService:
    """Loads the model on construction. Raises `ModelLoadError`.

    `floor_s` and `margin_s` are those of `WindowPolicy`.
    """

    def __init__(
        self,
        path: Path,
        options: OnnxOptions,
        predicted: Memory,
        emit: Callable[[list[FromWorker]], None],
        *,
        floor_s: float = 10.0,
        margin_s: float = 2.0,
    ) -> None:
        started = time.monotonic()
        there = onnxruntime.get_available_providers()
        wanted = tuple(name for name in options.providers if name in there) or (CPU,)
        session = SessionOptions(
            threads=options.threads, spinning=options.spinning, arena=options.arena, providers=wanted
        )
        try:
            self._model = WhisperModel(path, session)
        except ArtifactError as error:
            raise ModelLoadError(error.message, hint=error.hint, param=error.param) from error
        policy = WindowPolicy(floor_s=floor_s, margin_s=margin_s, fits=self._model.fits)
        self._warm_up(policy)
        self._engine = WhisperEngine(self._model, policy, threads=options.threads, emit=emit)
        release_free_memory()
        resident = resident_bytes()
        spec = self._model.spec
        self.loaded = Loaded(
            memory=Memory(
                weights_bytes=predicted.weights_bytes,
                kv_bytes=predicted.kv_bytes,
                compute_bytes=predicted.compute_bytes,
                overhead_bytes=max(0, resident - predicted.weights_bytes),
                resident_bytes=resident,
            ),
            context_tokens=spec.max_target_positions,
            train_context_tokens=spec.max_target_positions,
            slots=options.slots,
            vocab_tokens=spec.vocab_size,
            embedding_dim=0,
            has_chat_template=False,
            description=f"Whisper, ONNX on {wanted[0].removesuffix('ExecutionProvider')}",
            load_s=time.monotonic() - started,
        )

    def run(self) -> None:
        self._engine.run()

    def submit(self, request: Request) -> None:
        """Raises `RequestError` for audio that is none, and for what this model cannot do."""
        if not isinstance(request, Transcribe):
            raise RequestError("This model transcribes speech; it does nothing else.", param="model")
        check(request, self._model.spec, self._model.decoder)
        self._engine.submit(request, checked_audio(request.audio, self._model.spec.max_frames))

    def cancel(self, order: Cancel) -> None:
        self._engine.cancel(order)

    def set_threads(self, order: SetThreads) -> None:
        """ONNX Runtime fixes its threads when a session is opened; the governor paces requests instead."""

    def set_pace(self, order: SetPace) -> None:
        """A run of ONNX Runtime is a whole request, or a batch of them: between them there is nothing to pace."""

    def pong(self, seq: int) -> Pong:
        stats = self._engine.stats
        started = stats.step_started_at
        return Pong(
            seq=seq,
            step_age_s=0.0 if started is None else time.monotonic() - started,
            resident_bytes=resident_bytes(),
            prefix_cache_bytes=0,
            kv_used_tokens=0,
            active_sequences=stats.active,
            waiting_sequences=stats.waiting,
            batch_tokens=0,
            threads=stats.threads,
        )

    def _warm_up(self, policy: WindowPolicy) -> None:
        """A first run allocates, and shows a graph that loads but does not run."""
        model = self._model
        cross = model.encode(np.zeros(1, dtype=np.float32), policy.frames(1, model.spec.max_frames, full=False))
        language = min(model.spec.languages, default="en")
        options = DecodingOptions(language=language, max_tokens=_WARM_UP_TOKENS)
        decode(model.decoder, model.spec, cross, options)
