"""Whether a new command is taken. Pure, but for the permissions' counting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from agent.errors import RequestError
from agent.fleet.commands.message import Init, Malformed
from agent.fleet.commands.operation import AnyOperation, Args, read_args
from agent.fleet.commands.permissions import Permissions
from agent.fleet.commands.states import EXPIRED, End, failed

WAITING: Final = 64
"""Commands of one operation that may wait for their turn."""
WAITING_BYTES: Final = 8 * 1024 * 1024
"""Of all commands that wait, together."""


@dataclass(frozen=True)
class Admitted:
    operation: AnyOperation
    args: Args


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What the decision looks at, besides the command itself. `distrusted`: the journal was lost a moment ago, and the
    command may be one that it knew. `now_s` is the journal's own time."""

    now_s: float
    expired: bool
    waiting: int
    waiting_bytes: int
    distrusted: bool


def admit(
    name: str,
    message: Init | Malformed,
    operations: Mapping[str, AnyOperation],
    permissions: Permissions,
    situation: Situation,
) -> Admitted | End:
    """How it is begun, or how it ends at once. Granting is counted here."""
    operation = operations.get(name)
    if operation is None:
        known = ", ".join(sorted(known for known in operations if permissions.of(known).allow)) or "none"
        return failed(f"There is no operation {name[:80]!r} here. There are: {known}.", "unknown_operation")
    if not permissions.of(name).allow:
        hint = f"[mqtt.operations.{name}] allow = true in the device's agent.toml allows it."
        return failed(f"{name} is not allowed on this device. {hint}", "not_allowed")
    if isinstance(message, Malformed):
        return failed(message.reason, "invalid_request")
    try:
        args = read_args(operation, message.args)
    except RequestError as error:
        return failed(str(error), error.code)
    if situation.expired:
        return EXPIRED
    if situation.distrusted and not operation.repeatable:
        reason = "The device's journal was lost: this command may have happened already. Look, and send it again later."
        return failed(reason, "journal_lost")
    if situation.waiting >= WAITING or situation.waiting_bytes > WAITING_BYTES:
        return failed(f"Too many commands wait for {name} already. Send it again later.", "queue_full")
    wait_s = permissions.wait_s(name, situation.now_s)
    if wait_s > 0:
        limit = permissions.of(name).per_hour
        return failed(f"{name} is limited to {limit} in an hour. Send it again in {wait_s:.0f} s.", "rate_limited")
    permissions.grant(name, situation.now_s)
    return Admitted(operation, args)
