"""A device's desired state, read before it is written: what others want of it stays. Pure.

{"rev": 12, "models": {"qwen": {"target": "2.1.0"}},
 "rollouts": {"qwen": {"version": "2.1.0", "stage": "5%", "before": "2.0.0", "by": "desk-1f3a"}}}

`rollouts` is ours: devices do not read it, and a rollout that goes on elsewhere finds there what it needs to know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

import msgspec

from agent.errors import RequestError
from agent.fleet.remote.payload import GarbledError, read_object, text_of
from agent.updates.desired import MODELS, PAYLOAD_BYTES, read_desired

REV_LIMIT: Final = 2**53
MARK_CHARACTERS: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What a rollout has written beside its wish. `stage` is one of its shares, `before` the version that the device
    served when it was asked, `by` the run that wrote it. `outcome` and `reason` are of a device that failed and whose
    desired state was set back."""

    version: str
    stage: str = ""
    before: str = ""
    by: str = ""
    again: bool = False
    outcome: str = ""
    reason: str = ""

    def as_value(self) -> dict[str, Any]:
        fields = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in fields.items() if value}


@dataclass(frozen=True)
class Document:
    """`value` as it came: also fields that are not known here. Empty where the topic is."""

    value: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rev(self) -> str:
        """As the device says it back."""
        return text_of(self.value.get("rev"))

    def target(self, model: str) -> str:
        """The version that is wanted; empty for none."""
        entry = _object(_object(self.value.get("models")).get(model))
        return text_of(entry.get("target"))

    def mark(self, model: str) -> Mark | None:
        found = _object(_object(self.value.get("rollouts")).get(model))
        if not isinstance(found.get("version"), str):
            return None
        texts = {name: text_of(found.get(name))[:MARK_CHARACTERS] for name in Mark.__slots__ if name != "again"}
        return Mark(again=found.get("again") is True, **texts)

    def asking(
        self, model: str, mark: Mark, *, urgent: bool = False, reported_rev: str = "", now: float = 0.0
    ) -> Document:
        """The same with `mark.version` as the model's target. What was said of the model's policy stays, but for
        `again`. `now` is Unix time."""
        entry = dict(_object(_object(self.value.get("models")).get(model)))
        policy = {key: value for key, value in _object(entry.get("policy")).items() if key != "again"}
        policy |= {key: True for key, said in (("urgent", urgent), ("again", mark.again)) if said}
        entry = {**entry, "target": mark.version, "policy": policy}
        return self._changed(model, entry, mark, reported_rev, now)

    def setting_back(
        self, model: str, target: str, mark: Mark | None, *, reported_rev: str = "", now: float = 0.0
    ) -> Document:
        """The same with `target`, or without the model where that is empty; `mark` stays in place of the old one."""
        entry: dict[str, Any] | None = None
        if target:
            entry = {**_object(_object(self.value.get("models")).get(model)), "target": target}
            if "policy" in entry:
                entry["policy"] = {key: value for key, value in _object(entry["policy"]).items() if key != "again"}
        return self._changed(model, entry, mark, reported_rev, now)

    def without(self, model: str) -> tuple[str, Any]:
        """The target of `model`, and what is said of everything else: who wrote it when does not matter."""
        rest = {name: value for name, value in self.value.items() if name not in ("rev", "models", "rollouts")}
        others = [
            {name: one for name, one in _object(self.value.get(key)).items() if name != model}
            for key in ("models", "rollouts")
        ]
        return self.target(model), (rest, others)

    def on_top_of(self, other: Document, model: str) -> Document:
        """What this one says of `model`, and what `other` says of everything else; newer than both."""
        entry = _object(self.value.get("models")).get(model)
        return other._changed(model, entry, self.mark(model), self.rev, 0.0)

    def encoded(self) -> bytes:
        """Raises `RequestError` for what no device would take."""
        payload = msgspec.json.encode(self.value)
        if len(payload) > PAYLOAD_BYTES or len(_object(self.value.get("models"))) > MODELS:
            raise RequestError("Its desired state would be larger than devices read.")
        read_desired(payload)
        return payload

    def _changed(
        self, model: str, entry: Mapping[str, Any] | None, mark: Mark | None, reported_rev: str, now: float
    ) -> Document:
        models = {name: one for name, one in _object(self.value.get("models")).items() if name != model}
        marks = {name: one for name, one in _object(self.value.get("rollouts")).items() if name != model}
        if entry is not None:
            models[model] = entry
        if mark is not None:
            marks[model] = mark.as_value()
        whole = {**self.value, "rev": raised(self.value.get("rev"), reported_rev, now), "models": models}
        whole.pop("rollouts", None)
        return Document({**whole, "rollouts": marks} if marks else whole)


