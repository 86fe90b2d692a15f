"""The actions that starter-chat writes: what may be done, to what, where. The one table that all else is made from.

A request becomes an `Action`, a dict with these keys in this order, all but the first optional:

- `action`: one of `ACTIONS`;
- `target`: one of `TARGETS`; `room`: one of `ROOMS`;
- `value`: a number, or a text (a color, an item, a task, digits as they were said);
- `unit`: one of `UNITS`, where `value` is a number with a unit;
- `time`: "H:MM", 24 hours where the request says which half of the day it means.
"""

from __future__ import annotations

from typing import Any, Final

Action = dict[str, Any]

KEYS: Final = ("action", "target", "room", "value", "unit", "time")

ACTIONS: Final = {
    "turn_on": "switch a device on",
    "turn_off": "switch a device off",
    "set": "set a level, a color, a temperature, a timer, the volume or a channel: `value`, mostly with `unit`",
    "increase": "more of it: volume, brightness, heat; by `value` where that is said",
    "decrease": "less of it",
    "mute": "silence the volume",
    "unmute": "the opposite",
    "open": "a cover or a door",
    "close": "a cover or a door",
    "lock": "a door",
    "unlock": "a door",
    "start": "an appliance, or a scene (`value`)",
    "stop": "an appliance, the music",
    "pause": "an appliance, the music; for `value` `unit` where that is said",
    "resume": "what was paused",
    "restart": "a device",
    "play": "music, or what `value` says",
    "next": "the next song or channel",
    "previous": "the one before",
    "add": "`value` to a list",
    "remove": "`value` from a list",
    "clear": "a list",
    "remind": "of `value`, at `time`",
    "wake": "at `time`",
    "cancel": "a timer, an alarm clock, a reminder; without a target, what was just asked",
    "check": "how something is: a sensor, a door, an appliance, a list, the time",
    "report": "something was noticed: `value` says what of `target`",
    "arm": "the alarm",
    "disarm": "the alarm",
    "test": "run a self test of the system",
    "update": "the model or the system",
    "call": "a number (digits) or a person, in `value`",
    "enter": "digits or a number that were said, in `value`",
    "none": "nothing to do: a greeting, thanks, a question that no device answers",
}
"""Each action, and what it does."""

SWITCHES: Final = {
    "light": ("light", "light", "lights", "lights", "ceiling light"),
    "lamp": ("lamp", "lamps", "floor lamp"),
    "fan": ("fan", "ventilator"),
    "heater": ("heater", "heating", "radiator"),
    "air conditioner": ("air conditioner", "air conditioning", "ac"),
    "radio": ("radio",),
    "camera": ("camera", "cam"),
    "speaker": ("speaker", "speakers"),
    "socket": ("socket", "outlet", "plug"),
    "sprinkler": ("sprinkler", "sprinklers"),
    "humidifier": ("humidifier",),
    "television": ("television", "tv", "telly"),
    "projector": ("projector",),
    "printer": ("printer",),
    "router": ("router",),
}
DOORS: Final = {
    "front door": ("front door", "main door"),
    "back door": ("back door",),
    "garage door": ("garage door",),
    "side gate": ("side gate",),
    "cellar door": ("cellar door",),
}
COVERS: Final = {
    "blinds": ("blinds", "blind"),
    "curtains": ("curtains", "drapes", "curtain"),
    "shutters": ("shutters", "shutter"),
    "window": ("window", "windows"),
    "awning": ("awning",),
}
APPLIANCES: Final = {
    "washing machine": ("washing machine", "washer"),
    "dishwasher": ("dishwasher",),
    "vacuum": ("vacuum", "vacuum cleaner", "robot vacuum", "hoover"),
    "coffee machine": ("coffee machine", "coffee maker"),
    "oven": ("oven",),
    "dryer": ("dryer", "tumble dryer"),
    "pump": ("pump",),
    "lawn mower": ("lawn mower", "mower"),
    "kettle": ("kettle",),
}
SENSORS: Final = {
    "temperature": ("temperature",),
    "humidity": ("humidity", "moisture"),
    "pressure": ("pressure", "air pressure"),
    "air quality": ("air quality",),
    "power": ("power", "power consumption", "power usage"),
    "water level": ("water level",),
    "battery level": ("battery level", "battery", "battery charge"),
    "noise level": ("noise level",),
}
OTHERS: Final = (
    "everything",
    "thermostat",
    "volume",
    "channel",
    "music",
    "song",
    "scene",
    "timer",
    "alarm clock",
    "reminder",
    "shopping list",
    "task list",
    "alarm",
    "motion",
    "presence",
    "devices",
    "system",
    "model",
    "time",
    "date",
    "code",
    "answer",
    "phone",
    "memory",
    "network",
)
TARGETS: Final = (*SWITCHES, *DOORS, *COVERS, *APPLIANCES, *SENSORS, *OTHERS)

ROOMS: Final = {
    "kitchen": ("kitchen",),
    "living room": ("living room", "lounge", "sitting room"),
    "dining room": ("dining room",),
    "bedroom": ("bedroom",),
    "guest room": ("guest room", "spare room"),
    "bathroom": ("bathroom", "bath"),
    "garage": ("garage",),
    "hallway": ("hallway", "hall", "corridor"),
    "office": ("office", "study"),
    "garden": ("garden", "yard", "backyard"),
    "basement": ("basement", "cellar"),
    "attic": ("attic", "loft"),
    "nursery": ("nursery", "kids room"),
    "balcony": ("balcony",),
    "terrace": ("terrace", "patio"),
    "laundry room": ("laundry room",),
    "workshop": ("workshop",),
}
"""Each room, and what people call it."""

UNITS: Final = ("percent", "degrees", "seconds", "minutes", "hours")
COLORS: Final = (
    *("red", "green", "blue", "yellow", "white", "orange", "purple", "pink"),
    *("warm white", "cold white", "turquoise", "violet"),
)
SCENES: Final = ("movie", "night", "party", "away", "holiday", "reading", "cooking", "dinner", "morning", "relax")


def action(**fields: Any) -> Action:
    """An action with its keys in their order."""
    return {key: fields[key] for key in KEYS if key in fields}


def schema() -> dict[str, Any]:
    """The JSON Schema of an action, as `agent/starter/action.schema.json` has it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "action",
        "description": "What a request to a device asks for. docs/starter-models.md lists the actions.",
        "type": "object",
        "properties": {
            "action": {"enum": list(ACTIONS)},
            "target": {"enum": list(TARGETS)},
            "room": {"enum": list(ROOMS)},
            "value": {"type": ["number", "string"], "minLength": 1, "maxLength": 60},
            "unit": {"enum": list(UNITS)},
            "time": {"type": "string", "pattern": "^([01]?[0-9]|2[0-3]):[0-5][0-9]$"},
        },
        "required": ["action"],
        "additionalProperties": False,
    }
