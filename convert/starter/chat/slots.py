"""What can stand in a request: devices, rooms, items, tasks, people; how each is said, and what it means."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Final

from convert.starter.chat import numbers, vocabulary
from convert.starter.chat.family import Slot
from convert.starter.chat.numbers import Said

ITEMS: Final = (
    *(
        "milk",
        "bread",
        "eggs",
        "butter",
        "coffee",
        "apples",
        "rice",
        "soap",
        "batteries",
        "tomatoes",
        "cheese",
        "water",
    ),
    *(
        "tea",
        "sugar",
        "salt",
        "pepper",
        "flour",
        "oil",
        "olive oil",
        "pasta",
        "noodles",
        "potatoes",
        "onions",
        "garlic",
    ),
    *(
        "carrots",
        "lettuce",
        "spinach",
        "cucumber",
        "bananas",
        "oranges",
        "lemons",
        "grapes",
        "pears",
        "berries",
        "honey",
    ),
    *("jam", "yogurt", "cream", "ice cream", "chicken", "beef", "fish", "ham", "sausages", "beans", "corn", "nuts"),
    *("chocolate", "cookies", "cereal", "oats", "juice", "orange juice", "beer", "wine", "lemonade", "vinegar"),
    *("toilet paper", "paper towels", "dish soap", "shampoo", "toothpaste", "detergent", "sponges", "light bulbs"),
    *("candles", "matches", "cat food", "dog food", "bird seed", "trash bags", "napkins", "foil", "tissues", "diapers"),
    *("aspirin", "bandages", "stamps", "envelopes", "printer paper", "pens", "flowers", "soil", "seeds", "charcoal"),
)
_AMOUNTS: Final = (
    "two",
    "three",
    "six",
    "a dozen",
    "some more",
    "more",
    "fresh",
    "a bottle of",
    "a pack of",
    "a bag of",
)
_VERBS: Final = {
    "call": (
        "the doctor",
        "the bank",
        "the school",
        "the plumber",
        "grandma",
        "mom",
        "dad",
        "the office",
        "the dentist",
    ),
    "feed": ("the cat", "the dog", "the fish", "the birds", "the chickens", "the baby"),
    "water": ("the plants", "the garden", "the flowers", "the tomatoes", "the lawn"),
    "take": ("the medicine", "my pills", "a break", "the bins out", "the dog out", "a shower", "the cake out"),
    "charge": ("the battery", "my phone", "the car", "the laptop", "the drill"),
    "close": ("the valve", "the gate", "the tap", "the shop", "the chimney"),
    "empty": ("the tank", "the bin", "the dishwasher", "the mailbox", "the filter"),
    "check": ("the sensor", "the oven", "the mail", "the boiler", "the oil", "the soup", "the meter", "the filter"),
    "buy": ("milk", "a gift", "tickets", "stamps", "new shoes", "flowers"),
    "clean": ("the kitchen", "the windows", "the car", "the filter", "my room"),
    "pay": ("the rent", "the bill", "the taxes", "the invoice"),
    "pick up": ("the kids", "the parcel", "anna", "the laundry", "the cake"),
    "send": ("the letter", "the report", "an email", "the form"),
    "go": ("to bed", "shopping", "for a walk", "to work", "running"),
    "do": ("the laundry", "my homework", "the dishes", "yoga"),
    "book": ("a table", "the flight", "a hotel"),
    "change": ("the filter", "the bulb", "the sheets", "the water"),
    "bring": ("the umbrella", "the keys", "the trash out"),
}
PEOPLE: Final = (
    *("mom", "dad", "grandma", "grandpa", "anna", "tom", "maria", "peter", "sarah", "david", "julia", "max", "lena"),
    *("the doctor", "the plumber", "the neighbor", "the office", "my wife", "my husband", "my brother", "my sister"),
    *("emma", "lucas", "mia", "noah", "oliver", "sophie", "ben", "laura", "paul", "nina", "sam", "kate", "john"),
)
EMERGENCY: Final = ("the police", "an ambulance", "the fire department", "911", "112", "the fire brigade")
MUSIC: Final = (
    *("jazz", "rock", "classical music", "pop", "blues", "country", "techno", "folk", "reggae", "soul", "opera"),
    *("some jazz", "the news", "a podcast", "an audiobook", "piano music", "christmas songs", "the beatles"),
    *("mozart", "rain sounds", "white noise", "relaxing music", "my playlist", "the morning show", "dance music"),
)
COPIED_TEXTS: Final = (*ITEMS, *_AMOUNTS, *_VERBS, *PEOPLE, *EMERGENCY, *MUSIC, "visit", "write", "meet", "thank")
"""What an action repeats as its value begins with one of these."""
_ONSETS: Final = (
    "b",
    "bl",
    "br",
    "d",
    "dr",
    "f",
    "fl",
    "g",
    "gl",
    "k",
    "kr",
    "l",
    "m",
    "n",
    "p",
    "pl",
    "r",
    "s",
    "st",
    "t",
    "v",
    "z",
)
_VOWELS: Final = ("a", "e", "i", "o", "u", "ee", "oo", "ai")
_CODAS: Final = ("", "", "n", "l", "r", "s", "t", "k", "m", "nd", "rt", "x")


def made_up(rng: random.Random) -> str:
    """A word that nobody has heard: copying must not depend on knowing the word."""
    return "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(rng.randint(1, 3)))


def item(rng: random.Random) -> Said:
    chance = rng.random()
    name = rng.choice(ITEMS) if chance < 0.75 else made_up(rng)
    if chance > 0.92:
        name = f"{made_up(rng)} {rng.choice(ITEMS)}"
    elif chance > 0.84:
        name = f"{rng.choice(_AMOUNTS)} {rng.choice(ITEMS)}"
    return name, {"value": name}


def task(rng: random.Random) -> Said:
    verb = rng.choice(list(_VERBS))
    name = f"{verb} {rng.choice(_VERBS[verb])}"
    chance = rng.random()
    if chance < 0.12:
        name = f"{verb} the {made_up(rng)}"
    elif chance < 0.2:
        name = f"{rng.choice(('call', 'visit', 'write to', 'meet', 'thank'))} {rng.choice(PEOPLE)}"
    return name, {"value": name}


def _text(names: tuple[str, ...], new: float = 0.1) -> Slot:
    """One of `names`, or with the chance `new` a word made up, as `value`."""

    def slot(rng: random.Random) -> Said:
        name = made_up(rng) if rng.random() < new else rng.choice(names)
        return name, {"value": name}

    return slot


def _named(key: str, names: Mapping[str, tuple[str, ...]]) -> Slot:
    """One of the table's, by any of its names, as field `key`."""
    every = tuple(names)

    def slot(rng: random.Random) -> Said:
        name = rng.choice(every)
        return rng.choice(names[name]), {key: name}

    return slot


