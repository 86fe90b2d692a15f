"""What is done with a message that arrived, by what the journal knows of its command. Pure: a table."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from agent.fleet.commands.message import Answer, Clear, Message
from agent.fleet.commands.states import State


class Action(Enum):
    BEGIN = "a new command"
    REPEAT = "it came before: say again how it stands"
    REFUSE_ID = "another command has had this id"
    CANCEL = "it is not wanted any more"
    FORGET = "it has ended, and its topic was cleared"
    DISOWN = "it seems to run here, and does not"
    IGNORE = "nothing to do"


@dataclass(frozen=True)
class Known:
    """What the journal has of a command. `seq` and `digest` are None where only its end is remembered."""

    state: State
    seq: int | None = None
    digest: bytes | None = None


def decide(message: Message, known: Known | None, digest: bytes) -> Action:
    """`digest` is of the payload that came."""
    if isinstance(message, Clear):
        if known is None:
            return Action.IGNORE
        return Action.FORGET if known.state.final else Action.CANCEL
    if isinstance(message, Answer):
        # Our own words come back: at each connect, and under MQTT 3.1.1 always. Only a journal that was lost makes
        # a command run that nobody here knows.
        return Action.DISOWN if known is None and message.status == "executing" else Action.IGNORE
    if known is None:
        return Action.BEGIN
    if known.state.final and known.digest is not None and known.digest != digest:
        return Action.REFUSE_ID
    return Action.REPEAT
