from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from agent.errors import ArtifactError, HashMismatchError
from tests.store.material import artifact, manifest_of, random_bytes, small_store, tree

FILES = {"model.gguf": random_bytes(3000), "extra/notes.txt": b"notes"}


def test_an_artifact_folder_is_imported_and_its_manifest_kept_byte_for_byte(tmp_path: Path) -> None:
    folder = artifact(tmp_path / "in", FILES, license="mit")
    written = (folder / "manifest.json").read_bytes()
    (folder / "README.md").write_text("not listed")
    store = small_store(tmp_path / "models")
    imported = store.import_folder(folder)
    model = imported.model
    assert (model.name, model.version, model.active) == ("assistant", "2026.1", True)
    assert (model.path / "manifest.json").read_bytes() == written
    assert {path: (model.path / path).read_bytes() for path in FILES} == FILES
    assert not (model.path / "README.md").exists()
    assert [(ignored.path, ignored.reason) for ignored in imported.ignored] == [("README.md", "not in the manifest")]
    assert store.verify("assistant", "2026.1") == model
    assert store.import_folder(folder).created is False


def test_moving_a_folder_removes_what_was_brought_and_nothing_else(tmp_path: Path) -> None:
    store = small_store(tmp_path / "models")
    whole = artifact(tmp_path / "whole", FILES)
    store.import_folder(whole, transfer="move")
    assert not whole.exists()
    partly = artifact(tmp_path / "partly", FILES, version="2")
    (partly / "README.md").write_text("mine")
    store.import_folder(partly, transfer="move")
    assert list(tree(partly)) == ["README.md"]


@pytest.mark.parametrize("damage", [b"x" * 3000, b"short", b"x" * 3001])
@pytest.mark.parametrize("transfer", ["copy", "link", "move"])
def test_a_file_that_is_not_what_the_manifest_says_is_refused(tmp_path: Path, damage: bytes, transfer: str) -> None:
    folder = artifact(tmp_path / "in", FILES)
    (folder / "model.gguf").write_bytes(damage)
    store = small_store(tmp_path / "models")
    before = tree(tmp_path)
    with pytest.raises(HashMismatchError) as caught:
        store.import_folder(folder, transfer=transfer)  # type: ignore[arg-type]
    assert caught.value.param == "model.gguf"
    assert tree(tmp_path) == before


def test_the_same_version_with_another_manifest_is_refused(tmp_path: Path) -> None:
    store = small_store(tmp_path / "models")
    store.import_folder(artifact(tmp_path / "a", FILES))
    for other in (artifact(tmp_path / "b", FILES, gates={"x": 1}), artifact(tmp_path / "c", {"model.gguf": b"other"})):
        with pytest.raises(ArtifactError, match="already in the store"):
            store.import_folder(other)
    assert store.active("assistant").manifest.gates == {}


@pytest.mark.parametrize(("key", "value"), [("name", "other"), ("version", "3")])
def test_a_manifest_is_not_renamed(tmp_path: Path, key: str, value: str) -> None:
    store = small_store(tmp_path / "models")
    folder = artifact(tmp_path / "in", FILES)
    with pytest.raises(ArtifactError) as caught:
        store.import_folder(folder, **{key: value})  # type: ignore[arg-type]
    assert caught.value.param == key


@pytest.mark.parametrize("link", ["model.gguf", "extra", "extra/notes.txt", "manifest.json"])
@pytest.mark.parametrize("absolute", [True, False])
def test_a_symbolic_link_that_leads_out_is_refused(tmp_path: Path, link: str, absolute: bool) -> None:
    outside = artifact(tmp_path / "outside", FILES)
    folder = artifact(tmp_path / "in", FILES)
    path = folder / link
    path.rename(tmp_path / "aside")
    target = outside / link
    path.symlink_to(target if absolute else os.path.relpath(target, path.parent))
    store = small_store(tmp_path / "models")
    before = tree(tmp_path)
    with pytest.raises(ArtifactError, match="leads out"):
        store.import_folder(folder)
    assert tree(tmp_path) == before


def test_a_symbolic_link_within_the_folder_is_followed(tmp_path: Path) -> None:
    folder = artifact(tmp_path / "in", FILES)
    (folder / "model.gguf").rename(folder / "blob")
    (folder / "model.gguf").symlink_to("blob")
    model = small_store(tmp_path / "models").import_folder(folder).model
    assert not model.main_path.is_symlink()
    assert model.main_path.read_bytes() == FILES["model.gguf"]


def missing(folder: Path) -> None:
    (folder / "model.gguf").unlink()


def pipe(folder: Path) -> None:
    (folder / "model.gguf").unlink()
    os.mkfifo(folder / "model.gguf")


def dangling(folder: Path) -> None:
    (folder / "model.gguf").unlink()
    (folder / "model.gguf").symlink_to("nowhere")


def folder_instead(folder: Path) -> None:
    (folder / "model.gguf").unlink()
    (folder / "model.gguf").mkdir()


def manifest_is_a_folder(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").mkdir()


def manifest_is_a_pipe(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    os.mkfifo(folder / "manifest.json")


def manifest_points_out(folder: Path) -> None:
    values = manifest_of(FILES)
    values["files"][1]["path"] = "../../etc/passwd"
    (folder / "manifest.json").write_text(json.dumps(values))


@pytest.mark.parametrize(
    "spoil",
    [missing, pipe, dangling, folder_instead, manifest_is_a_folder, manifest_is_a_pipe, manifest_points_out],
)
def test_a_spoiled_folder_is_refused_and_leaves_nothing(tmp_path: Path, spoil: object) -> None:
    assert callable(spoil)
    folder = artifact(tmp_path / "in", FILES)
    spoil(folder)
    store = small_store(tmp_path / "models")
    before = tree(tmp_path / "models")
    with pytest.raises(ArtifactError):
        store.import_folder(folder)
    assert tree(tmp_path / "models") == before


def test_what_is_no_artifact_is_refused_with_a_hint(tmp_path: Path) -> None:
    store = small_store(tmp_path / "models")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    for name in ("empty", "file", "missing"):
        with pytest.raises(ArtifactError):
            store.import_folder(tmp_path / name)
