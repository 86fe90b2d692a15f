"""The whole way of a block: `Fetch` and its child, a link, a real mosquitto, the server of blocks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from agent.errors import ModelNotFoundError
from agent.fleet.link.address import Address
from agent.fleet.link.settings import LinkSettings
from agent.fleet.topics import FleetTopics
from agent.updates.fetch.fetch import Fetch, FetchOptions
from agent.updates.parts import Allowance, Wanted
from benchmarks.updates.block_pipe import LinkPipe
from convert.publish.block_server import BlockServer
from convert.publish.shelf import Shelf
from tests.convert.publish.published import Repository
from tests.fleet.broker import Broker
from tests.updates.fetch.device import FetchingDevice, contents

MODEL = np.random.default_rng(6).bytes(6_000_000)


@pytest.fixture
async def served(repository: Repository, tmp_path: Path) -> AsyncIterator[str]:
    """The broker's URL; a server of the repository's blocks is connected to it."""
    with Broker(tmp_path / "broker", persistent=False) as broker:
        settings = LinkSettings(brokers=(Address.parse(broker.url()),), client_id="server")
        server = BlockServer(Shelf(repository.path), settings, FleetTopics("te"))
        serving = asyncio.create_task(server.run())
        try:
            await asyncio.wait_for(server.ready.wait(), 30)
            yield broker.url()
        finally:
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving


@pytest.mark.parametrize(("loss", "jitter_s"), [(0.0, 0.0), (0.05, 0.03)], ids=["good line", "lost and reordered"])
async def test_a_model_arrives_over_the_broker(
    repository: Repository, device: FetchingDevice, served: str, loss: float, jitter_s: float
) -> None:
    repository.publish("1", files={"model.onnx": MODEL, "config.json": b"{}"})
    options = FetchOptions(url=None, root_file=repository.created.root, folder=device.folder, models=device.models)
    async with LinkPipe.connected_to(served, loss=loss, jitter_s=jitter_s) as pipe:
        fetch = Fetch(options, pipe)
        resolved = await fetch.resolve(Wanted(name="toy"))
        async with asyncio.timeout(60):
            async for progress in fetch.fetch(resolved, device.into, allowance=Allowance):
                assert progress.bytes_total == len(MODEL) + 2
        assert (device.into / "model.onnx").read_bytes() == MODEL
        assert sorted(contents(device.into)) == ["config.json", "manifest.json", "model.onnx"]
        assert (pipe.lost_blocks > 0) == (loss > 0)
        with pytest.raises(ModelNotFoundError):
            await fetch.resolve(Wanted(name="nothing"))
