"""Certificates and passwords that change on the disk while the link is up."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

from agent.fleet.link.messages import Connected, Disconnected, Received
from tests.fleet.broker import Broker
from tests.fleet.link.conftest import Papers
from tests.fleet.link.linked import COMMAND, HEALTH, UP, Linked, soon, until


def written(folder: Path, papers: Papers) -> dict[str, Any]:
    files = {"ca_file": folder / "ca.pem", "cert_file": folder / "device.pem", "key_file": folder / "device.key"}
    sources = (papers.authority.file, papers.device.file, papers.device.key)
    for file, source in zip(files.values(), sources, strict=True):
        shutil.copy(source, file)
    return files


async def test_a_new_certificate_is_used_without_losing_the_line(
    strict_broker: Broker, papers: Papers, tmp_path: Path
) -> None:
    files = written(tmp_path, papers)
    async with Linked(strict_broker.url("mqtts"), **files) as linked:
        await linked.next(Connected)
        renewed = papers.authority.issue("renewed")
        shutil.copy(renewed.file, files["cert_file"])
        shutil.copy(renewed.key, files["key_file"])
        assert (await linked.next(Connected)).session_present
        assert not [event for event in linked.events if isinstance(event, Disconnected)]
        await soon(linked.link.publish(UP))
        await asyncio.to_thread(strict_broker.publish, COMMAND, "x")
        assert (await linked.next(Received)).payload == b"x"
        assert await asyncio.to_thread(strict_broker.listen, HEALTH, 1) == [f"{HEALTH} up"]
        assert linked.link.state.reconnects == 1


async def test_a_certificate_that_the_broker_refuses_leaves_the_line_as_it_is(
    strict_broker: Broker, papers: Papers, tmp_path: Path
) -> None:
    files = written(tmp_path, papers)
    async with Linked(strict_broker.url("mqtts"), **files) as linked:
        await linked.next(Connected)
        shutil.copy(papers.strange_device.file, files["cert_file"])
        shutil.copy(papers.strange_device.key, files["key_file"])
        await until(lambda: "does not know the authority" in (linked.link.state.last_error or ""))
        assert linked.link.state.connected
        await soon(linked.link.publish(UP))
        files["cert_file"].write_text("half a certif")
        await until(lambda: "no certificate in PEM form" in (linked.link.state.last_error or ""))
        await soon(linked.link.publish(UP))
        assert linked.link.state.reconnects == 0


async def test_with_a_broken_certificate_on_the_disk_the_old_one_still_reconnects(
    tmp_path: Path, papers: Papers
) -> None:
    files = written(tmp_path, papers)
    made = Broker(tmp_path / "broker", listeners=("mqtts",), authority=papers.authority, client_certificates=True)
    with made as broker:
        async with Linked(broker.url("mqtts"), **files) as linked:
            await linked.next(Connected)
            files["key_file"].unlink()
            await until(lambda: "cannot be read" in (linked.link.state.last_error or ""))
            broker.kill()
            await linked.next(Disconnected)
            broker.start()
            await linked.next(Connected)


async def test_a_password_is_exchanged_too(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("one")
    with Broker(tmp_path / "broker", passwords={"me": "one"}) as broker:
        async with Linked(broker.url(), username="me", password_file=file) as linked:
            await linked.next(Connected)
            file.write_text("another")
            await until(lambda: "not authorized" in (linked.link.state.last_error or ""))
            assert linked.link.state.connected
            file.write_text("one")
            await linked.next(Connected)
