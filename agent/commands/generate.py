"""`edge-agent generate`: a prompt in, text out, as it comes."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

from agent.commands.call import Call
from agent.errors import RequestError
from agent.terminal import print_json, write_text


def add_arguments(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    parser.add_argument("prompt", metavar="PROMPT", help="the prompt, or - to read it from standard input")
    add_request_arguments(parser)
    parser.add_argument("--chat", action="store_true", help="send it as a message, through the model's chat template")
    parser.add_argument("--grammar", metavar="FILE", type=Path, help="a GBNF grammar that the text must follow")
    parser.add_argument("--schema", metavar="FILE", type=Path, help="a JSON Schema that the text must follow")
    parser.add_argument("--json", action="store_true", help="print the whole answer as JSON at the end")


def add_request_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that `chat` takes as well."""
    parser.add_argument("--model", metavar="NAME", help="which model; not needed where there is only one")
    parser.add_argument("--max-tokens", metavar="N", type=int, help="stop after so many tokens")
    parser.add_argument("--temperature", metavar="X", type=float, help="0 is greedy; higher is more varied")
    parser.add_argument("--seed", metavar="N", type=int, help="makes the answer repeatable")
    parser.add_argument("--stop", metavar="TEXT", action="append", help="stop at this text; may be repeated")


def request_of(options: argparse.Namespace) -> dict[str, Any]:
    """The part of a request's body that the shared flags give."""
    names = ("model", "max_tokens", "temperature", "seed", "stop")
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def run(call: Call) -> int:
    options = call.options
    prompt = sys.stdin.read() if options.prompt == "-" else options.prompt
    body = request_of(options)
    if options.grammar is not None:
        body["grammar"] = _text(options.grammar)
    if options.schema is not None:
        body["json_schema"] = _schema(options.schema)
    if options.chat:
        path, body["messages"] = "/v1/chat/completions", [{"role": "user", "content": prompt}]
    else:
        path, body["prompt"] = "/v1/completions", prompt
    if options.json:
        print_json(call.client.post(path, body))
        return 0
    ended = True
    try:
        with contextlib.closing(call.client.stream(path, body)) as events:
            for event in events:
                text = piece(event)
                write_text(text)
                ended = text.endswith("\n") if text else ended
    finally:
        if not ended and sys.stdout.isatty():
            write_text("\n")
    return 0


def piece(event: dict[str, Any]) -> str:
    """The text in one event of either route's stream."""
    text = ""
    for choice in event.get("choices") or ():
        delta = choice.get("delta")
        text += (delta.get("content") if delta is not None else choice.get("text")) or ""
    return text


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise RequestError(f"{file} cannot be read: {reason}.") from None


def _schema(file: Path) -> Any:
    try:
        return json.loads(_text(file))
    except ValueError as error:
        raise RequestError(f"{file} is not JSON: {error}.") from None
