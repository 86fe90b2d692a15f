"""Windows of sound, what is said in them, and the tokens that they should become."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from convert.starter.whisper.acoustics import RATE_HZ
from convert.starter.whisper.scenes import GAP_S, HARSH, PADDED_SHARE, SILENT_SHARE, Said, draw_scene, nothing
from convert.starter.whisper.tokens import SPECIAL, WORD_ENTRIES, Form, target, train_tokenizer
from tests.convert.starter.whisper.tones import Tones

TONES = Tones()
TOKENIZER = train_tokenizer(TONES.texts)
TWO = (Said(0.5, 1.0, "red one"), Said(1.5, 2.02, "blue two"))


@pytest.mark.parametrize("window_s", [4, 8])
@pytest.mark.parametrize("easy", [True, False])
def test_a_window_holds_what_it_says(window_s: int, easy: bool) -> None:
    rng = np.random.default_rng(1)
    several = 0
    for _ in range(40):
        scene = draw_scene(TONES, window_s, rng, None if easy else HARSH)
        assert scene.audio.shape == (window_s * RATE_HZ,)
        assert scene.audio.dtype == np.float32
        assert np.abs(scene.audio).max() <= 1
        ends = [0.0]
        for one in scene.said:
            assert ends[-1] <= one.start_s < one.end_s <= window_s
            ends.append(one.end_s)
        several += len(scene.said) > 1
    assert several == 0 if easy else several > 0


def test_some_windows_are_silent_and_the_rest_is_not() -> None:
    rng = np.random.default_rng(2)
    silent = sum(not draw_scene(TONES, 4, rng, None).said for _ in range(600)) / 600
    assert silent == pytest.approx(SILENT_SHARE, abs=0.04)


def test_most_windows_have_several_sentences_with_short_pauses_and_some_have_one() -> None:
    rng = np.random.default_rng(4)
    said = [scene.said for scene in (draw_scene(TONES, 6, rng, HARSH) for _ in range(150)) if scene.said]
    assert 0.1 < sum(len(sentences) == 1 for sentences in said) / len(said) < 0.4
    pauses = [after.start_s - before.end_s for sentences in said for before, after in pairwise(sentences)]
    assert GAP_S[0] <= min(pauses)
    assert max(pauses) <= GAP_S[1]


def test_some_windows_end_in_zeros_after_all_that_is_said() -> None:
    rng = np.random.default_rng(5)
    padded = 0
    scenes = [draw_scene(TONES, 4, rng, HARSH) for _ in range(300)]
    for scene in scenes:
        sounding = np.flatnonzero(scene.audio)
        ends = sounding[-1] + 1 if len(sounding) else 0
        assert not scene.said or ends >= int(scene.said[-1].end_s * RATE_HZ)
        padded += ends < len(scene.audio) - 1
    assert padded / len(scenes) == pytest.approx(PADDED_SHARE, abs=0.1)


def test_the_same_generator_draws_the_same_window() -> None:
    first, second = (draw_scene(TONES, 4, np.random.default_rng(7), HARSH) for _ in range(2))
    np.testing.assert_array_equal(first.audio, second.audio)
    assert first.said == second.said


def test_nothing_is_sometimes_digital_silence_and_sometimes_loud() -> None:
    rng = np.random.default_rng(3)
    levels = [float(np.abs(nothing(8000, rng)).max()) for _ in range(60)]
    assert min(levels) == 0
    assert max(levels) > 0.1


def read(ids: list[int]) -> str:
    return TOKENIZER.decode(ids, skip_special_tokens=False)


@pytest.mark.parametrize(
    ("said", "form", "expected"),
    [
        (TWO, "plain", "<|startoftranscript|><|en|><|transcribe|><|notimestamps|>red one blue two<|endoftext|>"),
        (
            TWO,
            "timestamps",
            "<|startoftranscript|><|en|><|transcribe|><|0.50|>red one<|1.00|><|1.50|>blue two<|2.02|><|endoftext|>",
        ),
        ((), "plain", "<|startoftranscript|><|en|><|transcribe|><|notimestamps|><|endoftext|>"),
        ((), "timestamps", "<|startoftranscript|><|en|><|transcribe|><|0.00|><|endoftext|>"),
    ],
)
def test_targets(said: tuple[Said, ...], form: Form, expected: str) -> None:
    made = target(TOKENIZER, said, form)
    assert read(made.tokens) == expected
    assert read([made.after_start]) == ("<|en|>" if said else "<|nospeech|>")


@pytest.mark.parametrize("form", ["plain", "timestamps"])
def test_each_word_has_its_time_and_nothing_else_has_one(form: Form) -> None:
    made = target(TOKENIZER, TWO, form)
    spoken: dict[tuple[float, float], list[int]] = {}
    for token, word in zip(made.tokens, made.moments, strict=True):
        if word is not None and word.is_word:
            spoken.setdefault((round(word.start_s, 2), round(word.end_s, 2)), []).append(token)
    assert {read(tokens).strip(): times for times, tokens in spoken.items()} == {
        "red": (0.5, 0.71),
        "one": (0.79, 1.0),
        "blue": (1.5, 1.76),
        "two": (1.82, 2.02),
    }


def test_several_sentences_are_written_as_their_text_would_be() -> None:
    made = target(TOKENIZER, TWO, "plain")
    words = [token for token, word in zip(made.tokens, made.moments, strict=True) if word is not None and word.is_word]
    assert words == TOKENIZER.encode("red one blue two").ids


def test_special_tokens_come_after_the_words_in_whispers_order() -> None:
    ids = [TOKENIZER.token_to_id(name) for name in SPECIAL]
    assert ids == list(range(ids[0], ids[0] + len(SPECIAL)))
    assert ids[0] <= WORD_ENTRIES
    assert SPECIAL[-1] == "<|30.00|>"
