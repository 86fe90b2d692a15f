"""The command line as a person and a script use it: real processes, and a real daemon where one is needed."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cli import COMMANDS, build_parser
from agent.settings import Settings, declarations
from agent.version import version
from tests.commands.test_client import response, server_that_says
from tests.daemon_process import DaemonProcess, edge_agent, environment_for, running_daemon


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[DaemonProcess]:
    """A daemon with a model called tiny, preloaded."""
    folder = tmp_path_factory.mktemp("served")
    imported = edge_agent(folder, "models", "import", str(tiny_model), "--name", "tiny")
    assert imported.returncode == 0, imported.stderr
    file = folder / "agent.toml"
    file.write_text("[models.tiny]\npreload = true\n")
    with running_daemon(folder, ["--config", str(file)]) as daemon:
        yield daemon


def test_version(tmp_path: Path) -> None:
    done = edge_agent(tmp_path, "--version")
    assert (done.returncode, done.stdout) == (0, f"edge-agent {version()}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["frobnicate"],
        ["serve", "--prot", "1"],
        ["serve", "--por", "1"],
        ["models"],
        ["models", "eat"],
        ["generate"],
    ],
)
def test_wrong_usage_is_status_2(tmp_path: Path, arguments: list[str]) -> None:
    done = edge_agent(tmp_path, *arguments)
    assert done.returncode == 2
    assert "usage: edge-agent" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(tmp_path: Path, command: str) -> None:
    done = edge_agent(tmp_path, command, "--help")
    assert done.returncode == 0
    assert f"usage: edge-agent {command}" in done.stdout
    assert "--state-dir" in done.stdout


def test_serve_has_a_flag_for_every_setting() -> None:
    for name, declaration in declarations(Settings).items():
        options = build_parser().parse_args(["serve", f"--{declaration.flag}", "x"])
        assert getattr(options, f"set_{name}") in ("x", ["x"])


def test_common_flags_stand_before_or_after_the_command() -> None:
    parser = build_parser()
    for arguments in (
        ["--port", "1", "models", "list"],
        ["models", "--port", "1", "list"],
        ["models", "list", "--port", "1"],
    ):
        assert parser.parse_args(arguments).set_port == "1"


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["generate", "x"], ["chat"], ["models", "load", "x"], ["models", "unload", "x"]],
)
def test_without_a_daemon_a_sentence_says_how_to_start_one(tmp_path: Path, arguments: list[str]) -> None:
    done = edge_agent(tmp_path, *arguments, "--port", "1", stdin="")
    assert done.returncode == 1
    assert done.stderr == "edge-agent: No daemon answers at http://127.0.0.1:1.\n  Start it: edge-agent serve.\n"


def test_a_traceback_only_for_debugging(tmp_path: Path) -> None:
    assert "Traceback" not in edge_agent(tmp_path, "status", "--port", "1").stderr
    assert "Traceback" in edge_agent(tmp_path, "status", "--port", "1", "--log-level", "debug").stderr


def test_a_model_s_way_through_the_store(tmp_path: Path, tiny_model: Path) -> None:
    def models(*arguments: str) -> subprocess.CompletedProcess[str]:
        return edge_agent(tmp_path, "models", *arguments)

    assert "models import" in models("list").stdout
    assert json.loads(models("list", "--json").stdout) == []

    first = models("import", str(tiny_model), "--name", "m")
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.startswith("Imported m 1 (F32, ")
    again = models("import", str(tiny_model), "--name", "m")
    assert again.stdout.startswith("There already: m 1")
    second = models("import", str(tiny_model), "--name", "m", "--version", "b", "--link", "--json")
    value = json.loads(second.stdout)
    assert (value["name"], value["version"], value["active"], value["created"]) == ("m", "b", False, True)

    assert models("activate", "m", "b").stdout == "m b is active.\n"
    listing = json.loads(models("list", "--json").stdout)
    assert [(one["version"], one["active"]) for one in listing] == [("1", False), ("b", True)]
    assert models("rollback", "m").stdout == "m 1 is active.\n"
    assert models("verify").returncode == 0

    refused = models("rm", "m", "--version", "1")
    assert (refused.returncode, "active" in refused.stderr) == (1, True)

    damaged = tmp_path / "state" / "models" / "m" / "1" / "model.gguf"
    data = bytearray(damaged.read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(data)
    found = models("verify", "m", "--json")
    assert found.returncode == 1
    assert {one["version"]: one["ok"] for one in json.loads(found.stdout)} == {"1": False, "b": True}

    assert models("rm", "m").stdout == "Removed m.\n"
    assert json.loads(models("list", "--json").stdout) == []
    assert models("rm", "m").returncode == 1
    assert models("verify", "m").returncode == 1


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF\x03\0\0\0" + b"\xff" * 64, b"not a model"])
def test_a_file_that_is_no_model_leaves_nothing_behind(tmp_path: Path, content: bytes) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(content)
    done = edge_agent(tmp_path, "models", "import", str(bad))
    assert done.returncode == 1
    assert "bad.gguf" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(edge_agent(tmp_path, "models", "list", "--json").stdout) == []


def test_doctor_as_text_and_json(tmp_path: Path) -> None:
    text = edge_agent(tmp_path, "doctor")
    assert "Board" in text.stdout
    assert "not running" in text.stdout
    value = json.loads(edge_agent(tmp_path, "doctor", "--json").stdout)
    assert value["daemon"]["running"] is False
    assert value["ok"] == (text.returncode == 0)


def test_doctor_finds_files_that_the_configuration_names_in_vain(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text("[models.a]\npath = 'none.gguf'\n")
    done = edge_agent(tmp_path, "doctor", "--json", "--config", "agent.toml")
    assert done.returncode == 1
    assert "file_missing" in [finding["code"] for finding in json.loads(done.stdout)["findings"]]


def test_commands_find_the_daemon_by_its_state_folder(served: DaemonProcess) -> None:
    status = edge_agent(served.folder, "status", "--json")
    assert json.loads(status.stdout)["pid"] == served.process.pid
    text = edge_agent(served.folder, "status").stdout
    assert served.url in text
    assert "tiny" in text
    doctor = json.loads(edge_agent(served.folder, "doctor", "--json").stdout)
    assert doctor["daemon"] == {"running": True, "url": served.url, "pid": served.process.pid, "answers": True}


def test_generate_streams_raw_text(served: DaemonProcess) -> None:
    flags = ("--temperature", "0", "--max-tokens", "12")
    by_argument = edge_agent(served.folder, "generate", "Once upon", *flags)
    assert (by_argument.returncode, by_argument.stderr) == (0, "")
    assert by_argument.stdout
    assert edge_agent(served.folder, "generate", "-", *flags, stdin="Once upon").stdout == by_argument.stdout
    whole = json.loads(edge_agent(served.folder, "generate", "Once upon", *flags, "--json").stdout)
    assert whole["choices"][0]["text"] == by_argument.stdout
    assert whole["usage"]["completion_tokens"] == 12


def test_generate_follows_a_schema_and_a_grammar(served: DaemonProcess) -> None:
    (served.folder / "schema.json").write_text('{"enum": ["yes", "no"]}')
    (served.folder / "grammar.gbnf").write_text('root ::= "left" | "right"')
    by_schema = edge_agent(served.folder, "generate", "Well?", "--schema", "schema.json", "--seed", "1")
    assert json.loads(by_schema.stdout) in ("yes", "no")
    by_grammar = edge_agent(served.folder, "generate", "Where?", "--grammar", "grammar.gbnf", "--chat")
    assert by_grammar.stdout in ("left", "right")
    (served.folder / "broken.json").write_text("{")
    broken = edge_agent(served.folder, "generate", "x", "--schema", "broken.json")
    assert (broken.returncode, "broken.json is not JSON" in broken.stderr) == (1, True)


def test_errors_of_the_daemon_are_sentences(served: DaemonProcess) -> None:
    done = edge_agent(served.folder, "generate", "x", "--model", "tinny")
    assert done.returncode == 1
    assert "tinny" in done.stderr
    assert "Did you mean tiny?" in done.stderr


def test_output_into_a_closed_pipe_ends_quietly(served: DaemonProcess) -> None:
    command = f"{sys.executable} -m agent.cli generate x --max-tokens 200 | head -c 1 >/dev/null"
    extra = {"EDGE_AGENT_STATE_DIR": str(served.state_dir)}
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, timeout=60, env=environment_for(served.folder, extra)
    )
    assert done.stderr == ""


def test_load_unload_and_versions_through_the_daemon(served: DaemonProcess, tiny_model: Path) -> None:
    folder = served.folder
    assert edge_agent(folder, "models", "unload", "tiny").stdout == "tiny 1 is unloaded.\n"
    assert edge_agent(folder, "models", "load", "tiny").stdout.startswith("tiny 1 is loaded; it takes ")
    imported = edge_agent(folder, "models", "import", str(tiny_model), "--name", "late")
    assert imported.stdout.endswith("The daemon serves it.\n")
    assert edge_agent(folder, "generate", "x", "--model", "late", "--max-tokens", "2").returncode == 0
    edge_agent(folder, "models", "import", str(tiny_model), "--name", "late", "--version", "b")
    assert edge_agent(folder, "models", "activate", "late", "b").stdout == "late b is active.\n"
    assert edge_agent(folder, "models", "rollback", "late").stdout == "late 1 is active.\n"
    assert edge_agent(folder, "models", "rm", "late").returncode == 0
    give_up = time.monotonic() + 10
    while len(served.get("/v1/models")[1]["data"]) > 1:
        assert time.monotonic() < give_up
        time.sleep(0.05)


def at_port(home: Path, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command that is told no state folder, only a port."""
    port = url.rpartition(":")[2]
    return subprocess.run(
        [sys.executable, "-m", "agent.cli", *arguments, "--port", port],
        capture_output=True, text=True, timeout=60, env=environment_for(home), cwd=home,
    )  # fmt: skip


