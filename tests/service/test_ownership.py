"""Files that root leaves in the service's folder go to the service's user, and no others do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.service.ownership import give_to_owner
from tests.daemon_process import edge_agent

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

SERVICE = 12345


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    os.chown(folder, SERVICE, SERVICE)
    return folder


def test_what_root_left_is_given_away(state: Path) -> None:
    (state / "models/qwen/1").mkdir(parents=True)
    (state / "models/qwen/1/model.gguf").write_text("weights")
    (state / "models/qwen/current").symlink_to("1")
    assert give_to_owner(state) == 5
    assert {path.lstat().st_uid for path in state.rglob("*")} == {SERVICE}
    assert give_to_owner(state) == 0


def test_what_lies_elsewhere_stays_root_s(state: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("root's")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/inside").write_text("root's")
    (state / "hard").hardlink_to(secret)
    (state / "soft").symlink_to(secret)
    (state / "folder").symlink_to(tmp_path / "folder")
    os.mkfifo(state / "pipe")
    give_to_owner(state)
    assert secret.stat().st_uid == 0
    assert (tmp_path / "folder/inside").stat().st_uid == 0
    assert (state / "pipe").stat().st_uid == 0


def test_a_folder_of_root_or_none_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert give_to_owner(tmp_path) == give_to_owner(tmp_path / "none") == give_to_owner(tmp_path / "file") == 0


def test_a_model_that_root_imports_belongs_to_the_service(tmp_path: Path, state: Path, tiny_model: Path) -> None:
    done = edge_agent(tmp_path, "models", "import", str(tiny_model), "--name", "tiny", "--state-dir", str(state))
    assert done.returncode == 0, done.stderr
    assert {path.lstat().st_uid for path in state.rglob("*")} == {SERVICE}
