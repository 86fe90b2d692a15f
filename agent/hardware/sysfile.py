"""Reading the small files of `/proc`, `/sys` and the device tree, which may be absent, forbidden or garbage."""

from __future__ import annotations

from pathlib import Path

LIMIT_BYTES = 4 * 1024 * 1024
"""More than any real file here: `/proc/cpuinfo` of a machine with 512 CPUs takes 1 MB."""
_PIECE_BYTES = 64 * 1024
"""Linux refuses to read from `/proc/sys` with a buffer of 4 MiB (ENOMEM), whatever the file's length."""


def read_text(path: Path) -> str | None:
    """The file's text without surrounding white space and NUL; None where it cannot be read, for whatever reason."""
    try:
        with path.open("rb", buffering=0) as file:
            data = bytearray()
            while len(data) < LIMIT_BYTES and (piece := file.read(_PIECE_BYTES)):
                data += piece
    except (OSError, ValueError):
        return None
    return data.decode("utf-8", "replace").strip("\0 \t\r\n")


def read_int(path: Path) -> int | None:
    """The file's one whole number; None where it holds anything else."""
    text = read_text(path)
    try:
        return int(text) if text else None
    except ValueError:
        return None


def read_strings(path: Path) -> tuple[str, ...]:
    """A device-tree string list (NUL between strings); empty where there is none."""
    text = read_text(path) or ""
    return tuple(part.strip() for part in text.split("\0") if part.strip())


def parse_cpu_list(text: str | None) -> tuple[int, ...] | None:
    """`0-3,8` as the kernel writes sets of CPUs; None for anything else, so that a caller can fall back."""
    if not text:
        return None
    cpus: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdecimal() or not (last or first).isdecimal():
            return None
        low, high = int(first), int(last or first)
        if low > high or high > 65535:
            return None
        cpus.update(range(low, high + 1))
    return tuple(sorted(cpus))


def list_names(folder: Path, pattern: str) -> list[Path]:
    """The entries of `folder` that match a glob, sorted; empty where the folder cannot be read."""
    try:
        return sorted(folder.glob(pattern))
    except (OSError, ValueError):
        return []
