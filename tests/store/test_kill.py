"""kill -9 before every single step that changes the disk, and a failing disk at every one of them."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from agent.errors import DiskFullError, StoreError
from agent.store.durable import Filesystem, Step
from agent.store.store import Store
from tests.store.material import MIB, artifact, gguf, random_bytes, report, small_store, tree

Operation = Callable[[Store, Path], object]


@dataclass(frozen=True)
class Scenario:
    """All get a store and the folder of sources. `between` leads to the only other state that may be seen."""

    name: str
    prepare: Operation
    operate: Operation
    between: Operation | None = None

    def run(self, root: Path, sources: Path, filesystem: Filesystem) -> None:
        self.operate(small_store(root, filesystem=filesystem), sources)

    def states(self, template: Path, root: Path, sources: Path) -> list[object]:
        """What may be seen, in order: the old, maybe one between, the new."""
        operations = [nothing, *([self.between] if self.between else []), self.operate]
        found = []
        for operation in operations:
            store = small_store(fresh(template, root))
            operation(store, sources)
            found.append(state(store))
        return found


def import_1(store: Store, sources: Path) -> object:
    return store.import_gguf(sources / "v1.gguf", "m", "1", report())


def import_2(store: Store, sources: Path) -> object:
    return store.import_gguf(sources / "v2.gguf", "m", "2", report(), activate=False)


def import_2_active(store: Store, sources: Path) -> object:
    return store.import_gguf(sources / "v2.gguf", "m", "2", report(), activate=True)


def import_split(store: Store, sources: Path) -> object:
    return store.import_gguf(sources / "s-00001-of-00002.gguf", "m", "3", report(split_count=2))


def import_folder(store: Store, sources: Path) -> object:
    return store.import_folder(sources / "artifact")


def three_versions(store: Store, sources: Path) -> None:
    import_1(store, sources)
    import_2_active(store, sources)
    import_split(store, sources)


def nothing(store: Store, sources: Path) -> None:
    pass


SCENARIOS = [
    Scenario("first import", nothing, import_1),
    Scenario("import and activate", import_1, import_2_active, between=import_2),
    Scenario("import a split model", import_1, import_split),
    Scenario("import a folder", nothing, import_folder),
    Scenario("import by link", nothing, lambda s, p: s.import_gguf(p / "v1.gguf", "m", "1", report(), transfer="link")),
    Scenario("activate", three_versions, lambda s, _: s.activate("m", "3")),
    Scenario("activate the one before", three_versions, lambda s, _: s.activate("m", "1")),
    Scenario("roll back", three_versions, lambda s, _: s.rollback("m")),
    Scenario("remove", three_versions, lambda s, _: s.remove("m", "3")),
    Scenario("remove the one before", three_versions, lambda s, _: s.remove("m", "1")),
    Scenario("remove the active one", three_versions, lambda s, _: s.remove("m", "2", force=True)),
    Scenario("remove the only one", import_1, lambda s, _: s.remove("m", "1")),
    Scenario("remove the model", three_versions, lambda s, _: s.remove("m")),
]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: a kill loses nothing that was written, so syncing need not be real."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.fixture
def sources(place: Path) -> Path:
    folder = place / "sources"
    gguf(folder / "v1.gguf", count=2 * MIB + 1, seed=1)
    gguf(folder / "v2.gguf", seed=2)
    gguf(folder / "s-00001-of-00002.gguf", seed=3)
    gguf(folder / "s-00002-of-00002.gguf", seed=4)
    artifact(folder / "artifact", {"a/b/model.gguf": random_bytes(9), "c.json": b"{}"}, name="m", version="9")
    return folder


def state(store: Store) -> object:
    """All that a user of the store can see, and all files but the records of history, which nobody reads too early."""
    assert store.scan().broken == ()
    for model in store.models():
        store.verify(model.name, model.version)
    files = {path: held for path, held in tree(store.layout.root).items() if "/.history" not in path}
    return files, [model.version for model in store.models() if model.active], store.previous_version("m")


def at(number: int, act: Callable[[], None]) -> Step:
    """Calls `act` just before step `number` (from 0)."""
    left = [number]

    def on_step(name: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            act()

    return on_step


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed(operation: Callable[[], object]) -> bool:
    """Runs `operation` in a process of its own; whether it was killed by SIGKILL rather than done."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            operation()
            status = 0
        finally:
            os._exit(status)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, -signal.SIGKILL), code
    return code != 0


