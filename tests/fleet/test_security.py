"""A real daemon among those who mean it ill: what it must not do, nor tell, whatever comes over MQTT."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemon_process import DaemonProcess, edge_agent, running_daemon
from tests.fleet.broker import Broker
from tests.fleet.link.relay import CONNACK_5, Server
from tests.fleet.link.test_hostile import message

P = "te/device/kitchen/service/edge-agent"
PASSWORD, KEY = "correct-horse-battery", "sk-do-not-tell-anybody"
FLOOD_S = 4.0
MORE_BYTES = 80_000_000
LOG_BYTES = 20_000
CONFIG = """
log_level = "debug"

[mqtt]
url = "{url}"
device = "kitchen"
home_assistant = true
reconnect_first_s = 0.2
reconnect_cap_s = 1
{more}

[mqtt.operations.restart]
allow = true

[models.tiny]
path = "{model}"
"""


def configured(folder: Path, url: str, model: Path, more: str = "", last: str = "") -> list[str]:
    (folder / "agent.toml").write_text(CONFIG.format(url=url, model=model, more=more) + last)
    return ["--config", str(folder / "agent.toml")]


def until(true: Callable[[], object], what: str) -> None:
    give_up = time.monotonic() + 30
    while not true():
        assert time.monotonic() < give_up, what
        time.sleep(0.05)


def connected(daemon: DaemonProcess) -> bool:
    return bool(daemon.get("/status")[1]["mqtt"]["connected"])


def test_secrets_are_neither_logged_nor_published_nor_written(tmp_path: Path, tiny_model: Path) -> None:
    """The broker's password and an API key, with the most talkative log, in all that goes out and lies on the disk."""
    with Broker(tmp_path / "broker", passwords={"kitchen": PASSWORD, "all": "other"}) as broker:
        me = ["-u", "all", "-P", "other"]
        keys = f'[[api_keys]]\nname = "me"\nkey = "{KEY}"\n'
        more = f'username = "kitchen"\npassword = "{PASSWORD}"'
        arguments = configured(tmp_path, broker.url(), tiny_model, more, keys)
        listening = broker.listening("#", 100_000, *me, timeout_s=20)
        with running_daemon(tmp_path, arguments) as daemon:
            authorized = {"Authorization": f"Bearer {KEY}"}
            until(lambda: daemon.get("/status", authorized)[1]["mqtt"]["connected"], "not connected")
            for operation, args in (("diagnose", {}), ("generate", {"prompt": PASSWORD[:3]}), ("benchmark", {"x": 1})):
                broker.publish(f"{P}/rpc/{operation}", json.dumps(args), "-D", "publish", "response-topic", "a/b", *me)
            answers = [broker.listening("a/b", 3, *me, timeout_s=15).communicate()[0]]
            said = [json.dumps(daemon.get(path, authorized)[1]) for path in ("/status", "/health")]
            broker.kill()
            until(lambda: not daemon.get("/status", authorized)[1]["mqtt"]["connected"], "still connected")
            broker.start()
            until(lambda: daemon.get("/status", authorized)[1]["mqtt"]["connected"], "not connected again")
            log = daemon.log()
        published = listening.communicate()[0]
    assert '"doctor"' in published + answers[0]
    written = [file.read_bytes().decode("latin-1") for file in (tmp_path / "state" / "mqtt").iterdir()]
    for secret in (PASSWORD, KEY):
        for text in (published, *answers, *said, log, *written):
            assert secret not in text


def test_a_wrong_password_is_not_told(tmp_path: Path, tiny_model: Path) -> None:
    with Broker(tmp_path / "broker", passwords={"kitchen": "another"}) as broker:
        more = f'username = "kitchen"\npassword = "{PASSWORD}"'
        with running_daemon(tmp_path, configured(tmp_path, broker.url(), tiny_model, more)) as daemon:
            daemon.wait_for_log("check mqtt.username")
            shown = edge_agent(tmp_path, "status").stdout + json.dumps(daemon.get("/status")[1]) + daemon.log()
    assert PASSWORD not in shown


