"""`edge-agent doctor`: what was found, what follows, what is wrong, what to do. Pure: facts in, report out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from agent.hardware import memory
from agent.hardware.board import Board
from agent.hardware.checks import Checks
from agent.hardware.fit import SHAPES, Fit, fit
from agent.hardware.memory import MemoryReading
from agent.hardware.profile import Match, Profile

MIB = 1024 * 1024
GIB = 1024 * MIB

LOW_DISK_BYTES = 2 * GIB
"""A 3B model at Q4_K_M takes 1.9 GB."""

FULL_DISK_BYTES = 256 * MIB
"""Below this not even the databases are safe."""

CAPTURE_NICENESS = -5
"""What the recording process takes where it may (agent.speech.urgency)."""

CMDLINE = "/boot/firmware/cmdline.txt"

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that is not as it should be: what, and what to do about it. `error`: models will not run."""

    severity: Severity
    code: str
    message: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything `doctor` says. `profile` is resolved; `pool` says where the budget is: RAM or a graphics card."""

    board: Board
    reading: MemoryReading
    reason: str
    profile: Profile
    pool: Literal["memory", "gpu"]
    budget_bytes: int
    fits: tuple[Fit, ...]
    findings: tuple[Finding, ...]
    checks: Checks

    @property
    def suggested(self) -> tuple[str, ...]:
        """The profile's models without those that do not fit now; where none is left, the largest that fits."""
        too_large = [entry.model for entry in self.fits if not entry.fits]
        fitting = [entry.model for entry in self.fits if entry.fits]
        wanted = self.profile.recommend.generate
        kept = tuple(name for name in wanted if not any(name.startswith(f"{model}-") for model in too_large))
        return kept or tuple(f"{name}-Instruct Q4_K_M" for name in fitting[-1:])

    @property
    def exit_status(self) -> int:
        """1 where something is broken, 0 otherwise; warnings do not count."""
        return int(any(finding.severity == "error" for finding in self.findings))


def examine(
    board: Board,
    match: Match,
    profile: Profile,
    reading: MemoryReading,
    checks: Checks,
    *,
    wheel_key: str | None = None,
    requested_threads: Sequence[int] = (),
) -> Report:
    """Put the facts together.

    `profile` is `match.profile` resolved for `board` with the user's overrides. `wheel_key` is the key that
    `agent.hardware.wheel` gives for it, to compare with the installed wheel's. `requested_threads` are thread counts
    from the user's settings, to say when they were capped.
    """
    pool, budget = _budget(board, profile, reading, checks)
    fits = tuple(fit(shape, profile.llama, budget, profile.recommend.decode_gb_per_s) for shape in SHAPES)
    order = ("error", "warning", "note")
    findings = [
        *_installation(board, profile, checks, wheel_key),
        *_memory(board, reading, budget, fits, checks),
        *_disk(checks),
        *_raspberry_pi(checks),
        *_processor(board, profile, checks, requested_threads),
        *_sound(checks),
    ]
    return Report(
        board=board,
        reading=reading,
        reason=match.reason,
        profile=profile,
        pool=pool,
        budget_bytes=budget,
        fits=fits,
        findings=tuple(sorted(findings, key=lambda finding: order.index(finding.severity))),
        checks=checks,
    )


def _budget(
    board: Board, profile: Profile, reading: MemoryReading, checks: Checks
) -> tuple[Literal["memory", "gpu"], int]:
    """Where the weights will live, and how much room is there."""
    gpu = board.gpu
    offloads = gpu is not None and not gpu.unified and profile.llama.gpu_layers != 0
    installed = checks.installed
    has_cuda = board.cuda_compiler is not None if installed is None else "cuda" in installed.backends
    if gpu is not None and offloads and gpu.memory_total_bytes and has_cuda:
        free = gpu.memory_total_bytes if gpu.memory_free_bytes is None else gpu.memory_free_bytes
        return "gpu", int(free * profile.memory.budget_fraction)
    budget = memory.budget_bytes(reading, profile.memory)
    if gpu is not None and gpu.kind == "metal" and gpu.memory_total_bytes:
        budget = min(budget, gpu.memory_total_bytes)
    return "memory", budget


def _installation(board: Board, profile: Profile, checks: Checks, wheel_key: str | None) -> Iterator[Finding]:
    build = 'make setup, or pip install "$(python3 -m agent.hardware.wheel)"'
    cuda_wanted = profile.build.cuda and board.gpu is not None and board.gpu.kind == "cuda"
    if (
        cuda_wanted
        and board.cuda_compiler is None
        and (checks.installed is None or "cuda" not in checks.installed.backends)
    ):
        yield Finding(
            severity="warning",
            code="no_cuda_compiler",
            message="The CUDA compiler (nvcc) is not installed, so llama.cpp is built for the CPU alone.",
            remedy="On a Jetson: sudo apt install nvidia-jetpack. Elsewhere: the cuda-toolkit package from NVIDIA. "
            "Then build llama-cpp-python again.",
        )
    installed = checks.installed
    if installed is None:
        yield Finding(
            severity="error",
            code="llama_cpp_missing",
            message="llama-cpp-python is not installed: no GGUF model can run.",
            remedy=f"Build and install it with {build}.",
        )
        return
    for backend, wanted in (("cuda", cuda_wanted and board.cuda_compiler is not None), ("metal", profile.build.metal)):
        if wanted and backend not in installed.backends:
            yield Finding(
                severity="warning",
                code=f"no_{backend}_backend",
                message=f"The installed llama-cpp-python has no {backend} backend: the GPU stays idle.",
                remedy=f"Build it again with {build}.",
            )
    native_amx = board.architecture == "x86_64" and "amx_tile" in board.cpu_features
    if installed.wheel_key is None:
        yield Finding(
            severity="warning" if native_amx else "note",
            code="unknown_build",
            message="The installed llama-cpp-python was not built by edge-agent, so its CPU flags cannot be told."
            + (" Built natively, it crashes on this CPU's AMX units." if native_amx else ""),
            remedy=f"If it is slow or crashes, build it with {build}.",
        )
    elif wheel_key is not None and installed.wheel_key != wheel_key:
        yield Finding(
            severity="warning",
            code="other_build",
            message=f"The installed llama-cpp-python was built for something else ({installed.wheel_key}).",
            remedy=f"Build it for this board ({wheel_key}) with {build}.",
        )


