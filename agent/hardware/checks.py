"""What `edge-agent doctor` looks at besides the board: the installation, the disk, the power supply, the boot settings.

`gather` does the looking; `agent.hardware.doctor` judges what it found.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import resource
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from agent.hardware import cgroup, sysfile
from agent.hardware.command import Runner, no_command, run_command


@dataclass(frozen=True, kw_only=True)
class Installed:
    """The installed llama-cpp-python, as far as it can be told without loading it.

    `backends` are the compute libraries that it ships (`cpu`, `cuda`, `metal`); `wheel_key` the cache key of the wheel
    that it was installed from (`agent.hardware.wheel`), None where it came from elsewhere.
    """

    version: str
    backends: frozenset[str]
    wheel_key: str | None


@dataclass(frozen=True, kw_only=True)
class Checks:
    """Facts. None: could not be found out, or does not apply to this machine.

    `throttled` is the bit field of `vcgencmd get_throttled`; `swap_on_sd_bytes` the swap on SD cards and eMMC.
    """

    installed: Installed | None
    python_bits: int
    state_dir: str
    state_free_bytes: int | None
    throttled: int | None = None
    swap_on_sd_bytes: int = 0
    memory_cgroup: bool | None = None
    capture_niceness: int | None = None
    """The lowest that a recording process may take, where there is something to record with."""


def gather(state_dir: Path, root: Path = Path("/"), *, run: Runner | None = None) -> Checks:
    """Look at everything once. Runs at most one command (`vcgencmd`); takes some milliseconds."""
    run = run or (run_command if root == Path("/") else no_command)
    return Checks(
        installed=find_installed(),
        python_bits=8 * struct.calcsize("P"),
        state_dir=str(state_dir),
        state_free_bytes=_free_bytes(state_dir),
        throttled=read_throttled(root, run),
        swap_on_sd_bytes=swap_on_sd_bytes(root),
        memory_cgroup=cgroup.memory_controller_enabled(root),
        capture_niceness=_capture_niceness(root),
    )


def _capture_niceness(root: Path) -> int | None:
    """None without ALSA's capture devices, as root, and where there is no such limit (macOS)."""
    kind = getattr(resource, "RLIMIT_NICE", None)
    if kind is None or os.geteuid() == 0 or "capture" not in (sysfile.read_text(root / "proc/asound/pcm") or ""):
        return None
    soft, _ = resource.getrlimit(kind)
    return -20 if soft == resource.RLIM_INFINITY else 20 - soft


def find_installed() -> Installed | None:
    """The llama-cpp-python of this environment, found without importing it; None where there is none."""
    try:
        spec = importlib.util.find_spec("llama_cpp")
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None:
        return None
    names = [path.name for path in sysfile.list_names(Path(spec.origin).parent / "lib", "*")]
    known = ("cpu", "cuda", "metal", "vulkan", "blas")
    backends = {kind for kind in known if any(name.startswith(f"libggml-{kind}") for name in names)}
    try:
        distribution = importlib.metadata.distribution("llama_cpp_python")
    except importlib.metadata.PackageNotFoundError:
        return Installed(version="unknown", backends=frozenset(backends), wheel_key=None)
    return Installed(
        version=distribution.version,
        backends=frozenset(backends),
        wheel_key=wheel_key(distribution.read_text("direct_url.json")),
    )


def wheel_key(direct_url: str | None) -> str | None:
    """The key of our wheel cache out of pip's record of where a wheel came from: `.../wheels/<key>/<file>.whl`."""
    try:
        record = json.loads(direct_url or "")
        path = PurePosixPath(unquote(urlsplit(str(record["url"])).path))
    except (ValueError, KeyError, TypeError):
        return None
    return path.parent.name if path.suffix == ".whl" and path.parent.parent.name == "wheels" else None


def read_throttled(root: Path, run: Runner) -> int | None:
    """The Raspberry Pi's throttling bits: from the firmware's sysfs file (hexadecimal), else from `vcgencmd`."""
    for path in sysfile.list_names(root / "sys/devices/platform", "soc*/soc*:firmware/get_throttled"):
        value = _hexadecimal(sysfile.read_text(path))
        if value is not None:
            return value
    if not (sysfile.read_text(root / "proc/device-tree/model") or "").startswith("Raspberry Pi"):
        return None
    return _hexadecimal((run(("vcgencmd", "get_throttled")) or "").strip().removeprefix("throttled="))


def swap_on_sd_bytes(root: Path) -> int:
    """Swap on SD cards and eMMC: partitions there, and files when the root file system is there."""
    root_device = ""
    for line in (sysfile.read_text(root / "proc/mounts") or "").splitlines():
        fields = line.split()
        if len(fields) > 1 and fields[1] == "/":
            root_device = fields[0]
    total = 0
    for line in (sysfile.read_text(root / "proc/swaps") or "").splitlines()[1:]:
        fields = line.split()
        if len(fields) < 3 or not fields[2].isdecimal():
            continue
        device = root_device if fields[1] == "file" else fields[0]
        if device.startswith("/dev/mmcblk"):
            total += int(fields[2]) * 1024
    return total


def _hexadecimal(text: str | None) -> int | None:
    try:
        return int(text, 16) if text else None
    except ValueError:
        return None


def _free_bytes(folder: Path) -> int | None:
    """Free space where `folder` is or would be made."""
    for place in (folder, *folder.parents):
        try:
            return shutil.disk_usage(place).free
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None
