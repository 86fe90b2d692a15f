"""What commands that sign are told: the repository, the folders of keys, the passphrase."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent.errors import ConfigError, RequestError

if TYPE_CHECKING:
    from convert.publish.keys import KeyRing

KEYS_VARIABLE: Final = "EDGE_CONVERT_KEYS"
PASSPHRASE_VARIABLE: Final = "EDGE_CONVERT_PASSPHRASE"


def add_repository(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repo", type=Path, required=True, metavar="DIR", help="the repository's folder")


def add_keys(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--keys",
        type=Path,
        action="append",
        metavar="DIR",
        help=f"a folder with private keys, also below it; may be given more than once ({KEYS_VARIABLE})",
    )


def key_folders(given: argparse.Namespace) -> list[Path]:
    """Raises `RequestError` where none is given."""
    folders: list[Path] = given.keys or [Path(one) for one in os.environ.get(KEYS_VARIABLE, "").split(":") if one]
    if not folders:
        raise RequestError("No private keys are given.", hint=f"Give their folder with --keys, or in {KEYS_VARIABLE}.")
    return folders


def keys_at_hand(given: argparse.Namespace) -> KeyRing:
    """Those in the folders given. Someone at a terminal is asked for a passphrase that is missing.

    Raises `RequestError`, `ArtifactError`, `ConfigError`.
    """
    from convert.publish.keys import load_keys

    folders = key_folders(given)
    try:
        return load_keys(folders, passphrase())
    except ConfigError:
        if passphrase() is not None or not sys.stdin.isatty():
            raise
    return load_keys(folders, getpass.getpass("Passphrase of the keys: ").encode())


def passphrase() -> bytes | None:
    text = os.environ.get(PASSPHRASE_VARIABLE)
    return text.encode() if text else None


def lacking_text(lacking: Sequence[str]) -> str:
    """How the rest is signed; nothing where nothing is lacking."""
    if not lacking:
        return ""
    return (
        f"Devices do not see it yet: {'; '.join(lacking)}.\n"
        "Sign it where those keys are: edge-convert keys sign --repo DIR --keys DIR"
    )
