"""One use of the command line: what was typed, what is configured, and where the daemon is."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.config import default_state_dir, load_settings
from agent.instance import Running, url_of
from agent.settings import Settings

if TYPE_CHECKING:
    from agent.commands.client import Client
    from agent.commands.whereabouts import Whereabouts


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

    @property
    def running(self) -> Running | None:
        """The daemon that the command is about, where it runs on this machine: the one at an address that was asked
        for, the one of the state folder, or the machine's service."""
        return self._whereabouts.running

    @property
    def elsewhere(self) -> bool:
        """A daemon answers at the address that was asked for, and its files cannot be reached from here."""
        return self._whereabouts.trouble is not None

    @cached_property
    def state_dir(self) -> Path:
        """Where the models of that daemon are; where nobody answers at the address that was asked for, a line says
        which they are. Raises `EdgeAgentError` where it is `elsewhere`."""
        if self._whereabouts.trouble is not None:
            raise self._whereabouts.trouble
        found = self._whereabouts
        if found.unanswered:
            print(f"No daemon answers at {self.url}. This is about the models in {found.state_dir}.", file=sys.stderr)
        return found.state_dir

    @property
    def near_state_dir(self) -> Path:
        """The same, and a folder of this machine also where the daemon is `elsewhere`."""
        return self._whereabouts.state_dir

    @property
    def touched_state_dir(self) -> Path:
        """The folder that the command may have written to. Nobody is asked for it."""
        from agent.commands import whereabouts

        known: Whereabouts | None = vars(self).get("_whereabouts")
        return (known or whereabouts.by_folder(self.settings.state_dir, given=self._state_dir_given)).state_dir

    @cached_property
    def url(self) -> str:
        """Where the daemon is or would be: an address that was asked for, else the running one's, else the default."""
        if not self._address_given and self.running is not None:
            return self.running.url
        return url_of(self.settings.host, self.settings.port)

    @property
    def client(self) -> Client:
        from agent.commands.client import Client

        keys = [key.key for key in self.settings.api_keys if key.key]
        return Client(self.url, key=keys[0] if keys else None)

    @cached_property
    def _whereabouts(self) -> Whereabouts:
        from agent.commands import whereabouts

        own = self.settings.state_dir
        if self._address_given and not self._state_dir_given:
            return whereabouts.by_address(self.client, own)
        return whereabouts.by_folder(own, given=self._state_dir_given)

    @property
    def _address_given(self) -> bool:
        return self._given("host") or self._given("port")

    @property
    def _state_dir_given(self) -> bool:
        return self.settings.state_dir != default_state_dir(os.environ) or self._given("state_dir")

    def _given(self, name: str) -> bool:
        return self.flags.get(name) is not None or bool(os.environ.get(f"EDGE_AGENT_{name.upper()}"))
