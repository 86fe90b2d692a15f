"""A real daemon and a real broker: it registers, does what it is told, tells how it is, and says when it goes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon_process import DaemonProcess, edge_agent, running_daemon
from tests.fleet.broker import Broker

P = "te/device/kitchen/service/edge-agent"
CONFIG = """
[mqtt]
url = "{url}"
device = "{device}"
home_assistant = {home_assistant}
reconnect_first_s = 0.5
reconnect_cap_s = 1.0

[mqtt.operations.restart]
allow = {restart}

[models.tiny]
path = "{model}"
"""


class Device:
    """A daemon in `folder` with a model, and what its broker keeps."""

    def __init__(self, folder: Path, broker: Broker, model: Path) -> None:
        self.folder = folder
        self.broker = broker
        self._model = model

    def configured(self, **values: object) -> list[str]:
        """The arguments that it is started with."""
        chosen = {"device": "kitchen", "home_assistant": "true", "restart": "true", **values}
        url = self.broker.url()
        text = CONFIG.format(url=url, model=self._model, **chosen)
        (self.folder / "agent.toml").write_text(text)
        return ["--config", str(self.folder / "agent.toml")]

    def retained(self, filter: str = "#") -> dict[str, Any]:
        found = {}
        for line in self.broker.listen(filter, 1000, "--retained-only", timeout_s=1):
            topic, _, payload = line.partition(" ")
            found[topic] = json.loads(payload)
        return found

    def until(self, true: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """What is retained, once it is so."""
        give_up = time.monotonic() + 30
        while not true(found := self.retained()):
            assert time.monotonic() < give_up, found
        return found

    def until_later(self, time_s: float) -> dict[str, Any]:
        """What is retained, once the health is younger."""
        return self.until(lambda found: found[f"{P}/status/health"]["time"] > time_s)

    def until_health(self, status: str) -> dict[str, Any]:
        return self.until(lambda found: found.get(f"{P}/status/health", {}).get("status") == status)


@pytest.fixture
def device(tmp_path: Path, broker: Broker, tiny_model: Path) -> Device:
    return Device(tmp_path, broker, tiny_model)


@pytest.fixture
def running(device: Device) -> Iterator[DaemonProcess]:
    with running_daemon(device.folder, device.configured()) as daemon:
        device.until_health("up")
        yield daemon


def request(broker: Broker, operation: str, args: object) -> dict[str, Any]:
    """By mosquitto_rr, which waits for the answer."""
    command = ["mosquitto_rr", "-h", "127.0.0.1", "-p", str(broker.port), "-V", "5", "-q", "1", "-W", "30"]
    command += ["-t", f"{P}/rpc/{operation}", "-e", "answers/me", "-m", json.dumps(args)]
    done = subprocess.run([*command, "-D", "publish", "correlation-data", "x"], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_it_registers_answers_commands_and_tells_how_it_is(device: Device, running: DaemonProcess) -> None:
    found = device.until(lambda found: "homeassistant/device/kitchen/config" in found)
    assert found[P]["@type"] == "service"
    assert found[f"{P}/status/health"]["pid"] == running.process.pid
    operations = {topic.removeprefix(f"{P}/cmd/") for topic in found if topic.startswith(f"{P}/cmd/")}
    assert operations == {"generate", "embed", "transcribe", "diagnose", "benchmark", "model_update", "restart"}
    assert found[f"{P}/cmd/generate"]["args"]["properties"]["prompt"]
    assert found[f"{P}/twin/model"]["models"]["tiny"]["task"] == "generate"
    assert found[f"{P}/twin/alarms"].keys() >= {"too_hot", "disk_low"}

    watching = device.broker.listening(f"{P}/cmd/generate/1/#", 6, timeout_s=60)
    time.sleep(0.5)  # until it is subscribed
    args = {"prompt": "Once upon a time", "max_tokens": 8}
    device.broker.publish(f"{P}/cmd/generate/1", json.dumps({"status": "init", "args": args, "mine": 1}), retain=True)
    lines = [line.partition(" ") for line in watching.communicate(timeout=60)[0].splitlines()]
    states = [json.loads(payload)["status"] for topic, _, payload in lines if topic.endswith("/1")]
    assert states[:2] == ["init", "executing"]
    pieces = [json.loads(payload) for topic, _, payload in lines if topic.endswith("/stream")]
    assert [piece["n"] for piece in pieces] == list(range(len(pieces)))
    assert pieces
    ended = device.until(lambda found: found[f"{P}/cmd/generate/1"]["status"] == "successful")[f"{P}/cmd/generate/1"]
    assert ended["mine"] == 1
    assert ended["result"]["completion_tokens"] <= 8

    answer = request(device.broker, "generate", {"prompt": "Hello", "max_tokens": 2})
    assert answer["status"] == "successful"
    assert answer["result"]["model"] == "tiny"
    diagnosis = request(device.broker, "diagnose", {})
    assert diagnosis["result"]["status"]["mqtt"]["connected"] is True
    assert "board" in diagnosis["result"]["doctor"]
    refused = request(device.broker, "model_unload", {"model": "tiny"})
    assert (refused["status"], refused["code"]) == ("failed", "not_allowed")

    status = running.get("/status")[1]["mqtt"]
    assert (status["connected"], status["device"], status["protocol"]) == (True, "kitchen", "5")
    connection = running.connect()
    connection.request("GET", "/metrics")
    metrics = connection.getresponse().read().decode()
    assert "edge_link_connected 1.0" in metrics
    assert "edge_outbox_samples" in metrics
    shown = edge_agent(device.folder, "status")
    assert "mqtt      kitchen at mqtt://127.0.0.1" in shown.stdout


def test_telemetry_comes_from_the_start_on(device: Device) -> None:
    watching = [device.broker.listening(f"{P}/{topic}", 1, timeout_s=60) for topic in ("m/board", "e/daemon")]
    time.sleep(0.5)
    with running_daemon(device.folder, device.configured()) as daemon:
        board, event = (json.loads(one.communicate(timeout=60)[0].partition(" ")[2]) for one in watching)
        assert event["samples"][0]["what"] == "started"
        assert event["samples"][0]["pid"] == daemon.process.pid
        assert board["samples"][0]["memory_available_bytes"] > 0


def test_home_assistant_that_has_restarted_gets_the_measurements_anew(device: Device, running: DaemonProcess) -> None:
    device.until(lambda found: "homeassistant/device/kitchen/config" in found)
    watching = device.broker.listening(f"{P}/m/board", 1, timeout_s=30)
    time.sleep(0.5)
    device.broker.publish("homeassistant/status", "offline")
    device.broker.publish("homeassistant/status", "online")
    sent = json.loads(watching.communicate(timeout=60)[0].partition(" ")[2])["samples"]
    assert sent[-1]["memory_available_bytes"] > 0, "long before the heartbeat"


@pytest.mark.parametrize(("number", "has_time"), [(signal.SIGTERM, True), (signal.SIGKILL, False)])
def test_it_is_marked_down_when_it_stops_and_when_it_is_killed(
    device: Device, running: DaemonProcess, number: signal.Signals, has_time: bool
) -> None:
    running.signal(number)
    running.wait()
    found = device.until_health("down")[f"{P}/status/health"]
    assert found["pid"] == running.process.pid
    assert ("time" in found) == has_time
    if number == signal.SIGTERM:
        assert "Traceback" not in running.log()


def test_who_asks_for_the_health_gets_it(device: Device, running: DaemonProcess) -> None:
    before = device.until_health("up")[f"{P}/status/health"]["time"]
    for topic in (f"{P}/cmd/health/check", "te/device/kitchen///cmd/health/check"):
        device.broker.publish(topic, "{}")
        found = device.until_later(before)
        before = found[f"{P}/status/health"]["time"]
    assert f"{P}/cmd/health/check" not in found


def test_a_restart_is_answered_by_the_next_start_in_the_same_process(device: Device, running: DaemonProcess) -> None:
    pid = running.process.pid
    assert request(device.broker, "restart", {})["result"]["restarted"] == "agent"
    running.wait_ready()
    assert running.get("/status")[1]["pid"] == pid
    assert running.log().count("is ready on") == 2


def test_a_meter_bills_requests_over_mqtt_and_telemetry_reads_the_same_one(device: Device) -> None:
    meter = device.folder / "watts"
    meter.write_text("#!/bin/sh\necho 5 W\n")
    meter.chmod(0o755)
    watching = [device.broker.listening(f"{P}/m/{topic}", 1, timeout_s=60) for topic in ("board", "governor")]
    time.sleep(0.5)
    with running_daemon(device.folder, [*device.configured(), "--power-command", str(meter)]) as daemon:
        board, governor = (json.loads(one.communicate(timeout=60)[0].partition(" ")[2]) for one in watching)
        assert governor["samples"][0].keys() >= {"mode", "reason"}
        assert board["samples"][0].get("power_watts", 5.0) == 5.0  # the first look may come before the meter's
        request(device.broker, "generate", {"prompt": "Hello", "max_tokens": 2})  # loads the model
        # A meter that is a command is read only while it runs: text without an end.
        asked = {"prompt": "Hello", "max_tokens": 3000, "grammar": "root ::= [a-z] root"}
        result = request(device.broker, "generate", asked)["result"]
        assert result["joules"] > 0
        assert result["joules_per_token"] == pytest.approx(result["joules"] / result["completion_tokens"], rel=0.1)
        assert daemon.get("/status")[1]["energy"]["request_joules"] > 0


def test_a_plug_on_the_broker_is_the_meter_and_nothing_else(device: Device) -> None:
    topic, key = "tele/plug/SENSOR", "ENERGY.Power"
    arguments = [*device.configured(), "--power-topic", topic, "--power-json-key", key]
    device.broker.publish(topic, json.dumps({"ENERGY": {"Power": 99}}), retain=True)  # kept by the broker, of any age
    other = P.replace("kitchen", "pantry")
    with running_daemon(device.folder, arguments) as daemon:
        device.until_health("up")
        assert f"MQTT topic {topic} has not sent any reading yet" in daemon.get("/status")[1]["energy"]["failure"]
        command = {"status": "init", "args": {"prompt": "a", "max_tokens": 1}}
        device.broker.publish(f"{other}/cmd/generate/1", json.dumps(command))
        for payload in (command, {"ENERGY": {"Power": 7.5}}):
            device.broker.publish(topic, json.dumps(payload))
        give_up = time.monotonic() + 20
        while (status := daemon.get("/status")[1])["energy"]["watts"] != 7.5:
            assert time.monotonic() < give_up, status["energy"]
            time.sleep(0.05)
        assert status["mqtt"]["commands"]["taken"] == 0
        assert "is no power reading" in daemon.log()
        assert status["runtime"]["counters"]["accepted"] == 0


def test_what_was_switched_off_and_a_former_name_leave_nothing_behind(device: Device) -> None:
    with running_daemon(device.folder, device.configured()):
        device.until(lambda found: "homeassistant/device/kitchen/config" in found)
    with running_daemon(device.folder, device.configured(home_assistant="false", restart="false")):
        found = device.until(lambda found: "homeassistant/device/kitchen/config" not in found)
        found = device.until(lambda found: f"{P}/cmd/restart" not in found)
        assert f"{P}/cmd/generate" in found
    with running_daemon(device.folder, device.configured(device="pantry")):
        found = device.until(lambda found: not any("kitchen" in topic for topic in found))
        assert found[P.replace("kitchen", "pantry")]["@parent"] == "device/pantry//"


def test_the_daemon_works_in_full_without_its_broker_and_announces_itself_once_it_is_back(device: Device) -> None:
    arguments = device.configured()
    device.broker.kill()
    with running_daemon(device.folder, arguments) as daemon:
        answer = daemon.request("POST", "/v1/completions", {"model": "tiny", "prompt": "a", "max_tokens": 2})
        assert answer[0] == 200
        status = daemon.get("/status")[1]["mqtt"]
        assert status["connected"] is False
        assert "kitchen is not connected" in edge_agent(device.folder, "status").stdout
        device.broker.start()
        device.until_health("up")
        device.broker.kill()
        for file in device.broker.folder.glob("*.db"):
            file.unlink()  # it forgets everything
        device.broker.start()
        found = device.until(lambda found: "homeassistant/device/kitchen/config" in found)
        assert found[f"{P}/status/health"]["status"] == "up"
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"device": "a/b"}, "mqtt.device = 'a/b'"),
        ({"home_assistant": "maybe"}, "agent.toml is not valid TOML"),
    ],
)
def test_settings_that_cannot_be_are_an_error_at_the_start(
    device: Device, changes: dict[str, str], complaint: str
) -> None:
    done = edge_agent(device.folder, "serve", "--port", "0", *device.configured(**changes))
    assert done.returncode == 2
    assert complaint in done.stderr


def test_without_a_broker_nothing_of_mqtt_is_loaded() -> None:
    program = (
        "import json, sys, agent.cli, agent.app, agent.commands.serve;"
        "print(json.dumps([name for name in sys.modules if name.startswith(('paho', 'agent.fleet', 'agent.mqtt'))]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
