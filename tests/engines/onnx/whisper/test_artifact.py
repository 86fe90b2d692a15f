"""whisper.json and mel_filters.npy are read with care: every error names the key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.engines.onnx.whisper.artifact import SPEC_LIMIT_BYTES, decode_spec, read_filters, read_spec
from agent.engines.onnx.whisper.mel_filters import mel_filters
from agent.errors import ArtifactError
from tests.engines.onnx.whisper.spec import SPEC, make_spec


def test_a_good_one_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "whisper.json").write_text(json.dumps(SPEC))
    spec = read_spec(tmp_path)
    assert spec == make_spec()
    assert spec.tokens.timestamp_begin == 50
    assert spec.languages == {"en": 42, "de": 43}
    assert spec.alignment_heads == ((0, 1), (1, 0))
    assert spec.max_frames == 100


def test_keys_of_a_later_converter_are_ignored() -> None:
    assert make_spec(sample_rate_hz=16_000) == make_spec()


@pytest.mark.parametrize("key", sorted(SPEC))
def test_every_key_is_required(key: str) -> None:
    rest = {name: value for name, value in SPEC.items() if name != key}
    with pytest.raises(ArtifactError, match=rf"whisper\.json: {key}: ") as caught:
        decode_spec(json.dumps(rest).encode())
    assert caught.value.param == key


@pytest.mark.parametrize("key", sorted(SPEC["tokens"]))
def test_every_special_token_is_required_if_only_as_null(key: str) -> None:
    rest = {name: value for name, value in SPEC["tokens"].items() if name != key}
    with pytest.raises(ArtifactError, match=rf"tokens\.{key}"):
        make_spec(tokens=rest)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"d_model": 0}, "d_model"),
        ({"d_model": "16"}, "d_model"),
        ({"d_model": 2**40}, "d_model"),
        ({"n_mels": -1}, "n_mels"),
        ({"vocab_size": 1.5}, "vocab_size"),
        ({"decoder_heads": 3}, "decoder_heads"),
        ({"max_target_positions": 10**9}, "max_target_positions"),
        ({"multilingual": 1}, "multilingual"),
        ({"languages": {}}, "languages"),
        ({"languages": {"en": 64}}, "languages.en"),
        ({"languages": [42]}, "languages"),
        ({"suppress_tokens": None}, "suppress_tokens"),
        ({"suppress_tokens": [1, 64]}, "suppress_tokens[1]"),
        ({"suppress_tokens": [-1]}, "suppress_tokens["),
        ({"begin_suppress_tokens": [400]}, "begin_suppress_tokens[0]"),
        ({"alignment_heads": [[2, 0]]}, "alignment_heads[0]"),
        ({"alignment_heads": [[0, 0], [0, 2]]}, "alignment_heads[1]"),
        ({"alignment_heads": [[0]]}, "alignment_heads["),
        ({"median_filter_width": 0}, "median_filter_width"),
        ({"max_initial_timestamp_index": -1}, "max_initial_timestamp_index"),
        ({"tokens": SPEC["tokens"] | {"eot": None}}, "tokens.eot"),
        ({"tokens": SPEC["tokens"] | {"sot": 64}}, "tokens.sot"),
        ({"tokens": SPEC["tokens"] | {"transcribe": None}}, "tokens.transcribe"),
        ({"tokens": SPEC["tokens"] | {"timestamp_begin": 40}}, "tokens.timestamp_begin"),
        ({"tokens": []}, "tokens"),
    ],
)
def test_a_bad_value_is_an_error_that_names_the_key(changes: dict[str, Any], param: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        make_spec(**changes)
    # The index within a list is named by the JSON library, in a manner that changes with its version.
    assert caught.value.param is not None
    assert caught.value.param == param or (param.endswith("[") and caught.value.param.startswith(param))
    assert param in caught.value.message


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff\xfe", b"nan", b"[" * 100_000, b'"' + b"a" * 100])
def test_what_is_not_a_json_object_is_an_error(data: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"whisper\.json"):
        decode_spec(data)


@given(st.binary(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_noise_is_never_anything_but_an_artifact_error(noise: bytes | str) -> None:
    with pytest.raises(ArtifactError):
        decode_spec(noise if isinstance(noise, bytes) else noise.encode())


def test_a_missing_and_a_huge_file_are_errors_that_name_it(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"whisper\.json is missing"):
        read_spec(tmp_path)
    (tmp_path / "whisper.json").write_bytes(b" " * (SPEC_LIMIT_BYTES + 1))
    with pytest.raises(ArtifactError, match="larger than"):
        read_spec(tmp_path)


def test_filters_come_back_as_they_were_saved(tmp_path: Path) -> None:
    np.save(tmp_path / "mel_filters.npy", mel_filters(80))
    filters = read_filters(tmp_path, 80)
    assert np.array_equal(filters, mel_filters(80))
    assert filters.flags.writeable


@pytest.mark.parametrize(
    "filters",
    [
        np.zeros((128, 201), dtype=np.float32),
        np.zeros((80, 200), dtype=np.float32),
        np.zeros((80, 201), dtype=np.float64),
        np.asfortranarray(np.zeros((80, 201), dtype=np.float32)),
        np.full((80, 201), np.nan, dtype=np.float32),
        np.full((80, 201), -1, dtype=np.float32),
        np.array([{"pickled": 1}], dtype=object),
    ],
)
def test_filters_of_another_kind_are_refused(tmp_path: Path, filters: np.ndarray) -> None:
    np.save(tmp_path / "mel_filters.npy", filters, allow_pickle=True)
    with pytest.raises(ArtifactError, match=r"mel_filters\.npy"):
        read_filters(tmp_path, 80)


@pytest.mark.parametrize("cut", [0, 5, 100, 64_000, 64_400])
def test_truncated_filters_are_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "mel_filters.npy"
    np.save(path, mel_filters(80))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ArtifactError, match=r"mel_filters\.npy"):
        read_filters(tmp_path, 80)
