"""The worker process with real models: what a request gets back."""

from __future__ import annotations

import math
import os
import signal
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.runtime.wire.control import SetPace, SetThreads
from agent.runtime.wire.generation import Sampling
from agent.runtime.wire.options import LlamaOptions, Lora
from benchmarks.models import shapes
from tests.engines.worker_process import WorkerProcess

# Flash attention rounds to 16 bits in an order that depends on the batch: without it, batches do not show in the text.
OPTIONS = LlamaOptions(
    context_tokens=512,
    slots=4,
    batch_tokens=128,
    prefix_cache_bytes=8 * 1024 * 1024,
    kv_type="f32",
    flash_attention="off",
)
PROMPTS = [f"{word} upon a time in a land of {word}" for word in ("Once", "Twice", "Never", "Always", "Maybe")]


@pytest.fixture(scope="module")
def worker(tiny_model: Path) -> Iterator[WorkerProcess]:
    with WorkerProcess(tiny_model, OPTIONS) as process:
        yield process


def test_greedy_text_is_the_same_alone_in_a_batch_and_from_a_cached_prefix(worker: WorkerProcess) -> None:
    alone = [worker.generate(prompt=p, max_tokens=24, cache_prompt=False).text for p in PROMPTS]
    batch = worker.collect(*(worker.submit(prompt=p, max_tokens=24) for p in PROMPTS))
    again = worker.collect(*(worker.submit(prompt=p, max_tokens=24) for p in PROMPTS))
    assert [a.text for a in batch] == alone
    assert [a.text for a in again] == alone
    assert any(a.finished[0].cached_tokens for a in again)


def test_stories_continue_as_published(stories_model: Path) -> None:
    story = ", there was a little girl named Lily. She loved to play outside in the park."
    prompts = [
        "Once upon a time",
        "One day",
        "Lily and Tom",
        "The dog",
        "A big red ball",
        "In the park",
        "Mom",
        "There was",
    ]
    with WorkerProcess(stories_model, LlamaOptions(context_tokens=512, slots=8)) as process:
        alone = [process.generate(prompt=p, max_tokens=60).text for p in prompts]
        batch = process.collect(*(process.submit(prompt=p, max_tokens=60) for p in prompts))
        assert alone[0].startswith(story)
        assert [a.text for a in batch] == alone


def test_usage_and_reasons(worker: WorkerProcess) -> None:
    finished = worker.generate(prompt=PROMPTS[0], max_tokens=7).finished[0]
    assert (finished.reason, finished.completion_tokens) == ("length", 7)
    assert finished.prompt_tokens > 0
    assert finished.prefill_s >= 0
    assert finished.decode_s > 0


def test_a_stop_string_is_not_shown(worker: WorkerProcess) -> None:
    text = worker.generate(prompt=PROMPTS[0], max_tokens=40).text
    stop = text[10:14]
    answer = worker.generate(prompt=PROMPTS[0], max_tokens=40, stop=(stop,))
    assert answer.text == text[: text.index(stop)]
    assert answer.finished[0].reason == "stop"
    assert answer.finished[0].stop_sequence == stop


def test_several_choices_share_the_prompt_and_differ(worker: WorkerProcess) -> None:
    answer = worker.generate(prompt=PROMPTS[1] * 5, max_tokens=16, n=3, sampling=Sampling(temperature=1.5, seed=1))
    assert len(set(answer.texts.values())) == 3
    assert answer.finished[2].cached_tokens == answer.finished[2].prompt_tokens - 1


def test_a_seed_repeats_itself(worker: WorkerProcess) -> None:
    sampling = Sampling(temperature=1.2, seed=7, top_k=0, min_p=0)
    texts = {worker.generate(prompt=PROMPTS[0], max_tokens=16, sampling=sampling).text for _ in range(2)}
    other = worker.generate(
        prompt=PROMPTS[0], max_tokens=16, sampling=Sampling(temperature=1.2, seed=8, top_k=0, min_p=0)
    )
    assert len(texts) == 1
    assert other.text not in texts


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(top_k=5, typical_p=0.9, seed=1),
        Sampling(repeat_penalty=1.3, presence_penalty=0.5, frequency_penalty=0.5, seed=1),
        Sampling(repeat_penalty=1.3, repeat_last_n=-1, temperature=0),
        Sampling(dry_multiplier=0.8, seed=1),
        Sampling(xtc_probability=0.5, xtc_threshold=0.05, seed=1),
        Sampling(top_n_sigma=1.0, seed=1),
        Sampling(seed=-1),
    ],
)
def test_every_sampler_runs(worker: WorkerProcess, sampling: Sampling) -> None:
    answer = worker.generate(prompt=PROMPTS[0], max_tokens=12, sampling=sampling, ignore_eos=True)
    assert answer.failed is None
    assert answer.finished[0].completion_tokens == 12


