"""A Whisper in ONNX served by a worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from agent.engines.onnx.service import OnnxService, measured, place_of, session_options
from agent.engines.onnx.whisper.decode import DecodingOptions, decode
from agent.engines.onnx.whisper.engine import WhisperEngine
from agent.engines.onnx.whisper.memory import predict_memory
from agent.engines.onnx.whisper.model import WhisperModel
from agent.engines.onnx.whisper.request import check, checked_audio
from agent.engines.onnx.whisper.transcriber import WindowPolicy
from agent.engines.process import give_large_blocks_back, release_free_memory
from agent.errors import ArtifactError, ModelLoadError, RequestError
from agent.runtime.wire.loading import Loaded
from agent.runtime.wire.memory import Memory
from agent.runtime.wire.messages import FromWorker, Request
from agent.runtime.wire.options import OnnxOptions
from agent.runtime.wire.transcription import Transcribe

_WARM_UP_TOKENS: Final = 2


def predict(path: Path, options: OnnxOptions) -> Memory:
    """What loading and the largest request would take. Raises `ModelLoadError`."""
    give_large_blocks_back()
    return predict_memory(path)


class WhisperService(OnnxService[WhisperEngine]):
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
        session = session_options(options)
        try:
            model = WhisperModel(path, session)
        except ArtifactError as error:
            raise ModelLoadError(error.message, hint=error.hint, param=error.param) from error
        policy = WindowPolicy(floor_s=floor_s, margin_s=margin_s, fits=model.fits)
        _warm_up(model, policy)
        engine = WhisperEngine(model, policy, threads=options.threads, emit=emit)
        release_free_memory()
        spec = model.spec
        loaded = Loaded(
            memory=measured(predicted),
            context_tokens=spec.max_target_positions,
            train_context_tokens=spec.max_target_positions,
            slots=options.slots,
            vocab_tokens=spec.vocab_size,
            embedding_dim=0,
            has_chat_template=False,
            description=f"Whisper, {place_of(session)}",
            load_s=time.monotonic() - started,
        )
        super().__init__(engine, loaded)
        self._model = model

    def submit(self, request: Request, came_s: float, /) -> None:
        """Raises `RequestError` for audio that is none, and for what this model cannot do."""
        if not isinstance(request, Transcribe):
            raise RequestError("This model transcribes speech; it does nothing else.", param="model")
        check(request, self._model.spec, self._model.decoder)
        self._engine.submit(request, checked_audio(request.audio, self._model.spec.max_frames), came_s)


def _warm_up(model: WhisperModel, policy: WindowPolicy) -> None:
    """A first run allocates, and shows a graph that loads but does not run."""
    cross = model.encode(np.zeros(1, dtype=np.float32), policy.frames(1, model.spec.max_frames, full=False))
    language = min(model.spec.languages, default="en")
    options = DecodingOptions(language=language, max_tokens=_WARM_UP_TOKENS)
    decode(model.decoder, model.spec, cross, options)
