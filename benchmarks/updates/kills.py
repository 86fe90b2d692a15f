"""kill -9 during an update of the real daemon: at each state of the update, and at random moments.

    python -m benchmarks.updates.kills                      # every state, then 100 random moments; minutes of work
    python -m benchmarks.updates.kills --only states
    python -m benchmarks.updates.kills --only random --kills 20 --seed 7

A repository that `edge-convert publish` has made behind a web server that sends as fast as a line of 3 MB/s, a daemon
with its workers and its fetching child, models of random weights (2.6 MB). A state is seen from outside: by a reader of
the journal, which shows what is committed. Every other kill takes the daemon alone, and its children are orphans when
the next one starts; the others take the children too.

After each kill: all versions in the store are whole to the last byte, the daemon starts again, and what answers is the
text of the active version, the old or the new one. At the end the update is committed, or has failed with a reason, and
what serves fits that. What is fetched again is counted at the web server: what lay in the sockets' buffers counts too.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import signal
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from agent.chunks.index import MAX_CHUNK_BYTES
from agent.updates.states import State
from benchmarks.report import Row, run_rows
from benchmarks.updates.lives import Seen, at_random, at_states, while_fetching
from benchmarks.updates.scene import BAD, CRASHING, GOOD, WITHDRAWN, Kind, Scene, staged

KILLS_OF_A_LIFE = 5
TRANSITIONS: tuple[tuple[Kind, tuple[State, ...]], ...] = (
    (GOOD, (State.WANTED, State.FETCHING, State.STAGED, State.TRYING, State.PASSED, State.SWITCHING,
            State.PROBATION, State.COMMITTED)),
    (BAD, (State.REJECTING, State.REJECTED)),
    (CRASHING, (State.REVERTING, State.REJECTING)),
    (WITHDRAWN, (State.RETURNING, State.CANCELLING, State.CANCELLED)),
)  # fmt: skip
"""Each state of the machine but FAILED, which changes nothing any more."""


def state_rows(scene: Scene, rounds: int, only: Sequence[str]) -> Iterator[Row]:
    seen, hit = Seen(), Counter[str]()
    wanted = [(kind, state) for kind, states in TRANSITIONS for state in states if not only or state in only]
    for number, (kind, state) in enumerate(wanted * rounds):
        for _ in range(4):  # some states last for some milliseconds
            found = at_states(scene, seen, kind, [(state, number % 2 == 0)])
            print(f"{state}: killed at {found or 'nothing'}, {dict(seen.ends)}", file=sys.stderr, flush=True)
            if found == [state]:
                hit[f"{state} ({kind.end}{', ' + kind.on_probation if kind.on_probation else ''})"] += 1
                break
    yield from _rows("killed as soon as a state is written", seen, len(hit) >= len(wanted),
                     f"{len(hit)} of {len(wanted)} states hit, {sum(seen.at.values())} kills", dict(hit))  # fmt: skip


def fetch_rows(scene: Scene, kills: int, seed: int) -> Iterator[Row]:
    """Killed again and again while the file comes."""
    seen, dice = Seen(), random.Random(seed)
    while len(seen.again) < kills:
        while_fetching(scene, seen, dice)
    yield from _rows("killed while it is fetched", seen, True, f"{sum(seen.at.values())} kills", {})


def random_rows(scene: Scene, kills: int, seed: int) -> Iterator[Row]:
    seen, dice, count = Seen(), random.Random(seed), 0
    while count < kills:
        count += at_random(scene, seen, dice, min(KILLS_OF_A_LIFE, kills - count))
        print(f"{count} kills, {dict(seen.at)}, {dict(seen.ends)}", file=sys.stderr, flush=True)
    yield from _rows("killed at random moments", seen, True, f"{count} kills", {"seed": seed})


def _rows(what: str, seen: Seen, complete: bool, text: str, more: dict[str, Any]) -> Iterator[Row]:
    ends = ", ".join(f"{count} {state}" for state, count in sorted(seen.ends.items()))
    yield Row(
        what=what,
        bar="old or new serves, whole; goes on or fails",
        measured=f"{text} in {seen.lives} updates; ended: {ends}",
        passed=complete and sum(seen.ends.values()) > 0,
        numbers={
            "killed_at": dict(seen.at),
            "served_after": dict(seen.served),
            "ends": dict(seen.ends),
            "reasons": seen.reasons,
            **more,
        },
    )
    if not seen.again:
        return
    lost = [max(0, again - waiting) for again, waiting in zip(seen.again, seen.in_sockets, strict=True)]
    yield Row(
        what="fetched again after such a kill",
        bar=f"<= one chunk, {MAX_CHUNK_BYTES / 1024:g} KiB",
        measured=f"median {statistics.median(lost) / 1024:.0f}, at most {max(lost) / 1024:.0f} KiB; with what lay in"
        f" the sockets at most {max(seen.again) / 1024:.0f} KiB, in all {seen.again_in_all / 1024:.0f} KiB",
        passed=max(lost) <= MAX_CHUNK_BYTES,
        numbers={
            "again_in_all_bytes": seen.again_in_all,
            "again_bytes": seen.again,
            "in_sockets_bytes": seen.in_sockets,
        },
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="at random moments")
    parser.add_argument("--state", action="append", default=[], choices=[str(state) for state in State])
    parser.add_argument("--rounds", type=int, default=2, help="through all states")
    parser.add_argument("--seed", type=int, default=20261121)
    parser.add_argument("--only", choices=["states", "fetching", "random"])
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # leave no daemon behind
    with tempfile.TemporaryDirectory(prefix="edge-agent-kills-") as folder, staged(Path(folder)) as scene:
        groups = {
            "states": partial(state_rows, scene, arguments.rounds, arguments.state),
            "fetching": partial(fetch_rows, scene, max(1, arguments.kills // 5), arguments.seed),
            "random": partial(random_rows, scene, arguments.kills, arguments.seed),
        }
        chosen = {name: group for name, group in groups.items() if arguments.only in (None, name)}
        facts = {"machine": platform.machine(), "cores": os.cpu_count(), "undisturbed_s": scene.undisturbed_s}
        return 0 if run_rows(chosen, facts) else 1


if __name__ == "__main__":
    sys.exit(main())