def test_logit_bias_forces_a_token(worker: WorkerProcess) -> None:
    answer = worker.generate(
        prompt=PROMPTS[0], max_tokens=3, sampling=Sampling(temperature=0, logit_bias=((65, 100.0),)), logprobs=0
    )
    assert [entry.token for delta in answer.deltas for entry in delta.logprobs or ()] == [65, 65, 65]


def test_log_probabilities_are_a_distribution_and_match_the_greedy_choice(worker: WorkerProcess) -> None:
    answer = worker.generate(prompt=PROMPTS[0], max_tokens=5, logprobs=4)
    entries = [entry for delta in answer.deltas for entry in delta.logprobs or ()]
    assert len(entries) == 5
    for entry in entries:
        assert entry.top[0][0] == entry.token
        assert [t[2] for t in entry.top] == sorted((t[2] for t in entry.top), reverse=True)
        assert sum(math.exp(t[2]) for t in entry.top) <= 1.0001
    assert b"".join(entry.piece for entry in entries).decode("utf-8", "replace") == answer.text


def test_echo_with_log_probabilities_scores_the_prompt(worker: WorkerProcess) -> None:
    answer = worker.generate(prompt="abcabc", max_tokens=0, echo=True, logprobs=1)
    entries = [entry for delta in answer.deltas for entry in delta.logprobs or ()]
    assert b"".join(entry.piece for entry in entries).decode() == "abcabc"
    assert len(entries) == answer.finished[0].prompt_tokens
    assert all(entry.logprob < 0 for entry in entries[1:])


def test_echo(worker: WorkerProcess) -> None:
    plain = worker.generate(prompt=PROMPTS[0], max_tokens=4)
    assert worker.generate(prompt=PROMPTS[0], max_tokens=4, echo=True).text == PROMPTS[0] + plain.text


def test_token_prompts(worker: WorkerProcess) -> None:
    assert worker.generate(prompt=(72, 101, 108, 108, 111), max_tokens=3).finished[0].prompt_tokens == 5


def test_the_chat_template_of_the_model_is_used(worker: WorkerProcess) -> None:
    chat = worker.generate(messages=({"role": "user", "content": "Hi"},), max_tokens=8)
    raw = worker.generate(prompt="<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", max_tokens=8)
    assert chat.text == raw.text
    assert chat.finished[0].prompt_tokens == raw.finished[0].prompt_tokens


@pytest.mark.parametrize(
    ("fields", "code", "says"),
    [
        ({"prompt": "x" * 4000}, "context_length_exceeded", "context is 512"),
        ({"prompt": (10**6,)}, "invalid_request", "ids are 0 to"),
        ({"prompt": "x", "grammar": "root ::= ("}, "invalid_request", "does not parse"),
        ({"prompt": "x", "grammar": "root ::= " + "(" * 1000 + '"a"' + ")" * 1000}, "invalid_request", "deeper"),
        ({"prompt": "x", "sampling": Sampling(logit_bias=((-5, 1.0),))}, "invalid_request", "logit_bias"),
        ({"messages": ({"role": "user", "content": 3},), "template_arguments": {"messages": 1}}, "invalid_request", ""),
    ],
)
def test_wrong_requests_are_told_why(worker: WorkerProcess, fields: dict[str, object], code: str, says: str) -> None:
    answer = worker.generate(max_tokens=4, **fields)
    assert answer.failed is not None
    assert answer.failed.error.code == code
    assert says in answer.failed.error.message
    assert worker.generate(prompt="still here", max_tokens=2).failed is None


def test_a_grammar_constrains(worker: WorkerProcess) -> None:
    answer = worker.generate(prompt="x", max_tokens=40, grammar='root ::= "yes" | "no!"', sampling=Sampling(seed=3))
    assert answer.text in ("yes", "no!")
    assert answer.finished[0].reason == "stop"


