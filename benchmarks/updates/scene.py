"""A publisher with three versions of a small model, and devices on which the first one serves."""

from __future__ import annotations

import contextlib
import random
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent.store.store import Store
from agent.updates.states import State
from benchmarks.models import shapes
from benchmarks.updates.line import Link
from benchmarks.updates.site import NAME, Device, Publisher, settings

LINE_BYTES_PER_S: Final = 3e6
END_S: Final = 120.0
OLD, NEW, UNFIT = "1", "2", "3"
"""`UNFIT` fails its golden set."""
GOLDEN: Final[list[dict[str, Any]]] = [
    {"kind": "exact", "prompt": "Once upon a time", "answers": [""], "max_tokens": 4}
] * 4
PROBATION_S: Final = 1.5
LONG_PROBATION_S: Final = 600.0
"""Where something else is to end it."""


class BrokenPromiseError(Exception):
    """What the bar asks for is not so; the text says what."""


@dataclass(frozen=True)
class Kind:
    """How the update goes: which version, how it ends if nobody disturbs it, and what is done to it on probation."""

    version: str
    end: State
    on_probation: str = ""
    """"crash": its worker is killed; "withdraw": it is taken back."""


GOOD, BAD = Kind(NEW, State.COMMITTED), Kind(UNFIT, State.REJECTED)
CRASHING, WITHDRAWN = Kind(NEW, State.REJECTED, "crash"), Kind(NEW, State.CANCELLED, "withdraw")


class Scene:
    """The publisher, and a device on which version 1 serves; each life of an update begins with a copy of it."""

    def __init__(self, folder: Path, link: Link, publisher: Publisher) -> None:
        self._folder = folder
        self.link = link
        self._publisher = publisher
        self.texts: dict[str, str] = {}
        """What each version says."""
        self.undisturbed_s = 0.0
        self.template = folder / "template"

    def prepare(self) -> None:
        """One update that nobody disturbs, for the texts and the time it takes."""
        device = Device(self.template, self.settings_of(GOOD))
        device.start()
        try:
            device.wait_ready()
            ask(device, OLD)
            if (ended := finish(device, END_S))["state"] != State.COMMITTED:
                raise BrokenPromiseError(f"version {OLD} is {ended['state']}: {ended['reason']}")
            self.texts[OLD] = device.complete().text
        finally:
            device.stop()
        with self.life() as life:
            began = time.monotonic()
            ask(life, NEW)
            finish(life, END_S)
            self.undisturbed_s = time.monotonic() - began
            self.texts[NEW] = life.complete().text
        if self.texts[OLD] == self.texts[NEW]:
            raise BrokenPromiseError("both versions say the same: they cannot be told apart")

    @contextlib.contextmanager
    def life(self, kind: Kind = GOOD) -> Iterator[Device]:
        """A device that serves version 1, ready."""
        folder = self._folder / "device"
        shutil.copytree(self.template, folder, symlinks=True)
        device = Device(folder, self.settings_of(kind))
        try:
            device.start()
            device.wait_ready()
            device.complete()
            yield device
        except BaseException:
            print(device.log_tail(60), file=sys.stderr)
            raise
        finally:
            device.stop()
            shutil.rmtree(folder)

    def settings_of(self, kind: Kind) -> str:
        """agent.toml of a device whose update goes like that."""
        return settings(
            self._publisher, self.link, probation_s=LONG_PROBATION_S if kind.on_probation else PROBATION_S,
            probation_requests=1_000_000, retry_first_s=0.2, trial_timeout_s=30,
        )  # fmt: skip

    def sent(self) -> list[tuple[int, int]]:
        """(offset, bytes) of the model in the order in which they were sent."""
        return self.link.spans(".model.gguf")

    def forget_sent(self) -> None:
        self.link.sent.clear()

    def check_disk(self, device: Device) -> None:
        """Nobody runs: the store has an active version, and all of its versions are whole. Raises
        `BrokenPromiseError`, `StoreError`."""
        store = Store(device.state_dir / "models", margin_bytes=0)
        listing = store.scan()
        if listing.broken or not listing.models:
            raise BrokenPromiseError(f"the store has {listing.broken}")
        for model in listing.models:
            store.verify(model.name, model.version)
        if store.layout.active_version(NAME) not in self.texts:
            raise BrokenPromiseError(f"the active version is {store.layout.active_version(NAME)}")

    def check_answer(self, device: Device) -> str:
        """The version that answers, with its own text. Raises `BrokenPromiseError`."""
        answer = device.complete()
        if answer.status != 200:
            raise BrokenPromiseError(f"no answer after a restart: {answer.body}")
        versions = [version for version, text in self.texts.items() if text == answer.text]
        if not versions:
            raise BrokenPromiseError(f"an answer of neither version: {answer.text!r}")
        return versions[0]


def ask(device: Device, version: str) -> None:
    answer = device.ask("POST", f"/models/{NAME}/update", {"version": version})
    if answer.status != 202:
        raise BrokenPromiseError(f"the update was refused: {answer.body}")


def updates_of(device: Device) -> dict[str, Any]:
    """GET /updates, of a daemon that has read its journal: that of version 1 has ended in any case."""
    give_up = time.monotonic() + END_S
    while time.monotonic() < give_up:
        found: dict[str, Any] = device.ask("GET", "/updates").body
        if found["updates"] or found["ended"]:
            return found
        time.sleep(0.02)
    raise BrokenPromiseError("the daemon knows of no update")


def finish(device: Device, timeout_s: float) -> dict[str, Any]:
    """The update once nothing is under way any more. Raises `BrokenPromiseError`."""
    give_up = time.monotonic() + timeout_s
    while time.monotonic() < give_up:
        updates = updates_of(device)
        if not updates["updates"]:
            found: dict[str, Any] = updates["ended"][0]
            return found
        time.sleep(0.05)
    raise BrokenPromiseError(f"the update does not come to its end: {updates['updates']}")


@contextlib.contextmanager
def staged(folder: Path) -> Iterator[Scene]:
    """A scene that is ready."""
    publisher = Publisher(folder / "publisher")
    models = {version: shapes.ensure("tiny", "F32", folder, seed=seed) for version, seed in ((OLD, 0), (NEW, 1))}
    padded = {version: folder / f"padded-{version}.gguf" for version in models}
    for version, model in models.items():  # what llama.cpp does not read: more chunks, for the same small model
        padded[version].write_bytes(model.read_bytes() + random.Random(version).randbytes(2_000_000))
    publisher.publish(OLD, padded[OLD], GOLDEN, {"least_exact": 0.0})
    publisher.publish(NEW, padded[NEW], GOLDEN, {"least_exact": 0.0})
    publisher.publish(UNFIT, padded[NEW], GOLDEN, {"least_exact": 1.0})
    with Link(publisher.repo, LINE_BYTES_PER_S) as link:
        scene = Scene(folder, link, publisher)
        scene.prepare()
        yield scene
