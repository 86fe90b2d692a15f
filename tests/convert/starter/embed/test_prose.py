"""Which sentences of a documentation text are taken."""

from __future__ import annotations

from pathlib import Path

from convert.starter.embed.prose import markdown_sentences, sentences_of, standard_library_sentences


def test_english_is_taken_and_code_is_left() -> None:
    text = """Return the name of the file.

    The file is opened for reading, and closed
    when it was read. Short one.

    >>> open("name").read()

    f(x) = [a for a in b] + {c: d} == e_1 | g_2 & h_3 is not taken.

    Example:: code follows here and is left out too
    """
    assert sentences_of(text) == [
        "Return the name of the file.",
        "The file is opened for reading, and closed when it was read.",
    ]


def test_docstrings_of_files_are_read_in_order_and_each_sentence_once(tmp_path: Path) -> None:
    (tmp_path / "b.py").write_text('def f():\n    """The second file has this sentence."""\n')
    (tmp_path / "a.py").write_text(
        '"""This is the first sentence."""\nclass A:\n    """This is the first sentence."""\n'
    )
    (tmp_path / "broken.py").write_text("def (:\n")
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "c.py").write_text('"""This is in a folder of tests."""\n')
    found = standard_library_sentences(tmp_path)
    assert found == ["This is the first sentence.", "The second file has this sentence."]


def test_pages_are_read_without_tables_headings_and_code() -> None:
    page = """# A heading that has five words

The `daemon` reads [its settings](configuration.md) once. It
writes **nothing** to them.

- An item of a list is a sentence too.

| a table | is not taken at all |

```console
$ this is code and not a sentence
```
"""
    assert markdown_sentences(page) == [
        "The daemon reads its settings once.",
        "It writes nothing to them.",
        "An item of a list is a sentence too.",
    ]
