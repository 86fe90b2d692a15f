"""The golden set of an artifact: questions with known answers, signed with it, that a device asks before it trusts it.

`golden.jsonl` is one of the artifact's files; each of its lines is one case:

    {"kind": "exact", "messages": [...] or "prompt": "...", "max_tokens": 16, "answers": ["Paris"]}
    {"kind": "json", "messages": [...] or "prompt": "...", "max_tokens": 64, "keys": ["city"], "schema": {...}}
    {"kind": "perplexity", "text": "..."}
    {"kind": "cosine", "text": "...", "prompt_name": "query", "vector": "<base64 of little-endian float16>"}
    {"kind": "wer", "audio": "golden/1.wav", "text": "what is said", "language": "en"}

Answers are drawn greedily. A `json` case is asked without a grammar unless it brings a `schema`: then it is constrained
to that, as a client would. Audio is 16-bit mono WAV of 16 kHz, at most 30 s, a file of the artifact like any other.
What an answer must reach stands in the manifest (`gates`).
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
import wave
from array import array
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from agent.errors import ArtifactError
from agent.runtime.spec import Task
from agent.runtime.wire.embedding import Embed
from agent.runtime.wire.generation import Generate, Sampling
from agent.runtime.wire.messages import Request
from agent.runtime.wire.transcription import Transcribe
from agent.store.manifest import Manifest
from agent.store.names import path_fault

FILE: Final = "golden.jsonl"
LIMIT_BYTES: Final = 8 * 1024 * 1024
CASE_LIMIT: Final = 500
RATE_HZ: Final = 16_000
LONGEST_S: Final = 30
_HALF_BYTES: Final = 2

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=100_000)]
Tokens = Annotated[int, msgspec.Meta(ge=1, le=4096)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Ratio = Annotated[float, msgspec.Meta(gt=0, le=1000)]


class _Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A question for a model that generates: either `messages` or `prompt`."""

    messages: Annotated[tuple[dict[str, Any], ...], msgspec.Meta(max_length=100)] | None = None
    prompt: Text | None = None
    max_tokens: Tokens = 32


class Exact(_Asked, frozen=True, kw_only=True, tag_field="kind", tag="exact"):
    """`answers` are those that count as right; space around them does not matter."""

    answers: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=100)]


class Json(_Asked, frozen=True, kw_only=True, tag_field="kind", tag="json"):
    """The answer must be a JSON value; an object that has `keys`, where they are given."""

    keys: tuple[str, ...] = ()
    schema: dict[str, Any] | None = None


class Perplexity(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="perplexity"
):
    text: Text


class Cosine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="cosine"):
    text: Text
    vector: Annotated[str, msgspec.Meta(min_length=4, max_length=100_000)]
    prompt_name: str | None = None

    def reference(self) -> tuple[float, ...]:
        """The vector. Raises `ValueError`."""
        data = base64.b64decode(self.vector, validate=True)
        values = struct.unpack(f"<{len(data) // _HALF_BYTES}e", data)
        if not all(map(math.isfinite, values)) or not any(values):
            raise ValueError("the vector has no direction")
        return values


class Wer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="wer"):
    audio: Text
    text: Text
    language: str | None = None


Case = Exact | Json | Perplexity | Cosine | Wer

_KINDS: Final[dict[Task, tuple[type[Case], ...]]] = {
    "generate": (Exact, Json, Perplexity),
    "embed": (Cosine,),
    "transcribe": (Wer,),
}


class Gates(msgspec.Struct, frozen=True, kw_only=True):
    """`manifest.gates`, as far as it is about updates; other keys are somebody else's. A share that is not given must
    be reached by every case: 1. The last two can only tighten the policy of the device."""

    golden: Literal["golden.jsonl"] | None = None
    least_exact: Share = 1.0
    least_json: Share = 1.0
    most_perplexity: Annotated[float, msgspec.Meta(ge=1, le=1e9)] | None = None
    least_mean_cosine: Share = 0.99
    least_worst_cosine: Share = 0.97
    most_wer_percent: Annotated[float, msgspec.Meta(ge=0, le=1000)] = 0.0
    least_speed_ratio: Ratio | None = None
    most_memory_ratio: Ratio | None = None


_case_decoder = msgspec.json.Decoder(Case)


def gates_of(manifest: Manifest) -> Gates:
    """Raises `ArtifactError` for a key of ours with a wrong value."""
    try:
        return msgspec.convert(manifest.gates, Gates)
    except msgspec.ValidationError as error:
        raise ArtifactError(f"manifest.json: gates: {error}.", param="gates") from None