def test_a_model_goes_to_the_daemon_at_the_port(served: DaemonProcess, tmp_path: Path, tiny_model: Path) -> None:
    imported = at_port(tmp_path, served.url, "models", "import", str(tiny_model), "--name", "by-port")
    assert imported.stdout.endswith("The daemon serves it.\n"), imported.stderr
    assert (served.state_dir / "models" / "by-port").is_dir()
    assert not (tmp_path / ".local").exists()
    at_port(tmp_path, served.url, "models", "import", str(tiny_model), "--name", "by-port", "--version", "b")
    assert at_port(tmp_path, served.url, "models", "activate", "by-port", "b").stdout == "by-port b is active.\n"
    assert at_port(tmp_path, served.url, "models", "rm", "by-port").stdout == "Removed by-port.\n"
    assert not (served.state_dir / "models" / "by-port").exists()


def test_nothing_is_written_where_the_daemon_at_the_port_keeps_its_models_out_of_reach(
    tmp_path: Path, tiny_model: Path
) -> None:
    with server_that_says(response(b'{"state_dir": "/far/away", "pid": 1}')) as url:
        refused = at_port(tmp_path, url, "models", "import", str(tiny_model), "--name", "m")
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"edge-agent: The daemon at {url} keeps its models in /far/away, which cannot be")
    assert "--state-dir" in refused.stderr
    assert not (tmp_path / ".local").exists()


