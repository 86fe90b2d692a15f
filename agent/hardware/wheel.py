"""Build llama-cpp-python for this board once, and say where the wheel is.

    python3 -m agent.hardware.wheel [--print-flags] [--profile NAME] [--cache-dir DIR]

Only the wheel's path goes to standard output: `pip install "$(python3 -m agent.hardware.wheel)"`. Standard library
only, since this runs before anything is installed. pip's own cache of built wheels does not look at CMAKE_ARGS, so it
is left out and ours is keyed by version, flags and machine.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import importlib.metadata
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.errors import ConfigError, EdgeAgentError
from agent.hardware.board import Board, detect
from agent.hardware.command import run_command
from agent.hardware.profile import Profile, choose, load_profiles

PACKAGE = "llama-cpp-python"
HEARTBEAT_S = 30.0

MINUTES_ON_TWO_CORES = {False: 4.0, True: 40.0}
"""Without and with CUDA: measured with 0.3.36 on two x86-64 cores; an estimate."""

JOB_BYTES = {False: 768 * 1024**2, True: 2 * 1024**3}
"""Memory that one compiler process may take, without and with CUDA: more jobs than that and a small board swaps."""

LOG_LINES = 40

ADDITIONS = Path(__file__).resolve().parents[1] / "engines" / "llama"
"""What is compiled into llama.cpp: `additions.cmake` says what of it."""

MAPS = "maps"
"""Smaller maps for vocabularies, everywhere."""

SAMPLING = "sampling"
"""The best tokens without a list of all, everywhere."""

KERNELS = "kernels"
"""Our faster products of Q5_0 and Q8_0 weights, where the processor has what they need."""

KERNEL_FLAGS = {"-DGGML_AVX512=ON", "-DGGML_AVX512_VBMI=ON", "-DGGML_AVX512_VNNI=ON"}

Say = Callable[[str], None]


class BuildError(EdgeAgentError):
    """The wheel could not be built."""

    code = "build_failed"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be built, and how: everything that decides what the wheel will be is in `key`."""

    version: str
    profile: str
    cmake_args: str
    key: str
    jobs: int
    minutes: float
    cuda_compiler: str | None
    kernels: bool


def plan(board: Board, profile: Profile, version: str, *, environment: Mapping[str, str] = os.environ) -> Plan:
    """The build for a resolved `profile`. CMAKE_ARGS in the environment is appended: its user has the last word.

    The wheel is `py3-none`, so the key does not name a Python. A native build also depends on the very CPU.
    """
    flags = [*profile.build.cmake_args]
    asked = environment.get("CMAKE_ARGS", "")
    cuda = "-DGGML_CUDA=on" in flags
    kernels = board.system == "linux" and set(flags) >= KERNEL_FLAGS and "-DGGML_AVX512" not in asked
    identity = [f"{shlex.join(flags)} {asked}".strip()]
    entry = ADDITIONS / "additions.cmake"
    ours = [entry]
    for folder in (MAPS, SAMPLING, KERNELS) if kernels else (MAPS, SAMPLING):
        ours += [path for path in sorted((ADDITIONS / folder).iterdir()) if path.is_file()]
    identity += [path.read_text("utf-8") for path in ours]
    flags.append(f"-DCMAKE_PROJECT_llama_cpp_INCLUDE={entry}")
    if kernels:
        flags.append("-DEDGE_AGENT_KERNELS=ON")
    cmake_args = f"{shlex.join(flags)} {asked}".strip()
    if "-DGGML_NATIVE=OFF" not in profile.build.cmake_args:
        identity += [board.cpu_name, *sorted(board.cpu_features)]
    digest = hashlib.sha256("\n".join(identity).encode()).hexdigest()[:12]
    free_jobs = board.memory_ceiling_bytes // JOB_BYTES[cuda]
    jobs = max(1, min(board.usable_cores, free_jobs))
    return Plan(
        version=version,
        profile=profile.name,
        cmake_args=cmake_args,
        key=f"{version}-{board.architecture}-{board.system}-{digest}",
        jobs=jobs,
        minutes=MINUTES_ON_TWO_CORES[cuda] * 2 / jobs,
        cuda_compiler=board.cuda_compiler if cuda else None,
        kernels=kernels,
    )


