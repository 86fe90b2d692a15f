"""`edge-agent bench` as a person and a script use it: a real daemon, and servers that misbehave."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.bench.openloop import ANSWER_TOKENS
from agent.bench.report import decode
from tests.bench.openai_server import Manners, OpenAiServer
from tests.daemon_process import DaemonProcess, edge_agent, environment_for, running_daemon


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, embedding_model: Path
) -> Iterator[DaemonProcess]:
    """A daemon with a model that generates text and one that makes vectors."""
    folder = tmp_path_factory.mktemp("served")
    for path, name in ((tiny_model, "tiny"), (embedding_model, "vectors")):
        imported = edge_agent(folder, "models", "import", str(path), "--name", name)
        assert imported.returncode == 0, imported.stderr
    # One thread: two that meet at ggml's barriers are a hundred times slower beside other programs, now and then.
    file = folder / "agent.toml"
    file.write_text("[models.tiny]\nthreads = 1\nthreads_batch = 1\n")
    with running_daemon(folder, ["--log-level", "warning", "--config", str(file)]) as daemon:
        yield daemon


def bench(folder: Path, *arguments: str, url: str = "") -> subprocess.CompletedProcess[str]:
    where = ("--url", url) if url else ()
    return edge_agent(folder, "bench", "--quick", *where, *arguments, timeout_s=120.0)


def test_a_quick_run_of_a_daemon_measures_everything(served: DaemonProcess) -> None:
    done = bench(served.folder, "--json", "out.json", "--html", "out.html")
    assert done.returncode == 0, done.stderr
    report = decode((served.folder / "out.json").read_bytes(), "out.json")
    measured = {row.measure for row in report.rows}
    assert measured == {
        *("load", "memory", "prompt", "generate", "generate together", "first token", "first token under load"),
        *("answer under load", "embed", "embed one text"),
    }
    assert report.complete
    assert [(model.task, model.name, model.quantization) for model in report.models] == [
        ("generate", "tiny", "F32"),
        ("embed", "vectors", "F32"),
    ]
    assert report.ceiling is not None
    assert report.ceiling.bandwidth_bytes_per_s > 1e8
    assert report.board["cores"] >= 1
    assert all(value > 0 for row in report.rows for value in row.values)
    # The ceiling comes before anything that is measured, and all rows are in the table.
    assert done.stdout.index("Ceiling") < done.stdout.index("generate (64 tokens of prompt)")
    assert all(row.title in done.stdout for row in report.rows)
    assert (served.folder / "out.html").read_text().count("<svg") >= 3
    prompt = report.row("prompt", {"prompt_tokens": 256})
    assert prompt is not None
    assert 200 < prompt.counts["prompt_tokens_sent"] < 320


def test_reports_are_compared(served: DaemonProcess) -> None:
    for name in ("a.json", "b.json"):
        assert bench(served.folder, "--only", "first-token", "--json", name).returncode == 0
    done = edge_agent(served.folder, "bench", "compare", "a.json", "b.json")
    assert done.returncode == 0, done.stderr
    assert re.search(r"first token \(32 tokens of prompt\) +[\d.]+ m?s +[\d.]+ m?s +[\d.]+x", done.stdout)
    values = json.loads(edge_agent(served.folder, "bench", "compare", "a.json", "b.json", "--json").stdout)
    assert [one["what"] for one in values["ratios"]] == ["median", "p95"]
    assert edge_agent(served.folder, "bench", "compare", "a.json", "nowhere.json").returncode == 1


def test_a_server_against_itself(served: DaemonProcess) -> None:
    done = bench(served.folder, "--model", "tiny", "--only", "generate", "--against", f"{served.url}/v1", "--json", "-")
    assert done.returncode == 0, done.stderr
    (pairing,) = decode(done.stdout.encode(), "-").pairings
    assert len(pairing.ratios) >= 5
    assert pairing.low <= pairing.median <= pairing.high
    # Whether it is 1.00 is measured on a quiet machine: here only that it is no multiple.
    assert 0.2 < pairing.median < 5
    assert "Against" in done.stderr


def test_a_model_that_is_not_there_is_named(served: DaemonProcess) -> None:
    done = bench(served.folder, "--model", "tiny2")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no model called 'tiny2'" in done.stderr
    assert "Did you mean tiny?" in done.stderr


@pytest.mark.parametrize(
    ("manners", "routes"),
    [
        (Manners(), {"/v1/completions"}),
        (Manners(refuses=frozenset({"ignore_eos"})), {"/v1/completions"}),
        (Manners(routes=frozenset({"/v1/chat/completions"})), {"/v1/completions", "/v1/chat/completions"}),
        (Manners(refuses=frozenset({"stream_options", "ignore_eos"})), {"/v1/completions", "/v1/chat/completions"}),
        (Manners(status=lambda number, body: 429 if number % 3 == 0 else 200), {"/v1/completions"}),
        (Manners(key="secret"), {"/v1/completions"}),
    ],
    ids=["openai", "strict", "chat only", "no stream options", "busy", "key"],
)
def test_any_openai_server_is_measured(tmp_path: Path, manners: Manners, routes: set[str]) -> None:
    with OpenAiServer(manners) as server:
        done = bench(tmp_path, "--only", "generate", "--json", "-", "--api-key", "secret", url=server.url)
    assert done.returncode == 0, done.stderr
    report = decode(done.stdout.encode(), "-")
    assert {row.measure for row in report.rows} == {"generate"}
    assert report.server == "openai"
    assert {route for route, _ in server.bodies} == routes
    assert len({str(body.get("prompt") or body.get("messages")) for _, body in server.bodies}) > 5


def test_a_server_without_usage_is_said_and_no_speed_is_made_up(tmp_path: Path) -> None:
    with OpenAiServer(Manners(usage=False)) as server:
        done = bench(tmp_path, "--only", "generate,first-token", "--json", "-", url=server.url)
    report = decode(done.stdout.encode(), "-")
    assert done.returncode == 1
    assert {row.measure for row in report.rows} == {"first token"}
    assert any("no usage" in problem for problem in report.problems)


def test_a_server_that_is_gone_in_mid_run_leaves_what_there_was(tmp_path: Path) -> None:
    server = OpenAiServer()

    def status(number: int, body: dict[str, Any]) -> int:
        if number == 15:  # 3 or 4 to prepare, 8 for generate
            threading.Thread(target=server.stop).start()
        return 200

    server.manners = Manners(status=status)
    with server:
        done = bench(tmp_path, "--only", "generate,batch,first-token", "--json", "-", url=server.url)
    report = decode(done.stdout.encode(), "-")
    assert (done.returncode, report.complete) == (1, False)
    assert {row.measure for row in report.rows} >= {"generate"}
    assert [problem.partition(".")[0].partition(": ")[2] for problem in report.problems] == ["the server is gone"]


@pytest.mark.parametrize(
    ("status", "counted"), [(500, "0 refused (429), 20 failed"), (429, "20 refused (429), 0 failed")]
)
def test_what_is_refused_under_load_is_counted(tmp_path: Path, status: int, counted: str) -> None:
    with OpenAiServer(
        Manners(status=lambda number, body: status if body["max_tokens"] == ANSWER_TOKENS else 200)
    ) as server:
        done = bench(tmp_path, "--only", "arrivals", "--rate", "50", "--json", "-", url=server.url)
    assert done.returncode == 1
    assert decode(done.stdout.encode(), "-").problems == [f"Under load no request was answered: {counted}."]


def test_one_measurement_that_fails_does_not_keep_the_others_back(tmp_path: Path) -> None:
    with OpenAiServer(Manners(status=lambda number, body: 500 if body["max_tokens"] == 32 else 200)) as server:
        done = bench(tmp_path, "--only", "generate,first-token", "--json", "-", url=server.url)
    report = decode(done.stdout.encode(), "-")
    assert done.returncode == 1
    assert report.problems == ["generate: Later."]
    assert {row.measure for row in report.rows} == {"first token"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--only", "speed"), "expected one of load, prompt"),
        (("--sustained", "0"), "expected a number above 0"),
        (("--rate", "nan"), "expected a number above 0"),
        (("--audio", "nowhere.wav"), "nowhere.wav is not a file"),
        (("--html", "nowhere/x.html"), "nowhere is not a folder"),
        (("--url", "http://127.0.0.1:1"), "connection refused"),
        (("--url", "ftp://x"), "is no address of a server"),
    ],
)
def test_what_cannot_be_measured_is_said_at_once(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    done = bench(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr


def test_a_server_that_is_no_openai_server(tmp_path: Path) -> None:
    done = bench(tmp_path, url=_listening(b"220 mail.example ESMTP\r\n"))
    assert done.returncode == 1
    assert "is no OpenAI-compatible server" in done.stderr


def test_ctrl_c_prints_what_there_is(tmp_path: Path) -> None:
    with OpenAiServer(Manners(token_s=0.002)) as server:
        command = [sys.executable, "-m", "agent.cli", "bench", "--url", server.url, "--json", "out.json"]
        process = subprocess.Popen(
            [*command, "--only", "first-token,generate"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=environment_for(tmp_path, {"EDGE_AGENT_STATE_DIR": str(tmp_path / "state")}),
        )
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("generate ("):
                break
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        rest, error = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert "Traceback" not in error
    report: Any = decode((tmp_path / "out.json").read_bytes(), "out.json")
    assert (report.complete, report.problems) == (False, ["It was stopped."])
    assert "generate" in {row.measure for row in report.rows}
    assert "Incomplete" in rest


def _listening(banner: bytes) -> str:
    """The address of something that greets everyone with `banner` and hangs up."""
    import socket

    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener:
            for _ in range(2):
                connection, _address = listener.accept()
                with connection:
                    connection.sendall(banner)
                    connection.recv(4096)

    threading.Thread(target=serve, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}"
