"""A rollout over real daemons: a broker, a signed repository behind a web server, and two devices that update."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.store.manifest import MemoryNeed
from convert.publish.publish import publish
from tests.convert.publish.published import artifact, new_repository
from tests.daemon_process import DaemonProcess, edge_agent
from tests.fleet.broker import Broker
from tests.updates.fetch.web import Web

CONFIG = """
[updates]
url = "{url}"
root_file = "{root}"
probation_s = 0.5
retry_first_s = 0.2
speed_ratio = 0.0  # on a machine that does other things
[mqtt]
url = "{broker}"
device = "{device}"
"""
GGUF: dict[str, Any] = {
    "task": "generate",
    "format": "gguf",
    "context": 256,
    "quantization": "F32",
    "memory_bytes": MemoryNeed(weights=1_000_000, per_1k_context=1000, compute=1000),
}
WRONG = json.dumps({"kind": "exact", "prompt": "Once", "max_tokens": 2, "answers": ["no model says this"]})
DEVICES = ("attic", "porch")
PATIENCE_S = 240.0


class Devices:
    """Two that run version 1 of `tiny`; 2 is as good, 3 fails its golden set."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        self.folder = folder
        self.broker = broker
        self.daemons: dict[str, DaemonProcess] = {}

    def rollout(self, version: str, place: str, *stages: str) -> tuple[int, list[dict[str, Any]]]:
        """From a place of its own: its exit status, and the lines for programs."""
        (self.folder / place).mkdir()
        words = ("fleet", "rollout", f"tiny@{version}", *stages, "--wait", "0.5", "--json")
        done = edge_agent(self.folder / place, *words, "--mqtt-url", self.broker.url(), timeout_s=PATIENCE_S)
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]

    def versions(self) -> set[str]:
        return {one["version"] for daemon in self.daemons.values() for one in daemon.get("/v1/models")[1]["data"]}


@pytest.fixture(scope="module")
def devices(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Devices]:
    folder = tmp_path_factory.mktemp("rollout")
    (folder / "publisher").mkdir()
    repository, model = new_repository(folder / "publisher"), tiny_model.read_bytes()
    for version, files, gates in (
        ("1", {}, {}),
        ("2", {}, {}),
        ("3", {"golden.jsonl": WRONG.encode()}, {"golden": "golden.jsonl"}),
    ):
        content = {"m.gguf": model + b"\0" * int(version), **files}
        made = artifact(folder / version, version, name="tiny", files=content, gates=gates, **GGUF)
        publish(made, repository.path, repository.created.ring)
    with Web(repository.path) as web, Broker(folder / "broker") as broker:
        found = Devices(folder, broker)
        try:
            for name in DEVICES:
                place = folder / name
                place.mkdir()
                said = {"url": web.url, "root": repository.created.root, "broker": broker.url(), "device": name}
                (place / "agent.toml").write_text(CONFIG.format(**said))
                assert edge_agent(place, "models", "import", str(folder / "1")).returncode == 0
                found.daemons[name] = DaemonProcess(place, "--config", str(place / "agent.toml"))
                found.daemons[name].start()
            for daemon in found.daemons.values():
                daemon.wait_ready()
            yield found
        finally:
            for daemon in found.daemons.values():
                daemon.stop()


def test_a_good_version_comes_to_all_and_another_machine_finds_it_done(devices: Devices) -> None:
    status, lines = devices.rollout("2", "office", "--canary", "100%")
    assert (status, lines[-1]["phase"], lines[-1]["counts"]) == (0, "done", {"committed": 2}), lines
    assert devices.versions() == {"2"}
    assert devices.rollout("2", "home", "--canary", "100%")[1][-1]["phase"] == "done"


def test_one_that_fails_its_golden_set_stops_at_the_first_device(devices: Devices) -> None:
    before = devices.versions()
    status, lines = devices.rollout("3", "elsewhere", "--canary", "1", "--then", "100%")
    last = lines[-1]
    assert (status, last["phase"], last["stage"], len(last["failed"])) == (1, "stopped", "1", 1), lines
    assert "0 of 1 answers were as expected" in next(iter(last["failed"].values()))
    assert last["counts"] == {"not asked": 1, "rejected": 1}
    assert devices.versions() == before
