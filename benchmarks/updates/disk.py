"""A disk that becomes full during an update of the real daemon, in state after state; and has room again later.

    sudo python -m benchmarks.updates.disk                  # mounts a tmpfs of 120 MB for the device's state folder

Another program is what fills it, to the last byte: not even the journal can grow. Then the version that runs must
answer on, somebody must be told that the disk is full, and the store must be whole. With room again the update goes on
by itself, or, where it has failed, when it is asked for again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from agent.updates.states import FINAL, State
from benchmarks.report import Row, run_rows
from benchmarks.updates.scene import GOOD, NEW, OLD, BrokenPromiseError, Scene, ask, finish, staged
from benchmarks.updates.site import NAME, Device, JournalReader

SIZE: Final = "120m"
TOLD_S: Final = 30.0
END_S: Final = 150.0
"""A journal that could not be written is looked at again after 30 s."""
STATES: Final = (State.WANTED, State.FETCHING, State.STAGED, State.TRYING, State.SWITCHING, State.PROBATION)


@contextlib.contextmanager
def mounted(folder: Path) -> Iterator[Path]:
    """Raises `CalledProcessError` for who may not mount."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Takes all that is left."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            if file.write(b"x" * 4096) < 4096:
                break
    return path


def device_at(scene: Scene, folder: Path) -> Device:
    place = folder / "device"
    shutil.copytree(scene.template, place, symlinks=True)
    return Device(place, scene.settings_of(GOOD))


def row_of(scene: Scene, folder: Path, state: State | None) -> Row:
    """Full from `state` on; None: before anybody asks for the update."""
    with mounted(folder / f"disk-{state}") as disk:
        device = device_at(scene, disk)
        device.start()
        try:
            device.wait_ready()
            device.complete()
            return _row(scene, device, disk, state)
        except BaseException:
            print(device.log_tail(60), file=sys.stderr)
            raise
        finally:
            device.stop()


def _row(scene: Scene, device: Device, disk: Path, state: State | None) -> Row:
    refused = ""
    if state is None:
        filler = fill(disk)
        answer = device.ask("POST", f"/models/{NAME}/update", {"version": NEW})
        refused = f"refused with status {answer.status}: {answer.body['error']['message']}"
        told = refused if answer.status == 507 else ""
        found = "before it"
    else:
        ask(device, NEW)
        with JournalReader(device) as journal:
            while (last := journal.last()) is None or last[0] < 2 or (last[1] != state and last[1] not in FINAL):
                time.sleep(0.0005)
        filler = fill(disk)
        found, told = last[1], _told(device)
    failed = answers = 0
    for _ in range(5):
        answers += 1
        failed += device.complete().status != 200
    served = scene.check_answer(device)
    filler.unlink()
    began = time.monotonic()
    if state is None:
        ask(device, NEW)
    ended = finish(device, END_S)
    if ended["state"] == State.FAILED:
        ask(device, NEW)
        ended = finish(device, END_S)
    took_s = time.monotonic() - began
    device.stop()
    scene.check_disk(device)
    good = failed == 0 and served in (OLD, NEW) and ended["state"] == State.COMMITTED and "full" in told
    return Row(
        what=f"full from {found} on",
        bar="answers, says so, goes on",
        measured=f"{answers - failed} of {answers} answered by version {served}; {ended['state']} {took_s:.0f} s after"
        f" there was room; said: {told or 'nothing'}",
        passed=good,
        numbers={"took_s": took_s},
    )


def _told(device: Device) -> str:
    """What anybody who asks is told of the disk; nothing if that does not come, or the update ended without it."""
    give_up = time.monotonic() + TOLD_S
    while time.monotonic() < give_up:
        body = device.ask("GET", "/updates").body
        said = [body.get("error") or "", *(one.get("reason") or "" for one in (*body["updates"], *body["ended"]))]
        said += [one.get("waiting") or "" for one in body["updates"]]
        if found := next((text for text in said if "full" in text), None):
            return found
        if not body["updates"] and len(body["ended"]) > 1:
            return ""
        time.sleep(0.1)
    return ""


def rows(scene: Scene, folder: Path, only: Sequence[str]) -> Iterator[Row]:
    for state in (None, *STATES):
        if only and str(state) not in only:
            continue
        try:
            yield row_of(scene, folder, state)
        except BrokenPromiseError as error:
            yield Row(what=f"full from {state} on", bar="answers, says so, goes on", measured=str(error), passed=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", action="append", default=[], choices=[str(state) for state in STATES])
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print(json.dumps({"skipped": "mounting a small disk needs root"}))
        return 0
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # leave no daemon behind
    with tempfile.TemporaryDirectory(prefix="edge-agent-disk-") as folder, staged(Path(folder)) as scene:
        facts = {"machine": platform.machine(), "cores": os.cpu_count()}
        return 0 if run_rows({"disk": partial(rows, scene, Path(folder), arguments.state)}, facts) else 1


if __name__ == "__main__":
    sys.exit(main())
