"""Fetching and unpacking llama.cpp's converter. pip is real; its index is a folder with a small distribution."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from agent.errors import ArtifactError, UnavailableError
from convert.gguf.sdist import REQUIRED, SHA256, ensure_unpacked, pip_reason, unpack

FILES = {name: b"print('here')\n" for name in REQUIRED}
BACKEND = b"""
import os
def prepare_metadata_for_build_wheel(folder, settings=None):
    name = "llama_cpp_python-VERSION.dist-info"
    os.makedirs(os.path.join(folder, name))
    with open(os.path.join(folder, name, "METADATA"), "w") as file:
        file.write("Metadata-Version: 2.1\\nName: llama_cpp_python\\nVersion: VERSION\\n")
    return name
"""
"""As much of a build backend as pip asks for to be sure of what it downloads."""
PROJECT = b'[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def sdist(folder: Path, version: str, files: Mapping[str, bytes | tarfile.TarInfo]) -> Path:
    """A source distribution with `files` of llama.cpp in it; a TarInfo is a member that is no regular file."""
    top = f"llama_cpp_python-{version}"
    path = folder / f"{top}.tar.gz"
    own = {"pyproject.toml": PROJECT, "backend.py": BACKEND.replace(b"VERSION", version.encode())}
    own["PKG-INFO"] = f"Metadata-Version: 2.1\nName: llama_cpp_python\nVersion: {version}\n".encode()
    with tarfile.open(path, "w:gz") as tar:
        for name, data in {**own, **{f"vendor/llama.cpp/{name}": data for name, data in files.items()}}.items():
            if isinstance(data, tarfile.TarInfo):
                data.name = f"{top}/{name}"
                tar.addfile(data)
            else:
                member = tarfile.TarInfo(f"{top}/{name}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """For a pip that knows the folder `index` and no network."""
    (tmp_path / "index").mkdir()
    found = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    links = str(tmp_path / "index")
    return {
        **found,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": links,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_CACHE_DIR": "1",
    }


def nothing(done: int, total: int) -> None:
    pass


def test_fetched_once_then_found_without_pip(tmp_path: Path, environment: dict[str, str]) -> None:
    other = {"ggml/src/ggml.c": b"int x;", "gguf-py/tests/test.py": b"", "models/templates/a.jinja": b"{{ x }}"}
    made = sdist(tmp_path / "index", "0.0.1", {**FILES, **other})
    folder = ensure_unpacked(tmp_path / "cache", "0.0.1", on_bytes=nothing, environment=environment)
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {*REQUIRED, "models/templates/a.jinja"}
    assert [path.name for path in folder.parent.iterdir() if path.name != ".0.0.1.lock"] == ["0.0.1"]
    made.unlink()
    assert ensure_unpacked(tmp_path / "cache", "0.0.1", on_bytes=nothing, environment=environment) == folder


def test_a_cache_with_a_hole_is_filled(tmp_path: Path, environment: dict[str, str]) -> None:
    sdist(tmp_path / "index", "0.0.1", FILES)
    hole = tmp_path / "cache" / "llama.cpp" / "0.0.1"
    hole.mkdir(parents=True)
    (hole / REQUIRED[0]).write_text("half of it")
    (hole.parent / ".0.0.1.part").mkdir()
    folder = ensure_unpacked(tmp_path / "cache", "0.0.1", on_bytes=nothing, environment=environment)
    assert (folder / REQUIRED[0]).read_bytes() == FILES[REQUIRED[0]]


def test_another_archive_under_the_same_version_is_refused(tmp_path: Path, environment: dict[str, str]) -> None:
    version = next(iter(SHA256))
    sdist(tmp_path / "index", version, FILES)
    with pytest.raises(UnavailableError, match="SHA-256 is not the one"):
        ensure_unpacked(tmp_path / "cache", version, on_bytes=nothing, environment=environment)
    assert [path.name for path in (tmp_path / "cache" / "llama.cpp").iterdir()] == [f".{version}.lock"]


def test_a_version_that_no_index_has(tmp_path: Path, environment: dict[str, str]) -> None:
    with pytest.raises(UnavailableError, match=r"No matching distribution found for llama-cpp-python==0.0.2"):
        ensure_unpacked(tmp_path / "cache", "0.0.2", on_bytes=nothing, environment=environment)


def link(kind: bytes, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo("link")
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"conversion/../../../../../evil.py": b""}, "component"),
        ({"conversion/\x01.py": b""}, "control character"),
        ({"conversion/link.py": link(tarfile.SYMTYPE, "/etc/passwd")}, "no regular file"),
        ({"conversion/link.py": link(tarfile.LNKTYPE, "/etc/passwd")}, "no regular file"),
        ({"conversion/pipe": link(tarfile.FIFOTYPE, "")}, "no regular file"),
        ({"conversion/large.py": b"\0" * 70_000_000}, "more than"),
        ({}, "has no convert_hf_to_gguf.py"),
    ],
)
def test_a_hostile_archive_is_refused(tmp_path: Path, files: dict[str, bytes | tarfile.TarInfo], says: str) -> None:
    archive = sdist(tmp_path, "1.0", {**files, **FILES} if files else {"README.md": b"", "conversion/x.py": b""})
    (tmp_path / "out").mkdir()
    with pytest.raises(ArtifactError, match=says):
        unpack(archive, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == [archive.name, "out"]


def test_an_archive_that_was_cut_off(tmp_path: Path) -> None:
    archive = sdist(tmp_path, "1.0", {**FILES, "conversion/x.py": os.urandom(100_000)})
    archive.write_bytes(archive.read_bytes()[:50_000])
    (tmp_path / "out").mkdir()
    with pytest.raises(ArtifactError, match="cannot be unpacked"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([], None),
        (["Collecting x", "ERROR: Could not find a version", "ERROR: No matching distribution found for x==1"],
         "No matching distribution found for x==1"),
        (
            [
                "WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by 'NewConnectionError("
                "'<pip._vendor.urllib3.connection.HTTPSConnection object at 0x7f>: Failed to establish a connection:"
                " [Errno -2] Name or service not known')': /simple/x/",
                "ERROR: No matching distribution found for x==1",
            ],
            "there is no connection to the index (name or service not known)",
        ),
        (["ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE."], "its SHA-256 is not the one"),
    ],
)  # fmt: skip
def test_the_reason_in_what_pip_prints(lines: list[str], reason: str | None) -> None:
    found = pip_reason(lines)
    assert found is None if reason is None else found is not None and found.startswith(reason)
