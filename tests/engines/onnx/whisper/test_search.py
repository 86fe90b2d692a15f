"""Greedy, drawn and beam-searched texts over a model that is a table of probabilities."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from agent.engines.onnx.whisper.search import Beams, Draws, Line, Search, log_sums, score

VOCABULARY, EOT = 5, 4


def chain(seed: int) -> np.ndarray:
    """Logits [last token or start, next token] of a text in which only the last token counts."""
    return np.random.default_rng(seed).normal(0, 2, (VOCABULARY + 1, VOCABULARY)).astype(np.float32)


def run(search: Search, table: np.ndarray) -> Line:
    """Feeds the search what the table says after each text, as a decoder would; checks that it moves as it says."""
    texts: list[list[int]] = [[]]
    while True:
        logits = np.stack([table[text[-1] if text else VOCABULARY] for text in texts])
        move = search.advance(logits)
        if move is None:
            return search.best()
        texts = [[*texts[source], token] for source, token in zip(move.sources, move.tokens, strict=True)]
        assert len(texts) == len(search.lines)
        for text, line in zip(texts, search.lines, strict=True):
            if not line.complete:
                assert tuple(text) == line.tokens


def every_text(table: np.ndarray, longest: int) -> list[Line]:
    """All complete texts up to a length, with their log-probabilities."""
    logprobs = table - np.log(np.exp(table).sum(axis=1, keepdims=True))
    found = []
    for length in range(longest + 1):
        for tokens in itertools.product(range(EOT), repeat=length):
            path = [VOCABULARY, *tokens, EOT]
            values = [float(logprobs[a, b]) for a, b in itertools.pairwise(path)]
            found.append(Line(tuple(tokens), tuple(values), complete=True))
    return found


@pytest.mark.parametrize("seed", range(6))
def test_the_likeliest_token_at_each_step_without_beams(seed: int) -> None:
    table = chain(seed)
    line = run(Draws(eot=EOT, limit=6, temperature=0, count=5, seed=0), table)
    last, tokens = VOCABULARY, []
    while len(tokens) < 6 and (best := int(table[last].argmax())) != EOT:
        tokens.append(best)
        last = best
    assert list(line.tokens) == tokens
    assert line.complete == (len(tokens) < 6)
    assert len(line.logprobs) == len(tokens) + line.complete


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("length_penalty", [None, 0.0, 1.0])
def test_beams_that_leave_nothing_out_find_the_best_of_all_texts(seed: int, length_penalty: float | None) -> None:
    table = chain(seed)
    table[:, EOT] += 1.5  # texts end soon
    table[3, :EOT] = -np.inf  # and at the latest after a 3
    longest = 3
    table_of_all = [line for line in every_text(table, longest) if math.isfinite(line.total)]
    search = Beams(eot=EOT, limit=longest + 1, size=VOCABULARY**longest, patience=1.0, length_penalty=length_penalty)
    line = run(search, table)
    best = max(table_of_all, key=lambda one: score(one, length_penalty))
    if len(line.tokens) <= longest:
        assert line.tokens == best.tokens
        assert line.total == pytest.approx(best.total, abs=1e-4)


@pytest.mark.parametrize("seed", range(20))
def test_more_beams_find_no_worse_a_text(seed: int) -> None:
    table = chain(seed)
    table[:, EOT] += 1
    found = [run(Beams(eot=EOT, limit=8, size=size, patience=1.0, length_penalty=None), table) for size in (2, 4, 64)]
    assert score(found[2], None) >= max(score(line, None) for line in found[:2]) - 1e-5


def test_a_sure_model_is_not_cut_short_by_bad_texts_that_end_early() -> None:
    """0 1 2 3 and the end are almost certain; every other text ends at once, and there are enough of these."""
    table = np.full((VOCABULARY + 1, VOCABULARY), -9.0, dtype=np.float32)
    for last, token in ((VOCABULARY, 0), (0, 1), (1, 2), (2, 3), (3, EOT)):
        table[last, token] = 0
        table[last, EOT] = max(table[last, EOT], -7.0)
    line = run(Beams(eot=EOT, limit=10, size=3, patience=1.0, length_penalty=None), table)
    assert line.tokens == (0, 1, 2, 3)
    assert line.complete


@pytest.mark.parametrize("size", [2, 5])
def test_what_the_rules_forbid_is_in_no_beam(size: int) -> None:
    table = chain(3)
    table[:, [0, 2]] = -np.inf
    line = run(Beams(eot=EOT, limit=5, size=size, patience=1.0, length_penalty=None), table)
    assert not {0, 2} & set(line.tokens)


def test_beams_end_when_nothing_may_follow() -> None:
    table = np.full((VOCABULARY + 1, VOCABULARY), -np.inf, dtype=np.float32)
    table[VOCABULARY, 1] = table[1, EOT] = 0
    line = run(Beams(eot=EOT, limit=9, size=4, patience=1.0, length_penalty=None), table)
    assert (line.tokens, line.complete) == ((1,), True)


@pytest.mark.parametrize("search", ["beams", "draws"])
def test_a_text_without_end_is_cut(search: str) -> None:
    table = chain(0)
    table[:, EOT] = -np.inf
    made: Search = (
        Beams(eot=EOT, limit=7, size=3, patience=1.0, length_penalty=None)
        if search == "beams"
        else Draws(eot=EOT, limit=7, temperature=1.0, count=3, seed=0)
    )
    line = run(made, table)
    assert len(line.tokens) == 7
    assert not line.complete


def test_draws_are_the_same_for_the_same_seed_and_follow_the_probabilities() -> None:
    table = chain(1)
    table[:, EOT] = np.where(np.arange(VOCABULARY + 1) == VOCABULARY, -np.inf, 50)  # one token, then the end
    shares = np.exp(table[VOCABULARY] / 0.5)
    shares /= shares.sum()
    drawn = [
        run(Draws(eot=EOT, limit=5, temperature=0.5, count=1, seed=seed), table).tokens[0] for seed in range(3_000)
    ]
    again = [run(Draws(eot=EOT, limit=5, temperature=0.5, count=1, seed=seed), table).tokens[0] for seed in range(50)]
    assert drawn[:50] == again
    assert np.abs(np.bincount(drawn, minlength=VOCABULARY) / 3_000 - shares).max() < 0.04


def test_of_several_draws_the_likeliest_is_kept() -> None:
    table = chain(2)
    table[:, EOT] += 1
    search = Draws(eot=EOT, limit=6, temperature=1.5, count=5, seed=3)
    line = run(search, table)
    assert len(search.lines) == 5
    assert len({one.tokens for one in search.lines}) > 1
    assert score(line, None) == max(score(one, None) for one in search.lines)


def test_logarithms_of_sums_do_not_overflow() -> None:
    rows = np.array([[1000.0, 1000.0], [-np.inf, 3.0]], dtype=np.float32)
    assert log_sums(rows) == pytest.approx([1000 + math.log(2), 3.0], rel=1e-6)