def pinned_version(folder: Path | None = None) -> str:
    """The llama-cpp-python that edge-agent needs: from pyproject.toml in a checkout, else from the installed metadata.

    Raises `ConfigError` where neither pins it.
    """
    requirements: Sequence[str] = ()
    project = (folder or Path(__file__).resolve().parents[2]) / "pyproject.toml"
    if project.is_file():
        requirements = tomllib.loads(project.read_text("utf-8")).get("project", {}).get("dependencies", ())
    else:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            requirements = importlib.metadata.requires("edge-agent") or ()
    for requirement in requirements:
        if match := re.match(r"llama[-_]cpp[-_]python\s*==\s*([^\s;,]+)", requirement):
            return match[1]
    raise ConfigError(
        f"No pinned version of {PACKAGE} was found.", hint=f"Looked in {project} and in edge-agent's metadata."
    )


def default_cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """`$EDGE_AGENT_CACHE_DIR`, else `edge-agent` in `$XDG_CACHE_HOME` or `~/.cache`."""
    if chosen := environment.get("EDGE_AGENT_CACHE_DIR"):
        return Path(chosen).expanduser()
    base = environment.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path("~/.cache").expanduser()) / "edge-agent"


def find_wheel(cache_folder: Path, key: str) -> Path | None:
    """The finished wheel in the cache, if it is there and whole."""
    for path in sorted((cache_folder / "wheels" / key).glob("*.whl")):
        if zipfile.is_zipfile(path):
            return path
    return None


def build_wheel(
    plan: Plan,
    cache_folder: Path,
    *,
    say: Say,
    pip: Sequence[str] = (sys.executable, "-m", "pip"),
    environment: Mapping[str, str] = os.environ,
    heartbeat_s: float = HEARTBEAT_S,
) -> Path:
    """The wheel of `plan`, from the cache or built now. Progress goes to `say`, a line at a time.

    Two calls at once build once: the second waits for the first. A build that is killed leaves nothing that would be
    taken for a wheel. Raises `BuildError` when there is no compiler or the build fails.
    """
    if wheel := find_wheel(cache_folder, plan.key):
        return wheel
    folder = cache_folder / "wheels"
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / f"{plan.key}.lock", say):
        if wheel := find_wheel(cache_folder, plan.key):
            return wheel
        require_compiler(environment)
        scratch = folder / f"{plan.key}.building"
        shutil.rmtree(scratch, ignore_errors=True)  # ours alone, under the lock: left by a build that was killed
        scratch.mkdir()
        try:
            _run_pip(plan, scratch, [*pip], environment, heartbeat_s, say)
            _publish(scratch, folder / plan.key)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    wheel = find_wheel(cache_folder, plan.key)
    if wheel is None:
        raise BuildError(
            f"pip made no wheel of {PACKAGE} {plan.version}.", hint="Run it again with a clean cache folder."
        )
    return wheel


def require_compiler(environment: Mapping[str, str] = os.environ, *, system: str = sys.platform) -> None:
    """Raise `BuildError` saying what to install where there is no C++ compiler."""
    path = environment.get("PATH")
    names = [environment["CXX"].split()[0]] if environment.get("CXX", "").strip() else ["c++", "g++", "clang++"]
    found = any(shutil.which(name, path=path) for name in names)
    if found and system == "darwin":  # /usr/bin/c++ is a stub there until the tools are installed
        found = bool((run_command(("xcode-select", "-p")) or "").strip())
    if not found:
        install = "xcode-select --install" if system == "darwin" else "sudo apt install build-essential python3-dev"
        raise BuildError(
            f"There is no C++ compiler ({', '.join(names)}), and llama.cpp is built from source for this very board.",
            hint=f"Install one: {install}",
        )


