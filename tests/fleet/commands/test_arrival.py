"""What is done with a message, by what is known of its command."""

from __future__ import annotations

import pytest

from agent.fleet.commands.arrival import Action, Known, decide
from agent.fleet.commands.message import Answer, Clear, Init, Malformed, Message
from agent.fleet.commands.states import State

SAME, OTHER = b"same", b"other"
QUEUED, EXECUTING = Known(State.QUEUED, 1, SAME), Known(State.EXECUTING, 1, SAME)
DONE, FAILED = Known(State.SUCCESSFUL, 1, SAME), Known(State.FAILED, 1, SAME)
REMEMBERED = Known(State.SUCCESSFUL)
INIT, WRONG = Init({}), Malformed("wrong")


@pytest.mark.parametrize(
    ("message", "known", "digest", "action"),
    [
        (INIT, None, SAME, Action.BEGIN),
        (WRONG, None, SAME, Action.BEGIN),
        (INIT, QUEUED, SAME, Action.REPEAT),
        (INIT, EXECUTING, SAME, Action.REPEAT),
        (INIT, EXECUTING, OTHER, Action.REPEAT),
        (INIT, DONE, SAME, Action.REPEAT),
        (INIT, FAILED, SAME, Action.REPEAT),
        (INIT, DONE, OTHER, Action.REFUSE_ID),
        (INIT, REMEMBERED, OTHER, Action.REPEAT),
        (WRONG, EXECUTING, OTHER, Action.REPEAT),
        (WRONG, DONE, OTHER, Action.REFUSE_ID),
        (Clear(), None, SAME, Action.IGNORE),
        (Clear(), QUEUED, OTHER, Action.CANCEL),
        (Clear(), EXECUTING, OTHER, Action.CANCEL),
        (Clear(), DONE, OTHER, Action.FORGET),
        (Clear(), REMEMBERED, OTHER, Action.FORGET),
        (Answer("executing"), None, SAME, Action.DISOWN),
        (Answer("executing"), EXECUTING, OTHER, Action.IGNORE),
        (Answer("executing"), DONE, OTHER, Action.IGNORE),
        (Answer("successful"), None, SAME, Action.IGNORE),
        (Answer("failed"), QUEUED, OTHER, Action.IGNORE),
    ],
)
def test_a_message_and_what_is_known(message: Message, known: Known | None, digest: bytes, action: Action) -> None:
    assert decide(message, known, digest) is action


def test_only_what_is_unknown_begins() -> None:
    messages = (INIT, WRONG, Clear(), Answer("executing"), Answer("failed"))
    for message in messages:
        for known in (QUEUED, EXECUTING, DONE, FAILED, REMEMBERED):
            for digest in (SAME, OTHER):
                assert decide(message, known, digest) is not Action.BEGIN
