"""`edge-convert quantize` as a user runs it."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.runtime.probe import probe_gguf
from agent.store.manifest import read_manifest
from convert import cli
from convert.quantization.header import read_header
from tests.convert.quantization.conftest import STORIES
from tests.engines.worker_process import REPO

COMMAND = (sys.executable, "-m", "convert.cli", "quantize")
DEADLINE_S = 60


def convert(*arguments: str | Path, file_limit_bytes: int | None = None) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        if file_limit_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit_bytes, file_limit_bytes))

    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=REPO,
        timeout=DEADLINE_S,
        check=False,
        preexec_fn=limit,
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_quantized_model_loads_and_is_smaller(tiny_model: Path, tmp_path: Path) -> None:
    target = tmp_path / "small.gguf"
    done = convert(tiny_model, target, "--quant", "q8_0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{target}: Q8_0, ")
    assert "quality: not measured; --measure does" in done.stdout
    assert probe_gguf(target).file_type == "Q8_0"
    assert target.stat().st_size < tiny_model.stat().st_size
    assert names(tmp_path) == ["small.gguf"]


def test_an_imatrix_from_a_text_kept_and_used_again(wide_model: Path, tmp_path: Path) -> None:
    kept, first, second = tmp_path / "kept.gguf", tmp_path / "first.gguf", tmp_path / "second.gguf"
    done = convert(wide_model, first, "--quant", "Q3_K_S", "--imatrix", STORIES, "--chunks", 2, "--save-imatrix", kept)
    assert done.returncode == 0, done.stderr
    assert "is short" in done.stderr
    done = convert(wide_model, second, "--quant", "Q3_K_S", "--imatrix", kept)
    assert done.returncode == 0, done.stderr
    header = read_header(second)
    assert header.metadata["quantize.imatrix.dataset"] == STORIES.name
    assert header.metadata["quantize.imatrix.entries_count"] == 21
    assert read_header(first).tensors.keys() == header.tensors.keys()
    at = header.tensors["blk.0.ffn_up.weight"]
    data = [path.read_bytes()[-1000:] for path in (first, second)]
    assert at.type.name == "q3_K"
    assert data[0] == data[1]


def test_an_artifact_for_a_board_says_what_it_lost(stories_model: Path, tmp_path: Path) -> None:
    target = tmp_path / "stories"
    done = convert(stories_model, target, "--for", "pi-zero-2w", "--name", "stories", "--version", "2026.1", "--json")
    assert done.returncode == 0, done.stderr
    assert "pi-zero-2w with 350 MB: Q8_0, as " in done.stderr
    told = json.loads(done.stdout)
    manifest = read_manifest(target / "manifest.json")
    assert names(target) == ["manifest.json", "model.gguf"]
    assert (manifest.name, manifest.version, manifest.quantization) == ("stories", "2026.1", "Q8_0")
    assert manifest.quality == told["quality"]
    assert manifest.quality["passed"]
    assert manifest.quality["kl_mean"] < 0.01
    assert manifest.memory_bytes.weights == told["weights_bytes"]
    assert told["fit"]["total_bytes"] <= told["fit"]["budget_bytes"]


def test_below_the_gates_nothing_is_left_unless_accepted(stories_model: Path, tmp_path: Path) -> None:
    ruined = (stories_model, tmp_path / "ruined.gguf", "--quant", "Q8_0", "--prune-layers", "1-3", "--measure")
    text = tmp_path / "text.txt"
    text.write_bytes(STORIES.read_bytes()[:4000])
    ruined = (*ruined, "--text", text)
    done = convert(*ruined)
    assert done.returncode == 1
    assert "mean KL divergence in nats per token" in done.stderr
    assert names(tmp_path) == ["text.txt"]
    done = convert(*ruined, "--accept-quality")
    assert done.returncode == 0, done.stderr
    assert "below the gates, and accepted" in done.stdout
    assert probe_gguf(tmp_path / "ruined.gguf").layers == 2


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("MODEL", "taken.gguf"), 1, "taken.gguf exists already"),
        (("MODEL", "new.gguf", "--quant", "Q99"), 2, "no quantization 'Q99'"),
        (("absent.gguf", "new.gguf"), 1, "absent.gguf does not exist"),
        (("noise.gguf", "new.gguf"), 1, "not a GGUF file"),
        (("MODEL", "nowhere/new.gguf"), 1, "nowhere is not a folder"),
        (("MODEL", "new.gguf", "--quant", "IQ2_XXS"), 2, "needs an imatrix. Add --imatrix TEXT.txt"),
        (("MODEL", "new.gguf", "--imatrix", "noise.dat"), 1, "noise.dat is not an imatrix"),
        (("MODEL", "new.gguf", "--imatrix", "absent.txt"), 1, "absent.txt does not exist"),
        (("MODEL", "new.gguf", "--save-imatrix", "new"), 2, "Add --imatrix"),
        (("MODEL", "new.gguf", "--memory-mb", "5"), 2, "Name the board with --for"),
        (("MODEL", "new.gguf", "--text", "noise.dat"), 2, "Add --measure or --artifact"),
        (("MODEL", "new.gguf", "--artifact", "new"), 2, "two places for one result"),
        (("MODEL", "new", "--name", "a/b"), 1, "a/b"),
    ],
)
def test_failures_are_one_sentence_and_leave_nothing(
    wide_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    status: int,
    says: str,
) -> None:
    monkeypatch.setattr(cli, "COMMANDS", ("quantize",))
    (tmp_path / "taken.gguf").write_bytes(b"x")
    for name in ("noise.gguf", "noise.dat"):
        (tmp_path / name).write_bytes(b"noise\0" * 100)
    before = names(tmp_path)
    files = [str(tmp_path / a) if "." in a or a.startswith("new") else a for a in arguments]
    assert cli.main(["quantize", *[str(wide_model) if a == "MODEL" else a for a in files]]) == status
    said = capsys.readouterr().err
    assert says in said
    assert len(said.splitlines()) == 1
    assert names(tmp_path) == before


def test_a_file_that_cannot_grow_is_said_with_the_tensor(wide_model: Path, tmp_path: Path) -> None:
    done = convert(wide_model, tmp_path / "out.gguf", "--quant", "F16", file_limit_bytes=500_000)
    assert done.returncode == 1
    assert "could not be written beyond" in done.stderr
    assert "tensor" in done.stderr
    assert names(tmp_path) == []


def begin(*arguments: str | Path, folder: Path) -> tuple[subprocess.Popen[str], int]:
    """A conversion in the middle of its work, and the process id of its child."""
    running = subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPO
    )
    give_up_at = time.monotonic() + DEADLINE_S
    while not list(folder.glob(".*.part/*.gguf")):
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < give_up_at
        time.sleep(0.005)
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    return running, int(children[0])


def await_end(process_id: int) -> None:
    give_up_at = time.monotonic() + DEADLINE_S
    while time.monotonic() < give_up_at:
        try:
            state = Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":  # dead, and nobody has collected it
            return
        time.sleep(0.01)
    raise AssertionError(f"process {process_id} goes on")


# The tables of IQ3_XXS take llama.cpp seconds to compute: whoever interrupts is in the middle.
@pytest.mark.skipif(sys.platform != "linux", reason="finds the child in /proc")
def test_ctrl_c_in_the_middle_leaves_nothing(wide_model: Path, wide_imatrix: Path, tmp_path: Path) -> None:
    running, child = begin(
        wide_model, tmp_path / "out.gguf", "--quant", "IQ3_XXS", "--imatrix", wide_imatrix, folder=tmp_path
    )
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=DEADLINE_S)
    assert running.returncode == 130
    assert "interrupted" in said
    await_end(child)
    assert names(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="finds the child in /proc")
@pytest.mark.parametrize(
    ("number", "says"),
    [(signal.SIGSEGV, "llama.cpp crashed on wide-f32.gguf (SIGSEGV"), (signal.SIGKILL, "was killed")],
)
def test_a_crash_of_llama_cpp_is_one_sentence(
    wide_model: Path, wide_imatrix: Path, tmp_path: Path, number: signal.Signals, says: str
) -> None:
    running, child = begin(
        wide_model, tmp_path / "out.gguf", "--quant", "IQ3_XXS", "--imatrix", wide_imatrix, folder=tmp_path
    )
    os.kill(child, number)
    _, said = running.communicate(timeout=DEADLINE_S)
    assert running.returncode == 1
    assert says in said
    assert names(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="finds the child in /proc")
def test_after_a_kill_the_child_ends_and_the_next_run_cleans_up(
    wide_model: Path, wide_imatrix: Path, tmp_path: Path
) -> None:
    running, child = begin(
        wide_model, tmp_path / "out.gguf", "--quant", "IQ3_XXS", "--imatrix", wide_imatrix, folder=tmp_path
    )
    os.kill(running.pid, signal.SIGKILL)
    running.communicate(timeout=DEADLINE_S)
    await_end(child)
    assert not (tmp_path / "out.gguf").exists()
    done = convert(wide_model, tmp_path / "out.gguf", "--quant", "Q8_0")
    assert done.returncode == 0, done.stderr
    assert names(tmp_path) == ["out.gguf"]
