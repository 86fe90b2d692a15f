"""The subjects on disk, and what becomes of their slots."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from convert.starter.embed.grammar import HELD_OUT, WORDS_IN_USE, fill, grammar_texts, read_subjects

LISTS = {"thing": ("cup", "key", "map"), "color": ("red",)}


def test_every_subject_is_read_and_the_held_out_ones_are_there() -> None:
    subjects = read_subjects()
    assert {*HELD_OUT, WORDS_IN_USE, "home", "logs"} <= subjects.keys()
    assert all(len(meaning) >= 2 for subject in subjects.values() for meaning in subject.meanings)


def test_a_slot_is_one_choice_for_all_ways_of_a_meaning() -> None:
    for seed in range(20):
        ways = fill(("the {thing} is here.", "where is the {thing}?"), LISTS, random.Random(seed))
        thing = ways[0].split()[1]
        assert ways == (f"The {thing} is here.", f"Where is the {thing}?")


def test_numbered_slots_differ_from_each_other() -> None:
    for seed in range(20):
        first, second = fill(("{thing} {thing.2}",), LISTS, random.Random(seed))[0].split()
        assert first != second


def test_a_slot_without_a_list_is_named_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("color = red | green\n")
    (tmp_path / "house.txt").write_text("# a comment\nThe {color} {roof}. || A {roof}\n")
    with pytest.raises(ValueError, match=r"house\.txt.*\{roof\}"):
        read_subjects(tmp_path)


def test_a_list_of_a_subject_replaces_the_shared_one(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("color = red\n")
    (tmp_path / "sea.txt").write_text("color = blue\n{color} || {color} water\n")
    sea = read_subjects(tmp_path)["sea"]
    assert fill(sea.meanings[0], sea.lists, random.Random(0)) == ("blue", "blue water")


def test_the_vocabulary_is_not_chosen_by_what_is_held_out() -> None:
    words = set(" ".join(grammar_texts()).lower().replace(".", " ").split())
    assert "kitchen" in words
    assert not {"daffodil", "wheelbarrow", "sonata"} & words
