"""The best tokens of a step, against numpy's own order and against llama.cpp's samplers over the whole vocabulary."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

from agent.engines.llama.best_tokens import MOST, BestTokens, best_tokens
from agent.engines.llama.library import llama
from agent.engines.llama.sampler import Sampler
from agent.runtime.wire.generation import Sampling

Floats = np.ndarray[Any, np.dtype[np.float32]]

pytestmark = pytest.mark.skipif(
    best_tokens(1, 1) is None, reason="llama.cpp was built without agent/engines/llama/sampling"
)


class Vocabulary:
    """As much of one as a chain without a grammar asks for."""

    pointer = None

    def __init__(self, size: int) -> None:
        self.size = size


def pointer(logits: Floats) -> Any:
    return logits.ctypes.data_as(ctypes.POINTER(ctypes.c_float))


def logits_of(kind: str, size: int, rng: np.random.Generator) -> Floats:
    made: Floats = rng.standard_normal(size, np.float32)
    if kind == "ties":
        made = np.round(made)
    elif kind == "banned":
        made[rng.random(size) < 0.9] = -np.inf
    elif kind == "rising":
        made.sort()
    elif kind == "equal":
        made[:] = 2.5
    return made


@pytest.mark.parametrize("size", [1, 5, 63, 64, 65, 1000, 40_001])
@pytest.mark.parametrize("kind", ["any", "ties", "banned", "rising", "equal"])
@pytest.mark.parametrize("wanted", [1, 2, 40, MOST])
def test_they_are_the_best_in_their_order(size: int, kind: str, wanted: int) -> None:
    logits = logits_of(kind, size, np.random.default_rng(size))
    found = BestTokens(wanted, size).find(pointer(logits))
    expected = np.lexsort((np.arange(size), -logits))[:wanted]
    assert (found.size, found.sorted) == (len(expected), True)
    assert [found.data[place].id for place in range(found.size)] == expected.tolist()
    assert [found.data[place].logit for place in range(found.size)] == logits[expected].tolist()


def test_what_is_not_a_number_is_never_among_them() -> None:
    logits = np.full(500, np.nan, np.float32)
    assert BestTokens(1, 500).find(pointer(logits)) is None
    logits[[7, 400]] = 1.0, 2.0
    found = BestTokens(2, 500).find(pointer(logits))
    assert [found.data[place].id for place in range(2)] == [400, 7]
    assert BestTokens(3, 500).find(pointer(logits)) is None


def test_nothing_is_read_beyond_the_vocabulary() -> None:
    logits = np.zeros(200, np.float32)
    logits[130:] = 9
    found = BestTokens(1, 130).find(pointer(logits))
    assert found.data[0].id == 0


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0),
        Sampling(seed=5),
        Sampling(seed=6, top_k=3, top_p=0.7),
        Sampling(seed=7, top_k=500, temperature=2.0, min_p=0.0, xtc_probability=0.5),
        Sampling(seed=8, top_k=100, typical_p=0.6),
    ],
)
def test_a_chain_draws_the_same_from_them_as_from_all(sampling: Sampling, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    size, draws = 3000, 60
    rows = [3 * rng.standard_normal(size, np.float32) for _ in range(draws)]
    asked: list[int] = []

    def logits_of_row(context: None, index: int) -> Any:
        asked.append(index)
        return pointer(rows[index])

    monkeypatch.setattr(llama, "llama_get_logits_ith", logits_of_row)
    monkeypatch.setattr(Vocabulary, "hidden_tokens", lambda self: (), raising=False)
    vocabulary: Any = Vocabulary(size)
    short, whole = (Sampler(vocabulary, sampling, train_context=512, grammar=None) for _ in range(2))
    drawn = [short.sample(None, row) for row in range(draws)]
    assert asked == list(range(draws))  # so it was not llama.cpp that drew
    expected = [whole._draw(whole._candidates(pointer(row), ())) for row in rows]
    assert drawn == expected
    short.close()
    whole.close()


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(top_k=0),
        Sampling(top_k=MOST + 1),
        Sampling(temperature=0, logit_bias=((3, 5.0),)),
        Sampling(temperature=0, repeat_penalty=1.2, repeat_last_n=64),
        Sampling(temperature=0, presence_penalty=0.5, repeat_last_n=64),
        Sampling(top_n_sigma=1.0),
    ],
)
def test_where_all_tokens_may_decide_llama_cpp_draws(sampling: Sampling, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama, "llama_sampler_sample", lambda chain, context, index: 17 + index)
    vocabulary: Any = Vocabulary(3000)
    sampler = Sampler(vocabulary, sampling, train_context=512, grammar=None)
    assert sampler.sample(None, 2) == 19
    sampler.close()
