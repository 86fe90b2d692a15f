"""The daemon and the command line use one store at the same time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from agent.errors import ArtifactError, ModelNotFoundError, UnavailableError
from agent.store.durable import Filesystem
from agent.store.locks import exclusive
from agent.store.store import Store
from tests.store.material import MIB, gguf, report, small_store, tree


@contextmanager
def process(work: Callable[[], object]) -> Iterator[Callable[[], int]]:
    """`work` in another process; the function it gives waits for its end and returns its exit status."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    ended: list[int] = []

    def wait() -> int:
        if not ended:
            ended.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        return ended[0]

    yield wait
    wait()


def appears(path: Path) -> bool:
    give_up = time.monotonic() + 10
    while not path.exists() and time.monotonic() < give_up:
        time.sleep(0.005)
    return path.exists()


def test_a_held_lock_is_an_error_that_names_the_holder_while_reading_goes_on(tmp_path: Path) -> None:
    store = small_store(tmp_path / "models", lock_timeout_s=0.2)
    store.import_gguf(gguf(tmp_path / "a.gguf", seed=1), "m", None, report())
    store.import_gguf(gguf(tmp_path / "b.gguf", seed=2), "m", None, report())
    held, done = tmp_path / "held", tmp_path / "done"

    def hold() -> None:
        with exclusive(store.layout.lock, timeout_s=1):
            held.write_text(str(os.getpid()))
            appears(done)

    with process(hold) as wait:
        assert appears(held)
        for change in (
            lambda: store.activate("m", "2"),
            lambda: store.rollback("m"),
            lambda: store.remove("m"),
            lambda: store.import_gguf(tmp_path / "b.gguf", "other", None, report()),
        ):
            started = time.monotonic()
            with pytest.raises(UnavailableError, match=f"pid {held.read_text()}.*more than 0.2 s"):
                change()
            assert 0.2 <= time.monotonic() - started < 5
        started = time.monotonic()
        assert len(Store(store.layout.root).models()) == 2
        assert store.active("m").version == "1"
        assert time.monotonic() - started < 5
        done.write_text("")
        assert wait() == 0
    assert store.activate("m", "2").active


def test_a_live_import_is_not_swept_and_holds_no_lock(tmp_path: Path) -> None:
    root = tmp_path / "models"
    copying, go_on = tmp_path / "copying", tmp_path / "go on"
    source = gguf(tmp_path / "m.gguf", count=3 * MIB)

    def slowly(done: int, total: int) -> None:
        copying.write_text("")
        appears(go_on)

    with process(lambda: small_store(root).import_gguf(source, "m", "1", report(), progress=slowly)) as wait:
        assert appears(copying)
        store = small_store(root, lock_timeout_s=0)
        assert len(list((root / ".staging").iterdir())) == 1
        assert store.import_gguf(gguf(tmp_path / "n.gguf", seed=1), "n", "1", report()).created
        store.remove("n")
        go_on.write_text("")
        assert wait() == 0
    assert store.verify("m", "1").active
    assert list((root / ".staging").iterdir()) == []


@pytest.mark.parametrize("same", [True, False])
def test_one_version_imported_twice_at_once_is_imported_once(tmp_path: Path, same: bool) -> None:
    root = tmp_path / "models"
    first, second = gguf(tmp_path / "a.gguf", seed=1), gguf(tmp_path / "b.gguf", seed=1 if same else 2)
    copying, go_on = tmp_path / "copying", tmp_path / "go on"
    statuses = []

    def slowly(done: int, total: int) -> None:
        copying.write_text("")
        appears(go_on)

    def late() -> None:
        try:
            imported = small_store(root).import_gguf(second, "m", "1", report(), progress=slowly)
        except ArtifactError:
            assert not same
        else:
            assert same
            assert not imported.created

    with process(late) as wait:
        assert appears(copying)
        store = small_store(root)
        assert store.import_gguf(first, "m", "1", report()).created
        go_on.write_text("")
        statuses.append(wait())
    assert statuses == [0]
    assert store.verify("m", "1").main_path.read_bytes() == first.read_bytes()
    assert list((root / ".staging").iterdir()) == []


def test_readers_never_see_half_while_others_change_the_store(tmp_path: Path) -> None:
    root = tmp_path / "models"
    sources = [gguf(tmp_path / f"{seed}.gguf", seed=seed) for seed in range(4)]
    store = small_store(root)
    store.import_gguf(sources[0], "m", "1", report())
    store.import_gguf(sources[1], "m", "2", report())
    until = time.monotonic() + 1.5

    def switch() -> None:
        mine = small_store(root)
        while time.monotonic() < until:
            mine.activate("m", "2")
            mine.activate("m", "1")

    def come_and_go(name: str, seed: int) -> None:
        mine = small_store(root)
        while time.monotonic() < until:
            mine.import_gguf(sources[seed], name, None, report())
            mine.remove(name)

    rounds = 0
    with (
        process(switch) as first,
        process(lambda: come_and_go("n", 2)) as second,
        process(lambda: come_and_go("o", 3)) as third,
    ):
        while time.monotonic() < until:
            listing = small_store(root).scan()
            assert listing.broken == ()
            assert {model.version for model in listing.models if model.name == "m"} == {"1", "2"}
            assert store.active("m").version in ("1", "2")
            with suppress(ModelNotFoundError):
                store.active("n")
            rounds += 1
        assert (first(), second(), third()) == (0, 0, 0)
    assert rounds > 3
    assert {path for path in tree(root) if path.startswith((".staging/", ".trash/", "n", "o"))} == set()


def test_everything_is_synced_before_it_can_be_seen(tmp_path: Path) -> None:
    """What a power cut needs: contents, then names, then the one rename, then the name it made."""
    steps: list[str] = []
    store = small_store(tmp_path / "models", filesystem=Filesystem(steps.append))
    steps.clear()
    store.import_gguf(gguf(tmp_path / "m.gguf", count=2 * MIB), "m", "1", report())
    order = [step.partition("-")[0] for step in steps]
    publish = max(index for index, step in enumerate(order) if step == "rename to 1")
    assert order[publish:] == ["rename to 1", "fsync folder m", "fsync folder .staging"]
    for name in ("model.gguf", "manifest.json", "history"):
        created, written, synced = (
            max(index for index, step in enumerate(order) if step == f"{verb} {name}")
            for verb in ("create", "write", "fsync")
        )
        assert created < written < synced < publish
    assert (
        order.index("fsync manifest.json") < max(i for i, s in enumerate(order) if s == "fsync folder import") < publish
    )
    assert order.index("mkdir m") < order.index("fsync folder models") < publish
