"""`whisper.json` and `mel_filters.npy` of a Whisper artifact: read with care, because a file may be anyone's.

docs/whisper-artifact.md describes the files; convert/whisper writes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import msgspec
import numpy as np
import numpy.typing as npt

from agent.engines.onnx.whisper.mel_filters import FFT_BINS
from agent.errors import ArtifactError

SPEC_FILE: Final = "whisper.json"
FILTERS_FILE: Final = "mel_filters.npy"
SPEC_LIMIT_BYTES: Final = 1024 * 1024
_NPY_LIMIT_BYTES: Final = 1024
_HINT: Final = "docs/whisper-artifact.md describes every key."

Dimension = Annotated[int, msgspec.Meta(ge=1, le=65_536)]
Positions = Annotated[int, msgspec.Meta(ge=1, le=8_192)]
"""Buffers have this many rows; every published Whisper has 1500 and 448."""
Vocabulary = Annotated[int, msgspec.Meta(ge=1, le=2**21)]
TokenId = Annotated[int, msgspec.Meta(ge=0, lt=2**21)]
TokenIds = Annotated[tuple[TokenId, ...], msgspec.Meta(max_length=65_536)]
Index = Annotated[int, msgspec.Meta(ge=0, le=65_536)]


class SpecialTokens(msgspec.Struct, frozen=True, kw_only=True):
    """Ids of the tokens that are not text; None for one that the vocabulary does not have."""

    eot: TokenId
    sot: TokenId
    translate: TokenId | None
    transcribe: TokenId | None
    sot_lm: TokenId | None
    sot_prev: TokenId | None
    no_speech: TokenId | None
    no_timestamps: TokenId | None
    timestamp_begin: TokenId | None


class WhisperSpec(msgspec.Struct, frozen=True, kw_only=True):
    """`whisper.json`: the shape of the model and the ids of its special tokens.

    `max_source_positions` counts encoder outputs (two frames, 20 ms each), `max_target_positions` tokens.
    `alignment_heads` are (layer, head) of the decoder. Keys that are not known here are ignored, so that artifacts of a
    later converter still run.
    """

    n_mels: Dimension
    d_model: Dimension
    encoder_layers: Dimension
    decoder_layers: Dimension
    decoder_heads: Dimension
    vocab_size: Vocabulary
    max_source_positions: Positions
    max_target_positions: Positions
    multilingual: bool
    tokens: SpecialTokens
    languages: Annotated[dict[str, TokenId], msgspec.Meta(max_length=1024)]
    suppress_tokens: TokenIds
    begin_suppress_tokens: TokenIds
    max_initial_timestamp_index: Index | None
    alignment_heads: Annotated[tuple[tuple[Index, Index], ...], msgspec.Meta(max_length=65_536)]
    median_filter_width: Dimension

    @property
    def max_frames(self) -> int:
        """The longest encoder window, in frames of 10 ms."""
        return 2 * self.max_source_positions


_decoder = msgspec.json.Decoder(WhisperSpec)
_ERROR = re.compile(r"(?P<what>.*?)(?: - at `(?:key in )?\$\.?(?P<path>.*)`)?\Z", re.DOTALL)
_FIELD = re.compile(r"missing required field `(.*)`")


def read_spec(folder: Path) -> WhisperSpec:
    """The `whisper.json` in an artifact's folder. Raises `ArtifactError` that names the key (`param`)."""
    return decode_spec(_read(folder / SPEC_FILE, SPEC_LIMIT_BYTES))


def decode_spec(data: bytes, *, file: str = SPEC_FILE) -> WhisperSpec:
    """A `WhisperSpec` whose types, ranges and ids are right. Raises `ArtifactError` that names `file` and the key
    (`param`).
    """
    try:
        return _checked(data)
    except ArtifactError as error:
        if file == SPEC_FILE:
            raise
        message = error.message.replace(SPEC_FILE, file, 1)
        raise ArtifactError(message, hint="Import the whole repository.", param=error.param) from None