def fresh(template: Path, root: Path) -> Path:
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(template, root, symlinks=True)
    return root


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario.name for scenario in SCENARIOS])
def test_killed_at_any_step_the_store_opens_with_the_old_or_the_new(
    place: Path, sources: Path, scenario: Scenario
) -> None:
    template, root = place / "template", place / "models"
    scenario.prepare(small_store(template), sources)
    states = scenario.states(template, root, sources)
    steps: list[str] = []
    scenario.operate(small_store(fresh(template, root), filesystem=Filesystem(steps.append)), sources)
    assert len(steps) >= 4, steps

    outcomes: list[int] = []
    for number, step in enumerate(steps):
        fresh(template, root)
        doomed = Filesystem(at(number, die))
        assert killed(partial(scenario.run, root, sources, doomed)), step
        _killed_sweeps_change_nothing(root)
        reopened = small_store(root)
        found = state(reopened)
        assert found in states, f"killed before step {number}, {step}, of {steps}"
        outcomes.append(states.index(found))
        if found != states[-1]:
            scenario.operate(reopened, sources)
            assert state(reopened) == states[-1], step
    assert outcomes == sorted(outcomes), "once new, never old again"
    assert set(outcomes) == set(range(len(states)))


def _killed_sweeps_change_nothing(root: Path) -> None:
    """Kills the recovery itself, each time one step later, until it gets through."""
    for number in range(100):
        doomed = Filesystem(at(number, die))
        if not killed(partial(small_store, root, filesystem=doomed)):
            return
    raise AssertionError("it never gets through")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario.name for scenario in SCENARIOS])
def test_a_disk_that_fails_at_any_step_leaves_the_old_or_the_new(
    place: Path, sources: Path, scenario: Scenario, code: int
) -> None:
    template, root = place / "template", place / "models"
    scenario.prepare(small_store(template), sources)
    states = scenario.states(template, root, sources)
    steps: list[str] = []
    scenario.operate(small_store(fresh(template, root), filesystem=Filesystem(steps.append)), sources)

    for number, step in enumerate(steps):
        fresh(template, root)
        left = [number]

        def fail(_: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == -1:  # once: what cleans up afterwards works
                raise OSError(code, os.strerror(code))

        failing = small_store(root, filesystem=Filesystem(fail))
        with pytest.raises(DiskFullError if code == errno.ENOSPC else StoreError):
            scenario.operate(failing, sources)
        assert list((root / ".staging").iterdir()) == [], step
        assert state(small_store(root)) in states, f"{step} of {steps}"


SLOW_IMPORT = """
import sys, time
from pathlib import Path
from agent.store.store import Store
from tests.store.material import report
def slowly(done, total):
    print(done, flush=True)
    time.sleep(0.02)
Store(Path(sys.argv[1]), margin_bytes=0).import_gguf(Path(sys.argv[2]), "m", "1", report(), progress=slowly)
"""


def test_an_import_killed_from_outside_in_mid_copy_leaves_nothing(tmp_path: Path) -> None:
    source = gguf(tmp_path / "big.gguf", count=64 * MIB)
    root = tmp_path / "models"
    child = subprocess.Popen(
        [sys.executable, "-c", SLOW_IMPORT, str(root), str(source)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert child.stdout is not None
    for _ in range(5):
        assert child.stdout.readline()
    (staged,) = (root / ".staging").iterdir()
    live = small_store(root)
    assert staged.is_dir(), "another process is still at it"
    assert live.models() == []
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert staged.is_dir()
    store = small_store(root)
    assert tree(root) == {".staging": "folder", ".trash": "folder"}
    assert store.import_gguf(source, "m", "1", report()).created
