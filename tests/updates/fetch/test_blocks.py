"""Blocks over a line that keeps no promise, and the messages that ask for them."""

from __future__ import annotations

import numpy as np
import pytest

from agent.chunks.blocks import (
    BLOCK_BYTES,
    Block,
    BlockRefusal,
    BlockRequest,
    decode_refusal,
    decode_request,
    encode_refusal,
    encode_request,
    is_metadata,
)
from agent.errors import ModelNotFoundError, RequestError, UpdateError
from agent.updates.fetch.blocks import BlockTransport
from agent.updates.fetch.transport import Place
from agent.updates.fetch.wire import Found
from tests.convert.publish.published import Repository
from tests.updates.fetch.device import FetchingDevice
from tests.updates.fetch.serving import ServedLine

MODEL = np.random.default_rng(4).bytes(4_000_000)
KEY = "0123456789abcdef" * 4


@pytest.fixture
def found(repository: Repository, device: FetchingDevice) -> Found:
    repository.publish("1", files={"model.onnx": MODEL})
    return device.resolve(transport=transport(ServedLine(repository.path), device))


def transport(line: ServedLine, device: FetchingDevice) -> BlockTransport:
    return BlockTransport(line, device.meter, clock=line.clock)


@pytest.mark.parametrize(
    "faults",
    [
        {},
        {"loss": 0.05, "reorder": 6},
        {"loss": 0.3, "reorder": 40, "doubled": 0.2},
        {"change": lambda count, data: data[:-1] if count % 11 == 0 else data},
        {"change": lambda count, data: data + b"x" if count % 11 == 0 else data},
        {"change": lambda count, data: b"?" * len(data) if count in (3, 30) else data},
    ],
    ids=["nothing wrong", "lost and reordered", "chaos", "cut short", "too long", "flipped bits"],
)
def test_complete_and_correct_with(
    repository: Repository, device: FetchingDevice, found: Found, faults: dict[str, object]
) -> None:
    line = ServedLine(repository.path, **faults)  # type: ignore[arg-type]
    assert (device.download(found, transport=transport(line, device)) / "model.onnx").read_bytes() == MODEL


def test_nothing_is_asked_twice_of_a_good_line(repository: Repository, device: FetchingDevice, found: Found) -> None:
    line = ServedLine(repository.path, reorder=8)
    device.download(found, transport=transport(line, device))
    assert line.sent_bytes == len(MODEL)


def test_losses_cost_what_was_lost(repository: Repository, device: FetchingDevice, found: Found) -> None:
    line = ServedLine(repository.path, loss=0.05, reorder=6)
    device.download(found, transport=transport(line, device))
    assert line.sent_bytes <= 1.05 * len(MODEL)
    assert line.asked <= 1.25 * len(list(range(0, len(MODEL), 64 * 1024)))


def test_metadata_and_large_indices_travel_over_a_bad_line(repository: Repository, device: FetchingDevice) -> None:
    repository.publish("1", files={"model.onnx": MODEL})
    line = ServedLine(repository.path, loss=0.2, doubled=0.2, reorder=5)
    assert device.resolve(transport=transport(line, device)).version == "1"


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 40 * BLOCK_BYTES + 7])
def test_files_are_read_to_their_end(repository: Repository, device: FetchingDevice, size: int) -> None:
    data = (MODEL * 2)[:size]
    (repository.path / "metadata" / "9.big.json").write_bytes(data)
    place = Place.metadata("9.big.json")
    line = ServedLine(repository.path, loss=0.05)
    assert b"".join(transport(line, device).read(place)) == data
    assert b"".join(transport(line, device).read(place, size)) == data


def test_a_server_that_is_silent(repository: Repository, device: FetchingDevice, found: Found) -> None:
    line = ServedLine(repository.path, loss=1.0)
    with pytest.raises(UpdateError, match="nobody answers") as caught:
        device.download(found, transport=transport(line, device))
    assert caught.value.retry
    assert line.asked < 1500  # five times a minute of silence, with the pauses between them


def test_a_broker_that_is_not_there(repository: Repository, device: FetchingDevice, found: Found) -> None:
    line = ServedLine(repository.path)
    line.down = True
    with pytest.raises(UpdateError, match="No MQTT broker is connected"):
        device.download(found, transport=transport(line, device))


def test_a_file_that_the_server_does_not_have(repository: Repository, device: FetchingDevice, found: Found) -> None:
    (file,) = repository.path.rglob("*.model.onnx")
    file.unlink()
    with pytest.raises(UpdateError, match="there is no such file"):
        device.download(found, transport=transport(ServedLine(repository.path), device))
    with pytest.raises(ModelNotFoundError):
        device.resolve("7", transport=transport(ServedLine(repository.path), device))


def test_blocks_that_are_always_wrong_end(repository: Repository, device: FetchingDevice, found: Found) -> None:
    line = ServedLine(repository.path, change=lambda count, data: b"?" * len(data))
    with pytest.raises(UpdateError, match="wrong SHA-256"):
        device.download(found, transport=transport(line, device))
    assert line.sent_bytes < 100 * BLOCK_BYTES


@pytest.mark.parametrize("file", [KEY, "timestamp.json", "3.root.json", "12.pi4.json"])
def test_requests_survive_the_journey(file: str) -> None:
    request = BlockRequest(file=file, blocks=(Block(0, 0, 1), Block(7, 2**40, BLOCK_BYTES)))
    assert decode_request(encode_request(request)) == request


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b'{"file": "timestamp.json", "blocks": []}',
        b'{"file": "timestamp.json", "blocks": [[0, 0, 131073]]}',
        b'{"file": "timestamp.json", "blocks": [[0, 0, 0]]}',
        b'{"file": "timestamp.json", "blocks": [[0, -1, 5]]}',
        b'{"file": "timestamp.json", "blocks": [[0, 0, 5], [0, 5, 5]]}',
        b'{"file": "../keys/root.json", "blocks": [[0, 0, 5]]}',
        b'{"file": "..json", "blocks": [[0, 0, 5]]}',
        b'{"file": "a/b.json", "blocks": [[0, 0, 5]]}',
        b'{"file": "' + b"g" * 64 + b'", "blocks": [[0, 0, 5]]}',
        b'{"file": "' + KEY.upper().encode() + b'", "blocks": [[0, 0, 5]]}',
        b'{"file": "timestamp.json", "blocks": [' + b"[0, 0, 5]," * 300 + b"[1, 1, 1]]}",
        b"x" * 40_000,
        b"\xff\xfe",
        b"[" * 20_000,
    ],
)
def test_what_is_no_request_is_refused(payload: bytes) -> None:
    with pytest.raises(RequestError):
        decode_request(payload)


def test_refusals_survive_the_journey() -> None:
    refusal = BlockRefusal(code="busy", reason="later", wait_s=3.5)
    assert decode_refusal(encode_refusal(refusal)) == refusal
    with pytest.raises(RequestError):
        decode_refusal(b'{"code": "because", "reason": "x"}')


def test_names_of_metadata() -> None:
    assert is_metadata("1.Pi%204-class.json")
    assert not any(map(is_metadata, ("", ".json", "x", "a..json", "a/b.json", "x\n.json", "é.json", "0.root.json/x")))
