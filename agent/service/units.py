"""The unit files as they are installed: those of `systemd/`, with this board's values. Text in, text out.

What differs from board to board stands in drop-ins, so that the units themselves can be read beside the documentation.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agent.errors import ConfigError
from agent.hardware.board import Board
from agent.hardware.profile import Match, Profile

MIB = 1024 * 1024

PROGRAM = "/usr/bin/edge-agent"
"""What the units in `systemd/` start."""
HIGH_SHARE = 0.95
"""Of `MemoryMax=`: from there the kernel takes pages back and slows the service down before it kills anything."""
LEAST_BYTES = 192 * MIB
"""The daemon, a worker's interpreter and its libraries; a service with less cannot start."""

HIDDEN = ("/home", "/root", "/run/user")
"""What `ProtectHome=` takes out of sight."""

BOARD_DEVICES = (
    "/dev/vcio",  # vcgencmd on a Raspberry Pi: throttling, power
    "/dev/nvmap",  # Jetson: this and the next ones, as NVIDIA's container runtime lists them (l4t.csv)
    "/dev/nvhost-as-gpu",
    "/dev/nvhost-ctrl",
    "/dev/nvhost-ctrl-gpu",
    "/dev/nvhost-ctxsw-gpu",
    "/dev/nvhost-dbg-gpu",
    "/dev/nvhost-gpu",
    "/dev/nvhost-prof-gpu",
    "/dev/nvhost-sched-gpu",
    "/dev/nvhost-tsg-gpu",
    "/dev/nvgpu/igpu0/as",
    "/dev/nvgpu/igpu0/channel",
    "/dev/nvgpu/igpu0/ctrl",
    "/dev/nvgpu/igpu0/ctxsw",
    "/dev/nvgpu/igpu0/dbg",
    "/dev/nvgpu/igpu0/power",
    "/dev/nvgpu/igpu0/prof",
    "/dev/nvgpu/igpu0/prof-ctx",
    "/dev/nvgpu/igpu0/prof-dev",
    "/dev/nvgpu/igpu0/sched",
    "/dev/nvgpu/igpu0/tsg",
    "/dev/host1x-fence",
    "/dev/nvsciipc",
    "/dev/kfd",  # AMD
    "/dev/dxg",  # WSL
)
"""Devices without a group of their own in /proc/devices; named in the drop-in where the board has them."""


_NOTE = (
    "# Written by `edge-agent service install`, which writes it anew: own changes belong into another file, which",
    "# `systemctl edit` makes.",
)


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What was asked for besides the board's own: the program to start, its variables (`EDGE_AGENT_PROFILE`), the
    address, files and folders that the service has to read, and a state folder that is not systemd's."""

    program: str
    environment: Mapping[str, str] = field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int = 8484
    reads: Sequence[Path] = ()
    state_dir: Path | None = None


@dataclass(frozen=True)
class MemoryLimits:
    """For the whole service, in bytes."""

    high_bytes: int
    max_bytes: int


def unit_folder() -> Path:
    """`agent/service/files` of an installed wheel, else `systemd` of a checkout."""
    packaged = Path(__file__).with_name("files")
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "systemd"


def unit_text(name: str, folder: Path | None = None) -> str:
    """A file of `systemd/`. Raises `ConfigError` if it is not there."""
    path = (folder or unit_folder()) / name
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.", hint="Install edge-agent again.") from None


def with_program(text: str, program: str) -> str:
    """A unit that starts `program`. Raises `ConfigError` for a path that a unit cannot hold."""
    return text.replace(f"ExecStart={PROGRAM} ", f"ExecStart={quoted(program).replace('$', '$$')} ")


def memory_limits(board: Board, profile: Profile) -> MemoryLimits:
    """All of the board's memory but what the profile leaves to others (`memory.reserve_mb`)."""
    total_bytes = board.memory_total_bytes
    max_bytes = max(LEAST_BYTES, total_bytes - profile.memory.reserve_bytes)
    return MemoryLimits(high_bytes=int(max_bytes * HIGH_SHARE), max_bytes=max_bytes)