def test_without_a_daemon_at_the_port_the_models_are_one_s_own(tmp_path: Path, tiny_model: Path) -> None:
    imported = at_port(tmp_path, "http://127.0.0.1:1", "models", "import", str(tiny_model), "--name", "m")
    assert imported.stdout.endswith("edge-agent serve serves it.\n"), imported.stderr
    own = tmp_path / ".local" / "state" / "edge-agent"
    assert (own / "models" / "m").is_dir()
    assert imported.stderr == f"No daemon answers at http://127.0.0.1:1. This is about the models in {own}.\n"


def test_chat_from_a_pipe_answers_line_by_line(served: DaemonProcess) -> None:
    done = edge_agent(
        served.folder,
        "chat",
        "--temperature",
        "0",
        "--max-tokens",
        "5",
        stdin="/help\nhello\n\nhello again\n/reset\nhello\n",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "/reset" in done.stdout
    assert "Forgotten.\n" in done.stdout
    first = done.stdout.split("leave\n")[1]
    assert done.stdout.split("Forgotten.\n")[1] == first[: len(done.stdout.split("Forgotten.\n")[1])]


class Terminal:
    """`edge-agent chat` on a terminal of its own."""

    def __init__(self, daemon: DaemonProcess, *arguments: str) -> None:
        self._main, other = pty.openpty()
        extra = {"EDGE_AGENT_STATE_DIR": str(daemon.state_dir), "TERM": "dumb"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "agent.cli", "chat", *arguments],
            stdin=other,
            stdout=other,
            stderr=other,
            env=environment_for(daemon.folder, extra),
            start_new_session=True,
        )
        os.close(other)
        self.text = ""

    def type(self, text: str) -> None:
        os.write(self._main, text.encode())

    def interrupt_until(self, text: str) -> None:
        """Ctrl-C, again if it came just before input() began to wait, where Python notices it only at the next one."""
        for _ in range(10):
            self.process.send_signal(signal.SIGINT)
            if self._shown(text, 2.0):
                break
        self.wait_for(text)

    def wait_for(self, text: str, timeout_s: float = 20.0) -> None:
        """Reads until `text` was shown, and forgets everything up to it."""
        assert self._shown(text, timeout_s), f"{text!r} was not shown: {self.text!r}"
        self.text = self.text.split(text, 1)[1]

    def _shown(self, text: str, timeout_s: float) -> bool:
        give_up = time.monotonic() + timeout_s
        while text not in self.text:
            if time.monotonic() >= give_up:
                return False
            if select.select([self._main], [], [], 0.1)[0]:
                self.text += os.read(self._main, 4096).decode("utf-8", "replace")
        return True

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._main)


def test_chat_on_a_terminal(served: DaemonProcess) -> None:
    terminal = Terminal(served, "--temperature", "0")
    try:
        terminal.wait_for("> ")
        terminal.type("/help\n")
        terminal.wait_for("stop an answer")
        terminal.wait_for("> ")
        terminal.interrupt_until("> ")  # at the prompt: nothing but a new prompt
        terminal.type("\x04")
        assert terminal.process.wait(10) == 0
    finally:
        terminal.close()


def test_ctrl_c_stops_the_answer_and_the_talk_goes_on(served: DaemonProcess) -> None:
    terminal = Terminal(served)
    try:
        terminal.wait_for("> ")
        terminal.type("hello\n")
        give_up = time.monotonic() + 20
        while served.get("/status")[1]["runtime"]["running"] == 0:
            assert time.monotonic() < give_up
            time.sleep(0.005)
        terminal.process.send_signal(signal.SIGINT)
        terminal.wait_for("(stopped)")
        terminal.wait_for("> ")
        while served.get("/status")[1]["runtime"]["running"]:
            assert time.monotonic() < give_up
            time.sleep(0.01)
        terminal.type("\x04")
        assert terminal.process.wait(10) == 0
    finally:
        terminal.close()
