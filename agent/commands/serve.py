"""`edge-agent serve`: run the daemon."""

from __future__ import annotations

import argparse

from agent.commands.call import Call


def add_arguments(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    """Every setting is a flag; the command line adds them."""


def run(call: Call) -> int:
    from agent.logs import start_logging

    settings = call.settings
    start_logging(settings.log_level, settings.log_format)
    import asyncio

    from agent.app import serve

    asyncio.run(serve(call.load))
    return 0
