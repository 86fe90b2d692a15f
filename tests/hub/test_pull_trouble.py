"""A pull that is killed, cut, refused, lied to, or too large: what is kept, what is said."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agent.store.store import Store
from tests.daemon_process import edge_agent, environment_for
from tests.hub.hub_server import Hub
from tests.hub.pull_process import TINY, keeping_back, nothing_left, pull


@contextlib.contextmanager
def pulling(folder: Path, hub: Hub, source: str) -> Any:
    extra = {"EDGE_AGENT_STATE_DIR": str(folder / "state"), **hub.environment()}
    process = subprocess.Popen(
        [sys.executable, "-m", "agent.cli", "models", "pull", source],
        env=environment_for(folder, extra),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for_part(folder: Path, least_bytes: int) -> Path:
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up:
        for part in (folder / "state" / "downloads").glob("*/.parts/*"):
            if part.stat().st_size >= least_bytes:
                return part
        time.sleep(0.01)
    raise AssertionError("nothing was downloaded")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_pull_is_gone_on_with_where_it_was(
    tmp_path: Path, hub: Hub, tiny_model: Path, number: signal.Signals
) -> None:
    whole = tiny_model.stat().st_size
    hub.pause_s = 0.1
    with pulling(tmp_path, hub, TINY) as process:
        part = wait_for_part(tmp_path, 256 * 1024)
        process.send_signal(number)
        assert process.wait(20) == -number
    have_bytes = part.stat().st_size
    assert 0 < have_bytes < whole
    hub.pause_s = 0.0
    time.sleep(0.2)  # the server notices
    hub.forget()
    done = pull(tmp_path, hub, TINY)
    assert done.returncode == 0, done.stderr
    assert "Going on: " in done.stderr
    assert hub.ranges == [f"bytes={have_bytes}-"]
    assert hub.sent_bytes == whole - have_bytes
    assert edge_agent(tmp_path, "models", "verify").returncode == 0
    assert nothing_left(tmp_path)


def test_two_pulls_at_once_do_not_spoil_each_other(tmp_path: Path, hub: Hub) -> None:
    hub.pause_s = 1.0
    with pulling(tmp_path, hub, TINY) as process:
        wait_for_part(tmp_path, 1)
        second = pull(tmp_path, hub, TINY)
        assert (second.returncode, "Another pull of the same files" in second.stderr) == (1, True)
        hub.pause_s = 0.0
        assert process.wait(30) == 0


def test_a_cut_connection_is_taken_up_by_itself(tmp_path: Path, hub: Hub, tiny_model: Path) -> None:
    hub.cut_after, hub.cuts = 600_000, 1
    done = pull(tmp_path, hub, TINY)
    assert done.returncode == 0, done.stderr
    assert len(hub.ranges) == 2
    assert hub.ranges[1].startswith("bytes=5")  # in blocks of 256 KiB
    assert hub.sent_bytes < tiny_model.stat().st_size + 256 * 1024


@pytest.mark.parametrize("status", [503, 403, 416])
def test_storage_that_refuses_is_asked_again_with_a_fresh_link(tmp_path: Path, hub: Hub, status: int) -> None:
    hub.status, hub.refusals = status, 1
    done = pull(tmp_path, hub, TINY)
    assert done.returncode == 0, done.stderr
    assert len([path for path in hub.asked if "/resolve/" in path]) == 2


def test_a_server_without_ranges_is_asked_for_all_of_it(tmp_path: Path, hub: Hub, tiny_model: Path) -> None:
    hub.cut_after, hub.cuts, hub.no_ranges = 600_000, 1, True
    assert pull(tmp_path, hub, TINY).returncode == 0
    assert hub.sent_bytes > tiny_model.stat().st_size + 500_000
    assert edge_agent(tmp_path, "models", "verify").returncode == 0


def test_a_mirror_that_lists_no_hashes_is_asked_for_each_file(tmp_path: Path, hub: Hub) -> None:
    hub.silent = True
    assert pull(tmp_path, hub, TINY).returncode == 0
    assert edge_agent(tmp_path, "models", "verify").returncode == 0


@pytest.mark.parametrize("path", ["tiny-f32.gguf"])
def test_a_changed_byte_is_found_and_nothing_is_kept(tmp_path: Path, hub: Hub, path: str) -> None:
    hub.spoiled = path
    done = pull(tmp_path, hub, TINY)
    assert done.returncode == 1
    assert f"{path} came damaged: its hash is " in done.stderr
    assert Store(tmp_path / "state" / "models").models() == []
    assert not [part for part in (tmp_path / "state" / "downloads").rglob("*") if part.is_file()]


@pytest.mark.parametrize("model", [b"GGUF", b"GGUF\x03\0\0\0" + b"\xff" * 64, b"not a model" * 2000])
def test_a_file_that_is_no_model_is_not_kept(tmp_path: Path, hub: Hub, model: bytes) -> None:
    hub.repositories["org/tiny-GGUF"]["tiny-f32.gguf"] = model
    done = pull(tmp_path, hub, TINY)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert Store(tmp_path / "state" / "models").models() == []
    assert nothing_left(tmp_path)


@pytest.mark.parametrize(
    ("source", "message", "hint"),
    [
        ("hf:org/none", "There is no repository org/none at {url}, or it is private.", "set HF_TOKEN"),
        ("hf:org/tiny-GGUF@v9", "org/tiny-GGUF has no revision v9.", "branches and tags"),
        ("hf:org/tiny-GGUF:Q4_K_M", "org/tiny-GGUF has no Q4_K_M.", "There are: F32."),
        ("hf:org/tiny", "org/tiny has neither a GGUF file nor an ONNX graph.", "edge-convert gguf org/tiny"),
        ("org/tiny-GGUF", "org/tiny-GGUF does not say where it is.", "models pull hf:org/tiny-GGUF"),
        ("hf:org/private", "There is no repository org/private at {url}, or it is private.", "set HF_TOKEN"),
        ("hf:org/gated", "org/gated is gated: its owner gives access to known accounts only.", "Accept the terms at"),
    ],
)
def test_what_is_not_there_or_not_for_us(tmp_path: Path, hub: Hub, source: str, message: str, hint: str) -> None:
    for name in ("private", "gated"):
        hub.repositories[f"org/{name}"] = hub.repositories["org/tiny-GGUF"]
        getattr(hub, name).add(f"org/{name}")
    done = pull(tmp_path, hub, source)
    lines = done.stderr.splitlines()
    assert done.returncode == 1
    assert f"edge-agent: {message.format(url=hub.url)}" in lines
    assert hint in lines[-1]
    assert nothing_left(tmp_path)


@pytest.mark.parametrize("name", ["private", "gated"])
def test_with_a_token_what_is_closed_opens(tmp_path: Path, hub: Hub, name: str) -> None:
    hub.repositories["org/closed"] = hub.repositories["org/tiny-GGUF"]
    getattr(hub, name).add("org/closed")
    assert pull(tmp_path, hub, "hf:org/closed", HF_TOKEN=hub.token).returncode == 0
    assert hub.storage_tokens == []


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE forbids to ask"),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "http://127.0.0.1:9 cannot be reached for org/tiny-GGUF"),
        ({"HF_ENDPOINT": "ftp://127.0.0.1"}, "ftp://127.0.0.1 is no address to download from"),
    ],
)
def test_no_network_is_one_sentence(tmp_path: Path, hub: Hub, environment: dict[str, str], says: str) -> None:
    done = pull(tmp_path, hub, TINY, **environment)
    assert done.returncode == 1
    assert done.stderr.startswith(f"edge-agent: {says}")
    assert len(done.stderr.splitlines()) <= 2
    assert hub.asked == []


def test_redirects_in_circles_end(tmp_path: Path, hub: Hub) -> None:
    hub.loops = True
    done = pull(tmp_path, hub, TINY)
    assert done.returncode == 1
    assert "redirects in circles" in done.stderr


def test_something_else_at_the_endpoint_is_said(tmp_path: Path, hub: Hub) -> None:
    done = pull(tmp_path, hub, TINY, HF_ENDPOINT=hub.storage_url)
    assert done.returncode == 1
    assert "There is no repository org/tiny-GGUF" in done.stderr


def test_too_little_memory_is_said_before_the_first_byte(tmp_path: Path, hub: Hub) -> None:
    config = keeping_back(tmp_path, 16_000_000)
    done = pull(tmp_path, hub, TINY, "--config", config)
    assert done.returncode == 1
    assert "tiny-f32 does not fit: it needs at least 6" in done.stderr
    assert "and the board has 0 MB for models." in done.stderr
    assert "With --force it is pulled all the same." in done.stderr
    assert hub.sent_bytes == 0
    assert nothing_left(tmp_path)
    forced = pull(tmp_path, hub, TINY, "--config", config, "--force")
    assert forced.returncode == 0, forced.stderr
    assert "does not fit" in forced.stderr


def test_the_largest_that_fits_is_named(tmp_path: Path, hub: Hub) -> None:
    tiny = hub.repositories["org/tiny-GGUF"]["tiny-f32.gguf"]
    hub.repositories["org/huge-GGUF"] = {"huge-q4_0.gguf": Huge(10**15), "huge-q2_k.gguf": tiny}
    done = pull(tmp_path, hub, "hf:org/huge-GGUF:q4_0")
    assert done.returncode == 1
    assert "huge-q4_0 does not fit: it needs at least 1000000.1 GB of memory" in done.stderr
    assert "The largest that fits is Q2_K" in done.stderr
    assert "edge-agent models pull hf:org/huge-GGUF:Q2_K" in done.stderr
    assert hub.sent_bytes == 0
    by_itself = pull(tmp_path, hub, "hf:org/huge-GGUF")
    assert by_itself.returncode == 0, by_itself.stderr
    assert "org/huge-GGUF: Q2_K (the largest that fits; there are Q2_K, Q4_0), " in by_itself.stderr


class Huge(bytes):
    """Says that it is long."""

    def __new__(cls, length: int) -> Huge:
        made = super().__new__(cls, b"x" * 20_000)
        made.length = length  # type: ignore[attr-defined]
        return made

    def __len__(self) -> int:
        return int(self.length)  # type: ignore[attr-defined]


def test_without_the_library_it_says_how_to_install_it(tmp_path: Path, hub: Hub) -> None:
    blocked = tmp_path / "blocked" / "huggingface_hub"
    blocked.mkdir(parents=True)
    (blocked / "__init__.py").write_text("raise ModuleNotFoundError('no', name='huggingface_hub')")
    root = Path(__file__).resolve().parents[2]
    done = pull(tmp_path, hub, TINY, PYTHONPATH=f"{blocked.parent}{os.pathsep}{root}")
    assert done.returncode == 1
    assert "Pulling models needs huggingface_hub, which is not installed." in done.stderr
    assert "pip install 'edge-agent[hub]'" in done.stderr


def test_names_that_are_not_safe_are_not_looked_at(tmp_path: Path, hub: Hub) -> None:
    tiny = hub.repositories["org/tiny-GGUF"]["tiny-f32.gguf"]
    hostile = (
        "../../evil-q4_0.gguf",
        "/etc/evil-q4_0.gguf",
        "\x1b[2Jevil-q4_0.gguf",
        "a\\evil-q4_0.gguf",
        "manifest.json",
    )
    hub.repositories["org/hostile"] = {**dict.fromkeys(hostile, tiny), "good-q8_0.gguf": tiny}
    done = pull(tmp_path, hub, "hf:org/hostile:q4_0")
    assert done.stderr == "edge-agent: org/hostile has no q4_0.\n  There are: Q8_0.\n"
    assert pull(tmp_path, hub, "hf:org/hostile").returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state"]