def board_drop_in(board: Board, match: Match, profile: Profile, *, devices: Sequence[str]) -> str:
    """`50-board.conf`: limits and devices of this board. `devices` are those of `BOARD_DEVICES` that it has."""
    memory = memory_limits(board, profile)
    lines = [f"# {_comment(board.model)}, profile {profile.name}: {_comment(match.reason)}", *_NOTE, ""]
    if board.gpu is not None and board.gpu.kind == "cuda" and not board.gpu.unified:
        # Without the module, llama.cpp finds no GPU at boot and silently stays on the CPU (llama.cpp issue 27923).
        module = "modprobe@nvidia_uvm.service"
        lines += ["[Unit]", f"Wants={module}", f"After={module} nvidia-persistenced.service", ""]
    lines += [
        "[Service]",
        f"# {board.memory_total_bytes // MIB} MiB, of which {profile.memory.reserve_mb} stay for others; "
        f"from {int(HIGH_SHARE * 100)}% on, memory is taken back",
        f"MemoryHigh={memory.high_bytes // MIB}M",
        f"MemoryMax={memory.max_bytes // MIB}M",
        *(f"DeviceAllow={device} rw" for device in devices),
    ]
    return "\n".join(lines) + "\n"


def place_drop_in(wish: Wish, *, user: bool) -> str | None:
    """`60-place.conf`: what was asked for on the command line, and where files lie; None where nothing is special."""
    lines = [f"Environment={quoted(f'{name}={value}')}" for name, value in wish.environment.items()]
    hidden = [] if user else hidden_paths(wish.reads)
    state_dir = None if user else wish.state_dir
    if hidden or (state_dir is not None and hidden_paths([state_dir])):
        lines += ["# Of the home folders, the service sees nothing but this.", "ProtectHome=tmpfs"]
        lines += [f"BindReadOnlyPaths={_bound(path)}" for path in hidden]
    if state_dir is not None:
        key = "BindPaths" if hidden_paths([state_dir]) else "ReadWritePaths"
        lines += ["# It must belong to the user edge-agent.", f"{key}={_bound(state_dir)}"]
    return "\n".join([*_NOTE, "", "[Service]", *lines]) + "\n" if lines else None


def socket_drop_in(wish: Wish) -> str | None:
    """`50-address.conf` of the socket: another address than the unit's; None where it is that."""
    if (wish.host, wish.port) in (("127.0.0.1", 8484), ("localhost", 8484)):
        return None
    if wish.port == 0:
        raise ConfigError("port = 0 lets the system choose; a service needs a port.", param="port")
    try:
        address = ipaddress.ip_address({"localhost": "127.0.0.1"}.get(wish.host, wish.host).strip("[]"))
    except ValueError:
        raise ConfigError(
            f"host = {wish.host!r} is a name, and systemd listens on addresses.",
            hint="Give the address, or 0.0.0.0 for all of them.",
            param="host",
        ) from None
    host = f"[{address}]" if address.version == 6 else str(address)
    # The empty line takes the unit's own address away.
    return "\n".join([*_NOTE, "", "[Socket]", "ListenStream=", f"ListenStream={host}:{wish.port}"]) + "\n"


def hidden_paths(paths: Sequence[Path]) -> list[Path]:
    """Those of `paths` that lie in home folders, without those that lie in another of them."""
    hidden = sorted({path for path in paths if any(path.is_relative_to(home) for home in HIDDEN)})
    return [path for path in hidden if not any(path != other and path.is_relative_to(other) for other in hidden)]


def quoted(text: str) -> str:
    """A word for a unit file. Raises `ConfigError` for one that cannot be written there."""
    if not text.isprintable():
        raise ConfigError(f"{text!r} cannot stand in a unit file.", hint="Choose a path without such characters.")
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{text}"' if any(character in " \"'\\;" for character in text) else text


def _bound(path: Path) -> str:
    """A path for a line in which a colon separates two."""
    if ":" in str(path):
        raise ConfigError(f"{path} has a colon in it, which a unit file cannot hold.", hint="Choose another folder.")
    return quoted(str(path))


def _comment(text: str) -> str:
    """On one line, whatever a board calls itself."""
    return "".join(character if character.isprintable() else " " for character in text)
