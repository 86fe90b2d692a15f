from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ArtifactError
from agent.store.manifest import (
    MANIFEST_LIMIT_BYTES,
    MemoryNeed,
    check_manifest,
    decode_manifest,
    encode_manifest,
)
from agent.store.probe_report import decode_probe_report, one_line
from tests.store.material import REPORT, manifest_of

GOOD = manifest_of(
    {"model.gguf": b"weights", "LICENSE": b"MIT"},
    source="here",
    license="mit",
    quality={"perplexity": 9.5, "against": "f16"},
    gates={"max_ttft_ms": 500},
    metadata={"z": 1, "architecture": "llama", "nested": {"b": [1, None], "a": True}},
)


def change(*path: str | int, to: Any) -> bytes:
    manifest = copy.deepcopy(GOOD)
    target: Any = manifest
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = to
    return json.dumps(manifest).encode()


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def test_a_good_manifest_round_trips_canonically() -> None:
    manifest = decode_manifest(json.dumps(GOOD).encode())
    encoded = encode_manifest(manifest)
    assert decode_manifest(encoded) == manifest
    assert encode_manifest(decode_manifest(encoded)) == encoded
    assert encoded.endswith(b"}\n")
    assert list(json.loads(encoded)) == list(manifest.__struct_fields__)
    assert list(json.loads(encoded)["metadata"]) == ["architecture", "nested", "z"]
    shuffled = dict(sorted(GOOD.items(), reverse=True))
    assert encode_manifest(decode_manifest(json.dumps(shuffled).encode())) == encoded
    assert manifest.total_bytes == 10
    assert manifest.main_file == "model.gguf"


HOSTILE: list[tuple[str, bytes, str]] = [
    ("name type", change("name", to=5), "name"),
    ("name path", change("name", to="../../etc"), "name"),
    ("version link", change("version", to="current"), "version"),
    ("version empty", change("version", to=""), "version"),
    ("task", change("task", to="hack"), "task"),
    ("format", change("format", to="pickle"), "format"),
    ("no files", change("files", to=[]), "files"),
    ("files type", change("files", to={"a": 1}), "files"),
    ("too many files", change("files", to=GOOD["files"] * 2500), "files"),
    ("no model file", change("files", to=GOOD["files"][1:]), "files"),
    ("file type", change("files", 1, to="x"), "files[1]"),
    ("path type", change("files", 0, "path", to=None), "files[0].path"),
    ("path absolute", change("files", 0, "path", to="/etc/passwd"), "files[0].path"),
    ("path up", change("files", 1, "path", to="a/../../b"), "files[1].path"),
    ("path backslash", change("files", 1, "path", to="a\\b"), "files[1].path"),
    ("path NUL", change("files", 1, "path", to="a\0b"), "files[1].path"),
    ("path twice", change("files", 1, "path", to="MODEL.gguf"), "files[1].path"),
    ("path below a file", change("files", 1, "path", to="model.gguf/x"), "files[1].path"),
    ("path is the manifest", change("files", 1, "path", to="manifest.json"), "files[1].path"),
    ("bytes negative", change("files", 0, "bytes", to=-1), "files[0].bytes"),
    ("bytes huge", change("files", 0, "bytes", to=2**60), "files[0].bytes"),
    ("bytes bigger than any integer", change("files", 0, "bytes", to=10**400), "files[0].bytes"),
    ("bytes float", change("files", 0, "bytes", to=1.5), "files[0].bytes"),
    ("bytes bool", change("files", 0, "bytes", to=True), "files[0].bytes"),
    ("sha256 short", change("files", 0, "sha256", to="ab"), "files[0].sha256"),
    ("sha256 upper", change("files", 0, "sha256", to="A" * 64), "files[0].sha256"),
    ("sha256 newline", change("files", 0, "sha256", to="a" * 64 + "\n"), "files[0].sha256"),
    ("file key unknown", change("files", 0, "mode", to=1), "files[0].mode"),
    ("context string", change("context", to="4k"), "context"),
    ("context NaN", change("context", to=math.nan), "context"),
    ("context infinity", change("context", to=math.inf), "context"),
    ("quality NaN", change("quality", "perplexity", to=math.nan), "quality"),
    ("context null", change("context", to=None), "context"),
    ("memory type", change("memory_bytes", to=5), "memory_bytes"),
    ("memory key", change("memory_bytes", to={"weights": 1, "compute": 1}), "memory_bytes.per_1k_context"),
    ("license escape codes", change("license", to="\x1b[2J"), "license"),
    ("source two lines", change("source", to="a\nb"), "source"),
    ("source long", change("source", to="a" * 2000), "source"),
    ("quality list", change("quality", to=[1]), "quality"),
    ("metadata deep", change("metadata", to=nested(50)), "metadata"),
    ("gates very deep", b'{"name": "x", "gates": ' + b'{"a":' * 100_000, "gates"),
    ("files very deep", b'{"files": ' + b"[" * 100_000, "files"),
    ("key unknown", change("signature", to="x"), "signature"),
    ("key missing", json.dumps({k: v for k, v in GOOD.items() if k != "task"}).encode(), "task"),
]


