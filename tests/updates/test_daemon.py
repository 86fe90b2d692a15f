"""The whole of it: a signed repository behind a web server, the daemon, and the command line."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.store.manifest import MemoryNeed
from convert.publish.publish import publish
from tests.convert.publish.published import Repository, artifact, new_repository
from tests.daemon_process import DaemonProcess, edge_agent
from tests.updates.fetch.web import Web

CONFIG = """
[updates]
url = "{url}"
root_file = "{root}"
probation_s = 0.5
retry_first_s = 0.2
"""
GGUF: dict[str, Any] = {
    "task": "generate",
    "format": "gguf",
    "context": 256,
    "quantization": "F32",
    "memory_bytes": MemoryNeed(weights=1_000_000, per_1k_context=1000, compute=1000),
}


class Place:
    """A device in `folder`, and the repository that it updates from."""

    def __init__(self, folder: Path, repository: Repository, web: Web, model: bytes) -> None:
        self.folder = folder
        self.repository = repository
        self.web = web
        self.model = model
        (folder / "agent.toml").write_text(CONFIG.format(url=web.url, root=repository.created.root))
        self.daemon = self.start()

    def start(self) -> DaemonProcess:
        daemon = DaemonProcess(self.folder, "--config", str(self.folder / "agent.toml"))
        daemon.start()
        daemon.wait_ready()
        return daemon

    def publish(self, version: str, content: bytes) -> None:
        made = artifact(self.folder / f"artifact-{version}", version, name="tiny", files={"m.gguf": content}, **GGUF)
        publish(made, self.repository.path, self.repository.created.ring)

    def command(self, *arguments: str) -> tuple[int, str]:
        done = edge_agent(self.folder, "models", *arguments, "--config", str(self.folder / "agent.toml"))
        return done.returncode, done.stdout + done.stderr

    def versions(self) -> list[str]:
        return [one["version"] for one in self.daemon.get("/v1/models")[1]["data"]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("updates")
    for name in ("publisher", "device"):
        (folder / name).mkdir()
    repository = new_repository(folder / "publisher")
    with Web(repository.path) as web:
        place = Place(folder / "device", repository, web, tiny_model.read_bytes())
        try:
            yield place
        finally:
            place.daemon.stop()


def test_from_the_repository_into_service(place: Place) -> None:
    place.publish("1", place.model)
    status, said = place.command("update", "tiny")
    assert status == 0, said + place.daemon.log()
    assert "tiny 1: committed" in said
    assert place.versions() == ["1"]
    status, answer = place.daemon.request("POST", "/v1/completions", {"prompt": "Once", "max_tokens": 2})
    assert status == 200, answer
    before = place.web.sent_bytes
    place.publish("2", place.model)
    assert place.command("update", "tiny")[0] == 0
    assert place.versions() == ["2"]
    assert place.web.sent_bytes - before < 20_000  # the file is here already
    assert "tiny" in place.command("updates")[1]


def test_a_version_that_cannot_be_loaded_is_rejected_and_the_old_one_answers(place: Place) -> None:
    place.publish("3", place.model[:100] + b"\xff" * (len(place.model) - 100))
    status, said = place.command("update", "tiny@3")
    assert (status, "tiny 3: rejected: It cannot be loaded" in said) == (1, True), said
    status, said = place.command("update", "tiny@3")
    assert (status, "rejected before" in said) == (1, True)
    assert place.versions() == ["2"]
    assert place.daemon.request("POST", "/v1/completions", {"prompt": "Once", "max_tokens": 2})[0] == 200


def test_a_killed_daemon_goes_on(place: Place) -> None:
    place.publish("4", place.model + b"\0" * 64)
    status, found = place.daemon.request("POST", "/models/tiny/update", {"version": "4"})
    assert (status, found["state"]) == (202, "wanted")
    place.daemon.signal(signal.SIGKILL)
    place.daemon.wait()
    place.daemon = place.start()
    assert place.versions() in (["2"], ["4"])
    give_up = time.monotonic() + 60
    while not (ended := place.daemon.get("/updates")[1]["ended"])[:1] or ended[0]["version"] != "4":
        assert time.monotonic() < give_up, place.daemon.log()
        time.sleep(0.05)
    assert ended[0]["state"] == "committed", ended[0]
    status, one = place.daemon.get(f"/updates/{ended[0]['id']}")
    assert [move["move"] for move in one["moves"]][-1] == "prove"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("POST", "/models/tiny/update", {"version": "../x"}, 400, "cannot name a version"),
        ("POST", "/models/a/b/update", {}, 400, "cannot name a model"),
        ("POST", "/models/tiny/update", {"policy": {"speed": 1}}, 400, "unknown field `speed`"),
        ("POST", "/models/tiny/update", {"now": True}, 400, "now"),
        ("DELETE", "/models/tiny/update", None, 400, "No update of tiny is under way"),
        ("GET", "/updates/999", None, 404, "There is no such update"),
        ("GET", "/updates/x", None, 404, ""),
    ],
)
def test_what_cannot_be_asked(place: Place, method: str, path: str, body: object, status: int, words: str) -> None:
    found, answer = place.daemon.request(method, path, body)
    assert (found, words in json.dumps(answer)) == (status, True), answer


def test_what_is_under_way_is_told_and_taken_back(place: Place) -> None:
    status, found = place.daemon.request("POST", "/models/nobody/update")
    assert (status, found["model"]) == (202, "nobody")
    give_up = time.monotonic() + 20
    while not (lines := place.daemon.get("/status")[1]["updates"]["lines"]) or "waiting" not in lines[0]:
        assert time.monotonic() < give_up
        time.sleep(0.02)
    assert "the next attempt is at" in lines[0]
    status, said = place.command("update", "nobody", "--cancel")
    assert (status, said) == (0, "nobody (latest): taken back.\n")
    assert place.daemon.get("/status")[1]["updates"]["lines"] == []
