"""One use of the command line: what was typed, what is configured, and where the daemon is."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.config import default_state_dir, load_settings
from agent.instance import SERVICE_STATE_DIR, Running, find_running, url_of
from agent.settings import Settings

if TYPE_CHECKING:
    from agent.commands.client import Client


@dataclass(frozen=True)
class Call:
    """`options` holds the command's own flags; `flags` the text of those that set settings, by setting name."""

    options: argparse.Namespace
    flags: Mapping[str, Any]
    config: Path | None

    @cached_property
    def settings(self) -> Settings:
        """Raises `ConfigError`."""
        return self.load()

    def load(self) -> Settings:
        """The settings as they are now; `settings` keeps the first answer. Raises `ConfigError`."""
        return load_settings(self.flags, config=self.config)

    @cached_property
    def running(self) -> Running | None:
        """The daemon of the state folder; without one there, the machine's service."""
        own = find_running(self.settings.state_dir)
        if own is not None or self._state_dir_given:
            return own
        return find_running(SERVICE_STATE_DIR)

    @property
    def state_dir(self) -> Path:
        """Where the models are: the machine's service's folder while it runs, unless another was asked for."""
        own = self.settings.state_dir
        if self._state_dir_given or find_running(own) or not find_running(SERVICE_STATE_DIR):
            return own
        return SERVICE_STATE_DIR

    @cached_property
    def url(self) -> str:
        """Where the daemon is or would be: an address that was asked for, else the running one's, else the default."""
        if self.running is not None and not (self._given("host") or self._given("port")):
            return self.running.url
        return url_of(self.settings.host, self.settings.port)

    @property
    def client(self) -> Client:
        from agent.commands.client import Client

        keys = [key.key for key in self.settings.api_keys if key.key]
        return Client(self.url, key=keys[0] if keys else None)

    @property
    def _state_dir_given(self) -> bool:
        return self.settings.state_dir != default_state_dir(os.environ) or self._given("state_dir")

    def _given(self, name: str) -> bool:
        return self.flags.get(name) is not None or bool(os.environ.get(f"EDGE_AGENT_{name.upper()}"))
