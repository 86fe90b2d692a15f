"""Only what no local file holds travels, and what arrives is what was published."""

from __future__ import annotations

import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest

from agent.chunks.cutting import cut
from agent.errors import ModelNotFoundError
from agent.updates.fetch.compare import cut_chunks
from convert.publish.changes import add_class
from tests.convert.publish.published import Repository
from tests.updates.fetch.device import FetchingDevice, contents
from tests.updates.fetch.web import Handler, Web

OLD = np.random.default_rng(1).bytes(3_000_000)
NEW = OLD[:1_000_000] + b"a changed chat template" + OLD[1_000_500:]


def test_a_model_arrives_whole_and_alone(repository: Repository, device: FetchingDevice) -> None:
    repository.publish("1", files={"model.onnx": OLD, "1_Pooling/config.json": b"{}", "empty.json": b""})
    into = device.download(device.resolve())
    found = contents(into)
    assert sorted(found) == ["1_Pooling/config.json", "empty.json", "manifest.json", "model.onnx"]
    assert (into / "model.onnx").read_bytes() == OLD


def test_only_changed_chunks_travel(repository: Repository, device: FetchingDevice, web: Web) -> None:
    repository.publish("1", files={"model.onnx": OLD})
    repository.publish("2", files={"model.onnx": NEW})
    shutil.move(device.download(device.resolve("1")), device.models / "toy" / "1")
    found = device.resolve()
    assert found.version == "2"
    missing = device.missing_bytes(found)
    assert 0 < missing <= 3 * 128 * 1024
    web.sent_bytes = 0
    assert (device.download(found) / "model.onnx").read_bytes() == NEW
    assert web.sent_bytes == missing


def test_a_version_that_was_fetched_is_not_cut_again(
    repository: Repository, device: FetchingDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.publish("1", files={"model.onnx": OLD})
    found = device.resolve()
    (device.models / "toy").mkdir()
    device.download(found).rename(device.models / "toy" / "1")
    monkeypatch.setattr("agent.updates.fetch.compare.cut_chunks", lambda path: pytest.fail(f"{path} is cut"))
    assert device.missing_bytes(found) == 0


def test_local_files_are_cut_as_published_ones_are(tmp_path: Path) -> None:
    """Tensors of a GGUF file begin chunks: the head of the file decides on cuts far behind it."""
    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    for number in range(3):
        writer.add_tensor(f"t{number}", np.random.default_rng(number).standard_normal(70_000).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert list(cut_chunks(path)) == [(chunk.offset, chunk.sha256) for chunk in cut(path)]


def test_a_file_of_the_same_content_needs_no_network(repository: Repository, device: FetchingDevice, web: Web) -> None:
    repository.publish("1", files={"model.onnx": OLD})
    (device.models / "other" / "7").mkdir(parents=True)
    (device.models / "other" / "7" / "whatever.bin").write_bytes(OLD)
    found = device.resolve()
    assert device.missing_bytes(found) == 0
    web.faults[".onnx"] = lambda handler, content: handler.give(500, b"")
    assert (device.download(found) / "model.onnx").read_bytes() == OLD


def test_a_local_file_that_changed_after_it_was_cut_gives_nothing_wrong(
    repository: Repository, device: FetchingDevice
) -> None:
    repository.publish("1", files={"model.onnx": OLD})
    local = device.models / "x" / "1" / "model.onnx"
    local.parent.mkdir(parents=True)
    local.write_bytes(OLD)
    found = device.resolve()
    assert device.missing_bytes(found) == 0
    local.write_bytes(b"\0" * len(OLD))
    assert (device.download(found) / "model.onnx").read_bytes() == OLD


def test_a_broken_database_of_local_chunks_is_made_anew(repository: Repository, device: FetchingDevice) -> None:
    repository.publish("1", files={"model.onnx": OLD})
    (device.folder / "held.db").write_bytes(b"no database at all" * 1000)
    found = device.resolve()
    assert device.missing_bytes(found) == len(OLD)
    assert (device.download(found) / "model.onnx").read_bytes() == OLD


def test_a_device_class_sees_its_own_models_first(repository: Repository, device: FetchingDevice, web: Web) -> None:
    changed = add_class(repository.path, repository.created.ring, "pi4", repository.keys)
    repository.publish("1", files={"model.onnx": OLD})
    repository.publish("2", files={"model.onnx": NEW}, device_class="pi4", ring=changed.ring)
    assert device.resolve().version == "1"
    pi4 = FetchingDevice(device.folder.parent / "pi4", repository.created.root, web.url, device_class="pi4")
    found = pi4.resolve()
    assert found.version == "2"
    assert (pi4.download(found) / "model.onnx").read_bytes() == NEW
    assert pi4.resolve("1").version == "1"  # what is for all is there, too


@pytest.mark.parametrize(("name", "version"), [("toy", "9"), ("nothing", None), ("../toy", None), ("toy", "../1")])
def test_what_the_repository_does_not_have(
    repository: Repository, device: FetchingDevice, name: str, version: str | None
) -> None:
    repository.publish("1")
    with pytest.raises(ModelNotFoundError):
        device.resolve(version, name=name)


def test_a_server_without_ranges_sends_the_file_once(repository: Repository, device: FetchingDevice, web: Web) -> None:
    repository.publish("1", files={"model.onnx": OLD})
    (device.models / "part").write_bytes(OLD[1_000_000:2_000_000])
    found = device.resolve()
    assert device.missing_bytes(found) < 2_300_000
    web.faults["model.onnx"] = lambda handler, content: Handler.give(handler, 200, content)
    web.sent_bytes = 0
    assert (device.download(found) / "model.onnx").read_bytes() == OLD
    assert web.sent_bytes == len(OLD)


def test_progress_adds_up(repository: Repository, device: FetchingDevice) -> None:
    repository.publish("1", files={"model.onnx": OLD, "config.json": b"{}"})
    device.download(device.resolve())
    assert device.reports[-1].bytes_done == len(OLD) + 2
    assert [one.bytes_done for one in device.reports] == sorted(one.bytes_done for one in device.reports)
    assert device.reports[-1].bytes_fetched >= len(OLD)
