"""The service in a machine that really boots: Debian under systemd, in a container and on an emulated processor.

python -m benchmarks.service.boot --folder /var/tmp/boot
python -m benchmarks.service.boot --folder /var/tmp/boot --only emulated

Needs root, debootstrap, systemd-container and, for the emulated one, qemu-system-x86 and e2fsprogs.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.models import shapes
from benchmarks.report import Row, run_rows
from benchmarks.service import boot_machine

BARS = {
    "install": "reaches ready",
    "verify and security": "clean, exposure <= 2.0",
    "answers in the sandbox": "text and vectors",
    "device of its group": "opened, and by nobody else",
    "going first": "niceness -5 and no further",
    "control groups": "v2: one per worker; v1: said",
    "journal fields": "lines can be asked for by model",
    "worker over its own limit": "the worker alone is killed",
    "MemoryMax kills the worker alone": "same daemon, next request answered",
    "watchdog restarts a stopped daemon": "restarted, ready",
    "killed daemon comes back": "restarted, ready",
    "socket activation": "the first request is answered",
    "restart refuses nobody": "0 refused",
    "half an update": "reset in its middle",
    "after the reboot": "ready, old models answer, nothing half there",
    "uninstall leaves nothing": "no file, user, unit, process",
}


def container(folder: Path) -> Iterator[Row]:
    system = boot_machine.make_system(folder)
    gguf = shapes.ensure("tiny", "F32", folder)
    settings = {"patience": 1.0, "clean_reboot": True}
    boot_machine.place_tree(system, settings=settings, gguf=gguf)
    yield from _rows(boot_machine.boot_container(system, log=folder / "container.log", timeout_s=1200))


def emulated(folder: Path, *, version: int) -> Iterator[Row]:
    """Without llama.cpp, which may be built for instructions that the emulator does not have."""
    system = boot_machine.make_system(folder)
    settings = {"patience": 10.0, "clean_reboot": False}
    boot_machine.place_tree(system, settings=settings, gguf=None)
    log, image = folder / f"emulated-v{version}.log", folder / "emulated.ext4"
    yield from _rows(boot_machine.boot_emulated(system, image, version=version, log=log, timeout_s=3600))


def _rows(found: list[dict[str, Any]]) -> Iterator[Row]:
    by_name = {one["name"]: one for one in found}
    for name, bar in BARS.items():
        seen = by_name.get(name, {"passed": False, "error": "it was not reached"})
        keep = ("error", "skipped", "exposure", "version", "noticed_s", "ready_s", "first_answer_s", "refused", "limit")
        said = [f"{key} {seen[key]}" for key in keep if key in seen]
        took = f"{seen['took_s']} s" if "took_s" in seen else ""
        yield Row(what=name, bar=bar, measured=", ".join([*said, took]), passed=bool(seen["passed"]), numbers=seen)


def main() -> int:
    machines: dict[str, Callable[[Path], Iterator[Row]]] = {
        "container": container,
        "emulated": partial(emulated, version=2),
        "emulated-v1": partial(emulated, version=1),
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="for the system; made once, about 3 GB")
    parser.add_argument("--only", action="append", choices=[*machines], help="may be repeated")
    arguments = parser.parse_args()
    folder: Path = arguments.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    groups = {name: partial(machines[name], folder) for name in arguments.only or machines}
    return 0 if run_rows(groups, {"machine": platform.machine(), "kernel": platform.release()}) else 1


if __name__ == "__main__":
    sys.exit(main())
