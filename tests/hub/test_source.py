"""What people type to name a model on the hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import RequestError
from agent.hub.source import Source, parse_source

QWEN = "Qwen/Qwen2.5-0.5B-Instruct-GGUF"


@pytest.mark.parametrize(
    ("text", "repository", "revision", "choice"),
    [
        (f"hf:{QWEN}", QWEN, None, None),
        (f"hf://{QWEN}", QWEN, None, None),
        (f"hf:{QWEN}:Q4_K_M", QWEN, None, "Q4_K_M"),
        (f"hf:{QWEN}@main:q4_k_m", QWEN, "main", "q4_k_m"),
        (f"hf:{QWEN}:Q4_K_M@refs/pr/3", QWEN, "refs/pr/3", "Q4_K_M"),
        (f"hf:{QWEN}@v1.0", QWEN, "v1.0", None),
        (f"hf:{QWEN}:sub/model-00001-of-00002.gguf", QWEN, None, "sub/model-00001-of-00002.gguf"),
        ("hf:gpt2", "gpt2", None, None),
        (f"https://huggingface.co/{QWEN}", QWEN, None, None),
        (f"https://huggingface.co/{QWEN}/", QWEN, None, None),
        (f"https://huggingface.co/{QWEN}/tree/main", QWEN, None, None),
        (f"https://hf.co/{QWEN}/resolve/main/a%20b.gguf?download=true", QWEN, None, "a b.gguf"),
        (f"https://huggingface.co/{QWEN}/blob/v2/sub/a.gguf", QWEN, "v2", "sub/a.gguf"),
    ],
)
def test_sources(text: str, repository: str, revision: str | None, choice: str | None) -> None:
    assert parse_source(text) == Source(repository=repository, revision=revision, choice=choice)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (QWEN, f"edge-agent models pull hf:{QWEN}"),
        (f"{QWEN}:Q4_K_M", f"edge-agent models pull hf:{QWEN}:Q4_K_M"),
        ("qwen", "A source looks like hf:"),
        ("", "A source looks like hf:"),
        ("hf:", "For example hf:"),
        ("hf:a/b/c", "For example hf:"),
        ("hf:../../etc", "For example hf:"),
        ("hf:a/b:../../c.gguf", "For example hf:"),
        ("hf:a/b@x@y", "For example hf:"),
        ("hf:a/b@x:Q4@y", "For example hf:"),
        ("hf:a/\x1b[2J", "For example hf:"),
        ("https://example.org/model.gguf", "edge-agent models import FILE"),
        ("https://huggingface.co/datasets/a/b/c", "edge-agent models import FILE"),
    ],
)
def test_anything_else_says_what_to_write(text: str, hint: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_source(text)
    assert hint in caught.value.hint
    assert caught.value.message.isprintable()


def test_a_file_that_is_here_is_imported_instead(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.touch()
    with pytest.raises(RequestError, match="on this machine already") as caught:
        parse_source(str(file))
    assert caught.value.hint == f"edge-agent models import {file}"


def test_a_source_reads_as_it_is_written() -> None:
    for text in (f"hf:{QWEN}", f"hf:{QWEN}:Q4_K_M", f"hf:{QWEN}@v1:Q4_K_M"):
        assert str(parse_source(text)) == text
