"""A Whisper on disk, open and ready: features, encoder, decoder, tokenizer."""

from __future__ import annotations

from pathlib import Path

from agent.engines.onnx.session import SessionOptions
from agent.engines.onnx.whisper.artifact import SPEC_FILE, read_filters, read_spec
from agent.engines.onnx.whisper.decode import Hypothesis
from agent.engines.onnx.whisper.decoder import DECODER_FILE, Decoder
from agent.engines.onnx.whisper.encoder import ENCODER_FILE, CrossAttention, Encoder
from agent.engines.onnx.whisper.greedy import GreedyOptions, decode_greedy
from agent.engines.onnx.whisper.imported import DECODER_GRAPH, find_graphs, read_imported_spec
from agent.engines.onnx.whisper.log_mel import Audio, log_mel
from agent.engines.onnx.whisper.mel_filters import mel_filters
from agent.engines.onnx.whisper.merged import MergedDecoder, MergedEncoder
from agent.engines.onnx.whisper.steps import StepDecoder
from agent.engines.onnx.whisper.tokenizer import WhisperTokenizer
from agent.errors import ArtifactError


class WhisperModel:
    """Everything in one folder: an artifact of `edge-convert whisper`, or an imported one. Not for two threads at once.

    `fits`: the encoder takes windows of any length, and not the whole one alone.
    """

    encoder: Encoder | MergedEncoder
    decoder: StepDecoder

    def __init__(self, folder: Path, options: SessionOptions) -> None:
        """Raises `ArtifactError` (a file is missing or wrong) and `ModelLoadError` (a graph that does not load)."""
        self.fits = is_artifact(folder)
        if self.fits:
            self.spec = read_spec(folder)
            self.filters = read_filters(folder, self.spec.n_mels)
        else:
            graphs = find_graphs(folder)
            self.spec = read_imported_spec(folder)
            self.filters = mel_filters(self.spec.n_mels)
        self.tokenizer = WhisperTokenizer(folder, self.spec.tokens.eot)
        if self.fits:
            encoder, decoder = Encoder(folder, self.spec, options), Decoder(folder, self.spec, options)
            made, taken = encoder.element.__name__, decoder.element.__name__
            if made != taken:
                raise ArtifactError(
                    f"{ENCODER_FILE} makes {made}, {DECODER_FILE} takes {taken}.",
                    hint="Both must be of one conversion.",
                )
            self.encoder, self.decoder = encoder, decoder
        else:
            self.encoder = MergedEncoder(graphs, self.spec, options)
            self.decoder = MergedDecoder(graphs, self.spec, options)

    def encode(self, audio: Audio, frames: int | None = None) -> CrossAttention:
        """One window of 16 kHz mono audio, [samples] in -1..1; `frames` as in `log_mel`. Raises `RequestError`."""
        return self.encoder.run(log_mel(audio, self.filters, frames)[None])

    def transcribe(self, audio: Audio, options: GreedyOptions, frames: int | None = None) -> Hypothesis:
        """`encode`, then `decode_greedy`. Raises `RequestError`, `EngineError`."""
        return decode_greedy(self.decoder, self.spec, self.encode(audio, frames), options)


def is_artifact(folder: Path) -> bool:
    """Whether it is one of `edge-convert whisper`; a folder that is neither is taken for one that lost whisper.json."""
    if (folder / SPEC_FILE).is_file():
        return True
    return not any(any((folder / place).glob(f"{DECODER_GRAPH}*.onnx")) for place in ("onnx", ""))
