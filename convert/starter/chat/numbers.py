"""Numbers, durations and times of day as people say them, and what they mean."""

from __future__ import annotations

import random
from typing import Any, Final

ONES: Final = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
TENS: Final = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")

Said = tuple[str, dict[str, Any]]
"""How it is said, and the fields of the action that it stands for."""


def in_words(number: int) -> str:
    """0 to 999. Raises `ValueError` beyond."""
    if not 0 <= number <= 999:
        raise ValueError(f"{number} is not from 0 to 999")
    if number < 20:
        return ONES[number]
    if number < 100:
        return TENS[number // 10 - 2] + (f" {ONES[number % 10]}" if number % 10 else "")
    rest = f" {in_words(number % 100)}" if number % 100 else ""
    return f"{ONES[number // 100]} hundred{rest}"


def said(number: int, rng: random.Random) -> str:
    """In words as a speech recognizer or a person writes them, or in figures."""
    if rng.random() < 0.4:
        return str(number)
    words = in_words(number)
    return words.replace(" ", "-") if rng.random() < 0.15 else words


def percent(rng: random.Random) -> Said:
    number = rng.choice((5 * rng.randint(0, 20), rng.randint(0, 100)))
    text = rng.choice((f"{said(number, rng)} percent", f"{said(number, rng)} percent", f"{number}%", f"{number} %"))
    if rng.random() < 0.04:
        text, number = rng.choice((("half", 50), ("full", 100), ("maximum", 100)))
    return text, {"value": number, "unit": "percent"}


def degrees(rng: random.Random) -> Said:
    number: float = rng.randint(5, 30)
    text = said(int(number), rng)
    if rng.random() < 0.12:
        number, text = number + 0.5, rng.choice((f"{text} and a half", f"{int(number)}.5", f"{text} point five"))
    return f"{text} {rng.choice(('degrees', 'degrees', 'degrees', 'degrees celsius'))}", _measured(number, "degrees")


def duration(rng: random.Random) -> Said:
    if rng.random() < 0.15:
        text, number, unit = rng.choice(
            (
                ("half an hour", 30, "minutes"),
                ("an hour and a half", 90, "minutes"),
                ("a quarter of an hour", 15, "minutes"),
                ("an hour", 1, "hours"),
                ("a minute", 1, "minutes"),
                ("half a minute", 30, "seconds"),
            )
        )
        return text, _measured(number, unit)
    unit = rng.choices(("minutes", "seconds", "hours"), (7, 2, 2))[0]
    number = rng.randint(1, 12) if unit == "hours" else rng.choice((rng.randint(1, 60), 5 * rng.randint(1, 18)))
    word = unit[:-1] if number == 1 else rng.choice((unit, unit, unit, {"minutes": "mins"}.get(unit, unit)))
    return f"{said(number, rng)} {word}", _measured(number, unit)


def _measured(number: float, unit: str) -> dict[str, Any]:
    return {"value": number, "unit": unit}


def time_of_day(rng: random.Random) -> Said:
    """Such as "half past seven in the evening": 19:30."""
    if rng.random() < 0.04:
        return rng.choice((("noon", {"time": "12:00"}), ("midnight", {"time": "0:00"})))
    hour = rng.randint(1, 12)
    minute = rng.choices((0, 30, 15, 45, 5 * rng.randint(0, 11)), (10, 4, 2, 2, 3))[0]
    half = rng.choices(("", "am", "pm"), (3, 1, 1))[0]
    if half == "" and rng.random() < 0.12:  # as a digital clock shows it
        hour = rng.randint(0, 23)
        return f"{hour}:{minute:02d}", {"time": f"{hour}:{minute:02d}"}
    clock = _clock(hour, minute, rng)
    if half:
        later = ("pm", "p.m.", "in the evening" if 5 <= hour <= 11 else "in the afternoon")
        clock += " " + rng.choice(("am", "a.m.", "in the morning") if half == "am" else later)
        hour = hour % 12 + (12 if half == "pm" else 0)
    elif minute == 0 and rng.random() < 0.15:
        clock += " o'clock"
    return clock, {"time": f"{hour}:{minute:02d}"}


def _clock(hour: int, minute: int, rng: random.Random) -> str:
    if minute and rng.random() < 0.25:
        return f"{hour}:{minute:02d}"
    name, following = said(hour, rng), said(hour % 12 + 1, rng)
    if minute == 0:
        return name
    if minute == 30 and rng.random() < 0.6:
        return f"half past {name}"
    if minute == 15 and rng.random() < 0.6:
        return f"quarter past {name}"
    if minute == 45 and rng.random() < 0.6:
        return f"quarter to {following}"
    return f"{in_words(hour)} {'oh ' if minute < 10 else ''}{in_words(minute)}"


def digits(rng: random.Random, fewest: int = 3, most: int = 4) -> Said:
    """Digit by digit; the value keeps leading zeros."""
    drawn = [rng.randint(0, 9) for _ in range(rng.randint(fewest, most))]
    figures = "".join(map(str, drawn))
    words = " ".join(ONES[digit] for digit in drawn)
    return rng.choice((words, words, " ".join(figures), figures)), {"value": figures}
