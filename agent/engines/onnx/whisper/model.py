"""A Whisper artifact, open and ready: features, encoder, decoder, tokenizer."""

from __future__ import annotations

from pathlib import Path

from agent.engines.onnx.session import SessionOptions
from agent.engines.onnx.whisper.artifact import read_filters, read_spec
from agent.engines.onnx.whisper.decoder import DECODER_FILE, Decoder
from agent.engines.onnx.whisper.encoder import ENCODER_FILE, CrossAttention, Encoder
from agent.engines.onnx.whisper.decode import Hypothesis
from agent.engines.onnx.whisper.greedy import GreedyOptions, decode_greedy
from agent.engines.onnx.whisper.log_mel import Audio, log_mel
from agent.engines.onnx.whisper.tokenizer import WhisperTokenizer
from agent.errors import ArtifactError


class WhisperModel:
    """Everything in one artifact's folder. Not for two threads at once."""

    def __init__(self, folder: Path, options: SessionOptions) -> None:
        """Raises `ArtifactError` (a file is missing or wrong) and `ModelLoadError` (a graph that does not load)."""
        self.spec = read_spec(folder)
        self.filters = read_filters(folder, self.spec.n_mels)
        self.tokenizer = WhisperTokenizer(folder, self.spec.tokens.eot)
        self.encoder = Encoder(folder, self.spec, options)
        self.decoder = Decoder(folder, self.spec, options)
        made, taken = self.encoder.element.__name__, self.decoder.element.__name__
        if made != taken:
            raise ArtifactError(
                f"{ENCODER_FILE} makes {made}, {DECODER_FILE} takes {taken}.", hint="Both must be of one conversion."
            )

    def encode(self, audio: Audio, frames: int | None = None) -> CrossAttention:
        """One window of 16 kHz mono audio, [samples] in -1..1; `frames` as in `log_mel`. Raises `RequestError`."""
        return self.encoder.run(log_mel(audio, self.filters, frames)[None])

    def transcribe(self, audio: Audio, options: GreedyOptions, frames: int | None = None) -> Hypothesis:
        """`encode`, then `decode_greedy`. Raises `RequestError`, `EngineError`."""
        return decode_greedy(self.decoder, self.spec, self.encode(audio, frames), options)
