"""What the commands of the three trainings do alike: how they end, what they need, how they say where they are."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Generic, TypeVar

from agent.errors import EdgeAgentError, RequestError, UnavailableError
from agent.terminal import duration

LINE_EVERY_S: Final = 30.0

Loss = TypeVar("Loss")


def exit_status(run: Callable[[], int]) -> int:
    """Of `run`: its own, 1 failed, 2 wrong usage, 130 interrupted. Says why on standard error."""
    try:
        return run()
    except KeyboardInterrupt:
        print("\nInterrupted; the same command goes on from the last checkpoint.", file=sys.stderr)
        return 130
    except EdgeAgentError as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, RequestError) else 1


@contextmanager
def training_packages() -> Iterator[None]:
    """Around imports: `UnavailableError` where the `convert` extra is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"Training needs {error.name}, which is not installed.",
            hint="Install what converting takes: pip install 'edge-agent[convert]'",
        ) from None


class Lines(Generic[Loss]):
    """A line of progress every half minute, about what was lost since the last, in the words of `describe`."""

    def __init__(self, describe: Callable[[list[Loss]], str]) -> None:
        self._describe = describe
        self._began = self._said_at = time.monotonic()
        self._losses: list[Loss] = []

    def add(self, done_share: float, loss: Loss, used_s: float) -> None:
        self._losses.append(loss)
        now = time.monotonic()
        if now - self._said_at >= LINE_EVERY_S:
            times = f"computed {duration(used_s)}, {duration(now - self._began)} in all"
            print(f"{done_share:6.1%}  {self._describe(self._losses)}  {times}", file=sys.stderr, flush=True)
            self._said_at, self._losses = now, []
