"""Updates of a real daemon that is killed: what is done to one, and what must be so afterwards."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from agent.store.store import Store
from agent.updates.states import FINAL, TABLE, State
from benchmarks.process import children
from benchmarks.updates.line import again_bytes, union_bytes
from benchmarks.updates.scene import END_S, GOOD, NEW, OLD, BrokenPromiseError, Kind, Scene, ask, finish, updates_of
from benchmarks.updates.site import NAME, Device, JournalReader

MOST_PIECES: Final = 120
"""Of 8 KiB, from one kill to the next."""
HALF_PIECES: Final = 160
STILL_S: Final = 0.03
"""Nothing moves any more then."""
STEP_S: Final = 0.001
ORPHAN_S: Final = 5.0
"""A child whose daemon was killed ends at once, when it gets the processor for that. What is sent to it until then is
its own, and no loss of the next life's."""


@dataclass
class Seen:
    """What the kills found."""

    at: Counter[str] = field(default_factory=Counter)
    """Kills, by the state that the journal had when the process was gone."""
    served: Counter[str] = field(default_factory=Counter)
    """Answers after a restart, by version."""
    ends: Counter[str] = field(default_factory=Counter)
    reasons: list[str] = field(default_factory=list)
    """Why an update did not end as it does when nobody disturbs it."""
    again: list[int] = field(default_factory=list)
    """Bytes of the model that were sent again, for each kill while it was fetched."""
    in_sockets: list[int] = field(default_factory=list)
    """How many of them had not reached the process that was killed."""
    again_in_all: int = 0
    """That, and what orphans fetched in the moment that they had left."""
    lives: int = 0


def wait_for(device: Device, state: State, timeout_s: float, kind: Kind) -> bool:
    """Whether the update reached `state`; the daemon is stopped then (SIGSTOP). False if it went by unseen.

    Some states last for a millisecond. So from the state before on the daemon runs for one at a time.
    """
    before = {one for (one, _), to in TABLE.items() if to is state}
    give_up, disturbed, last = time.monotonic() + timeout_s, not kind.on_probation, None
    with JournalReader(device) as journal:
        while time.monotonic() < give_up:
            last = journal.last()
            found = last[1] if last is not None and last[0] > 1 else ""
            if found == state:
                os.kill(device.pid, signal.SIGSTOP)
                return True
            if found in FINAL:
                return False
            if found == State.PROBATION and not disturbed:
                disturbed = True
                disturb(device, kind)
            if found in before and disturbed:
                if _stepped(device, journal, state, give_up):
                    return True
            else:
                time.sleep(0.0005)
    raise BrokenPromiseError(f"{state} was not reached: {last}")


def _stepped(device: Device, journal: JournalReader, state: State, give_up: float) -> bool:
    """Lets it run for a millisecond at a time until its state is another: whether it is `state`."""
    first = journal.last()
    while time.monotonic() < give_up:
        os.kill(device.pid, signal.SIGSTOP)
        last = journal.last()
        if last is not None and last[1] == state:
            return True
        os.kill(device.pid, signal.SIGCONT)
        if last != first:
            return False
        time.sleep(STEP_S)
    return False


def disturb(device: Device, kind: Kind) -> None:
    """What makes an end of its probation."""
    if kind.on_probation == "withdraw":
        device.ask("DELETE", f"/models/{NAME}/update")
        return
    models = device.ask("GET", "/status").body["runtime"]["models"]
    pid = next(model["pid"] for model in models if model["name"] == NAME)
    if pid is not None and pid in children(device.pid):
        os.kill(pid, 9)


def killed(scene: Scene, device: Device, seen: Seen, *, children_too: bool) -> str:
    """Kill, look at what is on the disk, and start again: the state at which it was killed. The caller waits until the
    daemon is ready."""
    device.kill(children_too=children_too)
    scene.link.held = False
    give_up = time.monotonic() + ORPHAN_S
    while scene.link.sending and time.monotonic() < give_up:
        time.sleep(0.005)
    with JournalReader(device) as journal:
        last = journal.last()
    state = last[1] if last is not None and last[0] > 1 else "before"
    seen.at[state] += 1
    scene.check_disk(device)
    device.start()
    return state


