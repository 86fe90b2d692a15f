"""`convert.source`: a folder, or a repository of the hub, here a small one on this machine."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants as constants
import pytest

from agent.errors import ArtifactError, EdgeAgentError, HashMismatchError, RequestError, UnavailableError
from convert.large_files import LARGE_BYTES
from convert.source import is_hub_id, label, resolve, source_name
from tests.convert.hub_server import COMMIT, Hub, running, sha256

REPO = Path(__file__).resolve().parents[2]
LARGE = random.Random(1).randbytes(24_000_000)
"""Two blocks of huggingface_hub (10 MB each) and some more."""
SMALL = {
    "config.json": b'{"architectures": ["LlamaForCausalLM"]}',
    "tokenizer.json": b"{}",
    "model.safetensors": random.Random(2).randbytes(3_000_000),
    "consolidated.safetensors": b"the same again",
    "pytorch_model.bin": b"and again",
    "evil.py": b"print('no')",
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    repositories = {"org/small": SMALL, "org/large": {"config.json": b"{}", "model.safetensors": LARGE}}
    with running(Hub(repositories, gated={"org/gated"})) as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        template = f"{served.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"  # made of ENDPOINT at the first import
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield served


def command(hub: Hub, tmp_path: Path, source: str) -> subprocess.Popen[str]:
    """The same as a process of its own, which finds the hub by its environment."""
    program = f"from convert.source import resolve; print(resolve({source!r}))"
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "hub")}
    return subprocess.Popen(
        [sys.executable, "-c", program], cwd=REPO, env=environment, text=True, stdout=subprocess.PIPE
    )


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    assert resolve(str(tmp_path)) == tmp_path
    assert not is_hub_id(str(tmp_path))
    assert source_name(str(tmp_path)) == tmp_path.name == label(str(tmp_path), tmp_path)


def test_only_what_is_needed_is_downloaded(hub: Hub) -> None:
    folder = resolve("org/small")
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert (folder / "model.safetensors").read_bytes() == SMALL["model.safetensors"]
    assert label("org/small", folder) == f"org/small@{COMMIT}"
    assert source_name("org/small") == "small"


def test_a_second_time_nothing_is_downloaded(hub: Hub) -> None:
    first = resolve("org/small")
    hub.asked.clear()
    assert resolve("org/small", revision="main") == first
    assert not [path for path in hub.asked if "/resolve/" in path]


@pytest.mark.parametrize("offline", [True, False])
def test_without_a_network_the_cache_serves(hub: Hub, monkeypatch: pytest.MonkeyPatch, offline: bool) -> None:
    first = resolve("org/small")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    assert resolve("org/small") == first


def test_a_connection_that_breaks_is_taken_up_again(hub: Hub) -> None:
    hub.drop_after, hub.drops = 15_000_000, 1
    folder = resolve("org/large")
    assert (folder / "model.safetensors").read_bytes() == LARGE
    assert hub.ranges == ["", "bytes=10000000-"] or hub.ranges == ["", "bytes=10485760-"]


def test_what_a_killed_download_left_is_gone_on_with(hub: Hub, tmp_path: Path) -> None:
    part = tmp_path / "hub" / "models--org--large" / "blobs" / f"{sha256(LARGE)}.edge-agent.part"
    hub.drop_after, hub.drops = 15_000_000, 1_000
    with command(hub, tmp_path, "org/large") as process:
        while not (part.exists() and part.stat().st_size) and process.poll() is None:
            time.sleep(0.02)
        process.kill()
    have_bytes = part.stat().st_size
    assert 0 < have_bytes < len(LARGE)
    hub.drops = 0
    hub.ranges.clear()
    folder = resolve("org/large")
    assert hub.ranges == [f"bytes={have_bytes}-"]
    assert (folder / "model.safetensors").read_bytes() == LARGE
    assert not part.exists()


def test_damaged_bytes_are_found_and_not_kept(hub: Hub, tmp_path: Path) -> None:
    hub.spoil = True
    with pytest.raises(HashMismatchError, match=r"model.safetensors of org/small came damaged"):
        resolve("org/small")
    assert not list((tmp_path / "hub" / "models--org--small" / "blobs").iterdir())
    hub.spoil = False
    assert (resolve("org/small") / "model.safetensors").read_bytes() == SMALL["model.safetensors"]


def test_the_environment_names_the_hub(hub: Hub, tmp_path: Path) -> None:
    with command(hub, tmp_path, "org/small") as process:
        assert process.stdout is not None
        assert Path(process.stdout.read().strip()).name == COMMIT


@pytest.mark.parametrize(
    ("source", "revision", "kind", "says"),
    [
        ("org/absent", None, ArtifactError, "no repository org/absent"),
        ("org/gated", None, ArtifactError, "is gated"),
        ("org/small", "v9", ArtifactError, "no revision v9"),
        ("./org/small", None, RequestError, "neither a folder nor a hub id"),
        ("a b", None, RequestError, "neither a folder nor a hub id"),
        ("org/-small-", None, RequestError, "not a hub id"),
        ("FILE", None, RequestError, "is a file"),
        ("FOLDER", "main", RequestError, "has no revision"),
    ],
)
def test_what_cannot_be_had_is_one_sentence(
    hub: Hub, tmp_path: Path, source: str, revision: str | None, kind: type[EdgeAgentError], says: str
) -> None:
    (tmp_path / "file").touch()
    source = {"FILE": str(tmp_path / "file"), "FOLDER": str(tmp_path)}.get(source, source)
    with pytest.raises(kind, match=says) as caught:
        resolve(source, revision=revision)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("endpoint", "offline", "says"),
    [
        ("http://127.0.0.1:9", False, "could not be downloaded from http://127.0.0.1:9"),
        ("http://127.0.0.1:9", True, "HF_HUB_OFFLINE"),
        ("", False, "answered with status 503"),
    ],
)
def test_no_hub_in_reach(hub: Hub, monkeypatch: pytest.MonkeyPatch, endpoint: str, offline: bool, says: str) -> None:
    hub.failing = True
    monkeypatch.setattr(constants, "ENDPOINT", endpoint or hub.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    with pytest.raises(UnavailableError, match=says) as caught:
        resolve("org/small")
    assert "\n" not in str(caught.value)


def test_a_disk_that_takes_no_more_is_one_sentence(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    assert len(SMALL["model.safetensors"]) > LARGE_BYTES
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, before[1]))
    try:
        with pytest.raises(EdgeAgentError, match="org/small") as caught:
            resolve("org/small")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(caught.value)
