"""Put an artifact into a signed repository, from which devices update: static files, for any web server."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from agent.errors import RequestError
from agent.terminal import Progress, print_json, size, table
from convert.commands.key_options import add_keys, add_repository, keys_at_hand, lacking_text

NAME: Final = "publish"
HELP: Final = "sign an artifact and put it where devices update from"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifact", type=Path, nargs="?", metavar="ARTIFACT", help="the folder with its manifest.json")
    add_repository(parser)
    add_keys(parser)
    parser.add_argument("--class", dest="device_class", metavar="CLASS", help="only for devices of this class")
    parser.add_argument("--keep", type=int, metavar="N", help="of this model keep only the N newest versions")
    parser.add_argument("--list", action="store_true", help="show what is published, and publish nothing")
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")


def run(given: argparse.Namespace) -> int:
    if given.list:
        return _list(given)
    if given.artifact is None:
        raise RequestError("No artifact is given.", hint="Name its folder, or use --list.")
    return _publish(given)


def _publish(given: argparse.Namespace) -> int:
    from agent.store.manifest import read_manifest
    from convert.publish.publish import publish

    ring = keys_at_hand(given)
    done = 0
    with Progress("publishing") as progress:
        path = given.artifact / "manifest.json"
        total = read_manifest(path).total_bytes if path.is_file() else 0

        def on_bytes(count: int) -> None:
            nonlocal done
            done += count
            progress(done, total)

        published = publish(
            given.artifact, given.repo, ring, device_class=given.device_class, keep=given.keep, on_bytes=on_bytes
        )
    if given.json:
        print_json(
            {
                "name": published.name,
                "version": published.version,
                "class": published.device_class,
                "bytes": published.bytes,
                "chunks": published.chunks,
                "pruned": published.pruned,
                "parted": published.parted,
                "lacking": published.lacking,
            }
        )
        return 0
    whom = f" for devices of class {published.device_class}" if published.device_class else ""
    print(f"{published.name} {published.version}{whom}: {size(published.bytes)} in {published.chunks} chunks.")
    if published.pruned:
        print(f"Gone: {', '.join(published.pruned)}.")
    if published.parted:
        print(
            f"{_models(len(published.parted))} in one list before, and each has a list of its own now: a device reads"
            " those that it wants. Devices need no change; edge-convert serve-blocks must be of this version."
        )
    if published.lacking:
        print(lacking_text(published.lacking), file=sys.stderr)
    return 0


def _models(count: int) -> str:
    return "1 model was" if count == 1 else f"{count} models were"


def _list(given: argparse.Namespace) -> int:
    from convert.publish.show import models

    shown = models(given.repo)
    if given.json:
        print_json(
            [
                {
                    "name": one.release.name,
                    "version": one.release.version,
                    "class": one.device_class,
                    "bytes": one.release.bytes,
                    "published": one.release.published,
                    "latest": one.release.latest,
                }
                for one in shown
            ]
        )
        return 0
    rows = [
        [
            one.release.name,
            one.release.version,
            one.device_class or "-",
            size(one.release.bytes),
            one.release.published,
            "latest" if one.release.latest else "",
        ]
        for one in shown
    ]
    print(table(rows, ("MODEL", "VERSION", "CLASS", "SIZE", "PUBLISHED", ""), right=(3,)))
    return 0
