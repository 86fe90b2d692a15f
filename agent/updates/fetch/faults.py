"""What can go wrong on the way, as errors of ours.

UpdateError                 (agent.errors)
├── UntrustedError          (agent.errors) not what was signed, or not by whom
├── InterruptedFetchError   the line, not the repository: worth trying again at once
├── NotThereError           the repository answers, and has no such file
└── HeldError               the allowance is used up; nothing is wrong
"""

from __future__ import annotations

import errno
from pathlib import Path

from agent.errors import DiskFullError, EdgeAgentError, StoreError, UpdateError

LATER = "It is tried again later."


class InterruptedFetchError(UpdateError):
    """`wait_s`: the server asked for that much patience."""

    def __init__(self, message: str, *, wait_s: float = 0.0, hint: str = LATER) -> None:
        super().__init__(message, retry=True, hint=hint)
        self.wait_s = wait_s


class NotThereError(UpdateError):
    """`answer` is the HTTP status, or 404."""

    def __init__(self, message: str, *, answer: int = 404, hint: str = LATER) -> None:
        super().__init__(message, retry=True, hint=hint)
        self.answer = answer


class HeldError(UpdateError):
    def __init__(self) -> None:
        super().__init__("The allowance is used up.", retry=True)


def disk_fault(error: OSError, what: str, where: Path) -> EdgeAgentError:
    """`what` failed: "writing model.gguf"."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskFullError(
            f"The disk is full: {what} in {where} failed ({error.strerror}).",
            hint="Make room: edge-agent models rm NAME@VERSION deletes versions that are not needed.",
        )
    return StoreError(f"{what[:1].upper()}{what[1:]} in {where} failed: {error.strerror or error}.")
