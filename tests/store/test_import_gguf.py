from __future__ import annotations

import hashlib
import os
import tracemalloc
from pathlib import Path

import pytest

from agent.errors import ArtifactError
from agent.store.manifest import read_manifest
from agent.store.staging import Transfer
from tests.store.material import MIB, gguf, random_bytes, report, small_store, tree

TRANSFERS: list[Transfer] = ["copy", "link", "move"]


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_a_bare_gguf_becomes_an_active_version_with_a_manifest(tmp_path: Path, transfer: Transfer) -> None:
    source = gguf(tmp_path / "in" / "Stories Tiny-Q4_K_M.gguf", count=3 * MIB + 17)
    data = source.read_bytes()
    store = small_store(tmp_path / "models")
    imported = store.import_gguf(source, None, None, report(license="mit\x1b[2J"), transfer=transfer)
    model = imported.model
    assert (model.name, model.version, model.active, imported.created) == ("Stories-Tiny-Q4_K_M", "1", True, True)
    assert model.main_path.read_bytes() == data
    assert model.path == tmp_path / "models" / "Stories-Tiny-Q4_K_M" / "1"
    assert (tmp_path / "models" / "Stories-Tiny-Q4_K_M" / "current").resolve() == model.path.resolve()
    manifest = read_manifest(model.path / "manifest.json")
    assert manifest == model.manifest
    assert manifest.files[0].sha256 == hashlib.sha256(data).hexdigest()
    assert (manifest.task, manifest.format, manifest.context, manifest.embedding_dim) == ("generate", "gguf", 2048, 0)
    assert (manifest.license, manifest.source) == ("mit [2J", "Stories Tiny-Q4_K_M.gguf")
    assert manifest.memory_bytes.at(2048) == 1_000_000 + 2 * 655_360 + 2_000_000
    assert manifest.metadata["chat_template"] is True
    assert source.exists() == (transfer != "move")
    if transfer == "link":
        assert source.samefile(model.main_path)
    assert store.active("Stories-Tiny-Q4_K_M") == model
    assert store.verify(model.name, model.version) == model
    assert list((tmp_path / "models" / ".staging").iterdir()) == []


def test_an_embedding_model_keeps_its_dimension_and_pooling(tmp_path: Path) -> None:
    store = small_store(tmp_path / "models")
    probe = report(task="embed", pooling="mean", embedding_dim=384)
    manifest = store.import_gguf(gguf(tmp_path / "e.gguf"), "e", "1", probe).model.manifest
    assert (manifest.task, manifest.embedding_dim, manifest.metadata["pooling"]) == ("embed", 384, "mean")