def read_document(payload: bytes, *, oversized_bytes: int = 0) -> Document:
    """Raises `GarbledError` for what a device would not read either: nobody can tell what was meant."""
    if not payload and not oversized_bytes:
        return Document()
    found = read_object(payload, oversized_bytes=oversized_bytes)
    try:
        read_desired(payload)
    except RequestError as error:
        raise GarbledError(error.message) from None
    return Document(found)


def raised(rev: Any, reported_rev: str = "", now: float = 0.0) -> int | str:
    """A `rev` that neither the document nor the device has had. The first one is the time: a device may remember those
    of a state that was cleared."""
    numbers = [number for number in (as_number(rev), as_number(reported_rev)) if number is not None]
    if isinstance(rev, str) and as_number(rev) is None:
        stem, plus, count = rev.rpartition("+")
        known = plus and count.isascii() and count.isdecimal() and len(count) < 10
        return f"{stem if known else rev}"[:110] + f"+{int(count) + 1 if known else 1}"
    if rev is None:
        numbers.append(int(now))
    return min(REV_LIMIT, max([0, *numbers]) + 1)


def as_number(rev: Any) -> int | None:
    if isinstance(rev, int) and not isinstance(rev, bool):
        return rev
    if isinstance(rev, str) and rev.isascii() and rev.isdecimal() and len(rev) <= 16:
        return int(rev)
    return None


class Finding(Enum):
    """What a message on `P/twin/desired` means to whoever writes there, too."""

    NOTHING = "nothing"
    ARRIVED = "arrived"
    CHANGED = "changed"
    """somebody else has written"""
    LOST = "lost"
    """somebody else has written without having read what we wrote, and that is gone"""
    OVERWRITTEN = "overwritten"
    """somebody else has written while our word was on its way, and that is gone; `repaired` brings it back"""


class Sheet:
    """The desired state of one device as it lies with the broker, and what is on its way there."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._sent: tuple[bytes, Document] | None = None
        self._base = b""
        self._payload = b""
        self._between: Document | None = None
        self._ours: Document | None = None
        """What was written last here, once it has arrived."""
        self.document = Document()
        self.garbled = ""

    @property
    def pending(self) -> bool:
        """Whether something is on its way."""
        return self._sent is not None

    @property
    def torn(self) -> bool:
        """Whether what arrived has overwritten somebody else's word."""
        return self._sent is None and self._between is not None

    def drop(self) -> None:
        """What was sent will not arrive."""
        self._sent = None
        if self._between is not None:
            self.document, self._between = self._between, None

    def sent(self, document: Document, payload: bytes) -> None:
        self._sent, self._base, self._between = (payload, document), self._payload, None

    def take(self, payload: bytes, *, oversized_bytes: int = 0) -> Finding:
        """A message on the topic, in the order in which the broker has them."""
        if self._sent is not None and payload == self._sent[0]:
            self.document = self._ours = self._sent[1]
            self.garbled, self._payload, self._sent = "", payload, None
            if self._between is not None and self._between.without(self._model) == self.document.without(self._model):
                self._between = None  # the same wish of another run
            return Finding.ARRIVED if self._between is None else Finding.OVERWRITTEN
        if payload == (self._base if self._sent is not None else self._payload):
            return Finding.NOTHING
        try:
            found = read_document(payload, oversized_bytes=oversized_bytes)
        except GarbledError as error:
            if self._sent is None:
                self.garbled, self._payload = str(error), payload
            return Finding.CHANGED
        if self._sent is not None:
            self._between = found
            return Finding.CHANGED
        ours, self._ours = self._ours, None
        self.document, self.garbled, self._payload = found, "", payload
        if ours is None:
            return Finding.CHANGED
        kept = found.target(self._model) == ours.target(self._model)
        if kept:
            self._ours = found
        return Finding.CHANGED if kept or _newer(found, ours) else Finding.LOST

    def repaired(self) -> Document:
        """After `OVERWRITTEN`: both words in one."""
        assert self._between is not None
        repaired, self._between = self.document.on_top_of(self._between, self._model), None
        return repaired


def _newer(one: Document, than: Document) -> bool:
    """Whether it was written by somebody who had read the other, as far as numbers tell."""
    left, right = as_number(one.rev), as_number(than.rev)
    return left is not None and right is not None and left > right


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
