"""What this installation consists of: the program, the folders it needs, and who installs it."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

from agent.errors import ConfigError
from agent.service.launchd import Person
from agent.service.units import hidden_paths
from agent.settings import Settings


def find_program() -> Path:
    """The `edge-agent` of this Python. Raises `ConfigError` if there is none."""
    beside = Path(sys.prefix) / "bin" / "edge-agent"
    if beside.exists():
        return beside
    found = shutil.which("edge-agent")
    if found is None:
        raise ConfigError(
            "There is no program edge-agent to start.", hint="Install edge-agent with pip, or make setup."
        )
    return Path(found).absolute()


def needed_paths(program: Path, settings: Settings) -> tuple[Path, ...]:
    """Files and folders that the service opens, wherever they lie.

    Raises `ConfigError` for one in a home folder that the service's own user may not read.
    """
    package = Path(__file__).resolve().parents[1]
    folders = [Path(sys.prefix), Path(sys.base_prefix), Path(os.path.realpath(sys.executable)).parents[1], package]
    if not package.is_relative_to(sys.prefix):  # a checkout: what the package reads of it
        folders += [folder for name in ("profiles", "systemd") if (folder := package.parent / name).is_dir()]
    files = [settings.config_file] if settings.config_file is not None else []
    for model in settings.models.values():
        files += [path for path in (model.path, model.chat_template) if path is not None]
        files += [lora.path for lora in model.lora]
    paths = tuple(path for path in (*folders, program, *files) if path.exists())
    for path in hidden_paths(paths):
        mode = path.stat().st_mode
        needed = stat.S_IROTH | stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH
        if mode & needed != needed:
            raise ConfigError(
                f"{path} may not be read by others, and the service has a user of its own.",
                hint=f"chmod -R o+rX {path}, or install edge-agent elsewhere, like /opt/edge-agent.",
            )
    return paths


def person_from(environment: Mapping[str, str]) -> Person:
    """Who typed it, also behind sudo."""
    name = environment.get("SUDO_USER", "") if os.geteuid() == 0 else ""
    try:
        entry = pwd.getpwnam(name) if name else pwd.getpwuid(os.geteuid())
    except KeyError:
        raise ConfigError(f"There is no user {name or os.geteuid()} on this system.") from None
    home = environment.get("HOME") if not name else None
    return Person(name=entry.pw_name, uid=entry.pw_uid, home=Path(home or entry.pw_dir))


def folder_bytes(folder: Path) -> int:
    """What the files in it take."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else 0
