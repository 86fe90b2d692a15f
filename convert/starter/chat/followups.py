"""What is said after a request and means something only after it: "and in the bedroom", "make that ten minutes"."""

from __future__ import annotations

import random
from typing import Final

from convert.starter.chat.numbers import Said
from convert.starter.chat.pattern import draw, fill
from convert.starter.chat.slots import SLOTS
from convert.starter.chat.vocabulary import Action, action

_ROOM: Final = (
    "(and |)(in the {room}( too|, too| as well|)|the {room}( too|, too| as well)|what about the {room}"
    "|the same in the {room}|also in the {room}|now (in |)the {room})"
)
_OPPOSITE: Final = {
    "turn_on": "turn_off",
    "turn_off": "turn_on",
    "open": "close",
    "close": "open",
    "lock": "unlock",
    "unlock": "lock",
    "start": "stop",
    "arm": "disarm",
}
_BACK: Final = {
    "turn_on": "(turn|switch) (it|them|that) off( again|)|and off again|now off|off again",
    "turn_off": "(turn|switch) (it|them|that) (back |)on( again|)|and on again|back on|on again",
    "open": "close (it|them)( again|)|and close (it|them)|now close (it|them)",
    "close": "open (it|them)( again|)|and open (it|them)|now open (it|them)",
    "lock": "unlock it( again|)|now unlock it",
    "unlock": "lock it( again|)|and lock it|now lock it",
    "start": "stop it( again|)|now stop it",
    "arm": "disarm it( again|)",
}
_OTHER_VALUE: Final = {"timer": "duration", "thermostat": "degrees", "channel": "channel"}


def follow_up(before: Action, rng: random.Random) -> tuple[str, Action] | None:
    """A sentence after the request that meant `before`, and its own action; None where nothing fits."""
    fitting = [make for make in (_room, _opposite, _value, _another, _again, _cancel) if rng.random() < 0.8]
    rng.shuffle(fitting)
    for make in fitting:
        if (found := make(before, rng)) is not None:
            return found
    return None


def _said(pattern: str, before: Action, rng: random.Random) -> tuple[str, Action]:
    fields = dict(before)

    def value(name: str) -> str:
        said: Said = SLOTS[name](rng)
        fields.update(said[1])
        return said[0]

    text = fill(draw(f"({pattern})", rng), value)
    return text, action(**fields)


def _room(before: Action, rng: random.Random) -> tuple[str, Action] | None:
    if "room" not in before or before["action"] in ("report",):
        return None
    return _said(_ROOM, before, rng)


def _opposite(before: Action, rng: random.Random) -> tuple[str, Action] | None:
    if before["action"] not in _OPPOSITE or before.get("target") == "scene":
        return None
    return _said(_BACK[before["action"]], {**before, "action": _OPPOSITE[before["action"]]}, rng)


def _value(before: Action, rng: random.Random) -> tuple[str, Action] | None:
    if before["action"] == "wake" or (before["action"] == "remind" and "time" in before):
        return _said("(make (it|that)|no,|rather|better at) {time}", before, rng)
    if before["action"] != "set":
        return None
    slot = _OTHER_VALUE.get(before["target"], "color" if isinstance(before["value"], str) else "percent")
    return _said(f"(make (it|that)|no,|rather|better|change (it|that) to) {{{slot}}}", before, rng)


def _another(before: Action, rng: random.Random) -> tuple[str, Action] | None:
    if before["action"] not in ("add", "remove") or before["target"] != "shopping list":
        return None
    return _said("(and|also|and also|plus) {item}|{item}( too|, too| as well)", before, rng)


def _again(before: Action, rng: random.Random) -> tuple[str, Action] | None:
    if before["action"] not in ("increase", "decrease", "next", "previous", "check"):
        return None
    more = "again|once more|and again" if before["action"] != "check" else "and now|check again|again|once more"
    extra = "|more|a bit more|even more" if before["action"] in ("increase", "decrease") else ""
    return _said(more + extra, before, rng)


def _cancel(before: Action, rng: random.Random) -> tuple[str, Action] | None:
    if before["action"] in ("check", "none", "cancel", "report", "enter"):
        return None
    return _said("cancel that|no, never mind|undo that|never mind|forget it", {"action": "cancel"}, rng)
