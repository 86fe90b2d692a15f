"""The manifest of an artifact: what it is, which files it has, what it needs and what was measured on it.

`manifest.json` is hostile until proven otherwise: it is read up to a limit, its depth is checked before it is decoded,
and every error is an `ArtifactError` that names the key.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from agent.errors import ArtifactError
from agent.store.durable import read_start
from agent.store.names import check_name, check_version, collision, path_fault

MANIFEST_LIMIT_BYTES: Final = 1024 * 1024
NESTING_LIMIT: Final = 16
TOKENS_PER_1K: Final = 1024

# Bytes per element relative to f16, from ggml's block layouts: q8_0 stores 32 elements in 34 bytes, f16 in 64.
KV_FACTOR: Final = {
    "f32": 2.0,
    "f16": 1.0,
    "q8_0": 34 / 64,
    "q5_1": 24 / 64,
    "q5_0": 22 / 64,
    "q4_1": 20 / 64,
    "q4_0": 18 / 64,
}

Task = Literal["generate", "embed", "transcribe"]
Format = Literal["gguf", "onnx"]
Size = Annotated[int, msgspec.Meta(ge=0, le=2**50)]
Tokens = Annotated[int, msgspec.Meta(ge=0, le=2**31)]
Line = Annotated[str, msgspec.Meta(max_length=1024, pattern=r"\A[^\x00-\x1f\x7f-\x9f]*\Z")]


class ArtifactFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of an artifact: its path relative to the manifest, its size in bytes, its SHA-256 in lower-case hex."""

    path: str
    bytes: Size
    sha256: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class MemoryNeed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the model takes in memory, in bytes.

    `weights` is the tensors, `per_1k_context` the f16 KV cache of 1,024 tokens, `compute` the scratch buffers.
    """

    weights: Size
    per_1k_context: Size
    compute: Size

    def at(self, context_tokens: int, kv_type: str = "f16") -> int:
        """Estimated bytes with `context_tokens` of KV cache of `kv_type` (a key of `KV_FACTOR`)."""
        kv_bytes = self.per_1k_context * context_tokens / TOKENS_PER_1K * KV_FACTOR[kv_type]
        return self.weights + math.ceil(kv_bytes) + self.compute


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`manifest.json`. `context` is in tokens; `embedding_dim` is 0 for a model that does not embed.

    `quality` (what was measured, against what), `gates` (what an update must pass) and `metadata` (what the probe
    found: architecture, parameters, chat_template, pooling, vocab_tokens, ...) are open mappings.
    """

    name: str
    version: str
    task: Task
    format: Format
    files: Annotated[tuple[ArtifactFile, ...], msgspec.Meta(min_length=1, max_length=4096)]
    context: Tokens
    embedding_dim: Tokens = 0
    quantization: Line
    memory_bytes: MemoryNeed
    source: Line = ""
    license: Line | None = None
    quality: dict[str, Any] = {}
    gates: dict[str, Any] = {}
    metadata: dict[str, Any] = {}

    @property
    def total_bytes(self) -> int:
        """Size of all files on disk, without the manifest."""
        return sum(file.bytes for file in self.files)

    @property
    def main_file(self) -> str:
        """Path of the file an engine opens first: the first one listed that is a GGUF file or an ONNX graph."""
        return next(file.path for file in self.files if file.path.endswith(f".{self.format}"))


_decoder = msgspec.json.Decoder(Manifest)
_encoder = msgspec.json.Encoder(order="deterministic")
_ERROR = re.compile(r"(?P<what>.*?)(?: - at `(?:key in )?\$\.?(?P<path>.*)`)?\Z", re.DOTALL)
_FIELD = re.compile(r"(?:missing required|unknown) field `(.*)`")
_TOKEN = re.compile(rb'"(?P<text>(?:[^"\\]|\\.)*)"(?P<colon>\s*:)?|(?P<open>[\[{])|(?P<close>[\]}])', re.DOTALL)
_BYTE = re.compile(r"\(byte (\d+)\)")


