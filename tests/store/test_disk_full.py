from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.errors import ArtifactError, DiskFullError
from agent.store.durable import Filesystem
from agent.store.store import Store
from tests.small_disk import small_disk
from tests.store.material import MIB, artifact, gguf, random_bytes, report, small_store, tree


def with_free(free_bytes: int) -> Filesystem:
    status: Any = SimpleNamespace(f_bavail=free_bytes // 4096, f_frsize=4096)
    return Filesystem(statvfs=lambda _: status)


@pytest.mark.parametrize(
    ("free_mib", "margin_mib", "fits"), [(4, 0, True), (3, 0, False), (20, 16, True), (19, 16, False), (0, 0, False)]
)
def test_space_is_checked_before_a_byte_is_copied(tmp_path: Path, free_mib: int, margin_mib: int, fits: bool) -> None:
    source = gguf(tmp_path / "m.gguf", count=4 * MIB)
    filesystem = with_free(free_mib * MIB)
    store = Store(tmp_path / "models", filesystem=filesystem, margin_bytes=margin_mib * MIB)
    before = tree(store.layout.root)
    copied: list[int] = []
    if fits:
        assert store.import_gguf(source, "m", "1", report()).created
        return
    with pytest.raises(DiskFullError) as caught:
        store.import_gguf(source, "m", "1", report(), progress=lambda done, _: copied.append(done))
    assert str(4 * MIB) in caught.value.message
    assert str(free_mib * MIB) in caught.value.message
    assert copied == []
    assert tree(store.layout.root) == before


def test_links_and_repeated_imports_need_no_space(tmp_path: Path) -> None:
    source = gguf(tmp_path / "m.gguf", count=MIB)
    store = Store(tmp_path / "models", filesystem=with_free(0))
    assert store.import_gguf(source, "m", None, report(), transfer="link").created
    assert not store.import_gguf(source, "m", None, report()).created
    assert store.import_gguf(source, "other", None, report(), transfer="move").created


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_in_the_middle_leaves_nothing(tmp_path: Path, code: int) -> None:
    writes: list[str] = []

    def fill_up(step: str) -> None:
        if step == "write model.gguf":
            writes.append(step)
            if len(writes) == 3:
                raise OSError(code, os.strerror(code))

    store = small_store(tmp_path / "models", filesystem=Filesystem(fill_up))
    before = tree(store.layout.root)
    with pytest.raises(DiskFullError, match=r"became full while importing m\.gguf"):
        store.import_gguf(gguf(tmp_path / "m.gguf", count=5 * MIB), "m", "1", report())
    assert len(writes) == 3
    assert tree(store.layout.root) == before


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", mebibytes=4) as folder:
        yield folder


def test_a_real_disk_that_is_too_small(tmp_path: Path, disk: Path) -> None:
    store = Store(disk / "models", margin_bytes=MIB)
    store.import_gguf(gguf(tmp_path / "a.gguf", count=MIB, seed=1), "m", "1", report())
    before = tree(store.layout.root)
    with pytest.raises(DiskFullError, match=r"needs 3\.1 MB"):
        store.import_gguf(gguf(tmp_path / "b.gguf", count=3 * MIB, seed=2), "m", "2", report())
    assert tree(store.layout.root) == before


def test_a_real_disk_that_becomes_full_in_the_middle(tmp_path: Path, disk: Path) -> None:
    store = small_store(disk / "models")
    store.import_gguf(gguf(tmp_path / "a.gguf", count=MIB, seed=1), "m", "1", report())
    before = tree(store.layout.root)

    def another_writer(done: int, total: int) -> None:
        if not (disk / "other").exists():
            (disk / "other").write_bytes(b"x" * (MIB + MIB // 2))

    for transfer in ("copy", "link", "move"):
        (disk / "other").unlink(missing_ok=True)
        source = gguf(tmp_path / "b.gguf", count=2 * MIB, seed=2)
        with pytest.raises((DiskFullError, ArtifactError)) as caught:  # ArtifactError: another disk cannot be linked
            store.import_gguf(source, "m", "2", report(), progress=another_writer, transfer=transfer)
        assert isinstance(caught.value, ArtifactError) == (transfer == "link")
        assert tree(store.layout.root) == before
        assert source.exists()
    assert store.active("m").main_path.read_bytes() == random_bytes(MIB, 1)


def fill(path: Path) -> None:
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def test_removing_works_on_a_disk_without_a_byte_left(tmp_path: Path, disk: Path) -> None:
    store = small_store(disk / "models")
    for seed in (1, 2, 3):
        store.import_gguf(gguf(tmp_path / "a.gguf", count=MIB // 2, seed=seed), "m", None, report())
    folder = artifact(tmp_path / "in", {"model.gguf": b"x" * (MIB // 2)}, name="n")
    store.import_folder(folder)
    fill(disk / "filler")
    small_store(disk / "models")
    store.remove("m", "2")
    store.remove("m", "1", force=True)
    store.remove("n")
    assert [(model.name, model.version) for model in Store(disk / "models").models()] == [("m", "3")]


def test_another_disk_is_moved_to_by_copying(tmp_path: Path, disk: Path) -> None:
    source = gguf(tmp_path / "a.gguf", count=MIB)
    model = small_store(disk / "models").import_gguf(source, "m", None, report(), transfer="move").model
    assert not source.exists()
    assert model.main_path.read_bytes() == random_bytes(MIB)
