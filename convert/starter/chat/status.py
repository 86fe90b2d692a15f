"""What a system message may tell of the device's state, and the answers from it: what is not there is not known."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from convert.starter.chat import vocabulary
from convert.starter.chat.replies import reply
from convert.starter.chat.vocabulary import Action

_PROSE: Final = (
    "You are a helpful assistant.",
    "You are the assistant of a small device.",
    "You are edge-agent.",
    "Be brief.",
    "You are a friendly assistant. Answer shortly.",
    "You control a home.",
    "This is what the device reports:",
    "Status of the device:",
    "The current state:",
    "Use this data:",
    "You are a home assistant. Help the user with the devices of the house.",
    "Answer the user's questions truthfully.",
)
_JSON_ORDER: Final = (
    "Answer with a JSON action.",
    "Answer in JSON.",
    "Reply with JSON only.",
    "Respond with a JSON object.",
    "Turn the request into a JSON action.",
    "Output JSON.",
)
_STATES: Final = {"door": ("locked", "open", "closed", "unlocked"), "cover": ("open", "closed", "half open")}
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS: Final = ("January", "February", "March", "April", "May", "June", "July", "August", "October", "December")
_PLURAL: Final = frozenset(("blinds", "curtains", "shutters", "devices", "people"))
_SENSOR_UNITS: Final = {
    "temperature": ("C", " C", " °C", " degrees", " F"),
    "humidity": ("%", " %", " percent"),
    "pressure": (" hPa", " mbar", " bar"),
    "air quality": ("", " ppm", " AQI"),
    "power": (" W", "W", " kW", " mW"),
    "water level": (" cm", "%", " m"),
    "battery level": ("%", " %", " percent"),
    "noise level": (" dB", "dB"),
}


@dataclass(frozen=True)
class Reading:
    """A line of the system message: the action that asks for it, its name, its value."""

    target: str
    room: str | None
    value: str

    @property
    def name(self) -> str:
        return f"{self.room} {self.target}" if self.room else self.target


def asked(action: Action) -> tuple[str, str | None]:
    """Target and room of a question."""
    return action.get("target", ""), action.get("room")


def reading(target: str, room: str | None, rng: random.Random) -> Reading | None:
    """A value such as this target may have; None where nothing could be told of it."""
    if target in _SENSOR_UNITS:
        number = rng.choice((str(rng.randint(0, 99)), str(rng.randint(0, 1200)), f"{rng.uniform(-9, 99):.1f}"))
        return Reading(target, room, number + rng.choice(_SENSOR_UNITS[target]))
    values: dict[str, Callable[[], str]] = {
        "time": lambda: rng.choice(
            (f"{rng.randint(0, 23)}:{rng.randint(0, 59):02d}", f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}")
        ),
        "date": lambda: rng.choice(
            (
                f"{rng.choice(_DAYS)}, {rng.randint(1, 31)} {rng.choice(_MONTHS)}",
                f"{rng.randint(2024, 2039)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}",
            )
        ),
        "memory": lambda: rng.choice(
            (
                f"{rng.randint(20, 990)} MB free",
                f"{rng.randint(20, 990)} MB of {rng.choice((512, 1024, 2048, 4096))} MB used",
                f"{rng.randint(1, 99)}% used",
            )
        ),
        "network": lambda: rng.choice(("online", "offline", "connected", "down")),
        "timer": lambda: rng.choice(
            (f"{rng.randint(1, 59)} minutes left", f"{rng.randint(0, 59)}:{rng.randint(0, 59):02d} left", "not running")
        ),
        "alarm": lambda: rng.choice(("armed", "disarmed", "on", "off")),
        "presence": lambda: rng.choice(("nobody", "1 person", f"{rng.randint(2, 5)} people")),
        "devices": lambda: rng.choice(
            (f"{rng.randint(1, 40)} online", f"{rng.randint(1, 40)} online, {rng.randint(1, 9)} offline", "all online")
        ),
        "shopping list": lambda: rng.choice(("empty", "milk, eggs", "bread", "butter, rice, soap", "apples and tea")),
        "model": lambda: rng.choice(("starter-chat", "starter-chat Q8_0", "small-2")),
    }
    if target in values:
        return Reading(target, room, values[target]())
    if target in vocabulary.DOORS:
        return Reading(target, None, rng.choice(_STATES["door"]))
    if target in vocabulary.COVERS:
        return Reading(target, room, rng.choice(_STATES["cover"]))
    if target in vocabulary.APPLIANCES:
        return Reading(
            target, None, rng.choice(("running", "off", "done", f"{rng.randint(2, 90)} minutes left", "paused"))
        )
    if target in vocabulary.SWITCHES:
        return Reading(target, room, rng.choice(("on", "off", f"{rng.randint(1, 100)}%")))
    return None


_TARGETS: Final = (
    *_SENSOR_UNITS,
    *("temperature", "memory", "time", "date", "network", "timer", "alarm", "devices", "shopping list", "model"),
    *vocabulary.DOORS,
    *vocabulary.COVERS,
    *vocabulary.APPLIANCES,
    *("light", "lamp", "heater", "fan", "television", "presence"),
)
_WITHOUT_ROOM: Final = frozenset(
    ("memory", "time", "date", "network", "timer", "alarm", "devices", "shopping list", "model")
)


def readings(rng: random.Random, count: int) -> list[Reading]:
    """`count` lines about different things."""
    found: dict[str, Reading] = {}
    while len(found) < count:
        target = rng.choice(_TARGETS)
        room = rng.choice(tuple(vocabulary.ROOMS)) if target not in _WITHOUT_ROOM and rng.random() < 0.5 else None
        one = reading(target, room, rng)
        if one is not None:
            found[one.name] = one
    return list(found.values())


def answer(action: Action, known: list[Reading], rng: random.Random) -> str:
    """The answer to a question (`check`) with what is known, or that there is no data."""
    target, room = asked(action)
    if target == "system" and known:
        return "This is what I know: " + ", ".join(f"{one.name} {one.value}" for one in known[:3]) + "."
    for one in known:
        if (one.target, one.room) == (target, room):
            return _sentence(one)
    return reply(action, rng)


def _sentence(one: Reading) -> str:
    if one.target == "time":
        return f"It is {one.value}."
    if one.target == "date":
        return f"It is {one.value}."
    if one.target == "shopping list" and one.value != "empty":
        return f"On the shopping list: {one.value}."
    if one.value.endswith(" left"):
        return f"The {one.name} has {one.value}."
    if one.target == "presence":
        return f"In the {one.room}: {one.value}." if one.room else f"I see {one.value}."
    return f"The {one.name} {'are' if one.target in _PLURAL else 'is'} {one.value}" + (
        "" if one.value.endswith(".") else "."
    )


def question_about(one: Reading) -> Action:
    return vocabulary.action(action="check", target=one.target, **({"room": one.room} if one.room else {}))


def system_message(known: list[Reading], rng: random.Random, *, json: bool) -> str:
    """What is known as lines, with or without prose around; `json` adds the order to answer in JSON."""
    form = rng.choice(("{}: {}", "{}: {}", "{}: {}", "{} = {}", "- {}: {}", "{} {}"))
    capital = rng.random() < 0.15
    lines = [form.format(one.name.capitalize() if capital else one.name, one.value) for one in known]
    separator = rng.choice(("\n", "\n", "\n", ", ", "; ")) if form == "{}: {}" else "\n"
    parts = [separator.join(lines)] if lines else []
    if rng.random() < 0.4 or not (parts or json):
        parts.insert(0, rng.choice(_PROSE))
    if json:
        parts.insert(rng.randint(0, len(parts)), rng.choice(_JSON_ORDER))
    return rng.choice(("\n", "\n", " ")).join(parts)
