"""Where a worker is kept apart from the others by the operating system, as the runtime sees it."""

from __future__ import annotations

from typing import Protocol


class Cell(Protocol):
    """One worker's. Nothing here may fail: a worker without a cell serves as well."""

    def limit(self, charged_bytes: int) -> None:
        """The ledger charges the worker, now loaded, with so much memory."""

    def close(self) -> None:
        """The worker is gone. Idempotent."""


class Cells(Protocol):
    def open(self, name: str, pid: int) -> Cell | None:
        """Keep the process `pid`, the worker of the model `name`, apart from now on; None if that is not possible."""
