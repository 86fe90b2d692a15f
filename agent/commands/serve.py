"""`edge-agent serve`: run the daemon."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from typing import Final

from agent.commands.call import Call

RESTART: Final = 75
"""sysexits.h: EX_TEMPFAIL. The unit restarts what fails."""


def add_arguments(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    """Every setting is a flag; the command line adds them."""


def run(call: Call) -> int:
    from agent.logs import start_logging

    settings = call.settings
    start_logging(settings.log_level, settings.log_format)
    import asyncio

    from agent.app import serve

    if asyncio.run(serve(call.load)):
        return restarted(os.environ)
    return 0


def restarted(environment: Mapping[str, str]) -> int:
    """Begins again. Where a service manager watches, by an exit status that it takes for a failure; else the process
    replaces itself, and does not return."""
    if environment.get("NOTIFY_SOCKET"):
        return RESTART
    arguments = [sys.executable, "-m", "agent.cli", *sys.argv[1:]]
    return os.execv(sys.executable, arguments)