def _switch(rng: random.Random) -> Said:
    name = rng.choice((*vocabulary.SWITCHES, "light", "light", "lamp", "fan", "heater", "television", "radio"))
    return rng.choice(vocabulary.SWITCHES[name]), {"target": name}


def _on_off(rng: random.Random) -> Said:
    return rng.choice((("on", {"action": "turn_on"}), ("off", {"action": "turn_off"})))


def _number(fewest: int, most: int) -> Slot:
    def slot(rng: random.Random) -> Said:
        number = rng.randint(fewest, most)
        return numbers.said(number, rng), {"value": number}

    return slot


def _color(rng: random.Random) -> Said:
    name = rng.choice((*vocabulary.COLORS[:8], *vocabulary.COLORS))
    return name, {"value": name}


def _scene(rng: random.Random) -> Said:
    name = rng.choice(vocabulary.SCENES)
    return name, {"value": name}


def _high_low(rng: random.Random) -> Said:
    name = rng.choice(("high", "low"))
    return name, {"value": name}


SLOTS: Final[dict[str, Slot]] = {
    "room": _named("room", vocabulary.ROOMS),
    "switch": _switch,
    "onoff": _on_off,
    "door": _named("target", vocabulary.DOORS),
    "cover": _named("target", vocabulary.COVERS),
    "appliance": _named("target", vocabulary.APPLIANCES),
    "sensor": _named("target", vocabulary.SENSORS),
    "light": _named("target", {name: vocabulary.SWITCHES[name] for name in ("light", "lamp")}),
    "item": item,
    "task": task,
    "person": _text(PEOPLE),
    "emergency": _text(EMERGENCY, 0),
    "music": _text(MUSIC, 0.2),
    "color": _color,
    "scene": _scene,
    "highlow": _high_low,
    "percent": numbers.percent,
    "degrees": numbers.degrees,
    "duration": numbers.duration,
    "time": numbers.time_of_day,
    "level": _number(0, 100),
    "bare_degrees": _number(5, 30),
    "step": _number(1, 20),
    "channel": _number(1, 99),
    "number": _number(0, 120),
    "digits": numbers.digits,
    "phone": lambda rng: numbers.digits(rng, 3, 8),
}
