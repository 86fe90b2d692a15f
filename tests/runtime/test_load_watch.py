from __future__ import annotations

from pathlib import Path

import pytest

from agent.hardware.sensors.turns import Turns
from agent.runtime.load_watch import LoadWatch, Share, is_starved, read_share, waits_for_disk

BEGIN = Share(100.0, Turns(1.0, 1.0), 0, 0)
MB = 1_000_000


@pytest.mark.parametrize(
    ("what", "last", "waits", "starved"),
    [
        ("it ran all the time", Share(110.0, Turns(11.0, 1.0), 0, 0), 0.0, False),
        ("it waited for the processors", Share(110.0, Turns(2.0, 9.0), 0, 0), 0.0, True),
        ("it slept", Share(110.0, Turns(1.1, 1.1), 0, 900 * MB), 0.0, False),
        ("it read, alone", Share(110.0, Turns(1.5, 1.1), 500 * MB, 501 * MB), 0.9, False),
        ("it read, and others read more", Share(110.0, Turns(1.5, 1.1), 100 * MB, 501 * MB), 0.9, True),
        ("others read, but it hardly waited", Share(110.0, Turns(1.5, 1.1), 100 * MB, 501 * MB), 0.2, False),
        ("nothing is known", Share(110.0, None, None, None), 1.0, False),
    ],
)
def test_who_is_to_blame(what: str, last: Share, waits: float, starved: bool) -> None:
    assert is_starved(BEGIN, last, waits) is starved, what


def write(root: Path, *, ran_s: float, waited_s: float, own: int, sectors: int, state: str = "D", pid: int = 7) -> None:
    task = root / f"proc/{pid}/task/{pid}"
    task.mkdir(parents=True, exist_ok=True)
    (root / "sys/block/sda").mkdir(parents=True, exist_ok=True)
    (task / "schedstat").write_text(f"{ran_s * 1e9:.0f} {waited_s * 1e9:.0f} 3")
    (task / "stat").write_text(f"7 (a ) S b) {state} 1 2 3")
    (root / f"proc/{pid}/io").write_text(f"rchar: 5\nread_bytes: {own}\nwrite_bytes: 0\n")
    (root / "proc/diskstats").write_text(
        f"8 0 sda 1 0 {sectors} 0 1 0 10 0 0 0 0\n"
        "8 1 sda1 1 0 999999999 0 1 0 9 0 0 0 0\n"  # a part of it
        "253 0 dm-0 1 0 999999999 0 1 0 9 0 0 0 0\n"  # on top of it
    )


def test_what_the_kernel_says_of_a_worker(tmp_path: Path) -> None:
    write(tmp_path, ran_s=1.5, waited_s=0.5, own=4096, sectors=90)
    share = read_share(7, tmp_path)
    assert (share.turns, share.own_bytes, share.all_bytes) == (Turns(1.5, 0.5), 4096, 100 * 512)
    assert waits_for_disk(7, tmp_path)
    write(tmp_path, ran_s=1.5, waited_s=0.5, own=4096, sectors=90, state="S")
    assert not waits_for_disk(7, tmp_path)


def test_a_load_that_others_keep_from_the_disk(tmp_path: Path) -> None:
    watch = LoadWatch(lambda: 7, tmp_path)
    for look in range(5):
        write(tmp_path, ran_s=0.001 * look, waited_s=0.0, own=1000 * look, sectors=100_000 * look)
        watch.look()
    assert watch.starved()


def test_another_worker_is_another_load(tmp_path: Path) -> None:
    pids = iter([7, 7, 7, 8, 8])
    watch = LoadWatch(lambda: next(pids, None), tmp_path)
    for look in range(3):
        write(tmp_path, ran_s=0.0, waited_s=0.0, own=0, sectors=100_000 * look)
        watch.look()
    assert watch.starved()
    for _ in range(2):
        write(tmp_path, ran_s=0.0, waited_s=0.0, own=0, sectors=900_000, pid=8)
        watch.look()
    assert not watch.starved()


def test_a_worker_that_has_ended_is_judged_by_what_was_seen(tmp_path: Path) -> None:
    watch = LoadWatch(lambda: 7, tmp_path)
    for look in range(3):
        write(tmp_path, ran_s=0.0, waited_s=0.0, own=0, sectors=100_000 * look)
        watch.look()
    for path in sorted((tmp_path / "proc/7").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    watch.look()
    assert watch.starved()
