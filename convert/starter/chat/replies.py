"""What is answered in words to a request: what will be done, or that there is no data."""

from __future__ import annotations

import random
from typing import Final

from convert.starter.chat import vocabulary
from convert.starter.chat.slots import EMERGENCY
from convert.starter.chat.vocabulary import Action

_YES: Final = ("Okay", "Okay", "Sure", "All right")
_DOING: Final = {
    "turn_on": "turning on",
    "turn_off": "turning off",
    "open": "opening",
    "close": "closing",
    "lock": "locking",
    "unlock": "unlocking",
    "start": "starting",
    "stop": "stopping",
    "pause": "pausing",
    "resume": "resuming",
    "restart": "restarting",
    "arm": "arming",
    "disarm": "disarming",
    "update": "updating",
    "clear": "clearing",
    "mute": "muting",
    "unmute": "unmuting",
    "cancel": "canceling",
}


def reply(action: Action, rng: random.Random) -> str:
    """One answer to the request that `action` stands for."""
    name = action["action"]
    if name == "call" and action["value"] in EMERGENCY:
        return "I cannot get help myself. Please call your emergency number now."
    if name == "check":
        return f"I have no data about {thing(action)}."
    if name == "report":
        return f"Thank you, I have noted it: {_noticed(action)}."
    return f"{rng.choice(_YES)}, {_done(action)}."


def thing(action: Action) -> str:
    """Such as "the kitchen light", "the temperature in the garden", "everything in the office"."""
    target, room = action.get("target", "device"), action.get("room")
    if target == "everything":
        return f"everything in the {room}" if room else "everything"
    if target == "presence":
        return f"people in the {room}" if room else "people here"
    if target in vocabulary.SENSORS or target in ("music", "volume"):
        return f"the {target} in the {room}" if room else f"the {target}"
    return f"the {room} {target}" if room else f"the {target}"


def measure(action: Action) -> str:
    """The value with its unit: "30 percent", "1 hour"."""
    value, unit = action["value"], action.get("unit", "")
    if value == 1:
        unit = {"minutes": "minute", "hours": "hour", "seconds": "second", "degrees": "degree"}.get(unit, unit)
    return f"{value} {unit}".strip()


def _noticed(action: Action) -> str:
    if action["target"] == "motion":
        return f"motion in the {action['room']}"
    return f"{thing(action)} is {action['value']}"


def _done(action: Action) -> str:
    name, target = action["action"], action.get("target")
    match name:
        case "set":
            return _set(action)
        case "increase" | "decrease":
            step = f" by {measure(action)}" if "value" in action else ""
            return f"turning {'up' if name == 'increase' else 'down'} {thing(action)}{step}"
        case "start" if target == "scene":
            return f"starting the {action['value']} scene"
        case "pause" if "value" in action:
            return f"pausing {thing(action)} for {measure(action)}"
        case "play":
            room = f" in the {action['room']}" if "room" in action else ""
            return f"playing {action.get('value', 'music')}{room}"
        case "next" | "previous":
            return f"going to the {name} {target}"
        case "add":
            return f"{action['value']} is now on the {target}"
        case "remove":
            return f"{action['value']} is off the {target}"
        case "remind":
            at = f" at {action['time']}" if "time" in action else ""
            return f"I will remind you to {action['value']}{at}"
        case "wake":
            return f"I will wake you at {action['time']}"
        case "call":
            return f"calling {action['value']}"
        case "enter":
            return f"the {target} is {action['value']}"
        case "test":
            return "running a self test"
        case "cancel" if target is None:
            return "never mind"
    return f"{_DOING[name]} {thing(action)}"


def _set(action: Action) -> str:
    if action["target"] == "timer":
        return f"a timer for {measure(action)}"
    if action["target"] == "channel":
        return f"going to channel {action['value']}"
    return f"setting {thing(action)} to {measure(action)}"