def test_what_is_for_others_or_for_nobody_is_not_acted_on(tmp_path: Path, broker: Broker, tiny_model: Path) -> None:
    with running_daemon(tmp_path, configured(tmp_path, broker.url(), tiny_model)) as daemon:
        pid = daemon.process.pid
        until(lambda: connected(daemon), "not connected")
        command = json.dumps({"status": "init", "args": {"what": "agent"}})
        for topic in (
            "te/device/cellar/service/edge-agent/cmd/restart/1",
            "te/device/kitchen/service/other/cmd/restart/1",
            "te/device/kitchen///cmd/restart/1",
            "other/device/kitchen/service/edge-agent/cmd/restart/1",
            f"{P}/cmd/restart/1/stream",
            f"{P}/cmd/restart",
            f"{P}/rpc/restart/1",
        ):
            broker.publish(topic, command)
            broker.publish(topic, command, retain=True)
        request = json.dumps({"prompt": "a", "max_tokens": 1})
        forged = "te/device/cellar/service/edge-agent/cmd/generate/1"
        listening = broker.listening(forged, 1, timeout_s=8)
        time.sleep(0.5)
        broker.publish(f"{P}/rpc/generate", request, "-D", "publish", "response-topic", forged)
        until(lambda: daemon.get("/status")[1]["mqtt"]["commands"]["taken"] == 1, "the one that was for it")
        until(lambda: daemon.get("/status")[1]["runtime"]["counters"]["completed"] == 1, "and was done")
        broker.publish(f"{P}/cmd/restart", "", retain=True)
        assert listening.communicate()[0] == "", "nobody makes a device speak for another one"
        assert daemon.log().count("is ready on") == 1
        assert daemon.get("/status")[1]["pid"] == pid


def test_a_retained_restart_happens_once_however_often_the_daemon_starts(
    tmp_path: Path, broker: Broker, tiny_model: Path
) -> None:
    """Also where the broker forgets the answer and has the command again, as after its own restart without a disk."""
    arguments = configured(tmp_path, broker.url(), tiny_model)
    topic, command = f"{P}/cmd/restart/once", json.dumps({"status": "init", "args": {"what": "agent"}})
    with running_daemon(tmp_path, arguments) as daemon:
        until(lambda: connected(daemon), "not connected")
        broker.publish(topic, command, retain=True)
        until(lambda: daemon.log().count("is ready on") == 2, "it did not restart")
        until(lambda: _status(broker, topic) == "successful", "no answer")
        for _ in range(2):
            broker.publish(topic, command, retain=True)
            until(lambda: _status(broker, topic) == "successful", "no answer again")
    broker.publish(topic, command, retain=True)
    for _ in range(2):
        with running_daemon(tmp_path, arguments) as daemon:
            until(lambda: _status(broker, topic) == "successful", "no answer after a start")
            broker.publish(topic, command, retain=True)
            until(lambda: _status(broker, topic) == "successful", "no answer after a start")
            daemon.process.kill()
            daemon.wait()
    assert daemon.log().count("is ready on") == 4, "two starts of the first, and one of each other"


def _status(broker: Broker, topic: str) -> str:
    lines = broker.listen(topic, 1, timeout_s=2)
    return str(json.loads(lines[0].partition(" ")[2])["status"]) if lines else ""


class Liar:
    """A broker that takes any client and then floods it with all that a client may be sent, and should not be: wrong
    types, giants, names of others, answers to what nobody asked. With `confirms` it does its duty besides, and the
    flood is one of QoS 0, as any client can make it: of QoS 1 it may have sent no more than were acknowledged."""

    def __init__(self, *, confirms: bool) -> None:
        self._confirms = confirms
        self._dice = random.Random(7)
        self.sent_bytes = 0
        self.over = False

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.TaskGroup() as group:
            connected = asyncio.Event()
            group.create_task(self._listen(reader, writer, connected))
            await connected.wait()
            for number in itertools.count():
                if self.over:
                    await asyncio.Event().wait()
                piece = self._next(number)
                writer.write(piece)
                await writer.drain()
                self.sent_bytes += len(piece)

    def _next(self, number: int) -> bytes:
        below, payload = self._dice.choice(_LIES)
        topic = below.format(n=number)
        properties = b""
        if "rpc/" in topic:
            answer = self._dice.choice([b"a/b", b"te/device/x/y", b"$SYS/a", b"a/#", b""])
            properties = b"\x08" + struct.pack("!H", len(answer)) + answer
        head = bytes([len(properties)]) + properties
        return message(payload, topic=topic.encode(), qos=0 if self._confirms else number % 2, properties=head)

    async def _listen(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connected: asyncio.Event
    ) -> None:
        while True:
            kind = (await reader.readexactly(1))[0]
            size = shift = 0
            while True:
                byte = (await reader.readexactly(1))[0]
                size |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    break
            body = await reader.readexactly(size)
            if kind == 0x10:
                writer.write(CONNACK_5)
            elif kind == 0x82:
                count = body.count(b"te/") + body.count(b"homeassistant/")
                writer.write(bytes([0x90, 3 + count]) + body[:2] + b"\x00" + b"\x01" * count)
                connected.set()
            elif kind & 0xF6 == 0x32 and self._confirms:
                end = 2 + int.from_bytes(body[:2], "big")
                writer.write(b"\x40\x02" + body[end : end + 2])


