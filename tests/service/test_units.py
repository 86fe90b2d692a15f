"""The units: valid, closed, and with the limits of the board they are written for."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.errors import ConfigError
from agent.hardware.memory import MIB
from agent.hardware.profile import choose, load_profiles
from agent.service.units import (
    LEAST_BYTES,
    PROGRAM,
    Wish,
    board_drop_in,
    hidden_paths,
    memory_limits,
    place_drop_in,
    quoted,
    socket_drop_in,
    unit_folder,
    unit_text,
    with_program,
)
from agent.settings import Settings
from tests.hardware.recorded import NAMES, detect

ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="needs systemd-analyze")
LINUX = [name for name in NAMES if not name.startswith("mac-")]


def directives(text: str) -> dict[str, list[str]]:
    """Every value by its key; an empty value takes the earlier ones away, as in systemd."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith(("#", ";")):
            found[key] = [*found.get(key, []), value] if value else []
    return found


def board_text(name: str, devices: tuple[str, ...] = ()) -> str:
    board = detect(name)
    match = choose(board, load_profiles())
    return board_drop_in(board, match, match.profile.resolve(board), devices=devices)


@needs_systemd
@pytest.mark.parametrize("name", LINUX)
def test_systemd_finds_nothing_wrong(tmp_path: Path, name: str) -> None:
    assert ANALYZE is not None
    service, socket = tmp_path / "edge-agent.service", tmp_path / "edge-agent.socket"
    service.write_text(with_program(unit_text("edge-agent.service"), "/bin/true"))
    socket.write_text(unit_text("edge-agent.socket"))
    for unit, text in (
        (service, board_text(name, ("/dev/vcio",))),
        (service, place_drop_in(Wish(program="", environment={"A": "b c"}, reads=[Path("/home/a/b")]), user=False)),
        (socket, socket_drop_in(Wish(program="", host="::1", port=9000))),
    ):
        assert text is not None
        folder = unit.with_name(f"{unit.name}.d")
        folder.mkdir(exist_ok=True)
        (folder / f"{len(list(folder.iterdir()))}.conf").write_text(text)
    done = subprocess.run([ANALYZE, "verify", str(service), str(socket)], capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (0, "")


@needs_systemd
def test_exposure_is_at_most_2(tmp_path: Path) -> None:
    assert ANALYZE is not None
    service = tmp_path / "edge-agent.service"
    service.write_text(with_program(unit_text("edge-agent.service"), "/bin/true"))
    command = [ANALYZE, "security", "--offline=true", "--threshold=20", "--no-pager", str(service)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-400:]


def test_units_start_what_is_replaced_by_the_installed_program() -> None:
    for name in ("edge-agent.service", "edge-agent.user.service"):
        assert f"ExecStart={PROGRAM} serve\n" in unit_text(name)
        text = with_program(unit_text(name), "/opt/my $edge 100%/bin/edge-agent")
        assert 'ExecStart="/opt/my $$edge 100%%/bin/edge-agent" serve\n' in text


def test_the_socket_is_where_the_daemon_listens_by_default() -> None:
    defaults = {name: field.default for name, field in Settings.__dataclass_fields__.items()}
    address = directives(unit_text("edge-agent.socket"))["ListenStream"]
    assert address == [f"{defaults['host']}:{defaults['port']}"]
    assert socket_drop_in(Wish(program="")) is None


@pytest.mark.parametrize(
    ("host", "port", "address"),
    [
        ("127.0.0.1", 9000, "127.0.0.1:9000"),
        ("localhost", 9000, "127.0.0.1:9000"),
        ("0.0.0.0", 8484, "0.0.0.0:8484"),
        ("::1", 8484, "[::1]:8484"),
        ("[::]", 8484, "[::]:8484"),
    ],
)
def test_another_address_replaces_the_unit_s(host: str, port: int, address: str) -> None:
    text = socket_drop_in(Wish(program="", host=host, port=port))
    assert text is not None
    assert directives(unit_text("edge-agent.socket") + text)["ListenStream"] == [address]


@pytest.mark.parametrize(("host", "port", "word"), [("pi.local", 8484, "pi.local"), ("127.0.0.1", 0, "port")])
def test_an_address_that_systemd_cannot_open_is_refused(host: str, port: int, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        socket_drop_in(Wish(program="", host=host, port=port))


@pytest.mark.parametrize("name", LINUX)
def test_a_board_s_limits_leave_what_its_profile_reserves(name: str) -> None:
    board = detect(name)
    profile = choose(board, load_profiles()).profile
    limits = memory_limits(board, profile)
    assert limits.max_bytes >= LEAST_BYTES
    assert limits.high_bytes < limits.max_bytes <= board.memory_total_bytes
    assert limits.max_bytes + profile.memory.reserve_bytes <= board.memory_total_bytes + MIB
    values = directives(board_text(name))
    assert values["MemoryMax"] == [f"{limits.max_bytes // MIB}M"]


def test_a_board_too_small_still_gets_what_a_start_takes() -> None:
    board = detect("pi-zero-2w")
    profile = choose(board, load_profiles()).profile
    tiny = dataclasses.replace(board, memory_total_bytes=128 * MIB)
    assert memory_limits(tiny, profile).max_bytes == LEAST_BYTES


def test_a_graphics_card_waits_for_its_module_and_a_jetson_does_not() -> None:
    assert "modprobe@nvidia_uvm.service" in directives(board_text("x86-64-cuda"))["Wants"]
    assert "Wants" not in directives(board_text("jetson-orin-nano"))


def test_devices_of_the_board_are_allowed_by_name() -> None:
    assert directives(board_text("pi-5", ("/dev/vcio",)))["DeviceAllow"] == ["/dev/vcio rw"]
    base = directives(unit_text("edge-agent.service"))
    assert base["DeviceAllow"] == ["char-alsa rw", "char-drm rw", "char-nvidia* rw"]
    assert base["DevicePolicy"] == ["closed"]


def test_of_home_folders_only_what_is_needed_is_shown() -> None:
    reads = [Path(name) for name in ("/home/pi/e/.venv", "/home/pi/e/.venv/bin/x", "/usr/bin/python3", "/root/py")]
    assert hidden_paths(reads) == [Path("/home/pi/e/.venv"), Path("/root/py")]
    text = place_drop_in(Wish(program="", reads=reads), user=False)
    assert text is not None
    values = directives(text)
    assert values["ProtectHome"] == ["tmpfs"]
    assert values["BindReadOnlyPaths"] == ["/home/pi/e/.venv", "/root/py"]
    assert place_drop_in(Wish(program="", reads=reads), user=True) is None
    assert place_drop_in(Wish(program="", reads=reads[2:3]), user=False) is None


@pytest.mark.parametrize(
    ("folder", "line"),
    [("/mnt/ssd/edge agent", 'ReadWritePaths="/mnt/ssd/edge agent"'), ("/home/pi/state", "BindPaths=/home/pi/state")],
)
def test_another_state_folder_may_be_written(folder: str, line: str) -> None:
    text = place_drop_in(Wish(program="", state_dir=Path(folder)), user=False)
    assert text is not None
    assert line in text.splitlines()


@pytest.mark.parametrize("path", ["/home/a:b", "/home/a\nExecStart=/bin/sh"])
def test_a_path_that_would_become_another_line_is_refused(path: str) -> None:
    with pytest.raises(ConfigError):
        place_drop_in(Wish(program="", reads=[Path(path)]), user=False)


@pytest.mark.parametrize(
    ("text", "word"),
    [("plain", "plain"), ("a b", '"a b"'), ('say "hi"', '"say \\"hi\\""'), ("50%", "50%%"), ("a\\b", '"a\\\\b"')],
)
def test_words_are_quoted_for_systemd(text: str, word: str) -> None:
    assert quoted(text) == word


def test_a_board_with_a_hostile_name_stays_a_comment() -> None:
    board = dataclasses.replace(detect("pi-5"), model="Pi\nExecStartPre=/bin/evil")
    match = choose(board, load_profiles(), "pi-5")
    text = board_drop_in(board, match, match.profile.resolve(board), devices=())
    assert "ExecStartPre" not in directives(text)


def test_every_unit_is_in_the_folder_and_a_missing_one_is_named(tmp_path: Path) -> None:
    assert {path.name for path in unit_folder().iterdir()} == {
        "edge-agent.service",
        "edge-agent.socket",
        "edge-agent.sysusers",
        "edge-agent.user.service",
        "org.edge-agent.plist",
    }
    with pytest.raises(ConfigError, match=r"none\.service"):
        unit_text("none.service", tmp_path)
