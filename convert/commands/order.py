"""What the commands that make artifacts of a checkpoint have in common: options, what they may be, and how it ended."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from agent.errors import RequestError
from agent.store.names import check_name, check_version, suggest_name
from convert.quality.gates import add_accept_option


def add_options(parser: argparse.ArgumentParser, *, example: str, several: str, ending: str) -> None:
    """`example` is a hub id of such a checkpoint. One run makes `several` artifacts, each called NAME-`ending`."""
    parser.add_argument("source", metavar="SRC", help=f"a folder, or a hub id such as {example}")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help=f"the artifact folder; with several {several} the folder for NAME-{ending}; default: the current folder",
    )
    parser.add_argument("--name", help="what to call the model; by default what the source is called")
    parser.add_argument("--version", default="1", help="which version it is (default: 1)")
    parser.add_argument("--revision", help="branch, tag or commit on the hub")
    add_accept_option(parser)
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="one per core unless given")
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")


def check_threads(given: argparse.Namespace) -> None:
    """Raises `RequestError`."""
    if given.threads < 0:
        raise RequestError(f"--threads: expected 0 or more, got {given.threads}.")


def name_of(given: argparse.Namespace) -> str:
    """What to call the model: safe to be a model's name, as the version is. Raises `ArtifactError`."""
    from convert.source import source_name

    name: str = given.name or suggest_name(source_name(given.source))
    check_name(name)
    check_version(given.version)
    return name


def say(text: str) -> None:
    """Beside the result, which alone goes to standard output."""
    print(text, file=sys.stderr, flush=True)