def encode_manifest(manifest: Manifest) -> bytes:
    """Canonical JSON: keys in the struct's order, those of open mappings sorted, indented, a newline at the end."""
    return msgspec.json.format(_encoder.encode(manifest), indent=2) + b"\n"


def decode_manifest(data: bytes) -> Manifest:
    """The manifest in `data`. Raises `ArtifactError` naming the key (`param`) for anything that is not acceptable."""
    if len(data) > MANIFEST_LIMIT_BYTES:
        raise ArtifactError(f"manifest.json is larger than {MANIFEST_LIMIT_BYTES} bytes.")
    _check_nesting(data)
    try:
        manifest = _decoder.decode(data)
    except msgspec.ValidationError as error:
        raise _translated(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        match = _BYTE.search(str(error))
        key = _top_level_key(data, int(match[1]) if match else len(data))
        raise _fault(key, f"not valid JSON: {error}") from None
    check_manifest(manifest)
    return manifest


def read_manifest(path: Path) -> Manifest:
    """`decode_manifest` of a file, reading no more than the limit. Raises `OSError` too."""
    return decode_manifest(read_start(path, MANIFEST_LIMIT_BYTES + 1))


def check_manifest(manifest: Manifest) -> None:
    """What types cannot say: safe names, safe and distinct paths, finite numbers. Raises `ArtifactError`."""
    check_name(manifest.name)
    check_version(manifest.version)
    for index, file in enumerate(manifest.files):
        if fault := path_fault(file.path):
            raise _fault(f"files[{index}].path", f"{file.path[:200]!a} {fault}")
    if found := collision([file.path for file in manifest.files]):
        index, why = found
        raise _fault(f"files[{index}].path", f"{manifest.files[index].path[:200]!a} {why}")
    if not any(file.path.endswith(f".{manifest.format}") for file in manifest.files):
        raise _fault("files", f"none is a .{manifest.format} file, but the format is {manifest.format}")
    for key in ("quality", "gates", "metadata"):
        _check_open(key, getattr(manifest, key))


def _check_open(key: str, value: Any) -> None:
    pending: list[tuple[Any, int]] = [(value, 1)]
    while pending:
        item, depth = pending.pop()
        if depth > NESTING_LIMIT:
            raise _fault(key, f"nested deeper than {NESTING_LIMIT} levels")
        if isinstance(item, float) and not math.isfinite(item):
            raise _fault(key, f"contains {item}, which is not a finite number")
        if isinstance(item, dict):
            pending.extend((child, depth + 1) for child in item.values())
        elif isinstance(item, list | tuple):
            pending.extend((child, depth + 1) for child in item)


def _check_nesting(data: bytes) -> None:
    depth = 0
    for token in _TOKEN.finditer(data):
        depth += bool(token["open"]) - bool(token["close"])
        if depth > NESTING_LIMIT + 1:
            raise _fault(_top_level_key(data, token.start()), f"nested deeper than {NESTING_LIMIT} levels")


def _top_level_key(data: bytes, before: int) -> str | None:
    """The key of the outermost object whose value holds the byte at `before`, as far as broken JSON allows."""
    depth = 0
    key: str | None = None
    for token in _TOKEN.finditer(data, 0, before):
        depth += bool(token["open"]) - bool(token["close"])
        if depth == 1 and token["colon"]:
            key = token["text"].decode(errors="replace")[:80]
    return key


def _translated(message: str) -> ArtifactError:
    match = _ERROR.match(message)
    what, path = (match["what"], match["path"] or "") if match else (message, "")
    if field := _FIELD.search(what):
        path = f"{path}.{field[1]}".lstrip(".")
    return _fault(path or None, what)


def _fault(key: str | None, what: str) -> ArtifactError:
    where = f"manifest.json: {ascii(key)[1:-1]}" if key else "manifest.json"
    return ArtifactError(f"{where}: {what}.", hint="docs/artifacts.md describes every key.", param=key)