def test_every_part_of_a_split_model_is_brought(tmp_path: Path) -> None:
    parts = [gguf(tmp_path / f"big-0000{i}-of-00003.gguf", seed=i) for i in (1, 2, 3)]
    gguf(tmp_path / "big.gguf")
    store = small_store(tmp_path / "models")
    model = store.import_gguf(parts[1], None, None, report(split_count=3)).model
    assert model.name == "big"
    names = [f"model-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    assert [file.path for file in model.manifest.files] == names
    assert [(model.path / name).read_bytes() for name in names] == [part.read_bytes() for part in parts]
    assert model.main_path.name == names[0]


def test_a_split_model_with_missing_parts_is_refused(tmp_path: Path) -> None:
    first = gguf(tmp_path / "big-00001-of-00009.gguf")
    store = small_store(tmp_path / "models")
    with pytest.raises(ArtifactError, match=r"8 are missing: big-00002-of-00009.gguf.* and 5 more"):
        store.import_gguf(first, None, None, report(split_count=9))


@pytest.mark.parametrize(
    ("file", "split_count"), [("renamed.gguf", 3), ("x-00001-of-00001.gguf", 2), ("x-00001-of-00000.gguf", 1)]
)
def test_parts_that_do_not_add_up_are_refused(tmp_path: Path, file: str, split_count: int) -> None:
    store = small_store(tmp_path / "models")
    with pytest.raises(ArtifactError, match="parts"):
        store.import_gguf(gguf(tmp_path / file), None, None, report(split_count=split_count))
    assert store.models() == []


def test_progress_adds_up_to_the_total_and_memory_stays_bounded(tmp_path: Path) -> None:
    source = gguf(tmp_path / "big.gguf", count=24 * MIB)
    store = small_store(tmp_path / "models")
    seen: list[tuple[int, int]] = []
    tracemalloc.start()
    try:
        store.import_gguf(source, "m", "1", report(), progress=lambda done, total: seen.append((done, total)))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4 * MIB
    assert seen == sorted(seen)
    assert {total for _, total in seen} == {24 * MIB}
    assert seen[-1][0] == 24 * MIB
    assert len(seen) >= 24


def test_an_import_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    store = small_store(tmp_path / "models")
    before = tree(tmp_path / "models")

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.import_gguf(gguf(tmp_path / "m.gguf"), "m", "1", report(), progress=interrupt)
    assert tree(tmp_path / "models") == before


@pytest.mark.parametrize("version", [None, "1"])
@pytest.mark.parametrize("transfer", TRANSFERS)
def test_importing_the_same_again_succeeds_and_changes_nothing(
    tmp_path: Path, version: str | None, transfer: Transfer
) -> None:
    store = small_store(tmp_path / "models")
    source = gguf(tmp_path / "m.gguf")
    store.import_gguf(source, "m", None, report())
    before = tree(tmp_path / "models")
    again = store.import_gguf(source, "m", version, report(compute_bytes=5), transfer=transfer)
    assert (again.created, again.model.version) == (False, "1")
    assert tree(tmp_path / "models") == before
    assert source.exists() == (transfer != "move")


def test_other_content_needs_another_version(tmp_path: Path) -> None:
    store = small_store(tmp_path / "models")
    store.import_gguf(gguf(tmp_path / "a.gguf", seed=1), "m", "1", report())
    for other in (gguf(tmp_path / "b.gguf", seed=2), gguf(tmp_path / "c.gguf", seed=2, count=9)):
        with pytest.raises(ArtifactError, match="already in the store") as caught:
            store.import_gguf(other, "m", "1", report())
        assert "version" in caught.value.hint
    assert store.active("m").main_path.read_bytes() == random_bytes(5000, 1)


@pytest.mark.parametrize(
    ("present", "chosen"),
    [([], "1"), (["1", "2"], "3"), (["9", "10"], "11"), (["v1", "2026.1"], "1"), (["v1", "7"], "8")],
)
def test_the_version_defaults_to_the_next_whole_number(tmp_path: Path, present: list[str], chosen: str) -> None:
    store = small_store(tmp_path / "models")
    for seed, version in enumerate(present):
        store.import_gguf(gguf(tmp_path / "m.gguf", seed=seed), "m", version, report())
    model = store.import_gguf(gguf(tmp_path / "m.gguf", seed=99), "m", None, report()).model
    assert model.version == chosen


@pytest.mark.parametrize(("activate", "active"), [(None, "1"), (True, "2"), (False, "1")])
def test_a_second_version_is_activated_only_when_asked(tmp_path: Path, activate: bool | None, active: str) -> None:
    store = small_store(tmp_path / "models")
    store.import_gguf(gguf(tmp_path / "m.gguf", seed=1), "m", "1", report())
    store.import_gguf(gguf(tmp_path / "m.gguf", seed=2), "m", "2", report(), activate=activate)
    assert store.active("m").version == active


def test_names_that_differ_only_in_case_are_refused(tmp_path: Path) -> None:
    store = small_store(tmp_path / "models")
    store.import_gguf(gguf(tmp_path / "m.gguf", seed=1), "Qwen", "V1", report())
    for name, version in (("qwen", "1"), ("Qwen", "v1")):
        with pytest.raises(ArtifactError, match="differs only in case"):
            store.import_gguf(gguf(tmp_path / "m.gguf", seed=2), name, version, report())


@pytest.mark.parametrize(
    ("name", "version"), [("../x", "1"), ("x", "../1"), ("x", "current"), (".staging", "1"), ("", "1")]
)
def test_an_unsafe_name_or_version_is_refused(tmp_path: Path, name: str, version: str) -> None:
    store = small_store(tmp_path / "models")
    before = tree(tmp_path)
    source = gguf(tmp_path / "m.gguf")
    if name:
        with pytest.raises(ArtifactError):
            store.import_gguf(source, name, version, report())
        source.unlink()
        assert tree(tmp_path) == before
    else:
        assert store.import_gguf(source, name, version, report()).model.name == "m"


def test_a_source_that_is_no_file_is_refused(tmp_path: Path) -> None:
    store = small_store(tmp_path / "models")
    os.mkfifo(tmp_path / "pipe.gguf")
    (tmp_path / "folder.gguf").mkdir()
    (tmp_path / "loop.gguf").symlink_to("loop.gguf")
    for name in ("pipe.gguf", "folder.gguf", "loop.gguf", "missing.gguf", "a\0b"):
        with pytest.raises(ArtifactError):
            store.import_gguf(tmp_path / name, "m", "1", report())


def test_a_linked_source_is_followed_but_never_moved(tmp_path: Path) -> None:
    store = small_store(tmp_path / "models")
    blob = gguf(tmp_path / "blobs" / "abc")
    link = tmp_path / "m.gguf"
    link.symlink_to(blob)
    with pytest.raises(ArtifactError, match="symbolic link"):
        store.import_gguf(link, None, None, report(), transfer="move")
    model = store.import_gguf(link, None, None, report(), transfer="link").model
    assert model.name == "m"
    assert not model.main_path.is_symlink()
    assert model.main_path.samefile(blob)


def test_a_file_of_the_store_is_not_moved_away(tmp_path: Path) -> None:
    store = small_store(tmp_path / "models")
    model = store.import_gguf(gguf(tmp_path / "m.gguf"), "m", "1", report()).model
    for name in ("m", "other"):
        with pytest.raises(ArtifactError, match="in the store already"):
            store.import_gguf(model.main_path, name, None, report(), transfer="move")
    assert store.verify("m", "1") == model
    assert store.import_gguf(model.main_path, "other", None, report(), transfer="link").created


@pytest.mark.parametrize("extra", [1, -1])
def test_a_source_that_changes_size_in_between_is_refused(tmp_path: Path, extra: int) -> None:
    store = small_store(tmp_path / "models")
    source = gguf(tmp_path / "m.gguf", count=2 * MIB)

    def grow(done: int, total: int) -> None:
        os.truncate(source, 2 * MIB + extra)

    with pytest.raises(ArtifactError, match="changed while"):
        store.import_gguf(source, "m", "1", report(), progress=grow)
    assert store.models() == []
