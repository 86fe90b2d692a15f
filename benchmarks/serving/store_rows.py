"""Files that are no models, and models that are too large."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import process
from benchmarks.client import Exchange, exchange_all
from benchmarks.daemon import Daemon, memory_total
from benchmarks.models import shapes
from benchmarks.report import Row
from benchmarks.serving.bench import completion
from benchmarks.serving.corrupt_gguf import CorruptFiles

_GOOD = "good"
_MB = 1_000_000
_JOURNAL = "updates/updates.db"
_OWN_FILES = frozenset(_JOURNAL + suffix for suffix in ("", "-wal", "-shm"))
"""What the daemon itself writes while it runs: its journal of updates, and the two files of SQLite beside it."""


def corrupt(path: Path, *, quick: bool) -> Iterator[Row]:
    """Import each broken file; where the importer takes it (the damage may be harmless), load it and ask it."""
    count = 10 if quick else 200
    files = CorruptFiles(path)
    daemon = Daemon(settings={"heartbeat_s": 0.2})
    daemon.import_model(path, _GOOD)
    problems: list[str] = []
    with daemon:
        before = _inventory(daemon.state_dir)
        pid = daemon.pid

        def one(number: int) -> str:
            what, content = files.variant(number)
            broken = daemon.folder / f"broken-{number}.gguf"
            broken.write_bytes(content)
            try:
                outcome, problem = _import_and_ask(daemon, broken, f"broken-{number}")
            finally:
                broken.unlink()
            if problem:
                problems.append(f"#{number} ({what}): {problem}")
            return outcome

        with ThreadPoolExecutor(2) as pool:
            outcomes = Counter(pool.map(one, range(count)))
        # The good model still works, in the same daemon.
        (answer,) = exchange_all(daemon.port, [completion("hello", 4, model=_GOOD)])
        alive = daemon.running and daemon.status()["pid"] == pid and answer.finished
        new = _inventory(daemon.state_dir) - before
        left, own = sorted(new - _OWN_FILES), sorted(new & _OWN_FILES)
        strays = [child for child in process.children(pid) if process.state(child) in ("Z", "T")]
    yield Row(
        what=f"{count} corrupt GGUFs",
        bar="clear errors, nothing left behind",
        measured=", ".join(f"{number} {name}" for name, number in outcomes.most_common())
        + f"; {len(problems)} problems, {len(left)} files left"
        + (f"; first: {problems[0]}" if problems else f"; first left: {left[0]}" if left else "")
        + (f"; besides {len(own)} of the daemon's own journal, {_JOURNAL}" if own else "")
        + ("" if alive else "; THE DAEMON DID NOT SURVIVE"),
        passed=not problems and not left and not strays and alive,
        numbers={"outcomes": dict(outcomes), "problems": problems, "left": left, "own": own, "stray_children": strays},
    )


def _import_and_ask(daemon: Daemon, path: Path, name: str) -> tuple[str, str]:
    """How it ended, and what was wrong with that."""
    done = daemon.command("models", "import", str(path), "--name", name)
    message = (done.stdout + done.stderr).strip()
    if done.returncode != 0:
        clear = done.returncode == 1 and message and "Traceback" not in message
        return "refused at import", "" if clear else f"exit {done.returncode}: {message[-200:]}"
    loaded = daemon.load(name)
    problem = ""
    if loaded.error or (loaded.status >= 300 and loaded.failure() is None):
        outcome, problem = "unclear at load", f"status {loaded.status} {loaded.error}"
    elif loaded.status >= 300:
        outcome = "refused at load"
    else:
        (answer,) = exchange_all(daemon.port, [completion("hello", 4, model=name)], timeout_s=60)
        outcome = "harmless" if answer.finished else "refused in use"
        if answer.error or not (answer.finished or answer.failure()):
            problem = f"asked: status {answer.status} {answer.error}"
    removed = daemon.command("models", "rm", name)
    if removed.returncode:
        problem = problem or f"models rm: exit {removed.returncode}: {removed.stderr[-200:]}"
    return outcome, problem


def _inventory(folder: Path) -> set[str]:
    return {str(item.relative_to(folder)) for item in folder.rglob("*") if item.is_file() or item.is_symlink()}


def budget(path: Path, *, quick: bool) -> Iterator[Row]:
    """One model's need is measured first; then the budget holds one such model and a half."""
    table = {"context_tokens": 65_536, "slots": 2, "keep_alive_s": -1, "prefix_cache_mb": 0}
    alone = Daemon(models={_GOOD: table})
    alone.import_model(path, _GOOD)
    with alone:
        need = memory_total(alone.wait_until_loaded(_GOOD)["predicted"])
    names = ("first", "second")
    daemon = Daemon(
        models={name: table for name in (*names, "large")},
        settings={"memory_budget_mb": int(need * 1.5 / _MB)},
    )
    for name in names:
        daemon.import_model(path, name)
    # 42 million parameters: 84 MB.
    daemon.import_model(shapes.ensure("small", "F16", path.parent), "large")
    with daemon:
        (refused,) = exchange_all(daemon.port, [completion("hello", 4, model="large")])
        states: list[dict[str, str]] = []
        answers: list[Exchange] = []
        for turn in range(2 if quick else 6):
            answers += exchange_all(daemon.port, [completion("hello", 4, model=names[turn % 2])])
            states.append({model["name"]: model["state"] for model in daemon.status()["runtime"]["models"]})
        # Both at once: one waits until the other is idle and evicted.
        answers += exchange_all(daemon.port, [completion("both", 64, model=name) for name in names])
        evictions = daemon.status()["runtime"]["counters"]["evictions"]
    message = str((refused.failure() or {}).get("message", refused.error))
    numbers_named = len(re.findall(r"\d+(?:\.\d+)?\s?[KMGT]i?B", message))
    yield Row(
        what="a model larger than the budget",
        bar="507 with the arithmetic",
        measured=f"{refused.status}: {message}",
        passed=refused.status == 507 and numbers_named >= 2,
    )
    one_each = all(
        state[names[turn % 2]] == "ready" and state[names[1 - turn % 2]] != "ready" for turn, state in enumerate(states)
    )
    finished = sum(answer.finished for answer in answers)
    yield Row(
        what="two models that do not fit together",
        bar="the idle one is evicted",
        measured=f"{finished} of {len(answers)} answered, {evictions} evictions"
        + ("" if one_each else f"; states {states}"),
        passed=finished == len(answers) and one_each and evictions >= len(states) - 1,
        numbers={"states": states, "need_bytes": need},
    )
