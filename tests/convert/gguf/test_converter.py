"""What is read in the converter's output, and that its process ends when it should. The lines are real ones."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from agent.errors import ArtifactError, DiskFullError
from convert.gguf.converter import ConverterLog, run_converter
from convert.gguf.tools import Tools

STARTED = "INFO:hf-to-gguf:Loading model: notok\n"
TRACE = 'Traceback (most recent call last):\n  File "/c/conversion/base.py", line 1, in x\n    raise x\n'


def nothing(done: int, total: int) -> None:
    pass


def read(text: str) -> ConverterLog:
    log = ConverterLog(nothing)
    for piece in (text.encode()[i : i + 7] for i in range(0, len(text.encode()), 7)):
        log.feed(piece)
    log.close()
    return log


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", None),
        (STARTED, None),
        (STARTED + "ERROR:hf-to-gguf:Model Foo is not supported\n", "Model Foo is not supported"),
        (
            TRACE + "NotImplementedError: BPE pre-tokenizer was not recognized - update get_vocab_base_pre()",
            "this version of llama.cpp does not know its tokenizer",
        ),
        (
            TRACE + "ValueError: Can not map tensor 'model.layers.3.mlp.weight'\n",
            "config.json says nothing that the tensor model.layers.3.mlp.weight could belong to",
        ),
        (TRACE + "KeyError: 'hidden_size'\n", "'hidden_size' is missing from its configuration"),
        (TRACE + "RuntimeError: INTERNAL: no ModelProto in x\n", "INTERNAL: no ModelProto in x"),
        (TRACE + "AssertionError\n", "AssertionError"),
        (TRACE + "json.decoder.JSONDecodeError: Expecting value: line 1\n", "JSONDecodeError Expecting value: line 1"),
        (TRACE + "ValueError: two\nlines\n", "two"),
        (
            TRACE + "OSError: /m does not appear to have a file named tokenization_x.py. Checkout 'https://x'\n",
            "its tokenizer needs the checkpoint's own program tokenization_x.py, which is not run unless"
            " --trust-remote-code says so",
        ),
        (
            TRACE + "ValueError: The repository /m contains custom code which must be executed\n",
            "its tokenizer needs a program of the checkpoint's own,"
            " which the converter never runs for this architecture",
        ),
        ("ERROR:hf-to-gguf:a \x1b[31mred\x07 one\n", "a [31mred one"),
    ],
)  # fmt: skip
def test_the_reason_of_a_failure(text: str, reason: str | None) -> None:
    assert read(text).reason() == reason


def test_the_bar_becomes_bytes() -> None:
    seen = []
    log = ConverterLog(lambda done, total: seen.append((done, total)))
    bar = "\rWriting:   0%|          | 0.00/1.04M [00:00<?, ?byte/s]"
    bar += "\rWriting:  50%|█████     | 520k/1.04M [00:00<00:00, 51Mbyte/s]"
    for start in range(0, len(bar.encode()), 11):
        log.feed(bar.encode()[start : start + 11])
    log.close()
    assert seen == [(0, 1_040_000), (520_000, 1_040_000)]


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    return Tools(tmp_path / "tools")


def script(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "script.py"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("program", "kind", "says"),
    [
        ("import os; os.kill(os.getpid(), 9)", ArtifactError, "killed, as happens when memory runs out"),
        ("import sys; sys.exit(3)", ArtifactError, "ended with status 3"),
        ("raise OSError(28, 'No space left on device')", DiskFullError, "The disk filled up"),
        ("raise OSError('147456 requested and 120304 written')", DiskFullError, "The disk filled up"),
        ("open('SCRATCH/source/x/config.json')", ArtifactError, r"No such file or directory: 'source/x/config.json'"),
    ],
)
def test_how_it_failed_is_said(tmp_path: Path, tools: Tools, program: str, kind: type[Exception], says: str) -> None:
    path = script(tmp_path, program.replace("SCRATCH", str(tmp_path)))
    with pytest.raises(kind, match=says) as caught:
        run_converter(tools, path, [], what="it", scratch=tmp_path, on_bytes=nothing)
    assert "Traceback" not in str(caught.value)


def test_it_finds_its_own_library_and_no_network(tmp_path: Path, tools: Tools) -> None:
    (tools.folder / "gguf-py" / "gguf").mkdir(parents=True)
    (tools.folder / "gguf-py" / "gguf" / "__init__.py").write_text("OURS = True")
    program = "import gguf, os; assert gguf.OURS and os.environ['HF_HUB_OFFLINE'] == '1'"
    run_converter(tools, script(tmp_path, program), [], what="it", scratch=tmp_path, on_bytes=nothing)


def test_interrupted_it_takes_its_process_along(tmp_path: Path, tools: Tools) -> None:
    noted = tmp_path / "pid"
    program = f"import os, pathlib, time; pathlib.Path({str(noted)!r}).write_text(str(os.getpid())); time.sleep(600)"

    def interrupt() -> None:
        while not noted.exists() or not noted.read_text():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        run_converter(tools, script(tmp_path, program), [], what="it", scratch=tmp_path, on_bytes=nothing)
    with pytest.raises(ProcessLookupError):
        os.kill(int(noted.read_text()), 0)


def test_verbose_shows_what_it_prints(tmp_path: Path, tools: Tools, capfd: pytest.CaptureFixture[str]) -> None:
    path = script(tmp_path, "print('INFO:hf-to-gguf:Set model tokenizer')")
    run_converter(tools, path, [], what="it", scratch=tmp_path, on_bytes=nothing, verbose=True)
    assert "Set model tokenizer" in capfd.readouterr().err
