"""Sources become rows, and what cannot be read says where."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from agent.errors import EdgeAgentError, NotFoundError, RequestError
from agent.search.csv_rows import sniff, typed
from agent.search.rows import Source, read


def rows_of(path: Path, content: str | bytes, *text: str, **more: Any) -> list[tuple[str, str, dict[str, Any], int]]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [(row.id, row.text, row.metadata, row.line) for row in read(Source(path=path, text=text, **more))]


def test_columns_become_text_id_and_metadata(tmp_path: Path) -> None:
    content = 'id,question,answer,year,note\n7,"Why, ""so""?",Because.,2020,\n\n8,"two\nlines",B,007,x\n'
    assert rows_of(tmp_path / "faq.csv", content, "question", "answer", key="id") == [
        ("7", 'Why, "so"?\nBecause.', {"year": 2020}, 2),
        ("8", "two\nlines\nB", {"year": "007", "note": "x"}, 4),
    ]


def test_without_an_id_the_file_and_the_number_of_the_row_are_one(tmp_path: Path) -> None:
    rows = rows_of(tmp_path / "faq.csv", "q\na\n\nb\n", "q")
    assert [(name, text, line) for name, text, _, line in rows] == [("faq.csv:1", "a", 2), ("faq.csv:2", "b", 4)]


@pytest.mark.parametrize(
    "content",
    [
        "a;b\n1,5;x\n2,5;y\n",
        "\ufeffa,b\nz,x\nw,y\n",
        "a\tb\r\n1\tx\r\n2\ty\r\n",
        "a|b\n1|x\n2|y",
        " a , b \n1,x\n2,y\n",
    ],
    ids=["semicolons and a mark of decimals", "byte order mark", "tabs and CRLF", "bars, no last newline", "spaces"],
)
def test_dialects_are_found_from_the_file(tmp_path: Path, content: str) -> None:
    assert [text for _, text, _, _ in rows_of(tmp_path / "a.csv", content, "b")] == ["x", "y"]


@pytest.mark.parametrize(
    ("sample", "wanted", "delimiter"),
    [
        (["text\n", "a, b; c\n"], ["text"], ","),
        (["a,b;c\n", "1,2;3\n"], ["b;c"], ","),
        (["a,b;c\n", "1,2;3\n"], ["c"], ";"),
        (["x;y;z\n", "1;2,3;4\n", "1;2,3,4;5\n"], [], ";"),
    ],
)
def test_the_delimiter_that_gives_the_wanted_columns_wins(sample: list[str], wanted: list[str], delimiter: str) -> None:
    assert sniff(sample, wanted) == delimiter


@pytest.mark.parametrize(
    ("text", "value"),
    [("2020", 2020), ("-1.5", -1.5), ("0", 0), ("007", "007"), ("1.50", "1.50"), ("1e5", "1e5"), ("", ""), ("-", "-"),
     ("12345678901234567890", "12345678901234567890"), ("NaN", "NaN"), ("٣", "٣"), ("-0", "-0"), ("true", "true")],
)  # fmt: skip
def test_only_numbers_written_plainly_become_numbers(text: str, value: object) -> None:
    assert (typed(text), type(typed(text))) == (value, type(value))


def test_an_encoding_that_is_named(tmp_path: Path) -> None:
    rows = rows_of(tmp_path / "a.csv", "t\ncafé\n".encode("cp1252"), "t", encoding="cp1252")
    assert rows[0][1] == "café"


CSV_FAULTS: list[tuple[bytes, str]] = [
    (b"", "a.csv is empty"),
    (b"\n\n", "a.csv is empty"),
    (b"x,y\n1,2\n", "has no column 'text'; it has: x, y"),
    (b'text,n\na,1\n"b,2\nc,3\n', "the row at line 3 .*never closed"),
    (b'text,n\n"a"b,1\n', "the row at line 2 cannot be read"),
    (b"text,n\na,1\nb\n", "line 3 has 1 fields, the header has 2"),
    (b'text,n\n"a\nb",1\nc,2,3\n', "line 4 has 3 fields"),
    (b"text,n\na\0b,1\n", "line 2 has a NUL byte"),
    (b"text,n\na,1\ncaf\xe9,2\n", r"line 3 is not UTF-8 \(byte 0xe9, the 4\.\)"),
    ("text\na\n".encode("utf-16"), "is UTF-16"),
    (b"text,text\n1,2\n", "has 'text' more than once"),
    (b"text\n" + b"x" * 140_000 + b"\n", "longer than 131,072 characters"),
    (b'text\n"' + b"x\n" * 80_000, "longer than 131,072 characters, or a quote is never closed"),
    (b"text\n" + b"x" * (16 * 2**20 + 5), "line 2 is longer than 16 MiB"),
]


@pytest.mark.parametrize(("content", "message"), CSV_FAULTS, ids=[message[:30] for _, message in CSV_FAULTS])
def test_a_broken_csv_file_says_where(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        rows_of(tmp_path / "a.csv", content, "text")
    assert "a.csv" in caught.value.message


def test_a_row_without_its_id_says_where(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="row at line 3 has no id"):
        rows_of(tmp_path / "a.csv", "id,text\n1,a\n ,b\n", "text", key="id")


def test_objects_become_text_id_and_metadata(tmp_path: Path) -> None:
    content = '{"k": 1, "t": "one", "n": {"a": [1]}}\r\n\n{"t": "two", "k": "b"}'
    assert rows_of(tmp_path / "a.jsonl", content, "t", key="k") == [
        ("1", "one", {"n": {"a": [1]}}, 1),
        ("b", "two", {}, 3),
    ]
    assert [row[0] for row in rows_of(tmp_path / "a.jsonl", content, "t")] == ["a.jsonl:1", "a.jsonl:2"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2 is not JSON"),
        ("[1]", "line 2 is no object but list"),
        ('{"x": 1}', "line 2 has no 't'; it has: 'x'"),
        ('{"t": 3}', "line 2: 't' is no text but int"),
        ('{"t": null}', "line 2: 't' is no text"),
        ('{"t": "\\ud800"}', "half of a surrogate pair"),
        ('{"t": "x", "m": {"\\udfff": 1}}', "half of a surrogate pair"),
        ('{"t": "a\\u0000"}', "NUL"),
        ('{"t": "x", "n": NaN}', "NaN is no JSON number"),
        ('{"t": "x", "n": 1e999}', "too large"),
        ("[" * 100_000, "line 2 is not JSON"),
        ('{"t": "x", "k": true}', "the id 'k' is True"),
        ('{"t": "x", "k": 1.5}', "the id 'k' is 1.5"),
    ],
)
def test_a_broken_json_line_says_where(tmp_path: Path, line: str, message: str) -> None:
    key = "k" if '"k"' in line else None
    with pytest.raises(RequestError, match=message):
        rows_of(tmp_path / "a.jsonl", '{"t": "fine", "k": 1}\n' + line + "\n", "t", key=key)


def test_text_files_of_a_folder_in_the_order_of_their_paths(tmp_path: Path) -> None:
    for name, text in {
        "b.txt": "One.\n\nTwo.", "a/z.md": "Deep.", ".hidden.txt": "no", "a/.git/x.txt": "no", "image.png": "no",
        "empty.txt": "",
    }.items():  # fmt: skip
        path = tmp_path / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "docs" / "loop").symlink_to(tmp_path / "docs")
    rows = list(read(Source(path=tmp_path / "docs")))
    assert [(row.id, row.text) for row in rows] == [("a/z.md#1", "Deep."), ("b.txt#1", "One.\n\nTwo.")]
    assert rows[1].metadata == {"path": "b.txt", "position": 1}


def test_a_text_file_that_is_none_names_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"fine\n\nnot \xff fine\n")
    with pytest.raises(RequestError, match=r"a\.txt: line 3 is not UTF-8"):
        list(read(Source(path=tmp_path)))


@pytest.mark.parametrize(
    ("name", "more", "error", "message"),
    [
        ("none.csv", {"text": ("t",)}, NotFoundError, "There is no file or folder"),
        ("a.csv", {}, RequestError, "which column of a.csv"),
        ("a.bin", {"text": ("t",)}, RequestError, "not known from its name"),
        ("a.txt", {"text": ("t",)}, RequestError, "have no columns"),
        ("a.txt", {"passage": 10, "overlap": 6}, RequestError, "not possible"),
        ("a.csv", {"text": ("t",), "encoding": "utf-16"}, RequestError, "encoding: 'utf-16'"),
        ("a.csv", {"text": ("t",), "encoding": "nonsense"}, RequestError, "encoding: 'nonsense'"),
        ("a.csv", {"text": ("t",), "encoding": "base64"}, RequestError, "encoding: 'base64'"),
        ("a.csv", {"text": ("t",), "kind": "xml"}, RequestError, "kind: 'xml'"),
        ("empty", {}, RequestError, "no text file"),
    ],
)
def test_a_source_that_cannot_be_read(
    tmp_path: Path, name: str, more: dict[str, Any], error: type[EdgeAgentError], message: str
) -> None:
    for there in ("a.csv", "a.bin", "a.txt"):
        (tmp_path / there).write_text("t\nx\n")
    (tmp_path / "empty").mkdir()
    with pytest.raises(error, match=message):
        list(read(Source(path=tmp_path / name, **more)))


def test_texts_and_ids_have_limits(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="1,000,001 characters"):
        rows_of(tmp_path / "a.jsonl", json.dumps({"t": "x" * 1_000_001}), "t")
    with pytest.raises(RequestError, match="id is longer"):
        rows_of(tmp_path / "a.jsonl", json.dumps({"t": "x", "k": "y" * 1_001}), "t", key="k")


def test_a_pipe_without_end_is_read_as_far_as_it_is_asked(tmp_path: Path) -> None:
    """Rows come while the file is still being written: nothing reads far ahead, so no file fills the memory."""
    pipe = tmp_path / "endless.jsonl"
    os.mkfifo(pipe)

    def write() -> None:
        with contextlib.suppress(BrokenPipeError), pipe.open("w") as file:  # closing it writes what is left
            for number in range(10_000_000):
                file.write(json.dumps({"t": f"text {number}"}) + "\n")

    writer = threading.Thread(target=write)
    writer.start()
    rows = read(Source(path=pipe, text=("t",)))
    assert [row.text for row in islice(rows, 3)] == ["text 0", "text 1", "text 2"]
    rows.close()  # type: ignore[attr-defined]
    writer.join()
