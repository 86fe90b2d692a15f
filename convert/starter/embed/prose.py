"""English that is on every machine with Python: sentences of the documentation in the standard library's own files.

It is read to train on, and no sentence of it is kept in the model or shipped with it. Another version of Python has
slightly other sentences.
"""

from __future__ import annotations

import ast
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_LEFT_OUT: Final = (
    "site-packages",
    "dist-packages",
    "test",
    "tests",
    "idlelib",
    "lib2to3",
    "__pycache__",
    "pydoc_data",
)
_END: Final = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_ODD: Final = re.compile(r"[^A-Za-z0-9 ,.;:'\"!?()/%-]")
_FENCED: Final = re.compile(r"```.*?```", re.DOTALL)
_LINK: Final = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_ITEM: Final = re.compile(r"^\s*(?:[-*]\s|\d+\.\s)?\s*")
LEAST_WORDS: Final = 4
MOST_WORDS: Final = 32
ODD_SHARE: Final = 0.03
"""Of the characters, that are neither letters nor usual punctuation: beyond it, it is code."""


def standard_library_sentences(folder: Path | None = None) -> list[str]:
    """Sentences of 4 to 32 words, each once, in the order of the files."""
    folder = folder or Path(sysconfig.get_path("stdlib"))
    found: dict[str, None] = {}
    for path in sorted(folder.rglob("*.py")):
        if not any(part in _LEFT_OUT for part in path.relative_to(folder).parts):
            for text in _docstrings(path):
                found.update(dict.fromkeys(sentences_of(text)))
    return list(found)


def sentences_of(text: str) -> list[str]:
    """The sentences of a documentation text that read like English."""
    kept = []
    for block in re.split(r"\n\s*\n", text):
        if ">>>" in block or "::" in block:
            continue
        for sentence in _END.split(" ".join(block.split())):
            words = sentence.split()
            odd = len(_ODD.findall(sentence))
            if LEAST_WORDS <= len(words) <= MOST_WORDS and odd <= ODD_SHARE * len(sentence) and sentence[0].isalpha():
                kept.append(sentence)
    return kept


def markdown_sentences(page: str) -> list[str]:
    """The plain sentences of a page in Markdown: of its paragraphs and lists, not of tables, headings and code."""
    text = _LINK.sub(r"\1", _FENCED.sub("\n\n", page)).replace("`", "").replace("*", "")
    lines = [_ITEM.sub("", line) for line in text.split("\n")]
    return sentences_of("\n".join("" if line.startswith(("|", "#")) else line for line in lines))


def _docstrings(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield text