def end_of(scene: Scene, device: Device, seen: Seen, kind: Kind) -> None:
    """The update comes to an end by itself, and what serves is what that end means."""
    known = updates_of(device)
    if not known["updates"] and len(known["ended"]) == 1:
        ask(device, kind.version)  # killed before it was written down, so nobody was told that it was
    ended = finish(device, END_S)
    seen.ends[ended["state"]] += 1
    version = scene.check_answer(device)
    if version != (NEW if ended["state"] == State.COMMITTED else OLD):
        raise BrokenPromiseError(f"{ended['state']}, and version {version} serves")
    if ended["state"] != kind.end:
        if not ended["reason"]:
            raise BrokenPromiseError(f"it {ended['state']} without a reason")
        seen.reasons.append(f"{ended['state']}: {ended['reason']}")
        print(seen.reasons[-1], file=sys.stderr, flush=True)
    store = Store(device.state_dir / "models", margin_bytes=0)
    if ended["state"] in (State.COMMITTED, State.REJECTED) and store.incoming.keys():
        raise BrokenPromiseError(f"it was {ended['state']}, and has left {store.incoming.keys()}")
    left = store.layout.versions(NAME)
    if ended["state"] in (State.REJECTED, State.CANCELLED) and left != [OLD]:
        raise BrokenPromiseError(f"it was {ended['state']}, and the store has {left}")


def at_states(scene: Scene, seen: Seen, kind: Kind, kills: Sequence[tuple[State, bool]]) -> list[str]:
    """A life with a kill as soon as each of these states is in the journal (and half of the model has come, while it is
    fetched), of the daemon alone or (True) of its children too; returns the states at which it was killed. A state that
    went by unseen ends the kills."""
    found: list[str] = []
    cuts: list[tuple[int, int]] = []
    scene.forget_sent()
    with scene.life(kind) as device:
        seen.lives += 1
        ask(device, kind.version)
        for state, children_too in kills:
            if state is State.FETCHING:
                if not _until_sent(scene, device, HALF_PIECES):
                    break
                cuts.append((0, _hold_still(scene, device, seen)))
            elif not wait_for(device, state, END_S, kind):
                break
            found.append(killed(scene, device, seen, children_too=children_too))
            device.wait_ready()
            seen.served[scene.check_answer(device)] += 1
        end_of(scene, device, seen, kind)
    _count_again(scene, seen, cuts)
    return found


def at_random(scene: Scene, seen: Seen, dice: random.Random, kills: int) -> int:
    """A life with up to `kills` kills, the daemon's starts included; returns how many there were."""
    count = 0
    with scene.life() as device:
        seen.lives += 1
        ask(device, NEW)
        while count < kills:
            time.sleep(dice.uniform(0.0, scene.undisturbed_s))
            with JournalReader(device) as journal:
                last = journal.last()
            if last is not None and last[0] > 1 and last[1] in FINAL:
                break
            killed(scene, device, seen, children_too=dice.random() < 0.5)
            count += 1
            if dice.random() < 0.7:  # the others are killed again while they start
                device.wait_ready()
                seen.served[scene.check_answer(device)] += 1
        device.wait_ready()
        end_of(scene, device, seen, GOOD)
    return count


def while_fetching(scene: Scene, seen: Seen, dice: random.Random, *, most: int = 100) -> None:
    """A life in which each half a megabyte or so brings a kill, so often at most."""
    scene.forget_sent()
    cuts: list[tuple[int, int]] = []
    begin = 0
    with scene.life() as device:
        seen.lives += 1
        ask(device, NEW)
        while len(cuts) < most and _until_sent(scene, device, len(scene.sent()) + dice.randint(1, MOST_PIECES)):
            cuts.append((begin, _hold_still(scene, device, seen)))
            killed(scene, device, seen, children_too=dice.random() < 0.5)
            begin = len(scene.sent())
            device.wait_ready()
            seen.served[scene.check_answer(device)] += 1
        end_of(scene, device, seen, GOOD)
    _count_again(scene, seen, cuts)


def _hold_still(scene: Scene, device: Device, seen: Seen) -> int:
    """Everything stops, until `killed`: how many pieces were sent so far."""
    device.freeze()
    scene.link.held = True
    time.sleep(STILL_S)
    count = len(scene.sent())
    seen.in_sockets.append(scene.link.waiting_bytes())
    return count


def _count_again(scene: Scene, seen: Seen, cuts: Sequence[tuple[int, int]]) -> None:
    """What each kill cost, where `cuts` are the pieces that were sent to the process that was killed: the number of the
    first one, and of the one after the last."""
    spans = scene.sent()
    seen.again_in_all += sum(count for _, count in spans) - union_bytes(spans)
    for begin, cut in cuts:
        seen.again.append(again_bytes(spans[begin:cut], spans[cut:]))


def _until_sent(scene: Scene, device: Device, pieces: int) -> bool:
    """Whether so many pieces were sent before all was fetched."""
    give_up = time.monotonic() + END_S
    while _fetches(device):
        if len(scene.sent()) >= pieces:
            return True
        if time.monotonic() > give_up:
            raise BrokenPromiseError("the model is not fetched")
        time.sleep(0.001)
    return False


def _fetches(device: Device) -> bool:
    with JournalReader(device) as journal:
        last = journal.last()
    return last is None or last[0] < 2 or last[1] in (State.WANTED, State.FETCHING)
