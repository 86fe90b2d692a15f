"""What the short-lived probe found in a GGUF file. The probe prints it as one JSON object; the store reads no GGUF."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec

from agent.errors import ArtifactError
from agent.store.manifest import Size, Tokens

REPORT_LIMIT_BYTES = 1024 * 1024

_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\x9f\ud800-\udfff]+")


class ProbeReport(msgspec.Struct, frozen=True, kw_only=True):
    """Metadata and memory needs of a GGUF model.

    `size_bytes` is the weights; `file_type` the quantization, such as "Q4_K_M"; `context_train`, `vocab_tokens` are in
    tokens; `pooling` is None unless it is an embedding model; `kv_bytes_per_1k_context` is the f16 KV cache of 1,024
    tokens of one sequence; `compute_bytes` the scratch buffers; `split_count` the number of files (1 when not split).
    `sampling` is how the model's makers say it samples best, by field of `agent.runtime.wire.generation.Sampling`.
    """

    architecture: str
    name: str | None
    parameters: Annotated[int, msgspec.Meta(ge=0)]
    size_bytes: Size
    file_type: str
    context_train: Tokens
    embedding_dim: Tokens
    vocab_tokens: Tokens
    layers: Tokens
    pooling: str | None
    task: Literal["generate", "embed"]
    has_chat_template: bool
    license: str | None
    kv_bytes_per_1k_context: Size
    compute_bytes: Size
    split_count: Annotated[int, msgspec.Meta(ge=1, le=99_999)]
    can_shift: bool
    sampling: dict[str, float] = {}


_decoder = msgspec.json.Decoder(ProbeReport)


def decode_probe_report(data: bytes) -> ProbeReport:
    """The report in what the probe printed. Raises `ArtifactError`: its strings come from a hostile file."""
    if len(data) > REPORT_LIMIT_BYTES:
        raise ArtifactError(f"The probe's report is larger than {REPORT_LIMIT_BYTES} bytes.")
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ArtifactError(f"The probe's report cannot be read: {error}.") from None


def one_line(text: str, limit: int = 200) -> str:
    """`text` of a hostile file, fit for a terminal: control characters become spaces, at most `limit` characters."""
    return _UNPRINTABLE.sub(" ", text).strip()[:limit]
