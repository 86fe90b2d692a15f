"""A small vocabulary out of a large one: nothing becomes unknown, and the tokenizer follows."""

from __future__ import annotations

import json
import string

import pytest
from tokenizers import Tokenizer

from convert.starter.embed.vocabulary import LETTERS, SPECIAL, choose, cut, frequent_words, small_tokenizer

WORDS = ["the", "of", "light", "kitchen", "house", "boat", "lighthouse", "houseboat", "zebra"]
PIECES = ["##s", "##house", "##boat", "##ing", "##ra"]
TEACHER = [
    *("[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *string.punctuation,
    *LETTERS,
    *(f"##{letter}" for letter in LETTERS if letter != "s"),
    *WORDS,
    *PIECES,
    *("##日", "日"),
]


def teacher_json() -> dict[str, object]:
    """As the teacher's: BERT's normalizer, template and special tokens."""
    ids = {entry: place for place, entry in enumerate(TEACHER)}
    marks = {name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in ("[CLS]", "[SEP]")}
    special = [
        {"id": ids[name], "content": name, "special": True}
        | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        for name in (*SPECIAL, "[MASK]")
    ]
    parts = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    parts.append({"SpecialToken": {"id": "[SEP]", "type_id": 0}})
    return {
        "version": "1.0",
        "truncation": {"max_length": 8, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "padding": None,
        "added_tokens": special,
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing", "single": parts, "pair": parts, "special_tokens": marks},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": ids,
        },
    }


def test_special_tokens_come_first_and_the_rest_keeps_its_order() -> None:
    chosen = choose(TEACHER, ["The kitchen zebra"], 130)
    assert tuple(chosen[:4]) == SPECIAL
    places = [TEACHER.index(entry) for entry in chosen[4:]]
    assert places == sorted(places)
    assert len(chosen) == len(set(chosen))


def test_what_the_texts_use_is_kept_however_rare_it_is() -> None:
    assert "zebra" in choose(TEACHER, ["A zebra!"], 120)
    assert "zebra" not in choose(TEACHER, [""], 120)


def test_pieces_are_those_that_the_words_left_out_need() -> None:
    size = len(SPECIAL) + len(string.punctuation) + 2 * len(LETTERS) + 3
    chosen = choose(TEACHER, ["light house"], size)
    # The cheapest way to say "lighthouse" and "houseboat", which did not fit.
    assert "##house" in chosen
    assert "##ing" not in chosen


def test_too_small_a_size_is_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        choose(TEACHER, ["light"], 40)


@pytest.mark.parametrize(
    ("word", "pieces"),
    [("lighthouse", ["light", "##house"]), ("boats", ["boat", "##s"]), ("light", ["light"]), ("x", [])],
)
def test_words_are_cut_at_the_longest_entry(word: str, pieces: list[str]) -> None:
    assert cut(word, {"light", "li", "##house", "boat", "##s", "##ho"}) == pieces


def test_the_tokenizer_numbers_the_entries_as_they_stand_and_cuts_nothing() -> None:
    entries = choose(TEACHER, ["the kitchen light"], 120)
    tokenizer = Tokenizer.from_str(json.dumps(small_tokenizer(teacher_json(), entries)))
    found = tokenizer.encode("The KITCHEN lights of the lighthouse, in the zoo!")
    assert found.tokens[0] == "[CLS]"
    assert found.tokens[-1] == "[SEP]"
    assert "[UNK]" not in found.tokens
    assert [entries[number] for number in found.ids] == found.tokens
    assert found.tokens[1:4] == ["the", "kitchen", "light"]


def test_the_teacher_s_tokenizer_is_not_changed() -> None:
    theirs = teacher_json()
    small_tokenizer(theirs, choose(TEACHER, [""], 120))
    assert theirs == teacher_json()


def test_frequent_words_are_whole_ones_of_three_letters_and_more() -> None:
    assert frequent_words(TEACHER) == [word for word in WORDS if word != "of"]
