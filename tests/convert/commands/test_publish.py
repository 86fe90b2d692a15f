"""`edge-convert keys` and `publish` as someone types them, and what they print."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from agent.errors import ConfigError, EdgeAgentError, RequestError
from convert.commands import keys, publish
from convert.publish.roles import DAYS
from tests.convert.publish.published import artifact
from tests.fleet.broker import Broker

ROOT = Path(__file__).resolve().parents[3]


def run(command: ModuleType, *arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return int(command.run(parser.parse_args(arguments)))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("EDGE_CONVERT_KEYS", "EDGE_CONVERT_PASSPHRASE"):
        monkeypatch.delenv(name, raising=False)


def json_of(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_from_nothing_to_a_published_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(keys, "create", "--repo", "repo", "--keys", "keys") == 0
    assert "Give devices repo/metadata/1.root.json" in capsys.readouterr().out
    assert run(publish, str(artifact(Path("toy-1"), "1")), "--repo", "repo", "--keys", "keys") == 0
    assert capsys.readouterr().out == "toy 1: 200 kB in 5 chunks.\n"
    assert run(publish, "--list", "--repo", "repo") == 0
    heads, row = capsys.readouterr().out.splitlines()
    assert heads.split()[:3] == ["MODEL", "VERSION", "CLASS"]
    assert row.split()[:3] == ["toy", "1", "-"]
    assert row.endswith("latest")


def test_scripts_get_json(capsys: pytest.CaptureFixture[str]) -> None:
    run(keys, "create", "--repo", "repo", "--keys", "keys", "--root", "1/1", "--expires", "timestamp=1", "--json")
    created = json_of(capsys)
    assert Path(created["root"]).is_file()
    assert len(created["keys"]) == 5
    for version in "12":
        made = artifact(Path(f"toy-{version}"), version)
        run(publish, str(made), "--repo", "repo", "--keys", "keys", "--keep", "1", "--json")
        assert json_of(capsys)["pruned"] == (["1"] if version == "2" else [])
    run(publish, "--list", "--repo", "repo", "--json")
    assert [(one["version"], one["latest"]) for one in json_of(capsys)] == [("2", True)]
    run(keys, "show", "--repo", "repo", "--json")
    shown = json_of(capsys)
    assert [(role["role"], role["threshold"], len(role["keys"])) for role in shown["roles"]] == [
        ("root", 1, 1), ("targets", 1, 2), ("snapshot", 1, 1), ("timestamp", 1, 1),
    ]  # fmt: skip
    run(keys, "renew", "--repo", "repo", "--keys", "keys", "--json")
    assert json_of(capsys) == {"renewed": ["timestamp"], "lacking": [], "expiring": {}}
    run(keys, "rotate", "targets", "--repo", "repo", "--keys", "keys", "--quorum", "2/2", "--json")
    assert len(json_of(capsys)["keys"]) == 2
    run(keys, "class", "pi4", "--repo", "repo", "--keys", "keys", "--json")
    assert json_of(capsys)["lacking"] == []


def test_keys_in_two_places(capsys: pytest.CaptureFixture[str]) -> None:
    run(keys, "create", "--repo", "repo", "--keys", "keys")
    made = str(artifact(Path("toy-1"), "1"))
    assert run(publish, made, "--repo", "repo", "--keys", "keys/targets") == 0
    assert "Devices do not see it yet" in capsys.readouterr().err
    assert run(keys, "show", "--repo", "repo") == 0
    assert run(keys, "sign", "--repo", "repo", "--keys", "keys/snapshot", "--keys", "keys/timestamp") == 0
    assert capsys.readouterr().out.endswith("Signed.\n")
    run(publish, "--list", "--repo", "repo")
    assert "latest" in capsys.readouterr().out


def test_a_change_that_waits_is_shown_and_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    run(keys, "create", "--repo", "repo", "--keys", "keys")
    run(keys, "rotate", "root", "--repo", "repo", "--keys", "keys/timestamp", "--new-keys", "more")
    run(keys, "show", "--repo", "repo")
    assert "A change waits: root has 0 of 2 signatures." in capsys.readouterr().out
    assert run(keys, "sign", "--repo", "repo", "--discard") == 0
    run(keys, "show", "--repo", "repo")
    assert "waits" not in capsys.readouterr().out


def test_a_passphrase_from_the_environment(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("EDGE_CONVERT_PASSPHRASE", "a long sentence")
    monkeypatch.setenv("EDGE_CONVERT_KEYS", "keys")
    run(keys, "create", "--repo", "repo")
    assert all(b"ENCRYPTED" in path.read_bytes() for path in Path("keys").rglob("*.pem"))
    made = str(artifact(Path("toy-1"), "1"))
    assert run(publish, made, "--repo", "repo") == 0
    monkeypatch.delenv("EDGE_CONVERT_PASSPHRASE")
    with pytest.raises(ConfigError, match="is encrypted"):
        run(publish, made, "--repo", "repo")


@pytest.mark.parametrize(
    ("command", "arguments", "says"),
    [
        (publish, ("toy", "--repo", "repo"), "No private keys"),
        (publish, ("--repo", "repo"), "No artifact"),
        (keys, ("create", "--repo", "r", "--keys", "k", "--root", "3/2"), "'3/2' is no quorum"),
        (keys, ("create", "--repo", "r", "--keys", "k", "--targets", "two"), "'two' is no quorum"),
        (keys, ("create", "--repo", "r", "--keys", "k", "--expires", "root"), "'root' is no expiry"),
        (keys, ("create", "--repo", "r", "--keys", "k", "--expires", "leaf=3"), "'leaf=3' is no expiry"),
        (keys, ("create", "--repo", "r", "--keys", "k", "--expires", "root=0"), "'root=0' is no expiry"),
        (keys, ("create", "--repo", "r", "--keys", "a", "--keys", "b"), "one new folder"),
        (keys, ("create", "--repo", "r"), "No private keys"),
    ],
)
def test_wrong_usage(command: ModuleType, arguments: tuple[str, ...], says: str) -> None:
    with pytest.raises(RequestError, match=says):
        run(command, *arguments)
    assert not Path("k").exists()


def test_a_repository_that_is_not_there(tmp_path: Path) -> None:
    for command, arguments in ((keys, ("show",)), (publish, ("--list",))):
        with pytest.raises(EdgeAgentError, match="is no repository"):
            run(command, *arguments, "--repo", str(tmp_path / "absent"))


def test_the_help_tells_the_days_that_are_used() -> None:
    text = subprocess.run(
        [sys.executable, "-m", "convert.cli", "keys", "create", "--help"],
        cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "400"},
    ).stdout  # fmt: skip
    assert DAYS == {"root": 365, "targets": 365, "classes": 365, "snapshot": 30, "timestamp": 7}
    assert "root, targets and classes 365 days, snapshot 30, timestamp 7" in text


def test_serve_blocks_runs_until_it_is_told_to_stop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(keys, "create", "--repo", "repo", "--keys", "keys")
    with Broker(tmp_path / "broker", persistent=False) as broker:
        process = subprocess.Popen(
            [sys.executable, "-m", "convert.cli", "serve-blocks", "--repo", str(tmp_path / "repo"),
             "--mqtt-url", broker.url()],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        with process:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("Serving blocks of")
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
