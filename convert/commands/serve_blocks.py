"""Answer devices that reach the broker and nothing else: files of a repository, in blocks, over MQTT."""

from __future__ import annotations

import argparse
import asyncio
import logging
import secrets
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent.errors import RequestError
from agent.terminal import size
from convert.commands.key_options import add_repository

if TYPE_CHECKING:
    from agent.fleet.link.settings import LinkSettings
    from convert.publish.block_server import BlockServer

NAME: Final = "serve-blocks"
HELP: Final = "answer updates over MQTT, for devices that reach only the broker"

_TELL_EVERY_S: Final = 10.0


def configure(parser: argparse.ArgumentParser) -> None:
    add_repository(parser)
    parser.add_argument(
        "--mqtt-url", action="append", required=True, metavar="URL", help="the broker; more than once for alternatives"
    )
    parser.add_argument("--mqtt-root", default="te", metavar="TEXT", help="the first level of the devices' topics; te")
    parser.add_argument("--mqtt-username", metavar="TEXT", help="the broker's user")
    parser.add_argument("--mqtt-password-file", type=Path, metavar="FILE", help="a file with the user's password")
    parser.add_argument("--mqtt-ca-file", type=Path, metavar="FILE", help="certificates that vouch for the broker")
    parser.add_argument("--mqtt-cert-file", type=Path, metavar="FILE", help="this server's own certificate")
    parser.add_argument("--mqtt-key-file", type=Path, metavar="FILE", help="the certificate's private key")


def run(given: argparse.Namespace) -> int:
    from agent.fleet.topics import FleetTopics
    from convert.publish.block_server import BlockServer
    from convert.publish.folder import RepositoryFolder, no_repository
    from convert.publish.shelf import Shelf

    if not RepositoryFolder(given.repo).root_versions():
        raise no_repository(given.repo)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("agent.fleet").setLevel(logging.CRITICAL)  # the server says it in other words
    topics = FleetTopics(given.mqtt_root)
    return asyncio.run(_serve(given, lambda: BlockServer(Shelf(given.repo), _settings(given), topics)))


async def _serve(given: argparse.Namespace, make: Callable[[], BlockServer]) -> int:
    server = make()
    serving = asyncio.create_task(server.run(), name="blocks")
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, serving.cancel)
    ready = asyncio.create_task(server.ready.wait(), name="ready")
    await asyncio.wait([serving, ready], return_when=asyncio.FIRST_COMPLETED)
    ready.cancel()
    if not serving.done():
        print(f"Serving blocks of {given.repo} at {', '.join(given.mqtt_url)}.", flush=True)
    told = 0
    while not (await asyncio.wait([serving], timeout=_TELL_EVERY_S))[0]:
        served = server.served
        if served.bytes != told:
            told = served.bytes
            print(
                f"{size(served.bytes)} in {served.blocks} blocks to {served.devices} devices,"
                f" {served.waiting} blocks wait.",
                flush=True,
            )
    if not serving.cancelled():
        serving.result()  # raises what ended it
    return 0


def _settings(given: argparse.Namespace) -> LinkSettings:
    from agent.fleet.link.address import Address
    from agent.fleet.link.settings import LinkSettings
    from agent.fleet.remote.line import for_remote

    for path in (given.mqtt_password_file, given.mqtt_ca_file, given.mqtt_cert_file, given.mqtt_key_file):
        if path is not None and not path.is_file():
            raise RequestError(f"{path} is not a file.")
    settings = LinkSettings(
        brokers=tuple(map(Address.parse, given.mqtt_url)),
        client_id=f"edge-convert-{secrets.token_hex(6)}",
        username=given.mqtt_username,
        password_file=given.mqtt_password_file,
        ca_file=given.mqtt_ca_file,
        cert_file=given.mqtt_cert_file,
        key_file=given.mqtt_key_file,
    )
    return for_remote(settings)
