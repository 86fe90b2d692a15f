"""A number in a file of `/sys`, or the reason why there is none: a meter has to tell a person what is wrong."""

from __future__ import annotations

from pathlib import Path

from agent.errors import UnavailableError

LIMIT_BYTES = 256


def read_number(path: Path, *, permission: str = "Run edge-agent as a user who may read it.") -> int:
    """The file's whole number. Raises `UnavailableError` where it is missing, forbidden or holds something else."""
    try:
        with path.open("rb") as file:
            text = file.read(LIMIT_BYTES).decode("ascii", "replace").strip()
    except PermissionError:
        raise UnavailableError(f"{path} may not be read.", hint=permission) from None
    except FileNotFoundError:
        raise UnavailableError(f"{path} does not exist.") from None
    except (OSError, ValueError) as error:
        raise UnavailableError(f"{path} cannot be read: {error}.") from None
    try:
        return int(text)
    except ValueError:
        raise UnavailableError(f"{path} holds {text[:40]!r}, which is no number.") from None
