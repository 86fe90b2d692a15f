"""`edge-agent chat`: a conversation on the terminal, or line by line from a pipe."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable
from typing import Any

from agent.commands.call import Call
from agent.commands.client import Client
from agent.commands.generate import add_request_arguments, piece, request_of
from agent.errors import EdgeAgentError
from agent.terminal import write_text

PROMPT = "> "
INSTRUCTIONS = """\
/reset   forget the conversation
/help    show this
Ctrl-C   stop an answer
Ctrl-D   leave"""


def add_arguments(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    add_request_arguments(parser)
    parser.add_argument("--system", metavar="TEXT", help="instructions that the conversation starts with")
    parser.add_argument(
        "--with", metavar="COLLECTION", dest="collection", help="answer from the passages of a collection"
    )
    parser.add_argument("-k", metavar="N", type=int, default=4, help="how many passages to look for; default: 4")


def run(call: Call) -> int:
    call.client.get("/health")  # who talks to nobody should hear so before the first line is typed
    request = request_of(call.options)
    if call.options.collection is not None:
        request["retrieve"] = {"collection": call.options.collection, "k": call.options.k}
    conversation = Conversation(call.client, request, call.options.system)
    if sys.stdin.isatty():
        return _interactive(conversation)
    for line in sys.stdin:
        if message := line.strip():
            conversation.take(message)
    return 0


class Conversation:
    """Messages so far, and sending the next one."""

    def __init__(self, client: Client, request: dict[str, Any], system: str | None) -> None:
        self._client = client
        self._request = request
        self._opening = [{"role": "system", "content": system}] if system else []
        self._messages = list(self._opening)

    def take(self, message: str, say: Callable[[str], None] = write_text) -> None:
        """A command is obeyed, anything else is sent; the answer goes to `say` as it comes.

        Ctrl-C stops the answer; what came of it stays in the conversation. After an error the message is forgotten,
        so that it can be sent again. Raises `EdgeAgentError`.
        """
        if message in ("/reset", "/help"):
            if message == "/reset":
                self._messages = list(self._opening)
            say("Forgotten.\n" if message == "/reset" else INSTRUCTIONS + "\n")
            return
        self._messages.append({"role": "user", "content": message})
        body = {**self._request, "messages": self._messages}
        pieces: list[str] = []
        sources: list[dict[str, Any]] | None = None
        try:
            with contextlib.closing(self._client.stream("/v1/chat/completions", body)) as events:
                for event in events:
                    sources = event.get("retrieved", sources)
                    if text := piece(event):
                        pieces.append(text)
                        say(text)
        except KeyboardInterrupt:
            say(" (stopped)")
        except EdgeAgentError:
            self._messages.pop()
            if pieces:
                say("\n")
            raise
        self._messages.append({"role": "assistant", "content": "".join(pieces)})
        say("\n")
        if sources is not None:
            say(sources_text(sources))


def sources_text(sources: list[dict[str, Any]]) -> str:
    """The passages that an answer was given, as its numbers name them."""
    if not sources:
        return "(no source was found, or none had room)\n"
    return "".join(f"[{number}] {one['id']} ({one['score']:.3f})\n" for number, one in enumerate(sources, start=1))


def _interactive(conversation: Conversation) -> int:
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - gives input() editing and history
    print("Ctrl-D leaves, /help tells more.", file=sys.stderr)
    while True:
        try:
            message = input(PROMPT).strip()
        except EOFError:
            print()
            return 0
        except KeyboardInterrupt:
            print()
            continue
        if not message:
            continue
        try:
            conversation.take(message)
        except EdgeAgentError as error:
            print(f"edge-agent: {error}", file=sys.stderr)