def _memory(
    board: Board, reading: MemoryReading, budget: int, fits: tuple[Fit, ...], checks: Checks
) -> Iterator[Finding]:
    if reading.total_bytes == 0:
        yield Finding(
            severity="error",
            code="memory_unknown",
            message="The machine's memory could not be read.",
            remedy="Check that /proc is mounted and readable.",
        )
    elif not any(entry.fits for entry in fits):
        smallest = min(entry.total_bytes for entry in fits)
        yield Finding(
            severity="warning",
            code="no_room",
            message=f"Not even the smallest model listed fits: it needs {smallest // MIB} MiB of a budget of "
            f"{budget // MIB} MiB.",
            remedy="Stop other programs, raise the control group's limit, or use a board with more memory.",
        )
    if checks.memory_cgroup is False and board.system == "linux":
        yield Finding(
            severity="warning",
            code="memory_cgroup_disabled",
            message="The kernel cannot limit the memory of a service: the memory control group is off.",
            remedy=f"Add cgroup_enable=memory cgroup_memory=1 to the one line of {CMDLINE} and reboot.",
        )
    if checks.swap_on_sd_bytes:
        yield Finding(
            severity="warning",
            code="swap_on_sd",
            message=f"{checks.swap_on_sd_bytes // MIB} MiB of swap are on an SD card or eMMC: slow, and it wears out.",
            remedy="Use compressed swap in memory: sudo apt install zram-tools, then sudo dphys-swapfile uninstall.",
        )


def _disk(checks: Checks) -> Iterator[Finding]:
    free = checks.state_free_bytes
    if free is None:
        yield Finding(
            severity="warning",
            code="state_dir_unreadable",
            message=f"The free space at {checks.state_dir} could not be read.",
            remedy="Check the folder's permissions, or choose another with --state-dir.",
        )
    elif free < LOW_DISK_BYTES:
        yield Finding(
            severity="error" if free < FULL_DISK_BYTES else "warning",
            code="disk_low",
            message=f"Only {free // MIB} MiB are free at {checks.state_dir}, where models are stored.",
            remedy="Remove models that are not used (edge-agent models rm), or choose another place with --state-dir.",
        )


def _raspberry_pi(checks: Checks) -> Iterator[Finding]:
    """Bits of get_throttled: raspberrypi.com/documentation, vcgencmd."""
    bits = checks.throttled or 0
    if bits & 0x1 or bits & 0x10000:
        when = "now" if bits & 0x1 else "since boot"
        yield Finding(
            severity="warning",
            code="under_voltage",
            message=f"The power supply is too weak (under-voltage {when}): the board slows down.",
            remedy="Use the official power supply and a short, thick cable; unplug USB devices to check.",
        )
    if bits & 0xE or bits & 0xE0000:
        when = "now" if bits & 0xE else "since boot"
        yield Finding(
            severity="warning",
            code="throttled",
            message=f"The firmware limits the clock ({when}): the board is too hot or short of power.",
            remedy="Fit a heat sink or the active cooler, and give the case some air.",
        )


def _sound(checks: Checks) -> Iterator[Finding]:
    if checks.capture_niceness is not None and checks.capture_niceness > CAPTURE_NICENESS:
        yield Finding(
            severity="note",
            code="capture_not_first",
            message="Recording sound may not go before other programs here: a busy board may lose some.",
            remedy="The installed service may. Elsewhere: `@audio - nice -5` in /etc/security/limits.d/audio.conf.",
        )


def _processor(board: Board, profile: Profile, checks: Checks, requested_threads: Sequence[int]) -> Iterator[Finding]:
    if checks.python_bits == 32:
        yield Finding(
            severity="warning",
            code="python_32_bit",
            message="This is a 32-bit Python: llama.cpp is slower, and no model above 2 GB can be mapped.",
            remedy="Install the 64-bit operating system.",
        )
    if board.usable_cores < board.cores:
        why = f"a CPU quota of {board.cpu_quota:g}" if board.cpu_quota is not None else "the affinity mask"
        yield Finding(
            severity="note",
            code="fewer_cores",
            message=f"This process may use {board.usable_cores} of {board.cores} cores ({why}).",
            remedy="Raise CPUQuota, --cpus or CPUAffinity if the others are free.",
        )
    if requested_threads and max(requested_threads) > board.usable_cores:
        yield Finding(
            severity="note",
            code="threads_capped",
            message=f"{max(requested_threads)} threads were asked for, {board.usable_cores} cores are there: capped.",
            remedy="Ask for no more threads than cores: more make ggml slower by far.",
        )
    if board.gpu is not None and board.gpu.kind == "cuda" and not profile.build.cuda:
        yield Finding(
            severity="note",
            code="gpu_unused",
            message=f"The profile {profile.name} does not use the GPU ({board.gpu.name}).",
            remedy="If llama.cpp supports it, build with CMAKE_ARGS=-DGGML_CUDA=on and set profile.llama.gpu_layers.",
        )