@pytest.mark.parametrize(("data", "key"), [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE])
def test_hostile_manifest_is_refused_by_key(data: bytes, key: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        decode_manifest(data)
    assert caught.value.param == key
    assert key in caught.value.message
    assert len(caught.value.message) < 500


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff\xfe",
        b"\x00" * 100,
        b'"x"',
        b" " * (MANIFEST_LIMIT_BYTES + 1),
        b"[" * MANIFEST_LIMIT_BYTES,
        b'{"a' * 10_000,
        json.dumps(GOOD).encode() + b"x",
        json.dumps(GOOD).encode("utf-16"),
    ],
    ids=range(12),
)
def test_what_is_no_manifest_at_all_is_refused(data: bytes) -> None:
    with pytest.raises(ArtifactError):
        decode_manifest(data)


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*GOOD, "x"]), inner),
    ).map(lambda value: json.dumps(value).encode())
)
def test_anything_decodes_or_is_an_artifact_error(data: bytes) -> None:
    with pytest.raises(ArtifactError):
        decode_manifest(data)


def mutated(values: dict[str, Any], draw: Callable[[Any], Any]) -> dict[str, Any]:
    key = draw(st.sampled_from(sorted(values)))
    junk = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()) | st.floats()
    return {**values, key: draw(junk)}


@given(st.data())
def test_a_changed_manifest_is_right_or_an_artifact_error(data: st.DataObject) -> None:
    raw = json.dumps(mutated(GOOD, data.draw)).encode()
    try:
        manifest = decode_manifest(raw)
    except ArtifactError:
        return
    check_manifest(manifest)
    assert decode_manifest(encode_manifest(manifest)) == manifest


@pytest.mark.parametrize("value", [math.nan, math.inf, [{"x": -math.inf}]])
def test_numbers_that_are_not_finite_are_never_written(value: Any) -> None:
    manifest = decode_manifest(json.dumps(GOOD).encode())
    with pytest.raises(ArtifactError, match="quality"):
        check_manifest(msgspec.structs.replace(manifest, quality={"x": value}))


@pytest.mark.parametrize(
    ("context_tokens", "kv_type", "total_bytes"),
    [(0, "f16", 110), (1024, "f16", 1134), (4096, "f16", 4206), (1024, "q8_0", 654), (1024, "f32", 2158)],
)
def test_memory_estimate(context_tokens: int, kv_type: str, total_bytes: int) -> None:
    need = MemoryNeed(weights=100, per_1k_context=1024, compute=10)
    assert need.at(context_tokens, kv_type) == total_bytes


def test_a_probe_report_round_trips() -> None:
    assert decode_probe_report(msgspec.json.encode(REPORT)) == REPORT


@pytest.mark.parametrize(
    "data", [b"", b"null", b"{}", b"[" * 100_000, b"x" * (1024 * 1024 + 1), b'{"architecture": "\xff"}']
)
def test_a_bad_probe_report_is_an_artifact_error(data: bytes) -> None:
    with pytest.raises(ArtifactError):
        decode_probe_report(data)


@pytest.mark.parametrize(
    ("text", "line"),
    [("mit", "mit"), ("a\x1b[2J\nb", "a [2J b"), ("  x\0 ", "x"), ("\ud800y", "y"), ("a" * 500, "a" * 200)],
)
def test_text_from_a_file_becomes_one_printable_line(text: str, line: str) -> None:
    assert one_line(text) == line
