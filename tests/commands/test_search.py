"""`edge-agent search`, `embed` and `chat --with` with a real daemon and real, small models."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.commands.embed import npy_header
from tests.daemon_process import DaemonProcess, edge_agent, environment_for, running_daemon

FACTS = """id,title,body,topic,year
1,Router,"Hold the reset button, then wait.",wifi,2020
2,Solar,A red light means an empty battery.,power,2021
3,Garden,Water the tomatoes in the evening.,garden,2022
"""


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, embedding_model: Path
) -> Iterator[DaemonProcess]:
    """A daemon with a model that embeds, `bert`, and one that generates, `tiny`."""
    folder = tmp_path_factory.mktemp("searched")
    file = folder / "agent.toml"
    file.write_text(
        f"[models.bert]\npath = '{embedding_model}'\ntask = 'embed'\n[models.tiny]\npath = '{tiny_model}'\n"
    )
    with running_daemon(folder, ["--config", str(file)]) as daemon:
        yield daemon


@pytest.fixture
def facts(served: DaemonProcess) -> Iterator[Path]:
    """facts.csv, and its collection of the same name."""
    path = served.folder / "facts.csv"
    path.write_text(FACTS)
    made = run(served, "search", "create", "facts", str(path), "--text", "title", "--text", "body", "--id", "id")
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout == "facts: 3 added. All 3 passages have their vectors.\n"
    yield path
    run(served, "search", "rm", "facts")


def run(served: DaemonProcess, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return edge_agent(served.folder, *arguments, stdin=stdin)


def found(served: DaemonProcess, *arguments: str) -> Any:
    done = run(served, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_csv_is_listed_queried_and_removed(served: DaemonProcess, facts: Path) -> None:
    (one,) = found(served, "search", "list")
    assert (one["passages"], one["waiting"], one["model"], one["text_columns"]) == (3, 0, "bert", ["title", "body"])
    assert run(served, "search", "list").stdout.splitlines()[1].split()[:4] == ["facts", "3", "0", "idle"]

    answer = found(served, "search", "query", "facts", "reset button", "--mode", "hybrid", "-k", "1")
    assert answer["hits"][0]["id"] == "1"
    assert answer["hits"][0]["metadata"] == {"topic": "wifi", "year": 2020}
    shown = run(served, "search", "query", "facts", "reset", "--mode", "text").stdout
    assert shown.startswith("1. 1  ")
    assert "Router Hold the reset button, then wait." in shown

    for wanted in (["year=2021"], ['{"year": {"gte": 2021, "lt": 2022}}'], ["topic=power", "year=2021"]):
        flags = [flag for one in wanted for flag in ("--filter", one)]
        assert [hit["id"] for hit in found(served, "search", "query", "facts", "x", *flags)["hits"]] == ["2"]

    assert run(served, "search", "rm", "facts", "--id", "1").stdout == "Removed 1 passages from facts.\n"
    assert run(served, "search", "rm", "facts", "--filter", "topic=garden").returncode == 0
    assert found(served, "search", "list")[0]["passages"] == 1
    assert run(served, "search", "rm", "facts").stdout == "Removed facts.\n"
    assert "There is no collection yet" in run(served, "search", "list").stdout


def test_a_changed_row_alone_is_embedded_again(served: DaemonProcess, facts: Path) -> None:
    facts.write_text(FACTS.replace("empty battery", "full battery").replace("3,Garden", "4,Garden"))
    counts = found(served, "search", "add", "facts", str(facts), "--id", "id")["rows"]
    assert (counts["added"], counts["changed"], counts["unchanged"], counts["removed"]) == (1, 1, 1, 0)
    counts = found(served, "search", "add", "facts", str(facts), "--id", "id", "--sync")["rows"]
    assert (counts["unchanged"], counts["removed"]) == (3, 1)
    assert found(served, "search", "list")[0]["waiting"] == 0


def test_making_it_again_goes_on_with_the_same_source_only(served: DaemonProcess, facts: Path) -> None:
    again = ["search", "create", "facts", str(facts), "--text", "title", "--text", "body", "--id", "id"]
    assert run(served, *again).stdout == "facts: 3 unchanged. All 3 passages have their vectors.\n"
    other = served.folder / "other.csv"
    other.write_text(FACTS)
    refused = run(served, "search", "create", "facts", str(other), "--text", "title", "--text", "body")
    assert (refused.returncode, "search add" in refused.stderr) == (1, True)


def test_reembedding_with_the_same_model(served: DaemonProcess, facts: Path) -> None:
    done = run(served, "search", "reembed", "facts", "--force")
    assert done.stdout == "facts is of bert file. All 3 passages have their vectors.\n"


def test_text_files_are_cut_into_passages(served: DaemonProcess) -> None:
    notes = served.folder / "notes"
    notes.mkdir()
    (notes / "a.md").write_text("One thought.\n\n" + "Another thought. " * 200)
    made = run(served, "search", "create", "notes", str(notes), "--passage", "300", "--overlap", "30")
    assert made.returncode == 0, made.stderr
    answer = found(served, "search", "query", "notes", "one", "--mode", "text")
    assert answer["hits"][0]["id"] == "a.md#1"
    assert found(served, "search", "list")[0]["passages"] > 10
    run(served, "search", "rm", "notes")


@pytest.mark.parametrize(
    ("content", "flags", "words"),
    [
        (FACTS, ["--text", "nope"], "no column 'nope'; it has: id, title, body, topic, year"),
        (FACTS, [], "Say which column of bad.csv holds the text. --text"),
        ('id,text\n1,"never closed\n2,b\n', ["--text", "text"], "a quote is opened and never closed"),
        ("id,text\n1,a\n1,b\n", ["--text", "text", "--id", "id"], "line 3: the id '1' was already at line 2"),
        ("id,text\n1,a,b\n", ["--text", "text"], "has 3 fields, the header has 2"),
        ("", ["--text", "text"], "is empty"),
        (FACTS, ["--text", "body", "--model", "tiny"], "tiny generates text. There is bert."),
        (FACTS, ["--text", "body", "--model", "nope"], "There is no model called 'nope'"),
    ],
)
def test_a_source_that_cannot_be_read_is_one_clear_sentence(
    served: DaemonProcess, content: str, flags: list[str], words: str
) -> None:
    path = served.folder / "bad.csv"
    path.write_text(content)
    done = run(served, "search", "create", "bad", str(path), *flags)
    assert (done.returncode, words in " ".join(done.stderr.split())) == (1, True), done.stderr
    assert "Traceback" not in done.stderr
    run(served, "search", "rm", "bad")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["query", "nosuch", "x"], "There is no collection nosuch"),
        (["add", "nosuch", "x.csv"], "There is no collection nosuch"),
        (["rm", "nosuch"], "There is no collection nosuch"),
        (["rm", "../nosuch"], "cannot name a collection"),
        (["reembed", "nosuch"], "There is no collection nosuch"),
        (["query", "nosuch", "x", "--filter", "what"], "expected FIELD=VALUE"),
        (["query", "nosuch", "x", "--filter", "{what"], "not a JSON object"),
        (["query", "nosuch", "x", "-k", "0"], "from 1 to 1000"),
        (["create", "x", "nosuch.csv", "--text", "a"], "There is no file or folder nosuch.csv"),
    ],
)
def test_what_is_wrong_is_said(served: DaemonProcess, arguments: list[str], words: str) -> None:
    done = run(served, "search", *arguments)
    assert (done.returncode, words in done.stderr) == (1, True), done.stderr
    assert "Traceback" not in done.stderr


def test_rows_before_a_broken_one_are_kept(served: DaemonProcess) -> None:
    path = served.folder / "long.csv"
    rows = [f"{n},text {n}" for n in range(1, 1201)]
    path.write_text("\n".join(["id,text", *rows, '1201,"broken']) + "\n")
    create = ["search", "create", "long", str(path), "--text", "text", "--id", "id"]
    assert "never closed" in run(served, *create).stderr
    assert found(served, "search", "list")[0]["passages"] >= 1000
    path.write_text("\n".join(["id,text", *rows]) + "\n")
    assert "All 1,200 passages have their vectors." in run(served, *create).stdout
    run(served, "search", "rm", "long")


def test_killed_daemons_lose_nothing(tmp_path: Path, embedding_model: Path) -> None:
    config, source = tmp_path / "agent.toml", tmp_path / "rows.csv"
    config.write_text(f"[models.bert]\npath = '{embedding_model}'\ntask = 'embed'\n")
    source.write_text("id,text\n" + "".join(f"{n},the text of row {n}\n" for n in range(1_000)))
    create = ["search", "create", "rows", str(source), "--text", "text", "--id", "id"]
    for kill in range(2):
        with running_daemon(tmp_path, ["--config", str(config)]) as daemon:
            begun = started(tmp_path, create)
            time.sleep(0.5 + 0.3 * kill)
            daemon.process.kill()
            daemon.wait()
            begun.wait(20)
    with running_daemon(tmp_path, ["--config", str(config)]) as daemon:
        done = edge_agent(tmp_path, *create)
        assert "All 1,000 passages have their vectors." in done.stdout, done.stderr
        answer = daemon.request("POST", "/v1/search", {"collection": "rows", "query": "the text of row 7", "k": 1})[1]
        assert answer["hits"][0]["text"] == "the text of row 7"


def started(folder: Path, arguments: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "agent.cli", *arguments],
        env=environment_for(folder, {"EDGE_AGENT_STATE_DIR": str(folder / "state")}),
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_a_conversation_with_a_collection_shows_its_sources(served: DaemonProcess, facts: Path) -> None:
    chat = ["chat", "--model", "tiny", "--max-tokens", "3", "--with", "facts", "-k", "2"]
    done = run(served, *chat, stdin="How do I reset the router?\n")
    assert done.returncode == 0, done.stderr
    sources = done.stdout.splitlines()[-2:]
    assert [line[:3] for line in sources] == ["[1]", "[2]"]
    refused = run(served, *chat[:-3], "nosuch", stdin="Hello\n")
    assert (refused.returncode, "There is no collection nosuch" in refused.stderr) == (1, True)


def test_vectors_as_lines_as_json_and_as_a_file(served: DaemonProcess) -> None:
    done = run(served, "embed", "one", "two")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    whole = found(served, "embed", "one", "two")
    assert whole["embeddings"] == lines
    assert (whole["model"], whole["prompt_tokens"] > 0, whole["truncated"]) == ("bert", True, [])
    file = served.folder / "v.npy"
    texts = ["one", *(f"text {n}" for n in range(300)), "two"]
    done = run(served, "embed", "-", "--out", str(file), stdin="\n".join(texts) + "\n")
    assert done.stderr == f"Wrote {file}: 302 vectors of {len(lines[0])} dimensions.\n"
    vectors = np.load(file)
    assert (vectors.dtype, vectors.shape) == (np.float32, (302, len(lines[0])))
    assert np.allclose(vectors[[0, -1]], lines, atol=1e-6)
    assert [path.name for path in served.folder.glob(".v.npy*")] == []


@pytest.mark.parametrize(
    ("arguments", "stdin", "words"),
    [
        (["embed", ""], "", "Text 1 is empty"),
        (["embed", "-"], "a\n\nb\n", "Text 2 is empty"),
        (["embed", "a", "--model", "tiny"], "", "tiny generates text"),
        (["embed", "a", "--model", "nope"], "", "There is no model called 'nope'"),
        (["embed", "-"], "word " * 200_000, "Input 0 has 600002 tokens"),
        (["embed", "a", "--prompt-name", "query"], "", "brings no prompts"),
        (["embed", "a", "--out", "/nowhere/x.npy"], "", "/nowhere/x.npy cannot be written"),
        (["embed", "a", "--out", "x.npy", "--json"], "", "either --out or --json"),
    ],
)
def test_texts_that_cannot_be_embedded(served: DaemonProcess, arguments: list[str], stdin: str, words: str) -> None:
    done = run(served, *arguments, stdin=stdin)
    assert (done.returncode, words in done.stderr) == (1, True), done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["search", "list"], ["search", "query", "a", "b"], ["search", "rm", "a"], ["embed", "a"], ["embed", "-"]],
)
def test_without_a_daemon_a_sentence_says_how_to_start_one(tmp_path: Path, arguments: list[str]) -> None:
    done = edge_agent(tmp_path, *arguments, "--port", "1", stdin="a\n")
    assert done.returncode == 1
    assert done.stderr == "edge-agent: No daemon answers at http://127.0.0.1:1.\n  Start it: edge-agent serve.\n"


@pytest.mark.parametrize("shape", [(0, 0), (1, 1), (123_456_789, 16_384)])
def test_the_header_is_as_numpy_reads_it(tmp_path: Path, shape: tuple[int, int]) -> None:
    header = npy_header(*shape)
    assert len(header) == 128
    with contextlib.suppress(ValueError):  # too little data for such a shape
        (tmp_path / "x.npy").write_bytes(header)
        loaded = np.lib.format.open_memmap(tmp_path / "x.npy", mode="r")
        assert loaded.shape == shape
