"""`edge-agent fleet` as a person uses it, with simulated devices and a real mosquitto."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from agent.commands.fleet_send import read_args
from agent.errors import RequestError
from benchmarks.mqtt.responders import Responder, responding
from tests.daemon_process import environment_for
from tests.fleet.broker import Broker

PATIENCE_S = 60.0
COMMANDS = "te/device/+/service/edge-agent/cmd/#"


class Done(NamedTuple):
    out: str
    err: str
    status: int

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as started:
        yield started


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


class Fleet:
    """Runs the command."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def start(self, broker: Broker, *arguments: str) -> asyncio.subprocess.Process:
        config = self._folder / "agent.toml"
        config.write_text(f'[mqtt]\nurl = "{broker.url()}"\nusername = "boss"\npassword = "hunter2"\n')
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "agent.cli", "fleet", *arguments, "--config", str(config)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment_for(self._folder, {"PYTHONUTF8": "1", "TZ": "UTC"}),
            cwd=self._folder,
        )

    async def __call__(self, broker: Broker, *arguments: str) -> Done:
        return await self.end(await self.start(broker, *arguments))

    async def end(self, process: asyncio.subprocess.Process) -> Done:
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        return Done(out.decode(), err.decode(), process.returncode or 0)


def left_behind(broker: Broker) -> list[str]:
    return broker.listen(COMMANDS, 1000, "--retained-only", timeout_s=1)


async def test_ls_shows_who_is_up_and_what_runs(broker: Broker, fleet: Fleet) -> None:
    async with responding(broker.port, [Responder("attic", model="whisper"), Responder("kitchen")]) as [attic, _]:
        attic.say("", {"version": "\x1b[31m9", "board": {"model": "\u202ePi"}})
        attic.say("/status/health", {"status": "down"})
        await attic.said()
        shown = await fleet(broker, "ls")
        rows = [line.split() for line in shown.out.splitlines()]
        assert rows[0] == ["DEVICE", "STATE", "SINCE", "VERSION", "BOARD", "MODELS"]
        assert rows[1] == ["attic", "down", "-", "\\x1b[31m9", "\\u202ePi", "whisper", "7"]
        assert rows[2][:2] + rows[2][4:] == ["kitchen", "up", "1.2.3", "Raspberry", "Pi", "5", "qwen", "7"]
        assert shown.err == "2 devices, 1 up.\n"
        found = (await fleet(broker, "ls", "--json", "--where", "model=qw*")).json
        assert [(one["device"], one["state"], one["models"]) for one in found] == [
            ("kitchen", "up", [{"name": "qwen", "version": "7", "state": "ready"}])
        ]


async def test_send_to_one_prints_its_result(broker: Broker, fleet: Fleet) -> None:
    async with responding(broker.port, [Responder("kitchen")]) as [kitchen]:
        done = await fleet(broker, "send", "generate", '{"prompt": "é"}', "--to", "kitchen")
        assert (done.json, done.status) == ({"text": "hello from kitchen"}, 0)
        assert kitchen.commands[0]["args"] == {"prompt": "é"}
    assert left_behind(broker) == []


async def test_send_to_all_makes_a_table_and_names_the_missing(broker: Broker, fleet: Fleet) -> None:
    behaviors = {"a": "plain", "b": "failing", "c": "silent", "d": "hostile", "e": "garbage", "f": "plain"}
    devices = [Responder(name, behavior) for name, behavior in behaviors.items()]
    async with responding(broker.port, devices):
        devices[5].say("/status/health", {"status": "down"})
        await devices[5].said()
        done = await fleet(broker, "send", "generate", "--all", "--timeout", "2")
        assert not devices[5].commands
    assert [line.split(maxsplit=1)[0] for line in done.out.splitlines()] == ["DEVICE", *behaviors]
    assert "successful" in done.out.splitlines()[1]
    assert "No model is loaded. [model_not_found]" in done.out
    assert "\\u001b[2J" in done.out
    assert "\x1b" not in done.out
    assert "6 devices: 2 successful, 1 failed (b), 2 no answer (c, e), 1 not sent (f)." in done.err
    assert done.status == 1
    assert left_behind(broker) == []


