"""What the devices answered to one command. Pure: payloads and times in, answers out.

An answer counts once: the first final state stays, whatever else the device sends. Devices that were not asked do not
count at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from agent.fleet.remote.payload import GarbledError, read_object, text_of
from agent.fleet.remote.pieces import Manifest, PieceBox, Room


class Status(StrEnum):
    WAITING = "waiting"
    EXECUTING = "executing"
    SUCCESSFUL = "successful"
    FAILED = "failed"
    MISSING = "no answer"
    UNSENT = "not sent"

    @property
    def final(self) -> bool:
        return self not in (Status.WAITING, Status.EXECUTING)

    @property
    def answered(self) -> bool:
        return self in (Status.SUCCESSFUL, Status.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`reason` and `code` say why there is no success. `took_s` is from sending to the final answer."""

    device: str
    status: Status = Status.WAITING
    result: Any = None
    reason: str = ""
    code: str = ""
    took_s: float | None = None
    garbled: str = ""
    """What else it sent on the command's topic that was no answer."""


class Answers:
    def __init__(self, devices: Iterable[str]) -> None:
        self._answers = {device: Answer(device=device) for device in devices}
        self._waiting = set(self._answers)
        self._sent_at: dict[str, float] = {}
        self._boxes: dict[str, PieceBox] = {}
        self._room = Room()

    def __getitem__(self, device: str) -> Answer:
        return self._answers[device]

    def __contains__(self, device: object) -> bool:
        return device in self._answers

    def __iter__(self) -> Iterator[Answer]:
        return iter(self._answers.values())

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def waiting(self) -> frozenset[str]:
        """Devices without a final answer."""
        return frozenset(self._waiting)

    @property
    def complete(self) -> bool:
        return not self._waiting

    @property
    def answered(self) -> int:
        return len(self._answers) - len(self._waiting)

    def sent(self, device: str, now: float) -> None:
        self._sent_at.setdefault(device, now)

    def message(self, device: str, payload: bytes, now: float, *, oversized_bytes: int = 0) -> Answer | None:
        """A message on the command's topic. The answer if that changed it."""
        known = self._answers.get(device)
        if known is None or known.status.final or not (payload or oversized_bytes):
            return None
        try:
            found = read_object(payload, oversized_bytes=oversized_bytes)
            if found.get("status") == "successful" and "result_pieces" in found:
                box = self._box(device)
                box.manifest = Manifest.of(found["result_pieces"])
                return self._become(_assembled(known, box), now)
            return self._become(_read(known, found), now)
        except GarbledError as error:
            return self._become(replace(known, garbled=f"it sent {error}"), now)

    def piece(self, device: str, index: int, payload: bytes, now: float) -> Answer | None:
        """A piece of a long result. The answer if that completed it."""
        known = self._answers.get(device)
        if known is None or known.status.final:
            return None
        box = self._box(device)
        try:
            box.put(index, payload)
        except GarbledError as error:
            return self._become(replace(known, status=Status.FAILED, reason=f"Its result is {error}."), now)
        return self._become(_assembled(known, box), now)

    def unsent(self, device: str, reason: str) -> Answer:
        return self._set(replace(self._answers[device], status=Status.UNSENT, reason=reason))

    def give_up(self, because: str) -> list[Answer]:
        """Those that are still waited for, as missing now."""
        missing = []
        for device in sorted(self._waiting):
            known = self._answers[device]
            reason = because
            if device in self._boxes and self._boxes[device].manifest:
                reason += f"; of its result came {self._boxes[device].progress}"
            elif known.garbled:
                reason += f"; {known.garbled}"
            elif known.status is Status.EXECUTING:
                reason += "; it had begun"
            missing.append(self._set(replace(known, status=Status.MISSING, reason=reason)))
        return missing

    def _box(self, device: str) -> PieceBox:
        return self._boxes.setdefault(device, PieceBox(self._room))

    def _become(self, answer: Answer, now: float) -> Answer | None:
        known = self._answers[answer.device]
        if answer == known:
            return None
        if answer.status.answered and answer.device in self._sent_at:
            answer = replace(answer, took_s=max(0.0, now - self._sent_at[answer.device]))
        return self._set(answer)

    def _set(self, answer: Answer) -> Answer:
        self._answers[answer.device] = answer
        if answer.status.final:
            self._waiting.discard(answer.device)
            if box := self._boxes.pop(answer.device, None):
                box.empty()
        return answer


def _read(known: Answer, found: dict[str, Any]) -> Answer:
    """Raises `GarbledError`."""
    match found.get("status"):
        case "init":  # our own words
            return known
        case "executing":
            return replace(known, status=Status.EXECUTING)
        case "failed":
            reason, code = text_of(found.get("reason")), text_of(found.get("code"))
            return replace(known, status=Status.FAILED, reason=reason or "It gave no reason.", code=code)
        case "successful":
            reason = "" if "result" in found else text_of(found.get("reason"))
            return replace(known, status=Status.SUCCESSFUL, result=found.get("result"), reason=reason)
    raise GarbledError("a message without a status")


def _assembled(known: Answer, box: PieceBox) -> Answer:
    if not box.complete:
        return replace(known, status=Status.EXECUTING)
    try:
        return replace(known, status=Status.SUCCESSFUL, result=box.result())
    except GarbledError as error:
        return replace(known, status=Status.FAILED, reason=f"Its result is {error}.")