_DEEP = b"[" * 50_000
_LIES = [
    (P + "/cmd/generate/{n}", b'{"status": "init", "args": {"prompt": 7}}'),
    (P + "/cmd/generate/{n}", b'{"status": ["init"], "args": "x"}'),
    (P + "/cmd/generate/{n}", b'{"status": "init", "expires_at": 1e999, "args": {}}'),
    (P + "/cmd/generate/{n}", b'{"status": "executing"}'),
    (P + "/cmd/generate/{n}", b"\xff\xfe\x00"),
    (P + "/cmd/generate/{n}", _DEEP),
    (P + "/cmd/generate/{n}", b'{"status": "init", "args": {"prompt": "' + b"x" * 200_000 + b'"}}'),
    (P + "/cmd/nothing-\x7f{n}/{n}", b"{}"),
    (P + "/cmd/nothing{n}/{n}", b'{"status": "init"}'),
    (P + "/cmd/restart/{n}", b'{"status": "init", "args": {"what": "moon"}}'),
    (P + "/rpc/embed", b'{"input": {}}'),
    (P + "/rpc/embed", _DEEP),
    (P + "/rpc/nothing{n}", b"x" * 100_000),
    (P + "/ack", b'{"type": "board", "seq": -7}'),
    (P + "/ack", b'{"type": "board", "seq": 99999999999999999999999, "log": 3}'),
    (P + "/ack", _DEEP),
    (P + "/cmd/health/check", b"x" * 1000),
    ("te/device/kitchen///cmd/health/check", b""),
    ("homeassistant/status", b"online"),
    ("te/device/cellar/service/edge-agent/cmd/restart/{n}", b'{"status": "init"}'),
    ("$SYS/{n}", b"x"),
]


@contextlib.contextmanager
def lying(liar: Liar) -> Iterator[str]:
    """Its URL; it runs in a thread of its own."""
    loop, urls, end = asyncio.new_event_loop(), [], threading.Event()
    ready = threading.Event()

    async def serve() -> None:
        async with Server(liar) as server:
            urls.append(server.url)
            ready.set()
            await asyncio.to_thread(end.wait)

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    ready.wait(10)
    try:
        yield urls[0]
    finally:
        end.set()
        thread.join(10)
        loop.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at /proc")
@pytest.mark.parametrize("confirms", [False, True], ids=["confirms nothing", "confirms everything"])
def test_a_broker_that_lies_and_floods_does_not_take_the_daemon_down(
    tmp_path: Path, tiny_model: Path, *, confirms: bool
) -> None:
    liar = Liar(confirms=confirms)
    with lying(liar) as url, running_daemon(tmp_path, configured(tmp_path, url, tiny_model)) as daemon:
        ask = {"model": "tiny", "prompt": "a", "max_tokens": 2}
        assert daemon.request("POST", "/v1/completions", ask)[0] == 200
        before = resident_bytes(daemon.process.pid)
        end = time.monotonic() + FLOOD_S
        while time.monotonic() < end:
            assert daemon.request("POST", "/v1/completions", ask)[0] == 200
        if confirms:
            before_s = daemon.get("/status")[1]["mqtt"]["sent_messages"]
            until(lambda: daemon.get("/status")[1]["mqtt"]["sent_messages"] > before_s + 20, "it is stuck")
        liar.over = True
        assert liar.sent_bytes > 1_000_000, "it was a flood"
        assert resident_bytes(daemon.process.pid) - before < MORE_BYTES
        assert daemon.log().count("is ready on") == 1
        assert "Traceback" not in daemon.log()
        said = [line for line in daemon.log().splitlines() if " access " not in line and " debug " not in line]
        assert len("".join(said)) < LOG_BYTES, "it does not fill the disk with complaints"
        assert daemon.get("/status")[0] == 200


def resident_bytes(pid: int) -> int:
    text = subprocess.run(["cat", f"/proc/{pid}/statm"], capture_output=True, text=True, check=True).stdout
    return int(text.split()[1]) * 4096
