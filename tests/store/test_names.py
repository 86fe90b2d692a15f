from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ArtifactError
from agent.store.names import (
    check_name,
    check_version,
    collision,
    is_safe_name,
    is_safe_version,
    path_fault,
    suggest_name,
)

HOSTILE = st.lists(
    st.sampled_from(["..", ".", "/", "\\", "a", "model.gguf", "\x00", "~", "é", " ", "con", "\n", "manifest.json"])
).map("".join)


@pytest.mark.parametrize("name", ["a", "0", "Qwen2.5-0.5B-Instruct-Q4_K_M", "a" * 128, "x.y-z_"])
def test_safe_name(name: str) -> None:
    check_name(name)
    check_version(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a..b",
        ".hidden",
        "-rf",
        "_x",
        "a/b",
        "a\\b",
        "a b",
        "a\x00",
        "a\n",
        "é",
        "a" * 129,
        "ａ",
        "\ud800",
    ],
)
def test_unsafe_name_is_refused_by_key(name: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        check_name(name)
    assert caught.value.param == "name"
    with pytest.raises(ArtifactError) as caught:
        check_version(name)
    assert caught.value.param == "version"


@pytest.mark.parametrize("version", ["current", "CURRENT", "previous", "Previous"])
def test_version_cannot_shadow_a_link_of_the_store(version: str) -> None:
    assert is_safe_name(version)
    assert not is_safe_version(version)


@pytest.mark.parametrize(
    "path", ["model.gguf", "onnx/model.onnx", "a b/ü.txt", "1_Pooling/config.json", ".config", "..."]
)
def test_safe_path(path: str) -> None:
    assert path_fault(path) is None


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../x",
        "a/..",
        ".",
        "./a",
        "a/./b",
        "a//b",
        "a/",
        "a\\b",
        "a\x00b",
        "a\nb",
        "a\x7f",
        "a" * 256,
        "a/" * 16 + "a",
        "/".join(["a" * 200] * 6),
        "manifest.json",
        "MANIFEST.JSON",
        "\ud800",
    ],
)
def test_unsafe_path(path: str) -> None:
    assert path_fault(path) is not None


@given(HOSTILE | st.text())
def test_a_path_without_fault_stays_below_its_folder(path: str) -> None:
    if path_fault(path) is None:
        folder = Path("/store/.staging/x")
        joined = os.path.normpath(folder / path)
        assert joined.startswith(f"{folder}/")
        assert joined == f"{folder}/{path}"
        assert ".." not in PurePosixPath(path).parts
        assert "\x00" not in path


@given(HOSTILE | st.text(max_size=300))
def test_a_safe_name_is_one_component_and_any_text_suggests_one(text: str) -> None:
    if is_safe_name(text):
        assert PurePosixPath(text).parts == (text,)
    assert is_safe_name(suggest_name(text))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Qwen2.5-0.5B-Q4_K_M", "Qwen2.5-0.5B-Q4_K_M"),
        ("my model (1)", "my-model-1"),
        ("../../x", "x"),
        ("...", "model"),
        ("a" * 200, "a" * 128),
    ],
)
def test_suggested_name(text: str, name: str) -> None:
    assert suggest_name(text) == name


@pytest.mark.parametrize(
    ("paths", "index"),
    [
        (["a", "b", "a"], 2),
        (["a.bin", "A.BIN"], 1),
        (["é", "e\u0301"], 1),
        (["a", "a/b"], 1),
        (["a/b", "a"], 1),
        (["a/b/c", "A/B"], 1),
    ],
)
def test_paths_that_cannot_live_together(paths: list[str], index: int) -> None:
    found = collision(paths)
    assert found is not None
    assert found[0] == index


def test_paths_that_can_live_together() -> None:
    assert collision(["a/b", "a/c", "ab", "d/a"]) is None
