"""What the decoder reads while it learns: as it was said, or with wrong words, and where it should listen."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from convert.starter.whisper.reading import NO_LABEL, lesson, listening_loss
from convert.starter.whisper.tokens import Moment, Transcript

pytestmark = pytest.mark.torch

START, END = 0, 9
WORDS = ([11], [12, 13], [14, 15, 16])
OTHERS = ([21, 22], [23])


def transcript(words: tuple[list[int], ...]) -> Transcript:
    made = Transcript(words[0][0], [START], [None])
    for place, tokens in enumerate(words):
        made.add(tokens, Moment(place / 2, place / 2 + 0.4))
    return made.add([END])


def test_without_errors_each_token_is_followed_by_the_next() -> None:
    made = lesson([transcript(WORDS), transcript(([17],))], END, np.random.default_rng(1), 0.0)
    assert made.inputs.tolist() == [[0, 11, 12, 13, 14, 15, 16], [0, 17, END, END, END, END, END]]
    assert made.labels.tolist() == [[11, 12, 13, 14, 15, 16, END], [17, END, *[NO_LABEL] * 5]]
    starts = made.spans[0, :, 0].tolist()
    assert starts[:6] == [0, 25, 25, 50, 50, 50]
    assert all(map(math.isnan, [starts[6], *made.spans[1, 1:, 0].tolist()]))
    np.testing.assert_allclose((made.spans[0, :6, 1] - made.spans[0, :6, 0]).numpy(), 20)


def test_of_silence_it_should_say_that_nobody_speaks() -> None:
    made = lesson([Transcript(7, [START, 1, 2, END], [None] * 4)], END, np.random.default_rng(1), 0.5)
    assert (made.inputs.tolist(), made.labels.tolist()) == ([[START, 1, 2]], [[7, 2, END]])


def test_after_an_error_the_right_words_go_on() -> None:
    """What follows a word, right or wrong, is what is said next: the first token of a word, or the end."""
    rng = np.random.default_rng(1)
    said, firsts = [START, 11, 12, 13, 14, 15, 16], [11, 12, 14, END]
    wrong = 0
    for _ in range(400):
        made = lesson([transcript(WORDS), transcript(OTHERS)], END, rng, 0.12)
        inputs, labels = made.inputs[0].tolist(), made.labels[0].tolist()
        length = max(place for place, label in enumerate(labels) if label != NO_LABEL) + 1
        assert labels[length - 1] in (14, END)  # 14 where the last word was left out
        kept = [label for label in labels if label in firsts]
        assert kept == sorted(kept, key=firsts.index)
        for read, label in zip(inputs[:length], labels, strict=False):
            if read in (21, 22, 23):
                assert label == (NO_LABEL if read == 21 else label)
                assert label in [*firsts, NO_LABEL]
        wrong += inputs[:length] != said
    share = 1 - 0.88 ** len(WORDS)
    assert wrong / 400 == pytest.approx(share, abs=0.08)


def test_the_loss_is_small_where_it_listens_to_the_word() -> None:
    spans = torch.tensor([[[10.0, 20.0], [math.nan, math.nan]]])
    logits = torch.zeros(1, 2, 100)
    assert float(listening_loss(logits, spans, 0)) == pytest.approx(math.log(100 / 11), rel=1e-4)
    assert float(listening_loss(logits, spans, 10)) == pytest.approx(math.log(100 / 31), rel=1e-4)
    logits[0, 0, 15] = 20
    assert float(listening_loss(logits, spans, 0)) < 0.01
    logits[0, 0, 60] = 40
    assert float(listening_loss(logits, spans, 0)) == pytest.approx(20, abs=0.1)
    assert float(listening_loss(logits, spans[:, 1:], 0)) == 0
