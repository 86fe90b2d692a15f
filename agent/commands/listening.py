"""`edge-agent transcribe --mic`: what the microphone hears, as it is said."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from agent.commands.call import Call
from agent.commands.live_notices import LiveNotices, Tally
from agent.commands.live_screen import LiveScreen
from agent.commands.microphone import microphone_body
from agent.errors import UnavailableError
from agent.terminal import write_text


class View(Protocol):
    """Where live events are shown."""

    def show(self, event: Mapping[str, Any]) -> None: ...

    def say(self, text: str) -> None:
        """A line that is no text of the speaker's; goes to standard error."""

    def close(self) -> None: ...


def listen(call: Call) -> int:
    """Until Ctrl-C, or until the microphone is closed."""
    view = _view(call)
    notices, tally = LiveNotices(), Tally()
    try:
        with closing(call.client.listen(_path(call.options, view))) as events:
            for event in events:
                tally.count(event)
                if notice := notices.feed(event):
                    view.say(notice)
                view.show(event)
        if not notices.closed:
            raise UnavailableError("The daemon ended the connection.", hint="Its log says why.")
    except KeyboardInterrupt:
        pass
    finally:
        view.close()
        if tally.events:
            print(tally.summary(), file=sys.stderr)
    return 0


def _view(call: Call) -> View:
    if call.options.format == "json":
        return _JsonLines()
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        return LiveScreen(sys.stdout)
    return _Lines()


def _path(options: argparse.Namespace, view: View) -> str:
    query = microphone_body(options)
    if not isinstance(view, LiveScreen):
        query["level"] = "0"
    return "/v1/audio/live" + (f"?{urlencode(query, quote_via=quote)}" if query else "")


class _Lines:
    """Finals alone, for files and pipes."""

    def show(self, event: Mapping[str, Any]) -> None:
        if event["type"] == "final" and event["text"]:
            write_text(f"{time_of_day(event['time'])}  {event['text']}\n")

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        pass


class _JsonLines(_Lines):
    """Every event but the levels, one line each."""

    def show(self, event: Mapping[str, Any]) -> None:
        if event["type"] != "level":
            sys.stdout.write(json.dumps(event, ensure_ascii=False) + "\n")
            sys.stdout.flush()


def time_of_day(seconds: float) -> str:
    """Local time of a moment since 1970."""
    return time.strftime("%H:%M:%S", time.localtime(seconds))
