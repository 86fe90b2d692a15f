"""Outputs are whole or not there."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agent.errors import ArtifactError, DiskFullError
from agent.store.manifest import MemoryNeed, read_manifest
from convert.artifact import new_artifact, whole_file

FIELDS: dict[str, Any] = {
    "name": "toy",
    "version": "1",
    "task": "embed",
    "format": "onnx",
    "context": 128,
    "quantization": "int8",
    "memory_bytes": MemoryNeed(weights=1, per_1k_context=0, compute=0),
}


def make(target: Path) -> None:
    with new_artifact(target) as staged:
        (staged.folder / "model.onnx").write_bytes(b"graph")
        (staged.folder / "1_Pooling").mkdir()
        (staged.folder / "1_Pooling/config.json").write_text("{}")
        staged.finish(**FIELDS)


def test_the_manifest_lists_every_file_with_its_hash(tmp_path: Path) -> None:
    make(tmp_path / "out")
    manifest = read_manifest(tmp_path / "out/manifest.json")
    assert [(file.path, file.bytes) for file in manifest.files] == [("1_Pooling/config.json", 2), ("model.onnx", 5)]
    assert manifest.files[1].sha256 == hashlib.sha256(b"graph").hexdigest()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_same_files_make_the_same_bytes(tmp_path: Path) -> None:
    make(tmp_path / "a")
    make(tmp_path / "b")
    assert (tmp_path / "a/manifest.json").read_bytes() == (tmp_path / "b/manifest.json").read_bytes()


@pytest.mark.parametrize("error", [ArtifactError("no"), KeyboardInterrupt(), ValueError("bug")])
def test_what_fails_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    def fails() -> None:
        with new_artifact(tmp_path / "out") as staged:
            (staged.folder / "model.onnx").write_bytes(b"half")
            raise error

    with pytest.raises(type(error)):
        fails()
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_finished_leaves_nothing(tmp_path: Path) -> None:
    with new_artifact(tmp_path / "out") as staged:
        (staged.folder / "model.onnx").write_bytes(b"half")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_an_output_that_exists_is_refused_before_any_work(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "out"
    {"file": target.touch, "folder": target.mkdir, "dangling link": lambda: target.symlink_to("nowhere")}[kind]()
    with pytest.raises(ArtifactError, match="exists already"):
        make(target)
    with pytest.raises(ArtifactError, match="exists already"), whole_file(target):
        pytest.fail("reached")


def test_an_output_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    def races() -> None:
        with whole_file(tmp_path / "out") as part:
            part.write_bytes(b"mine")
            (tmp_path / "out").write_bytes(b"theirs")

    with pytest.raises(ArtifactError, match="exists already"):
        races()
    assert (tmp_path / "out").read_bytes() == b"theirs"


def test_a_missing_folder_and_a_small_disk_are_said_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is not a folder"), new_artifact(tmp_path / "no/out"):
        pytest.fail("reached")
    with pytest.raises(DiskFullError, match="are needed"), new_artifact(tmp_path / "out", 2**60):
        pytest.fail("reached")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_is_one_sentence(tmp_path: Path) -> None:
    def fills() -> None:
        with whole_file(tmp_path / "out") as part, part.open("wb") as file:
            file.write(b"some")
            with Path("/dev/full").open("wb", buffering=0) as full:
                full.write(b"more")

    with pytest.raises(DiskFullError, match="The disk filled up while out was written"):
        fills()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_may_not_be_written_is_one_sentence(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(ArtifactError, match="cannot be written"), whole_file(tmp_path / "out"):
        pytest.fail("reached")


SLOW = """
import sys, time
from pathlib import Path
from convert.artifact import new_artifact
with new_artifact(Path(sys.argv[1])) as staged:
    (staged.folder / "model.onnx").write_bytes(b"half")
    print("busy", flush=True)
    time.sleep(60)
"""


def test_a_killed_run_is_cleaned_up_by_the_next_and_two_do_not_collide(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SLOW, str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "busy\n"
        with pytest.raises(ArtifactError, match="Another conversion is making"):
            make(tmp_path / "out")
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (tmp_path / ".out.part/model.onnx").exists()
    make(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