async def test_send_for_scripts(broker: Broker, fleet: Fleet) -> None:
    devices = [Responder("a"), Responder("b", "silent"), Responder("c", model="whisper")]
    async with responding(broker.port, devices):
        done = await fleet(broker, "send", "x", "--all", "--where", "model=qwen", "--timeout", "1", "--json")
    assert (done.json["successful"], done.json["failed"], done.json["missing"]) == (["a"], [], ["b"])
    assert done.json["devices"]["b"] == {"status": "no answer", "seconds": None, "reason": "no answer in 1 s"}
    assert done.status == 1


async def test_pieces_are_shown_harmlessly(broker: Broker, fleet: Fleet) -> None:
    async with responding(broker.port, [Responder("a", "streaming")]):
        done = await fleet(broker, "send", "generate", "--to", "a", "--stream")
        assert done.err == "a: executing\nOnce upon\na time\\x1b[2J\n"
        assert done.status == 0
        lines = (await fleet(broker, "send", "generate", "--to", "a", "--stream", "--json")).out.splitlines()
    assert json.loads(lines[0]) == {"device": "a", "piece": {"n": 0, "text": "Once "}}
    assert json.loads(lines[-1])["successful"] == ["a"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupted_command_waits_for_nobody(broker: Broker, fleet: Fleet, number: signal.Signals) -> None:
    async with responding(broker.port, [Responder("a", "stuck"), Responder("b")]) as [a, _]:
        process = await fleet.start(broker, "send", "generate", "--to", "a", "--to", "b", "--to", "absent")
        assert process.stderr is not None
        await asyncio.wait_for(process.stderr.readuntil(b"a: executing"), PATIENCE_S)
        process.send_signal(number)
        process.send_signal(number)  # as some supervisors do
        done = await fleet.end(process)
        assert done.status == -signal.SIGINT
        assert "not waited for any longer" in done.out
        assert "stays with the broker" not in done.err
        assert len(a.cleared) == 1
    assert left_behind(broker) == []


async def test_what_is_left_is_said(broker: Broker, fleet: Fleet) -> None:
    done = await fleet(broker, "send", "diagnose", "--to", "absent", "--timeout", "0.5", "--leave", "--expires", "3600")
    assert "stays with the broker for absent; it expires in 60 min." in done.err
    assert done.status == 1
    [line] = left_behind(broker)
    topic, _, payload = line.partition(" ")
    assert topic.startswith("te/device/absent/service/edge-agent/cmd/diagnose/fleet-")
    command = json.loads(payload)
    assert command["expires_at"] == pytest.approx(command["issued_at"] + 3600)


async def watched(
    fleet: Fleet, broker: Broker, device: Responder, what: Sequence[tuple[str, Any]], *arguments: str
) -> Done:
    """What `watch` prints of messages of `device`, the last of which is an alarm."""
    process = await fleet.start(broker, "watch", *arguments)
    assert process.stderr is not None
    ready = b"of them up." if "--json" not in arguments else b"Ctrl-C stops."
    await asyncio.wait_for(process.stderr.readuntil(ready), PATIENCE_S)
    for below, body in what:
        device.say(below, body, retain=False)
    await device.said()
    assert process.stdout is not None
    head = await asyncio.wait_for(process.stdout.readuntil(b"the end"), PATIENCE_S)
    await asyncio.sleep(0.5)
    process.send_signal(signal.SIGINT)
    done = await fleet.end(process)
    return Done(head.decode() + done.out, done.err, done.status)


END = ("/a/end", {"text": "the end"})


async def test_watch_tells_what_happens(broker: Broker, fleet: Fleet) -> None:
    async with responding(broker.port, [Responder("kitchen")]) as [kitchen]:
        what = [
            ("/status/health", {"status": "up", "pid": 1, "boot_id": "b"}),  # nothing new
            ("/m/board", {"seq": 1, "samples": [{"time": 3600, "cpu": 0.5}, {"time": 3601, "cpu": 0.6}]}),
            ("/e/crash", {"seq": 1, "samples": [{"time": 3600, "text": "\x1b[2J"}]}),
            ("/e/crash", b"\xff\x1b[2J"),
            ("/status/health", {"status": "down"}),
            END,
        ]
        done = await watched(fleet, broker, kitchen, what)
        assert kitchen.acknowledged == []
    lines = [line.split("  ", 1) for line in done.out.splitlines()]
    assert [text for _, text in lines] == [
        "kitchen  measurement board cpu=0.5",
        "kitchen  measurement board cpu=0.6",
        "kitchen  event crash text=\\x1b[2J",
        "kitchen  event crash sent no JSON: \\xff\\x1b[2J",
        "kitchen  down",
        "kitchen  ALARM end text=the end",
    ]
    assert [clock for clock, _ in lines[:2]] == ["01:00:00", "01:00:01"]
    assert done.status == 0


async def test_watch_acknowledges_what_it_printed_when_it_is_told_to(broker: Broker, fleet: Fleet) -> None:
    async with responding(broker.port, [Responder("kitchen"), Responder("other")]) as [kitchen, other]:
        what = [
            ("/e/a", {"seq": 1, "log": "l", "samples": [{"n": 1}, {"n": 2}]}),
            ("/e/a", {"seq": 2, "log": "l", "samples": [{"n": 2}, {"n": 3}]}),
            ("/e/b", {"seq": 5, "log": "l", "samples": [{"n": 5}]}),  # what came before it was not seen
            END,
        ]
        done = await watched(fleet, broker, kitchen, what, "kitchen", "--json", "--acknowledge")
        assert kitchen.acknowledged[-1:] == [{"type": "a", "seq": 3, "log": "l"}]
        assert all(one["type"] == "a" for one in kitchen.acknowledged)
        assert other.acknowledged == []
    found = [json.loads(line) for line in done.out.splitlines()]
    assert {one["device"] for one in found} == {"kitchen"}
    events = [(one["type"], one["seq"], one["samples"]) for one in found if one["kind"] == "event"]
    assert events == [("a", 1, [{"n": 1}, {"n": 2}]), ("a", 3, [{"n": 3}]), ("b", 5, [{"n": 5}])]


async def test_a_stranger_is_not_let_in(tmp_path: Path, fleet: Fleet) -> None:
    with Broker(tmp_path / "closed", passwords={"other": "x"}) as broker:
        for arguments in (("ls",), ("watch",), ("send", "x", "--to", "a")):
            done = await fleet(broker, *arguments)
            assert done.status == 1
            assert "not authorized" in done.err or "refuses user or password" in done.err
            assert "hunter2" not in done.err + done.out


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("send", "a/b", "--to", "x"), 1, "operation = 'a/b'"),
        (("send", "x", "--to", "a#"), 1, "device = 'a#'"),
        (("send", "x", "[1]", "--to", "a"), 1, "expected a JSON object"),
        (("send", "x", "@/nowhere", "--to", "a"), 1, "/nowhere cannot be read"),
        (("send", "x"), 2, "--to --all"),
        (("send", "x", "--all", "--to", "a"), 2, "not allowed with"),
        (("send", "x", "--to", "a", "--timeout", "nan"), 2, "--timeout"),
        (("ls", "--where", "color=red"), 2, "expected KEY=VALUE"),
        (("watch", "a/b"), 1, "device = 'a/b'"),
        (("send", "x", "--all", "--wait", "0.2"), 1, "No such device"),
        (("ls", "--wait", "0.2"), 0, "No device is known"),
    ],
)
async def test_mistakes_are_explained(
    broker: Broker, fleet: Fleet, arguments: tuple[str, ...], status: int, said: str
) -> None:
    done = await fleet(broker, *arguments)
    assert (done.status, said in done.err) == (status, True), done.err


def test_arguments_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "args.json"
    file.write_text('{"prompt": "é"}', encoding="utf-8")
    assert read_args(f"@{file}") == {"prompt": "é"}
    for text in ("", "{", '{"a": NaN}', "[" * 100_000, "\udcff"):
        with pytest.raises(RequestError, match="not JSON"):
            read_args(text)
