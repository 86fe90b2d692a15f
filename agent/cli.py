"""The command line. Each command's module is imported only when it is used, so that all of them start quickly."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent.commands.call import Call
from agent.errors import ConfigError, EdgeAgentError
from agent.settings import flags as every_flag

COMMANDS = {
    "serve": "run the daemon until it is stopped",
    "chat": "talk with a model",
    "generate": "continue a prompt, and stream the text to standard output",
    "embed": "print the vectors of texts, or write them to a .npy file",
    "transcribe": "write down recordings, or what the microphone hears",
    "microphone": "open and close the daemon's microphone, and list what there is",
    "search": "make collections of passages and search them by meaning and by words",
    "models": "suggest, pull, list, import, update, activate, roll back, remove, check, load and unload models",
    "doctor": "look at this machine, and say what is missing and what to do about it",
    "status": "show what the daemon is doing",
    "bench": "measure how fast this board is, and compare it with another, or another server",
    "fleet": "many devices over their broker: list them, give them commands, watch them",
    "service": "make it a service of this machine (systemd, launchd), and take that back",
}
COMMON = ("profile", "state_dir", "host", "port", "log_level", "log_format")
"""Settings that every command has a flag for; `serve` has all."""

DONE, FAILED, USAGE = 0, 1, 2

_METAVARS: dict[type, str] = {str: "TEXT", int: "N", float: "X", bool: "BOOL", Path: "PATH"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Returns the exit status: 0 done, 1 failed, 2 wrong usage or configuration."""
    options = build_parser().parse_args(arguments)
    if options.version_wanted:
        from agent.version import version

        print(f"edge-agent {version()}")
        return DONE
    if options.command is None:
        build_parser().print_help(sys.stderr)
        return USAGE
    flags = {name: getattr(options, f"set_{name}", None) for name in [*every_flag(), "api_keys"]}
    config = getattr(options, "config", None)
    call = Call(options, flags, Path(config) if config is not None else None)
    verbose = flags["log_level"] == "debug" or os.environ.get("EDGE_AGENT_LOG_LEVEL") == "debug"
    try:
        return _run(call)
    except EdgeAgentError as error:
        if verbose:
            traceback.print_exc()
        print(f"edge-agent: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"  {error.hint}", file=sys.stderr)
        return USAGE if isinstance(error, ConfigError) else FAILED
    except KeyboardInterrupt:
        return _die_of(signal.SIGINT)
    except BrokenPipeError:  # the reader of our output has gone, as in `edge-agent models list | head -1`
        return _die_of(signal.SIGPIPE)


def _run(call: Call) -> int:
    from agent.terminal import use_utf8

    use_utf8()
    module = importlib.import_module(f"agent.commands.{call.options.command}")
    try:
        status: int = module.run(call)
    finally:
        if os.geteuid() == 0 and "settings" in vars(call):
            from agent.service.ownership import give_to_owner

            give_to_owner(call.touched_state_dir)
    sys.stdout.flush()
    return status


def _die_of(number: signal.Signals) -> int:
    """Ends as the signal would have ended us, which is what a shell looks at."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return FAILED


class _CommandParser(argparse.ArgumentParser):
    """A command's parser, which gets its arguments when the command is the one that was typed."""

    command = ""
    common: argparse.ArgumentParser

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self.command:
            module = importlib.import_module(f"agent.commands.{self.command}")
            self.command = ""
            module.add_arguments(self, self.common)
        return super().parse_known_args(args, namespace)


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; the common flags may stand before or after the command."""
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    _add_settings(common, COMMON)
    every = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    _add_settings(every, tuple(every_flag()))
    parser = argparse.ArgumentParser(
        prog="edge-agent",
        description="Local language models on a small device, behind an OpenAI-compatible API.",
        epilog="docs/configuration.md lists every setting; each can also stand in agent.toml.",
        parents=[common],
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", dest="version_wanted", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_CommandParser)
    for name, help in COMMANDS.items():
        flags: list[Any] = [every if name == "serve" else common]
        added = commands.add_parser(name, help=help, description=help, parents=flags, allow_abbrev=False)
        added.command, added.common = name, common
    return parser


def _add_settings(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    group = parser.add_argument_group("settings")
    group.add_argument("--config", metavar="FILE", help="the agent.toml to read")
    group.add_argument(
        "--api-key",
        metavar="KEY",
        dest="set_api_keys",
        action="append",
        help="a key that clients must send, and that commands send; may be repeated (EDGE_AGENT_API_KEY)",
    )
    known = every_flag()
    for name in names:
        declaration = known[name]
        default = "" if declaration.many else f"; default: {declaration.default_text}"
        group.add_argument(
            f"--{declaration.flag}",
            dest=f"set_{name}",
            metavar="|".join(declaration.choices) or declaration.unit.upper() or _METAVARS[declaration.kind],
            action="append" if declaration.many else "store",
            help=f"{declaration.doc.rstrip('.')}{default} ({declaration.environment})".replace("%", "%%"),
        )


if __name__ == "__main__":
    sys.exit(main())
