"""`edge-agent service` as it is typed: into the image of a system, or only shown."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.daemon_process import edge_agent
from tests.hardware.recorded import root_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="systemd's part")

UNITS = "etc/systemd/system"
needs_tools = pytest.mark.skipif(
    shutil.which("systemctl") is None or shutil.which("systemd-sysusers") is None, reason="needs systemd's programs"
)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A system that shows its board and has users."""
    folder = tmp_path / "image"
    shutil.copytree(root_of("pi-5"), folder)
    (folder / "etc").mkdir(exist_ok=True)
    (folder / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (folder / "etc/group").write_text("root:x:0:\naudio:x:29:\n")
    (folder / "dev").mkdir(exist_ok=True)
    (folder / "dev/vcio").touch()
    return folder


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()}


def service(folder: Path, *arguments: str, extra: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Without a state folder of its own, as a person would type it."""
    return edge_agent(folder, "service", *arguments, extra={"EDGE_AGENT_STATE_DIR": "", **(extra or {})})


def test_install_writes_the_units_with_the_board_s_limits(tmp_path: Path, image: Path) -> None:
    done = service(tmp_path, "install", "--root", str(image))
    assert done.returncode == 0, done.stderr
    unit = (image / UNITS / "edge-agent.service").read_text()
    assert f"ExecStart={sys.prefix}/bin/edge-agent serve\n" in unit
    board = (image / UNITS / "edge-agent.service.d/50-board.conf").read_text()
    assert "Raspberry Pi 5" in board
    assert "profile pi-5" in board
    assert "MemoryMax=" in board
    assert "DeviceAllow=/dev/vcio rw" in board
    assert (image / UNITS / "edge-agent.socket").exists()


def test_installing_twice_is_installing_once_and_forgets_what_was_asked_before(tmp_path: Path, image: Path) -> None:
    assert service(tmp_path, "install", "--root", str(image), "--port", "9000", "--profile", "pi-4").returncode == 0
    assert "9000" in (image / UNITS / "edge-agent.socket.d/50-address.conf").read_text()
    place = (image / UNITS / "edge-agent.service.d/60-place.conf").read_text()
    assert "Environment=EDGE_AGENT_PROFILE=pi-4\n" in place
    assert "Environment=EDGE_AGENT_PORT=9000\n" in place
    assert service(tmp_path, "install", "--root", str(image)).returncode == 0
    assert not (image / UNITS / "edge-agent.socket.d/50-address.conf").exists()
    left = image / UNITS / "edge-agent.service.d/60-place.conf"
    assert not left.exists() or "EDGE_AGENT" not in left.read_text()


@needs_tools
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a user")
def test_uninstall_leaves_what_was_there_before(tmp_path: Path, image: Path) -> None:
    before = files_of(image)
    assert service(tmp_path, "install", "--root", str(image)).returncode == 0
    assert "edge-agent" in (image / "etc/passwd").read_text()
    assert "edge-agent" in next(line for line in (image / "etc/group").read_text().splitlines() if "audio" in line)
    assert (image / UNITS / "multi-user.target.wants/edge-agent.service").is_symlink()
    for folder in ("var/lib/edge-agent/models/qwen", "var/cache/edge-agent"):
        (image / folder).mkdir(parents=True)
    (image / "var/lib/edge-agent/models/qwen/model.gguf").write_text("weights")
    (image / UNITS / "edge-agent.service.d/override.conf").write_text("[Service]\nNice=0\n")
    done = service(tmp_path, "uninstall", "--root", str(image))
    assert done.returncode == 0, done.stderr
    written_by_the_tools = {"etc/passwd-", "etc/group-", "etc/shadow", "etc/shadow-", "etc/gshadow", "etc/gshadow-"}
    made_by_the_tools = {"etc/.pwd.lock", "etc/.updated", "var/.updated"}
    assert files_of(image) - written_by_the_tools - made_by_the_tools == before
    for file in ("etc/passwd", "etc/group"):
        assert "edge-agent" not in (image / file).read_text()


def test_models_can_be_kept(tmp_path: Path, image: Path) -> None:
    assert service(tmp_path, "install", "--root", str(image)).returncode == 0
    model = image / "var/lib/edge-agent/models/qwen/model.gguf"
    model.parent.mkdir(parents=True)
    model.write_text("weights")
    done = service(tmp_path, "uninstall", "--root", str(image), "--keep-state")
    assert "was kept" in done.stdout
    assert model.exists()
    assert not (image / UNITS / "edge-agent.service").exists()


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_a_dry_run_shows_everything_and_does_nothing(tmp_path: Path, image: Path, command: str) -> None:
    if command == "uninstall":
        assert service(tmp_path, "install", "--root", str(image)).returncode == 0
    before = files_of(image)
    done = service(tmp_path, command, "--root", str(image), "--dry-run")
    assert done.returncode == 0, done.stderr
    assert files_of(image) == before
    word = "write   " if command == "install" else "remove  "
    assert f"{word}{image / UNITS / 'edge-agent.service'}" in done.stdout
    assert "run     systemctl" in done.stdout


def test_an_image_that_does_not_show_its_board_gets_no_limits_of_this_one(tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    assert service(tmp_path, "install", "--root", str(tmp_path / "bare")).returncode == 0
    assert not (tmp_path / "bare" / UNITS / "edge-agent.service.d/50-board.conf").exists()


def test_a_configuration_file_is_named_to_the_service_and_its_address_taken(tmp_path: Path, image: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text("port = 9001\nstate_dir = '/mnt/ssd/edge'\n")
    done = service(tmp_path, "install", "--root", str(image), "--config", str(config))
    assert done.returncode == 0, done.stderr
    place = (image / UNITS / "edge-agent.service.d/60-place.conf").read_text()
    assert f"EDGE_AGENT_CONFIG={config}" in place
    assert "ReadWritePaths=/mnt/ssd/edge\n" in place
    assert "127.0.0.1:9001" in (image / UNITS / "edge-agent.socket.d/50-address.conf").read_text()


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--host", "0.0.0.0"], 2, ["0.0.0.0", "key"]),
        (["--api-key", "secret"], 2, ["unit file", "[[api_keys]]"]),
        (["--port", "0"], 2, ["port"]),
        (["--profile", "pi-9"], 2, ["pi-9", "pi-5"]),
        (["--frobnicate"], 2, ["--frobnicate"]),
    ],
)
def test_what_could_not_start_is_not_installed(
    tmp_path: Path, image: Path, arguments: list[str], status: int, words: list[str]
) -> None:
    done = service(tmp_path, "install", "--root", str(image), *arguments)
    assert done.returncode == status
    for word in words:
        assert word in done.stderr
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr
    assert not (image / UNITS).exists()


def test_a_file_in_the_way_leaves_nothing_half_written(tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "etc").mkdir()
    (bare / "etc/sysusers.d").write_text("a file where a folder must be")
    done = service(tmp_path, "install", "--root", str(bare))
    assert done.returncode == 1
    assert "edge-agent.conf cannot be written" in done.stderr
    assert files_of(bare) == {"etc/sysusers.d"}


def test_a_person_s_service_goes_to_their_own_units(tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    done = service(tmp_path, "install", "--user", "--root", str(bare))
    assert done.returncode == 0, done.stderr
    unit = bare / str(tmp_path).lstrip("/") / ".config/systemd/user/edge-agent.service"
    assert "User=" not in unit.read_text()
    assert service(tmp_path, "uninstall", "--user", "--root", str(bare)).returncode == 0
    assert files_of(bare) == set()


@pytest.mark.skipif(os.geteuid() == 0, reason="as root it would be done")
def test_the_machine_s_services_need_root(tmp_path: Path) -> None:
    done = service(tmp_path, "install")
    assert done.returncode == 1
    assert "sudo" in done.stderr


@pytest.mark.skipif(Path("/run/systemd/system").exists(), reason="a service may be installed here")
def test_status_of_nothing(tmp_path: Path) -> None:
    done = service(tmp_path, "status")
    assert (done.returncode, done.stdout) == (1, "not installed; sudo edge-agent service install does it\n")
    value = json.loads(service(tmp_path, "status", "--json").stdout)
    assert (value["installed"], value["active"]) == (False, "inactive")
