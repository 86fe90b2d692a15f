"""The clock limits that were found, on the disk while they are lowered: who is killed cannot give them back himself."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.hardware import sysfile

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FoundClock:
    """`boot_id` is that of now: a boot sets all limits anew, so what another one has left is forgotten."""

    file: Path
    boot_id: str

    def load(self) -> dict[str, int]:
        """Kilohertz by the name of the policy; empty where nothing was left behind, or what was is garbage."""
        try:
            left = json.loads(sysfile.read_text(self.file) or "{}")
            limits = left["khz"] if left["boot_id"] == self.boot_id else {}
            return {str(name): int(khz) for name, khz in limits.items() if int(khz) > 0}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return {}

    def save(self, limits: Mapping[str, int]) -> None:
        """Before the first of them is lowered. Where it fails the log says so: heat is worse than a slow clock."""
        part = self.file.with_name(f"{self.file.name}.part")
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with part.open("w") as writing:
                json.dump({"boot_id": self.boot_id, "khz": dict(limits)}, writing)
                writing.flush()
                os.fsync(writing.fileno())
            part.replace(self.file)
        except OSError as error:
            log.warning("%s: %s. If edge-agent is killed now, the clock stays low until a reboot.", self.file, error)

    def forget(self) -> None:
        try:
            self.file.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s cannot be removed: %s", self.file, error)