def test_an_answer_ends_with_the_context(worker: WorkerProcess) -> None:
    finished = worker.generate(prompt="x" * 300, max_tokens=None, ignore_eos=True).finished[0]
    assert finished.reason == "length"
    assert finished.prompt_tokens + finished.completion_tokens == 512


def test_context_shift_goes_on_past_the_context(worker: WorkerProcess) -> None:
    finished = worker.generate(prompt="x" * 100, max_tokens=900, ignore_eos=True, context_shift=True).finished[0]
    assert finished.completion_tokens == 900


def test_more_than_fits_is_preempted_and_still_complete(worker: WorkerProcess) -> None:
    prompts = [word * 60 for word in ("ab", "cd", "ef", "gh")]
    alone = [worker.generate(prompt=p, max_tokens=200, ignore_eos=True).text for p in prompts]
    together = worker.collect(*(worker.submit(prompt=p, max_tokens=200, ignore_eos=True) for p in prompts))
    assert [a.finished[0].completion_tokens for a in together] == [200] * 4
    assert [a.text for a in together] == alone


def test_an_idle_conversation_comes_back_from_the_host(worker: WorkerProcess) -> None:
    prompts = [tuple((i * 37 + k * k) % 250 for k in range(200)) for i in range(6)]
    first = [worker.generate(prompt=p, max_tokens=4).text for p in prompts]
    answers = [worker.generate(prompt=(*p, 63), max_tokens=4) for p in prompts]
    assert [a.finished[0].cached_tokens >= 199 for a in answers] == [True] * 6
    assert worker.ping().prefix_cache_bytes > 0
    assert [worker.generate(prompt=p, max_tokens=4).text for p in prompts] == first


def test_a_conversation_parked_on_the_host_after_a_pause_goes_on_as_if_nothing_was(worker: WorkerProcess) -> None:
    prompt = tuple((k * 7 + 3) % 250 for k in range(150))
    first = worker.generate(prompt=prompt, max_tokens=8)
    held = worker.ping().kv_used_tokens
    time.sleep(1.0)
    assert worker.ping().kv_used_tokens < held
    again = worker.generate(prompt=prompt, max_tokens=8)
    assert again.finished[0].cached_tokens == 149
    assert again.text == first.text


def test_cancel_leaves_the_others_as_they_were(worker: WorkerProcess) -> None:
    alone = worker.generate(prompt=PROMPTS[0], max_tokens=120, ignore_eos=True).text
    kept = worker.submit(prompt=PROMPTS[0], max_tokens=120, ignore_eos=True)
    gone = worker.submit(prompt=PROMPTS[1], max_tokens=400, ignore_eos=True)
    in_prefill = worker.submit(prompt="y" * 450, max_tokens=10)
    worker.collect(until=lambda: len(worker.answers[gone].deltas) > 5)
    worker.cancel(gone)
    worker.cancel(in_prefill)
    answers = worker.collect(kept, gone, in_prefill)
    assert answers[0].text == alone
    assert answers[1].finished[0].reason == "cancelled"
    assert answers[2].finished[0].reason in ("cancelled", "length")


def test_threads_change_between_steps(worker: WorkerProcess) -> None:
    alone = worker.generate(prompt=PROMPTS[0], max_tokens=60).text
    request = worker.submit(prompt=PROMPTS[0], max_tokens=60)
    worker.send(SetThreads(2, 2))
    assert worker.collect(request)[0].text == alone
    assert worker.ping().threads <= 2  # one, while something else holds a core
    worker.send(SetThreads(1, 1))
    assert worker.generate(prompt=PROMPTS[0], max_tokens=60).text == alone
    assert worker.ping().threads == 1


def test_the_pace_bounds_steps_and_rests_between_them(worker: WorkerProcess) -> None:
    alone = worker.generate(prompt=PROMPTS[0], max_tokens=20).text
    worker.send(SetPace(0.1, 7))
    worker.generate(prompt="z" * 300, max_tokens=1, cache_prompt=False)
    assert 0 < worker.ping().batch_tokens <= 7
    assert worker.generate(prompt=PROMPTS[0], max_tokens=20).text == alone
    worker.send(SetPace(1e6, 512))
    resting = worker.submit(prompt=PROMPTS[0], max_tokens=400, ignore_eos=True)
    worker.collect(until=lambda: len(worker.answers[resting].deltas) > 0)
    for _ in range(20):  # much longer than a step
        assert worker.ping().step_age_s == 0
        time.sleep(0.01)
    assert len(worker.answers[resting].deltas) <= 2
    worker.send(SetPace(0.0, 512))  # ends a rest that has begun
    worker.cancel(resting)
    assert worker.collect(resting)[0].finished[0].reason == "cancelled"
    assert worker.generate(prompt=PROMPTS[0], max_tokens=20).text == alone


