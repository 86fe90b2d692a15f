"""Which samples are new, and up to which number a consumer may say that it has them all. Pure.

A device numbers the samples of each type, sends on while it waits for acknowledgements, and begins again behind the
last acknowledged one when they do not come. So a consumer that comes in the middle must not acknowledge at once: what
was sent before it came would be lost. It waits until the device begins again, which says where everything begins.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

TYPES: Final = 50_000
"""Of all devices together; those that were not heard of for longest are forgotten, and begin anew."""
LARGEST: Final = 2**62


@dataclass(slots=True)
class _Course:
    log: str
    seen: int = 0
    """Highest number shown."""
    whole: int | None = None
    """Everything up to here came; None as long as it is not known where that begins."""


@dataclass(frozen=True, slots=True)
class Taken:
    """`samples` that are new, the first of them with number `first`. `acknowledge` is what to write to `P/ack`, if
    anything. `lost` counts samples that the device itself gave up before these."""

    samples: tuple[Any, ...]
    first: int | None
    acknowledge: dict[str, Any] | None = None
    lost: int = 0


class Consumption:
    def __init__(self) -> None:
        self._courses: OrderedDict[tuple[str, str, str], _Course] = OrderedDict()

    def take(self, device: str, branch: str, type: str, data: Any) -> Taken:
        """`data` is a message's JSON: `{"seq", "log", "missing", "samples"}`, or one sample with its `seq`."""
        if not isinstance(data, dict):
            return Taken((data,), None)
        samples, first = data.get("samples"), data.get("seq")
        if samples is None:
            samples = [{name: value for name, value in data.items() if name != "seq"}]
        if not isinstance(samples, list) or not _counts(first):
            return Taken(tuple(samples) if isinstance(samples, list) else (samples,), None)
        assert isinstance(first, int)
        found, missing = data.get("log"), data.get("missing", 0)
        log = found[:100] if isinstance(found, str) else ""
        course = self._course((device, branch, type), log)
        return self._advance(course, type, samples, first, missing if _counts(missing) else 0)

    def _course(self, key: tuple[str, str, str], log: str) -> _Course:
        course = self._courses.get(key)
        if course is None or course.log != log:
            course = self._courses[key] = _Course(log)
        self._courses.move_to_end(key)
        while len(self._courses) > TYPES:
            self._courses.popitem(last=False)
        return course

    def _advance(self, course: _Course, type: str, samples: list[Any], first: int, missing: int) -> Taken:
        last = first + len(samples) - 1
        new = samples[max(0, course.seen + 1 - first) :]
        lost = missing if first > course.seen else 0
        if course.whole is None:
            if first - missing <= 1 or first <= course.seen:  # the very first, or begun again
                course.whole = last
        elif first - missing <= course.whole + 1:
            course.whole = max(course.whole, last)
        course.seen = max(course.seen, last)
        acknowledge = None
        if course.whole is not None and course.whole >= last:
            acknowledge = {"type": type, "seq": course.whole, **({"log": course.log} if course.log else {})}
        return Taken(tuple(new), last - len(new) + 1 if new else None, acknowledge, lost)


def _counts(value: Any) -> bool:
    return type(value) is int and 0 <= value <= LARGEST
