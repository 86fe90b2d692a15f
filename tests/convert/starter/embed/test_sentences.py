"""Sentences to train on: the same for the same seed, and never those that are held out."""

from __future__ import annotations

import random
from itertools import islice

import pytest

from convert.starter.embed.grammar import HELD_OUT, read_subjects
from convert.starter.embed.pairs import english, held_out_pairs, pairs_of_lines
from convert.starter.embed.sentences import FAMILY, Sources, draw_any, families, slip

PROSE = tuple(f"Sentence number {number} of the manual says nothing new." for number in range(40))
SOURCES = Sources(read_subjects(), [f"word{number}" for number in range(1000)], PROSE)


def drawn(seed: int, count: int, sources: Sources = SOURCES) -> list[tuple[str, ...]]:
    return list(islice(families(sources, seed), count))


def test_the_same_seed_makes_the_same_sentences() -> None:
    assert drawn(3, 200) == drawn(3, 200)
    assert drawn(3, 200) != drawn(4, 200)
    assert all(len(family) == FAMILY and all(family) for family in drawn(3, 200))


def test_drawing_leaves_the_global_generator_alone() -> None:
    random.seed(1)
    expected = random.random()
    random.seed(1)
    drawn(3, 50)
    held_out_pairs(SOURCES.subjects, 1, 30)
    assert random.random() == expected


def test_without_prose_the_other_sources_fill_in() -> None:
    texts = [text for family in drawn(5, 300, Sources(SOURCES.subjects, SOURCES.words, ())) for text in family]
    assert not any("of the manual" in text for text in texts)
    assert any("of the manual" in text for family in drawn(5, 300) for text in family)


def test_held_out_pairs_share_no_sentence_with_training() -> None:
    seen = {text.lower().rstrip(".?!") for family in drawn(0, 20_000) for text in family}
    pairs = held_out_pairs(SOURCES.subjects, 7)
    held_out = {text.lower().rstrip(".?!") for pair in pairs for text in (pair.left, pair.right)}
    assert len(pairs) == len({(pair.left, pair.right) for pair in pairs}) == 1000
    assert not held_out & seen


def test_no_meaning_of_a_held_out_subject_is_also_taught() -> None:
    taught = {
        way for name, subject in SOURCES.subjects.items() if name not in HELD_OUT for m in subject.meanings for way in m
    }
    kept = {way for name in HELD_OUT for meaning in SOURCES.subjects[name].meanings for way in meaning}
    assert not taught & kept


def test_held_out_pairs_are_of_three_kinds_alike() -> None:
    kinds = [pair.kind for pair in held_out_pairs(SOURCES.subjects, 7, 300)]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"same": 100, "near": 100, "far": 100}
    assert held_out_pairs(SOURCES.subjects, 7, 300) == held_out_pairs(SOURCES.subjects, 7, 300)


def test_pairs_of_lines_are_near_or_far_in_the_file() -> None:
    lines = [f"line {number}" for number in range(300)]
    pairs = pairs_of_lines(lines, 1)
    for pair in pairs:
        distance = int(pair.right.split()[1]) - int(pair.left.split()[1])
        assert 1 <= distance <= 4 if pair.kind == "near" else distance > 4
    assert len({(pair.left, pair.right) for pair in pairs}) == 1000
    with pytest.raises(ValueError, match="too few"):
        pairs_of_lines(lines[:20], 1)


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("The swimmer set a new national record.", True),
        ("Good morning", False),
        ("Le chien court après une balle.", False),
        ('{"device": "pump-2", "state": "running", "rpm": 1450}', False),
        ("https://example.org/manual and some more words", False),
    ],
)
def test_only_english_sentences_are_measured(line: str, kept: bool) -> None:
    assert (english([line]) == [line]) == kept


def test_any_words_differ_and_frequent_ones_come_more_often() -> None:
    rng = random.Random(1)
    words = [f"w{place}" for place in range(100)]
    found = [word for _ in range(500) for word in draw_any(words, 4, rng)]
    assert all(len(set(draw_any(words, 6, rng))) == 6 for _ in range(50))
    assert sum(int(word[1:]) < 50 for word in found) > 0.55 * len(found)


def test_a_slip_changes_one_place() -> None:
    for seed in range(50):
        made = slip("kitchen light", random.Random(seed))
        assert abs(len(made) - len("kitchen light")) <= 1
        assert made[0] == "k"
    assert slip("on", random.Random(1)) == "on"
