"""The daemon as a process: it starts, tells where it is, takes signals, reloads, and refuses to start wrongly."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.instance import Instance, find_running, url_of
from tests.daemon_process import DaemonProcess, edge_agent, environment_for, running_daemon

ENDLESS = {"prompt": "a", "max_tokens": -1, "ignore_eos": True, "context_shift": True, "stream": True}
KEY = {"Authorization": "Bearer first-key"}


def test_it_becomes_ready_small_and_says_where_it_is(tmp_path: Path) -> None:
    daemon = DaemonProcess(tmp_path)
    daemon.start()
    try:
        assert daemon.wait_ready() < 5  # docs/performance.md has the measured value; this machine may be busy
        note = json.loads((daemon.state_dir / "daemon.json").read_text())
        assert note["pid"] == daemon.process.pid
        assert note["url"].startswith("http://127.0.0.1:")
        status = daemon.get("/status")[1]
        assert status["pid"] == daemon.process.pid
        assert status["url"] == note["url"]
        assert status["board"]["usable_cores"] >= status["profile"]["threads"] >= 1
        assert status["runtime"]["models"] == []
        if sys.platform == "linux":
            pages = int(Path(f"/proc/{daemon.process.pid}/statm").read_text().split()[1])
            assert pages * os.sysconf("SC_PAGESIZE") < 60 * 1024 * 1024
    finally:
        daemon.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly_and_nothing_is_left(tmp_path: Path, number: signal.Signals) -> None:
    with running_daemon(tmp_path) as daemon:
        daemon.signal(number)
        assert daemon.wait(5) == 0
        assert not (daemon.state_dir / "daemon.json").exists()
        assert daemon.process.stdout is not None
        assert daemon.process.stdout.read() == b""
        assert "Traceback" not in daemon.log()
        assert find_running(daemon.state_dir) is None


def test_after_a_kill_the_next_one_starts(tmp_path: Path) -> None:
    with running_daemon(tmp_path) as daemon:
        daemon.process.kill()
        daemon.wait()
        assert (daemon.state_dir / "daemon.json").exists()
        assert find_running(daemon.state_dir) is None
    with running_daemon(tmp_path) as daemon:
        running = find_running(daemon.state_dir)
        assert running is not None
        assert running.pid == daemon.process.pid


def test_a_second_daemon_on_the_same_state_folder_is_refused(tmp_path: Path) -> None:
    with running_daemon(tmp_path) as daemon:
        second = edge_agent(tmp_path, "serve", "--port", "0")
        assert second.returncode == 1
        assert f"pid {daemon.process.pid}" in second.stderr
        assert "--state-dir" in second.stderr
        assert daemon.get("/health")[0] == 200
        assert (daemon.state_dir / "daemon.json").exists()


def test_a_port_in_use_names_the_flag(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused = edge_agent(tmp_path, "serve", "--port", str(port))
    assert refused.returncode == 1
    assert f"port {port}" in refused.stderr
    assert "--port" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "toml", "status", "words"),
    [
        (["--port", "x"], "", 2, ["port = 'x'", "an integer from 0 to 65535"]),
        (["--host", "0.0.0.0"], "", 2, ["0.0.0.0", "--api-key"]),
        (["--profile", "pi-9"], "", 2, ["pi-9", "pi-5"]),
        ([], "prot = 1", 2, ["prot", "Did you mean port?"]),
        ([], "[profile.threads]\ngeneratoin = 1", 2, ["generatoin", "agent.toml"]),
        ([], "[profile.threads]\ngeneration = 'all'", 2, ["threads.generation", "agent.toml"]),
        (
            [],
            "[models.a]\npath = 'a.gguf'\nchat_template = 'none.jinja'",
            2,
            ["models.a.chat_template", "No such file"],
        ),
        (["--state-dir", "/proc/nowhere"], "", 1, ["/proc/nowhere", "--state-dir"]),
        (["--config", "/none.toml"], "", 2, ["/none.toml", "does not exist"]),
    ],
)
def test_a_wrong_start_is_one_sentence_and_a_status(
    tmp_path: Path, arguments: list[str], toml: str, status: int, words: list[str]
) -> None:
    (tmp_path / "agent.toml").write_text(toml)
    extra = {"EDGE_AGENT_CONFIG": str(tmp_path / "agent.toml")}
    refused = edge_agent(tmp_path, "serve", "--port", "0", *arguments, extra=extra)
    assert refused.returncode == status, refused.stderr
    for word in words:
        assert word in refused.stderr
    assert "Traceback" not in refused.stderr
    assert refused.stdout == ""
    assert len(refused.stderr.splitlines()) <= 3


def test_other_machines_need_a_key(tmp_path: Path) -> None:
    with running_daemon(tmp_path, ["--host", "0.0.0.0"], {"EDGE_AGENT_API_KEY": "first-key"}) as daemon:
        assert daemon.get("/status")[0] == 401
        assert daemon.get("/status", KEY)[0] == 200
        assert edge_agent(tmp_path, "status").returncode == 1
        assert edge_agent(tmp_path, "status", "--api-key", "first-key").returncode == 0
        assert "first-key" not in daemon.log()


def test_reload_applies_keys_and_models_and_survives_mistakes(tmp_path: Path, tiny_model: Path) -> None:
    file = tmp_path / "agent.toml"
    first = "[[api_keys]]\nname = 'a'\nkey = 'first-key'\n"
    file.write_text(first)
    with running_daemon(tmp_path, ["--config", str(file)]) as daemon:
        assert daemon.get("/v1/models", KEY)[1]["data"] == []

        file.write_text(first + f"[models.tiny]\npath = '{tiny_model}'\naliases = ['t']\n")
        daemon.signal(signal.SIGHUP)
        daemon.wait_for_log("configuration reloaded: 1 model")
        assert [model["id"] for model in daemon.get("/v1/models", KEY)[1]["data"]] == ["tiny"]

        file.write_text("prot = 1")
        daemon.signal(signal.SIGHUP)
        daemon.wait_for_log("the configuration was not reloaded")
        assert daemon.get("/v1/models/t", KEY)[0] == 200

        file.write_text("port = 1\n[[api_keys]]\nname = 'a'\nkey = 'second-key'\n")
        daemon.signal(signal.SIGHUP)
        daemon.wait_for_log("configuration reloaded: 0 models")
        assert daemon.get("/v1/models", KEY)[0] == 401
        assert daemon.get("/v1/models", {"Authorization": "Bearer second-key"})[1]["data"] == []


def test_reload_that_would_open_the_daemon_to_everyone_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text("host = '0.0.0.0'\n[[api_keys]]\nname = 'a'\nkey = 'first-key'\n")
    with running_daemon(tmp_path, ["--config", str(file)]) as daemon:
        file.write_text("")
        daemon.signal(signal.SIGHUP)
        daemon.wait_for_log("the configuration was not reloaded")
        assert daemon.get("/status")[0] == 401


def test_systemd_is_told(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(path))
        line.settimeout(10)
        with running_daemon(tmp_path, extra={"NOTIFY_SOCKET": str(path)}) as daemon:
            ready, status = line.recv(200).split(b"\n")
            assert ready == b"READY=1"
            assert status == f"STATUS={daemon.url}, 0 models".encode()
            daemon.signal(signal.SIGHUP)
            assert line.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
            assert line.recv(100) == b"READY=1"
            daemon.signal(signal.SIGTERM)
            assert line.recv(100) == b"STOPPING=1"
            assert daemon.wait() == 0


def test_json_log_is_one_object_per_line(tmp_path: Path) -> None:
    with running_daemon(tmp_path, ["--log-format", "json"]) as daemon:
        daemon.get("/nothing%0aforged?x=%1b[31m")
        daemon.signal(signal.SIGTERM)
        daemon.wait()
        lines = [json.loads(line) for line in daemon.log().splitlines()]
    assert {"time", "level", "logger", "message"} <= set.intersection(*(set(line) for line in lines))
    assert any(line["logger"] == "agent.access" and line["status"] == 404 for line in lines)


def _endless(daemon: DaemonProcess) -> object:
    connection = daemon.connect()
    connection.request("POST", "/v1/completions", json.dumps(ENDLESS), {"Content-Type": "application/json"})
    response = connection.getresponse()
    assert response.status == 200
    response.read(10)
    return response


@pytest.fixture
def tiny_config(tmp_path: Path, tiny_model: Path) -> Path:
    file = tmp_path / "agent.toml"
    file.write_text(f"[models.tiny]\npath = '{tiny_model}'\n")
    return file


def test_shutdown_ends_a_request_that_never_ends(tmp_path: Path, tiny_config: Path) -> None:
    with running_daemon(tmp_path, ["--config", str(tiny_config), "--shutdown-grace-s", "0.5"]) as daemon:
        response = _endless(daemon)
        began = time.monotonic()
        daemon.signal(signal.SIGTERM)
        assert b"shutting_down" in response.read()  # type: ignore[attr-defined]
        assert daemon.wait(10) == 0
        assert 0.4 < time.monotonic() - began < 8


def test_a_second_signal_stops_at_once(tmp_path: Path, tiny_config: Path) -> None:
    with running_daemon(tmp_path, ["--config", str(tiny_config), "--shutdown-grace-s", "600"]) as daemon:
        response = _endless(daemon)
        daemon.signal(signal.SIGTERM)
        daemon.wait_for_log("stopping")
        assert daemon.get("/health")[0] == 503
        with pytest.raises(subprocess.TimeoutExpired):
            daemon.wait(0.5)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(8) == 0
        assert response is not None
        assert "Traceback" not in daemon.log()
        assert not (daemon.state_dir / "daemon.json").exists()


def test_a_person_is_told_what_to_type_next(tmp_path: Path) -> None:
    main, other = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "agent.cli", "serve", "--port", "0", "--state-dir", str(tmp_path / "state")],
        stdin=other,
        stdout=other,
        stderr=subprocess.DEVNULL,
        env=environment_for(tmp_path),
        start_new_session=True,
    )
    os.close(other)
    text = b""
    try:
        give_up = time.monotonic() + 20
        while b"Ctrl-C" not in text and time.monotonic() < give_up:
            if select.select([main], [], [], 0.1)[0]:
                text += os.read(main, 4096)
    finally:
        process.terminate()
        process.wait(20)
        os.close(main)
    assert b"curl http://127.0.0.1:" in text
    assert b"edge-agent models import" in text


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "http://127.0.0.1:1"),
        ("0.0.0.0", "http://127.0.0.1:1"),
        ("::", "http://[::1]:1"),
        ("[::1]", "http://[::1]:1"),
        ("pi.local", "http://pi.local:1"),
    ],
)
def test_where_this_machine_reaches_the_daemon(host: str, expected: str) -> None:
    assert url_of(host, 1) == expected


def test_a_look_at_the_lock_does_not_keep_a_daemon_from_starting(tmp_path: Path) -> None:
    instance = Instance(tmp_path)
    instance.acquire()
    instance.announce("http://x", "1")
    assert find_running(tmp_path) is not None
    instance.release()
    instance.release()
    assert find_running(tmp_path) is None
    again = Instance(tmp_path)
    again.acquire()
    again.release()
