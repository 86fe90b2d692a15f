"""A Debian with this tree in it that can be booted under systemd: in a container, or on an emulated processor."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SUITE = "bookworm"
PACKAGES = (
    "systemd,systemd-sysv,dbus,udev,kmod,python3,ca-certificates,procps,libportaudio2,libasound2,libgomp1,libssl3,"
    "libffi8,libsqlite3-0,libreadline8,libbz2-1.0,liblzma5,zlib1g,linux-image-cloud-amd64,initramfs-tools"
)
NOT_NEEDED = ("playwright", "matplotlib", "mypy", "openai", "onnx", "fontTools", "hypothesis", "pip", "PIL")
"""Of the virtual environment: tools of development, which make up half of it."""
GUEST = ("__init__.py", *(f"service/{name}.py" for name in ("__init__", "boot_guest", "boot_sandbox", "boot_system")))
"""Of this folder; they need nothing but Python."""
SETTINGS = "/opt/boot_guest.json"
UPDATE = "/srv/kettle"

_UNIT = f"""[Unit]
Description=what is tried after the boot
After=multi-user.target
[Service]
Type=oneshot
Environment=HOME=/root
WorkingDirectory=/opt
ExecStart=/usr/bin/python3 -m benchmarks.service.boot_guest {SETTINGS}
StandardError=journal+console
TimeoutStartSec=infinity
[Install]
WantedBy=graphical.target
"""


@dataclass(frozen=True)
class Missing(Exception):
    """This machine cannot boot another one: which program or right it lacks."""

    what: str

    def __str__(self) -> str:
        return f"needs {self.what}"


def check(*programs: str) -> None:
    """Raises `Missing`."""
    if os.geteuid() != 0:
        raise Missing("root")
    for program in programs:
        if shutil.which(program) is None:
            raise Missing(program)


def make_system(folder: Path) -> Path:
    """A minimal Debian in `folder`/system, made once (two minutes and a download). Raises `Missing`."""
    check("debootstrap")
    system = folder / "system"
    if not (system / "etc/debian_version").exists() or not (folder / "complete").exists():
        shutil.rmtree(system, ignore_errors=True)
        _run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(system))
        (folder / "complete").touch()
    return system


def place_tree(system: Path, *, settings: dict[str, Any], gguf: Path | None) -> None:
    """This checkout with its virtual environment and its Python, under the paths that they have here."""
    for path in ("agent", "profiles", "systemd"):
        _copy(ROOT / path, system, ignore=shutil.ignore_patterns("__pycache__"))
    # Compiled files are kept with it: a service cannot write its own.
    _copy(ROOT / ".venv", system, ignore=shutil.ignore_patterns(*NOT_NEEDED, "*mypyc*"))
    _copy(Path(sys.base_prefix), system, ignore=shutil.ignore_patterns("site-packages", "test", "*.a"))
    program = ROOT / ".venv/bin/edge-agent"
    inside = None
    if gguf is not None:
        inside = "/srv/tiny.gguf"
        shutil.copy(gguf, system / inside.lstrip("/"))
    for version in ("1", "2"):
        _place_update(system / f"{UPDATE.lstrip('/')}-{version}", version)
    values = {"program": str(program), "gguf": inside, "update": UPDATE, **settings}
    (system / SETTINGS.lstrip("/")).write_text(json.dumps(values))
    (system / "opt/benchmarks/service").mkdir(parents=True, exist_ok=True)
    for name in GUEST:
        shutil.copy(ROOT / "benchmarks" / name, system / "opt/benchmarks" / name)
    units = system / "etc/systemd/system"
    (units / "boot-guest.service").write_text(_UNIT)
    wants = units / "graphical.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "boot-guest.service").unlink(missing_ok=True)
    (wants / "boot-guest.service").symlink_to("/etc/systemd/system/boot-guest.service")
    (system / "boot-result.json").unlink(missing_ok=True)
    (system / "etc/fstab").write_text("")


def _place_update(folder: Path, version: str) -> None:
    """A model that has a history: the starter model for vectors under another name."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "agent/starter/models/starter-embed", folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "name": "kettle", "version": version}))


def boot_container(system: Path, *, log: Path, timeout_s: float) -> list[dict[str, Any]]:
    """systemd-nspawn, with this machine's kernel and version of the control groups."""
    check("systemd-nspawn")
    options = [
        "--register=no",
        "--keep-unit",
        "--console=pipe",
        "--resolv-conf=off",
        "--timezone=off",
        "--private-network",
    ]
    with log.open("wb") as output:
        for _ in range(2):  # a container without a unit of its own ends where a machine would start again
            subprocess.run(
                ["nice", "-n", "10", "systemd-nspawn", "-q", "-D", str(system), "--boot", *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
            )
    return _result((system / "boot-result.json").read_bytes)


def boot_emulated(system: Path, image: Path, *, version: int, log: Path, timeout_s: float) -> list[dict[str, Any]]:
    """QEMU without virtualization: Debian's own kernel, either version of the control groups; thirty times slower."""
    check("qemu-system-x86_64", "mkfs.ext4", "debugfs")
    image.unlink(missing_ok=True)
    _run("mkfs.ext4", "-q", "-d", str(system), str(image), "4G")
    kernel, initrd = (next((system / "boot").glob(f"{name}-*")) for name in ("vmlinuz", "initrd.img"))
    machine = ["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2048", "-display", "none"]
    unified = f"systemd.unified_cgroup_hierarchy={version - 1}"
    kernel_line = f"root=/dev/vda rw console=ttyS0 quiet panic=-1 {unified}"
    machine += ["-nic", "none", "-serial", "stdio", "-append", kernel_line]
    disk = ["-drive", f"file={image},format=raw,if=virtio,cache=unsafe"]
    with log.open("wb") as output:
        subprocess.run(
            ["nice", "-n", "10", "qemu-system-x86_64", *machine, *disk, "-kernel", str(kernel), "-initrd", str(initrd)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
        )

    def read() -> bytes:
        return subprocess.run(
            ["debugfs", "-R", "cat /boot-result.json", str(image)], capture_output=True, check=True
        ).stdout

    return _result(read)


def _result(read: Callable[[], bytes]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(read())
    return found


def _copy(source: Path, system: Path, *, ignore: Callable[[Any, list[str]], set[str]]) -> None:
    target = system / source.relative_to("/")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, symlinks=True, ignore=ignore)


def _run(*argv: str) -> None:
    subprocess.run(["nice", "-n", "15", *argv], check=True, stdout=subprocess.DEVNULL)


__all__: Sequence[str] = ("Missing", "boot_container", "boot_emulated", "check", "make_system", "place_tree")