def _checked(data: bytes) -> WhisperSpec:
    try:
        spec = _decoder.decode(data)
    except msgspec.ValidationError as error:
        raise _translated(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _fault(None, f"not valid JSON: {error}") from None
    if spec.d_model % spec.decoder_heads:
        raise _fault("decoder_heads", f"{spec.decoder_heads} does not divide d_model ({spec.d_model})")
    for key, token in _ids(spec):
        if token >= spec.vocab_size:
            raise _fault(key, f"{token} is not in the vocabulary of {spec.vocab_size} tokens")
    if spec.tokens.timestamp_begin is not None and spec.tokens.timestamp_begin <= spec.tokens.eot:
        raise _fault(
            "tokens.timestamp_begin", f"must come after eot ({spec.tokens.eot}), as in every Whisper vocabulary"
        )
    for index, (layer, head) in enumerate(spec.alignment_heads):
        if layer >= spec.decoder_layers or head >= spec.decoder_heads:
            raise _fault(f"alignment_heads[{index}]", f"the decoder has no head {head} in a layer {layer}")
    if spec.multilingual and not spec.languages:
        raise _fault("languages", "a multilingual model needs at least one")
    if spec.multilingual and spec.tokens.transcribe is None:
        raise _fault("tokens.transcribe", "a multilingual model needs it")
    return spec


def read_filters(folder: Path, n_mels: int) -> npt.NDArray[np.float32]:
    """The mel filters in an artifact's folder, float32 [n_mels, 201]. Raises `ArtifactError`."""
    values_bytes = n_mels * FFT_BINS * 4
    data = _read(folder / FILTERS_FILE, values_bytes + _NPY_LIMIT_BYTES)
    header = data[: max(0, len(data) - values_bytes)]
    if not _is_npy_header(header, n_mels):
        raise ArtifactError(f"{FILTERS_FILE} is not a float32 array of {n_mels} x {FFT_BINS}.", hint=_HINT)
    filters = np.frombuffer(data, dtype="<f4", offset=len(header)).reshape(n_mels, FFT_BINS).astype(np.float32)
    if not np.isfinite(filters).all() or filters.min() < 0:
        raise ArtifactError(f"{FILTERS_FILE} has values that are negative or not finite.", hint=_HINT)
    return filters


def _is_npy_header(header: bytes, n_mels: int) -> bool:
    """Of a C-ordered float32 array [n_mels, 201]. Compared, not obeyed: its shape would be the size of an allocation.

    The format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
    """
    shape = f"'shape': ({n_mels}, {FFT_BINS})".encode()
    said_bytes = int.from_bytes(header[8:10], "little") + 10
    parts = (b"'descr': '<f4'", b"'fortran_order': False", shape)
    return header.startswith(b"\x93NUMPY\x01") and said_bytes == len(header) and all(part in header for part in parts)


def _ids(spec: WhisperSpec) -> Iterator[tuple[str, int]]:
    for field in SpecialTokens.__struct_fields__:
        if (token := getattr(spec.tokens, field)) is not None:
            yield f"tokens.{field}", token
    for language, token in spec.languages.items():
        yield f"languages.{language[:40]}", token
    for key in ("suppress_tokens", "begin_suppress_tokens"):
        for index, token in enumerate(getattr(spec, key)):
            yield f"{key}[{index}]", token


def _read(path: Path, limit_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit_bytes + 1)
    except OSError as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        raise ArtifactError(f"{path.name} {reason}.", hint="Convert the model with `edge-convert whisper`.") from None
    if len(data) > limit_bytes:
        raise ArtifactError(f"{path.name} is larger than the {limit_bytes} bytes that it may have.", hint=_HINT)
    return data


def _translated(message: str) -> ArtifactError:
    match = _ERROR.match(message)
    what, path = (match["what"], match["path"] or "") if match else (message, "")
    if field := _FIELD.search(what):
        path = f"{path}.{field[1]}".lstrip(".")
    return _fault(path or None, what)


def _fault(key: str | None, what: str) -> ArtifactError:
    where = f"{SPEC_FILE}: {ascii(key)[1:-1]}" if key else SPEC_FILE
    return ArtifactError(f"{where}: {what}.", hint=_HINT, param=key)