def read_golden(folder: Path, manifest: Manifest) -> tuple[Case, ...]:
    """The cases of the artifact in `folder`; none where its gates name no golden set.

    Raises `ArtifactError` naming the line that is not acceptable, or has nothing to ask a model of this task.
    """
    if gates_of(manifest).golden is None:
        return ()
    listed = {file.path: file.bytes for file in manifest.files}
    if FILE not in listed:
        raise ArtifactError(f"manifest.json: gates.golden is {FILE}, which is not among its files.", param="gates")
    if listed[FILE] > LIMIT_BYTES:
        raise ArtifactError(f"{FILE} has {listed[FILE]} bytes; {LIMIT_BYTES} are allowed.")
    try:
        lines = (folder / FILE).read_bytes().splitlines()
    except OSError as error:
        raise ArtifactError(f"{FILE} cannot be read: {error.strerror}.") from None
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not 0 < len(numbered) <= CASE_LIMIT:
        raise ArtifactError(f"{FILE} has {len(numbered)} cases; 1 to {CASE_LIMIT} are allowed.")
    return tuple(_case(number, line, manifest, listed) for number, line in numbered)


def request_of(case: Case, folder: Path) -> Request:
    """What to ask. Reads the audio of a `wer` case. Raises `ArtifactError` for audio that is not as it must be."""
    match case:
        case Exact() | Json():
            return Generate(
                messages=case.messages,
                prompt=case.prompt,
                max_tokens=case.max_tokens,
                sampling=Sampling(temperature=0),
                json_schema=case.schema if isinstance(case, Json) else None,
                cache_prompt=False,
            )
        case Perplexity():
            return Generate(
                prompt=case.text,
                max_tokens=1,
                sampling=Sampling(temperature=0),
                echo=True,
                logprobs=0,
                cache_prompt=False,
            )
        case Cosine():
            return Embed(inputs=(case.text,), prompt_name=case.prompt_name)
        case Wer():
            return Transcribe(audio=read_audio(folder / case.audio), language=case.language, temperatures=(0.0,))


def read_audio(path: Path) -> bytes:
    """float32, little-endian, mono, 16 kHz, from -1 to 1. Raises `ArtifactError`."""
    try:
        with wave.open(str(path), "rb") as file:
            shape = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            frames = file.getnframes()
            if shape != (1, 2, RATE_HZ) or not 0 < frames <= LONGEST_S * RATE_HZ:
                raise ArtifactError(
                    f"{path.name} has {shape[0]} channels of {8 * shape[1]} bits, {shape[2]} Hz, {frames} samples.",
                    hint=f"A golden set takes mono, 16 bits, {RATE_HZ} Hz, at most {LONGEST_S} s.",
                )
            data = file.readframes(frames)
    except (OSError, EOFError, wave.Error) as error:
        raise ArtifactError(f"{path.name} is not a WAV file: {error}.") from None
    whole = len(data) // 2
    samples = struct.unpack(f"<{whole}h", data[: 2 * whole])
    return array("f", (sample / 32768 for sample in samples)).tobytes()


def encode_vector(values: tuple[float, ...]) -> str:
    """As `Cosine.vector` has it."""
    return base64.b64encode(struct.pack(f"<{len(values)}e", *values)).decode()


def _case(number: int, line: bytes, manifest: Manifest, listed: dict[str, int]) -> Case:
    def wrong(what: str) -> ArtifactError:
        return ArtifactError(f"{FILE}, line {number}: {what}.", param=FILE)

    try:
        case = _case_decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise wrong(str(error).rstrip(".") or "nested too deep") from None
    if not isinstance(case, _KINDS[manifest.task]):
        raise wrong(f"a model to {manifest.task} cannot be asked that")
    if isinstance(case, Exact | Json) and (case.messages is None) == (case.prompt is None):
        raise wrong("either messages or prompt is needed")
    if isinstance(case, Wer) and (path_fault(case.audio) or case.audio not in listed):
        raise wrong(f"{case.audio[:200]!a} is not a file of the artifact")
    if isinstance(case, Cosine):
        try:
            size = len(case.reference())
        except (ValueError, binascii.Error, struct.error) as error:
            raise wrong(f"vector: {error}") from None
        if manifest.embedding_dim and size != manifest.embedding_dim:
            raise wrong(f"the vector has {size} numbers, the model's {manifest.embedding_dim}")
    return case
