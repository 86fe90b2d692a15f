"""The command `edge-convert`."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

from agent.errors import EdgeAgentError, RequestError
from agent.terminal import use_utf8

COMMANDS: Final = ("gguf", "quantize", "whisper", "embed", "report", "golden", "publish", "keys", "serve_blocks")
"""Modules of `convert.commands`, each with NAME, HELP, configure(parser) and run(arguments)."""
INTERRUPTED: Final = 130
"""128 and SIGINT, as shells have it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it. Returns the exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    use_utf8()
    parser = argparse.ArgumentParser(prog="edge-convert", description="Make the artifacts that edge-agent runs.")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    modules: dict[str, Any] = {}
    for name in COMMANDS:
        module = import_module(f"convert.commands.{name}")
        modules[module.NAME] = module
        module.configure(subparsers.add_parser(module.NAME, help=module.HELP, description=module.__doc__))
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # clean up as Ctrl-C does
    try:
        return int(modules[given.command].run(given))
    except KeyboardInterrupt:
        print("edge-convert: interrupted; nothing was written.", file=sys.stderr)
        return INTERRUPTED
    except EdgeAgentError as error:
        print(f"edge-convert: {error}", file=sys.stderr)
        return 2 if isinstance(error, RequestError) else 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"edge-convert: {where}{error.strerror or error}.", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
