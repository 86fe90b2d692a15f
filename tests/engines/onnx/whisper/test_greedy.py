"""Greedy decoding: what is fed, what is chosen, what is said of it. The script below stands in for a decoder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pytest

from agent.engines.onnx.whisper.artifact import WhisperSpec
from agent.engines.onnx.whisper.decode import Hypothesis, detect_language
from agent.engines.onnx.whisper.encoder import CrossAttention
from agent.engines.onnx.whisper.greedy import GreedyOptions, decode_greedy
from agent.engines.onnx.whisper.model import WhisperModel
from agent.engines.onnx.whisper.steps import Logits
from agent.errors import EngineError, RequestError
from tests.engines.onnx.whisper.made_audio import glide
from tests.engines.onnx.whisper.spec import SPEC, make_spec
from tests.engines.onnx.whisper.tiny import CAPACITY

EOT, SOT, EN, DE, TRANSLATE, TRANSCRIBE = range(40, 46)
NO_SPEECH, NO_TIMESTAMPS, TIMES = 48, 49, 50
NOTHING = CrossAttention(values={}, batch=1, positions=1)


class Script:
    """A decoder whose logits after each step are written down: {token: logit}, 0 for every other token."""

    def __init__(self, steps: Sequence[Mapping[int, float]], capacity: int = 24) -> None:
        self.fed: list[list[int]] = []
        self.length = 0
        self.capacity = capacity
        self._steps = iter(steps)

    def begin(self, cross: CrossAttention) -> None:
        assert cross is NOTHING

    def rollback(self, length: int) -> None:
        self.length = length

    def reorder(self, rows: Sequence[int]) -> None:
        assert list(rows) == [0]

    def step(self, tokens: npt.ArrayLike) -> Logits:
        (row,) = np.asarray(tokens).tolist()
        self.fed.append(row)
        self.length += len(row)
        logits = np.zeros((1, SPEC["vocab_size"]), dtype=np.float32)
        for token, logit in next(self._steps).items():
            logits[0, token] = logit
        return logits


def decode(script: Script, spec: WhisperSpec | None = None, **options: object) -> Hypothesis:
    return decode_greedy(script, spec or make_spec(), NOTHING, GreedyOptions(**options))  # type: ignore[arg-type]


def english_only() -> WhisperSpec:
    return make_spec(multilingual=False, languages={})


def test_the_likeliest_tokens_are_taken_until_the_text_ends() -> None:
    script = Script([{EN: 9}, {5: 9}, {6: 9, 7: 8}, {EOT: 9}])
    heard = decode(script)
    assert heard.tokens == (5, 6)
    assert heard.complete
    assert script.fed == [[SOT], [EN, TRANSCRIBE, NO_TIMESTAMPS], [5], [6]]


@pytest.mark.parametrize(
    ("spec", "options", "fed"),
    [
        (make_spec(), {}, [[SOT], [DE, TRANSCRIBE, NO_TIMESTAMPS]]),  # detected
        (make_spec(), {"language": "en"}, [[SOT], [EN, TRANSCRIBE, NO_TIMESTAMPS]]),
        (make_spec(), {"task": "translate"}, [[SOT], [DE, TRANSLATE, NO_TIMESTAMPS]]),
        (make_spec(), {"timestamps": True}, [[SOT], [DE, TRANSCRIBE]]),
        (english_only(), {}, [[SOT], [NO_TIMESTAMPS]]),
        (english_only(), {"language": "en"}, [[SOT], [NO_TIMESTAMPS]]),
        (english_only(), {"timestamps": True}, [[SOT]]),
        (
            make_spec(tokens=SPEC["tokens"] | {"no_timestamps": None, "timestamp_begin": None}),
            {},
            [[SOT], [DE, TRANSCRIBE]],
        ),
    ],
)
def test_the_start_says_language_task_and_timestamps(
    spec: WhisperSpec, options: dict[str, object], fed: list[list[int]]
) -> None:
    script = Script([{DE: 5, EN: 4, 5: 9}, *[{TIMES: 20}] * 3])
    decode(script, spec, max_tokens=1, **options)
    assert script.fed == fed


@pytest.mark.parametrize(
    ("spec", "options", "param"),
    [
        (make_spec(), {"language": "xx"}, "language"),
        (english_only(), {"language": "de"}, "language"),
        (english_only(), {"task": "translate"}, "task"),
        (make_spec(tokens=SPEC["tokens"] | {"translate": None}), {"task": "translate"}, "task"),
        (make_spec(tokens=SPEC["tokens"] | {"timestamp_begin": None}), {"timestamps": True}, "timestamps"),
    ],
)
def test_what_the_model_cannot_do_is_refused_before_anything_runs(
    spec: WhisperSpec, options: dict[str, object], param: str
) -> None:
    script = Script([])
    with pytest.raises(RequestError) as caught:
        decode(script, spec, **options)
    assert caught.value.param == param
    assert script.fed == []


def test_the_language_is_the_likeliest_among_languages() -> None:
    logits = np.zeros(64, dtype=np.float32)
    logits[[5, EN, DE]] = [50.0, math.log(1), math.log(3)]
    assert detect_language(make_spec(), logits) == ("de", pytest.approx(0.75))
    heard = decode(Script([{DE: math.log(3)}, {EOT: -50, 5: 9}, {EOT: 9}]))
    assert (heard.language, heard.language_probability) == ("de", pytest.approx(0.75))


@pytest.mark.parametrize("spec", [make_spec(), english_only()])
def test_a_language_that_was_given_has_no_probability(spec: WhisperSpec) -> None:
    heard = decode(Script([{DE: 9}, {5: 9}, {EOT: 9}]), spec, language="en")
    assert (heard.language, heard.language_probability) == ("en", None)


def test_no_speech_is_a_probability_among_all_tokens_after_the_start() -> None:
    heard = decode(Script([{NO_SPEECH: math.log(63)}, {5: 9}, {EOT: 9}]))
    assert heard.no_speech_probability == pytest.approx(0.5)


def test_a_model_without_the_token_says_nothing_of_silence() -> None:
    spec = make_spec(tokens=SPEC["tokens"] | {"no_speech": None})
    assert decode(Script([{}, {5: 9}, {EOT: 9}]), spec).no_speech_probability is None


def test_the_average_counts_the_end_and_only_what_the_rules_leave() -> None:
    heard = decode(Script([{}, {5: 3.0, 1: 99.0}, {EOT: 2.0}]))
    # 1 and 2 are suppressed, and so are six tokens of the prompt; at the first place 3 and the end too.
    first = 3.0 - math.log(math.exp(3.0) + 64 - 1 - 10)
    last = 2.0 - math.log(math.exp(2.0) + 64 - 1 - 8)
    assert heard.tokens == (5,)
    assert heard.average_logprob == pytest.approx((first + last) / 2, rel=1e-5)


@pytest.mark.parametrize(
    ("limit", "capacity", "tokens"),
    [(3, 24, 3), (None, 24, 12), (None, 10, 6), (100, 10, 6)],
)
def test_a_text_without_end_is_cut_at_the_limit_and_within_the_buffers(
    limit: int | None, capacity: int, tokens: int
) -> None:
    script = Script([{}, *[{5: 9}] * 30], capacity=capacity)
    heard = decode(script, max_tokens=limit)
    assert heard.tokens == (5,) * tokens
    assert not heard.complete
    assert script.length <= capacity


def test_timestamps_are_part_of_the_tokens_and_keep_to_the_rules() -> None:
    text = [{5: 9, TIMES + 2: 5}, {7: 9}, {8: 4, TIMES + 1: 9, TIMES + 6: 8}, {6: 9, EOT: 5}]
    heard = decode(Script([{}, *text]), timestamps=True)
    assert heard.tokens == (TIMES + 2, 7, TIMES + 6)
    assert heard.complete


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_broken_model_is_an_error_and_not_a_text(bad: float) -> None:
    with pytest.raises(EngineError, match="not finite"):
        decode(Script([{}, {5: bad}]))


@pytest.mark.parametrize("precision", ["fp32", "int8", "fp16"])
@pytest.mark.parametrize("timestamps", [False, True])
def test_a_real_decoder_says_the_same_each_time(
    models: dict[str, WhisperModel], precision: str, timestamps: bool
) -> None:
    model = models[precision]
    options = GreedyOptions(language="en", timestamps=timestamps)
    heard = model.transcribe(glide(12_000), options)
    assert model.transcribe(glide(12_000), options) == heard
    assert 0 < len(heard.tokens) <= CAPACITY // 2
    assert heard.average_logprob < 0
    if timestamps:
        assert heard.tokens[0] >= (model.spec.tokens.timestamp_begin or 0)