def test_a_lora_adapter_changes_the_answers(tiny_model: Path, tmp_path: Path, worker: WorkerProcess) -> None:
    adapter = tmp_path / "adapter.gguf"
    shapes.write_lora("tiny", adapter, seed=3)
    options = LlamaOptions(context_tokens=512, lora=(Lora(str(adapter), 4.0),))
    with WorkerProcess(tiny_model, options) as adapted:
        assert adapted.load_failed is None
        assert (
            adapted.generate(prompt=PROMPTS[0], max_tokens=24).text
            != worker.generate(prompt=PROMPTS[0], max_tokens=24).text
        )


def test_a_lora_adapter_that_is_none_fails_the_load(tiny_model: Path) -> None:
    with WorkerProcess(tiny_model, LlamaOptions(lora=(Lora(str(tiny_model)),))) as process:
        assert process.load_failed is not None
        assert "LoRA" in process.load_failed.error.message


def test_embeddings_do_not_depend_on_the_batch(embedding_model: Path) -> None:
    texts = ("a b", "c d e f g", "a b c d e f g h i j k")
    with WorkerProcess(embedding_model, LlamaOptions(embedding=True, slots=4)) as process:
        assert process.loaded is not None
        dim = process.loaded.embedding_dim
        together = process.collect(process.submit_embed(texts))[0].embedded
        assert together is not None
        for i, text in enumerate(texts):
            alone = process.collect(process.submit_embed((text,)))[0].embedded
            assert alone is not None
            a = struct.unpack(f"<{dim}f", alone.vectors)
            b = struct.unpack_from(f"<{dim}f", together.vectors, i * dim * 4)
            assert sum(x * y for x, y in zip(a, b, strict=True)) > 0.9999
            assert math.isclose(math.hypot(*a), 1, abs_tol=1e-4)
        many = process.collect(process.submit_embed(tuple("word " * (i % 7 + 1) for i in range(100))))[0].embedded
        assert many is not None
        assert len(many.vectors) == 100 * dim * 4
        for inputs, code in (((" ".join(["x"] * 5000),), "context_length_exceeded"), (("",), "invalid_request")):
            failed = process.collect(process.submit_embed(inputs))[0].failed
            assert failed is not None
            assert failed.error.code == code
        cut = process.collect(process.submit_embed((" ".join(["x"] * 5000),), truncate=True))[0].embedded
        assert cut is not None
        assert cut.truncated == (0,)


def test_each_kind_of_model_refuses_the_other_kind_of_request(worker: WorkerProcess, embedding_model: Path) -> None:
    failed = worker.collect(worker.submit_embed(("x",)))[0].failed
    assert failed is not None
    assert "generates text; it does nothing else" in failed.error.message
    with WorkerProcess(embedding_model, LlamaOptions(embedding=True)) as process:
        assert process.generate(prompt="x").failed is not None
    with WorkerProcess(embedding_model, LlamaOptions()) as process:
        assert process.load_failed is not None
        assert "embedding model" in process.load_failed.error.message


def test_the_prediction_is_close_to_what_is_measured(worker: WorkerProcess) -> None:
    assert worker.predicted is not None
    assert worker.loaded is not None
    predicted = worker.predicted.total_bytes - worker.predicted.prefix_cache_bytes
    measured = worker.loaded.memory.resident_bytes
    assert 0.85 < predicted / measured < 1.15


def test_the_worker_ends_with_the_daemon(tiny_model: Path) -> None:
    process = WorkerProcess(tiny_model, OPTIONS)
    process.submit(prompt=PROMPTS[0], max_tokens=400, ignore_eos=True)
    process.receive()
    process._socket.close()
    assert process.process.wait(5) == 0


def test_a_stopped_worker_goes_on(worker: WorkerProcess) -> None:
    request = worker.submit(prompt=PROMPTS[2], max_tokens=50)
    os.kill(worker.process.pid, signal.SIGSTOP)
    time.sleep(0.1)
    os.kill(worker.process.pid, signal.SIGCONT)
    assert worker.collect(request)[0].finished[0].completion_tokens == 50