def _run_pip(
    plan: Plan, scratch: Path, pip: list[str], environment: Mapping[str, str], heartbeat_s: float, say: Say
) -> None:
    cores = "one core" if plan.jobs == 1 else "two cores" if plan.jobs == 2 else f"{plan.jobs} cores"
    say(f"building {PACKAGE} {plan.version} for {plan.profile}, about {_duration(plan.minutes * 60)} on {cores}")
    command = [*pip, "wheel", "--no-cache-dir", "--no-deps", "--no-binary", PACKAGE, "--wheel-dir", str(scratch)]
    log = scratch.with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, f"{PACKAGE}=={plan.version}"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=build_environment(plan, environment),
            start_new_session=True,  # so that the compilers end with pip
        )
        passed_s = 0.0
        try:
            while True:
                try:
                    status = process.wait(heartbeat_s)
                    break
                except subprocess.TimeoutExpired:
                    passed_s += heartbeat_s
                    say(f"still building, {_duration(passed_s)} so far (log: {log})")
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise
    if status != 0:
        tail = log.read_text("utf-8", "replace").splitlines()[-LOG_LINES:]
        say("\n".join(tail))
        raise BuildError(f"{shlex.join(command[:3])} failed with status {status}.", hint=f"The whole log is {log}.")
    log.unlink()


def build_environment(plan: Plan, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of the build.

    SOURCE_DATE_EPOCH is left out: ggml takes it for a cross build and switches AVX2 off with GGML_NATIVE.
    """
    values = {name: value for name, value in environment.items() if name != "SOURCE_DATE_EPOCH"}
    values["CMAKE_ARGS"] = plan.cmake_args
    values.setdefault("CMAKE_BUILD_PARALLEL_LEVEL", str(plan.jobs))
    if plan.cuda_compiler:
        values.setdefault("CUDACXX", plan.cuda_compiler)
    return values


def _publish(scratch: Path, target: Path) -> None:
    """Make the finished wheel appear under its key at once, and for good: fsync, then rename, then fsync the folder."""
    wheels = sorted(scratch.glob("*.whl"))
    if not wheels or not zipfile.is_zipfile(wheels[0]):
        return
    shutil.rmtree(target, ignore_errors=True)  # only ever there without a whole wheel in it
    for path in (wheels[0], scratch):
        _sync(path)
    scratch.rename(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _locked(path: Path, say: Say) -> Iterator[None]:
    """Hold an exclusive lock that dies with the process."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another build of the same wheel is running: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} seconds"
    minutes = round(seconds / 60) if seconds >= 120 else seconds / 60
    return f"{minutes:g} minutes" if minutes != 1 else "1 minute"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit status: 0 done, 1 failed."""
    parser = argparse.ArgumentParser(prog="python3 -m agent.hardware.wheel", description="Build llama-cpp-python here.")
    parser.add_argument("--print-flags", action="store_true", help="print CMAKE_ARGS for this board and stop")
    parser.add_argument(
        "--profile", default=os.environ.get("EDGE_AGENT_PROFILE") or None, help="use this board profile"
    )
    parser.add_argument(
        "--cache-dir", type=Path, default=None, help=f"where wheels are kept ({default_cache_folder()})"
    )
    options = parser.parse_args(arguments)
    try:
        board = detect()
        profile = choose(board, load_profiles(), options.profile).profile.resolve(board)
        work = plan(board, profile, pinned_version())
        if options.print_flags:
            print(work.cmake_args)
            return 0
        wheel = build_wheel(work, options.cache_dir or default_cache_folder(), say=_to_stderr)
    except EdgeAgentError as error:
        _to_stderr(f"error: {error}")
        return 1
    except OSError as error:
        _to_stderr(f"error: {error.filename or ''}: {error.strerror}")
        return 1
    except KeyboardInterrupt:
        _to_stderr("stopped")
        return 1
    print(wheel.resolve())
    return 0


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
