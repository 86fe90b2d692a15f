"""How fast a model reads and writes: over the length of the prompt, and over requests at the same time."""

from __future__ import annotations

import time
from typing import Final

from agent.bench.completion import Completion, together_per_s
from agent.bench.report import Overhead, Row, rounded
from agent.bench.run import Run, together
from agent.bench.server import Model
from agent.bench.spread import percentile
from agent.bench.writer import Writer
from agent.errors import ContextOverflowError

CONTEXTS: Final = (128, 512, 2048, 8192)
QUICK_CONTEXTS: Final = (64, 256)
TOGETHER: Final = (1, 2, 4, 8)
QUICK_TOGETHER: Final = (1, 4)
SHORT_PROMPT_TOKENS: Final = 32
ANSWER_TOKENS: Final = 64
QUICK_ANSWER_TOKENS: Final = 32
FIRST_TOKENS: Final = 4
"""Asked of a request of which only the first token is looked at."""

_TELLING_S: Final = 0.25
"""In a shorter answer, when the first event woke this process decides more than anything else."""

_WARM_UP_TOKENS: Final = 512
"""A longer prompt warms up for itself."""

_LONGEST_PROMPT_S: Final = 120.0
_FILLED: Final = 0.95
"""Share of the context that a prompt and its answer may take: words are no whole number of tokens."""


async def over_contexts(run: Run, writer: Writer, model: Model) -> None:
    """Prompt speed and generation speed for each length of the prompt."""
    answer_tokens = _answer_tokens(run, writer, model)
    overhead = OverheadTally()
    per_s = 0.0
    for tokens in QUICK_CONTEXTS if run.options.quick else CONTEXTS:
        if model.context_tokens and tokens + answer_tokens > model.context_tokens * _FILLED:
            break
        limit_s = _LONGEST_PROMPT_S / (8 if run.options.quick else 1)
        if per_s and tokens / per_s > limit_s:
            run.problem(f"Prompts of {tokens} tokens are left out: one would take {tokens / per_s:.0f} s.")
            break

        async def once(tokens: int = tokens) -> Completion:
            prompt = writer.prompt(tokens)
            with overhead:
                answer = await writer.complete(prompt, answer_tokens)
            overhead.add(answer)
            return answer

        try:
            answers = await run.repeat(once, full=5, quick=3, warm_up=tokens <= _WARM_UP_TOKENS)
        except ContextOverflowError:
            run.problem(f"A prompt of {tokens} tokens is too long for {model.name}.")
            break
        _rows(run, tokens, answers)
        per_s = max((one.prompt_tokens_per_s or 0.0 for one in answers), default=0.0)
        await run.cool_down()
    run.report.overhead = overhead.result()


def _answer_tokens(run: Run, writer: Writer, model: Model) -> int:
    """More of a model so fast that an answer would be over in a moment, as far as its context goes."""
    least = run.times(ANSWER_TOKENS, QUICK_ANSWER_TOKENS)
    room = model.context_tokens // 4 if model.context_tokens else least
    return max(least, min(writer.lasting_tokens, room))


def _rows(run: Run, tokens: int, answers: list[Completion]) -> None:
    sent = [one.prompt_tokens for one in answers if one.prompt_tokens is not None]
    counts = {"prompt_tokens_sent": sum(sent) / len(sent)} if sent else {}
    case: dict[str, str | int | float] = {"prompt_tokens": tokens}
    if run.options.wants("prompt"):
        speeds = [one.prompt_tokens_per_s for one in answers if one.prompt_tokens_per_s]
        run.add(Row(measure="prompt", unit="tokens/s", values=speeds, case=case, counts=counts))
    if run.options.wants("generate"):
        speeds = [one.tokens_per_s for one in answers if one.tokens_per_s]
        run.add(Row(measure="generate", unit="tokens/s", values=speeds, case=case, counts=counts))


async def over_batches(run: Run, writer: Writer, model: Model) -> None:
    """Tokens per second of several requests together, while all of them run."""
    answer_tokens = _answer_tokens(run, writer, model)
    for count in QUICK_TOGETHER if run.options.quick else TOGETHER:
        if model.slots and count > model.slots:
            run.say(f"More than {model.slots} requests at once wait for each other here: not measured.")
            break

        async def once(count: int = count) -> float | None:
            return together_per_s(await ask_together(writer, count, SHORT_PROMPT_TOKENS, answer_tokens))

        speeds = [one for one in await run.repeat(once, full=5, quick=3) if one is not None]
        if not speeds:
            run.problem(f"{count} requests at once did not run side by side: their speed together is not known.")
        run.add(Row(measure="generate together", unit="tokens/s", values=speeds, case={"requests": count}))
        await run.cool_down()


async def ask_together(writer: Writer, count: int, prompt_tokens: int, answer_tokens: int) -> list[Completion]:
    """`count` different prompts at once."""
    if count == 1:
        return [await writer.complete(writer.prompt(prompt_tokens), answer_tokens)]
    prompts = [writer.prompt(prompt_tokens) for _ in range(count)]
    return await together([writer.complete(prompt, answer_tokens) for prompt in prompts])


async def first_tokens(run: Run, writer: Writer) -> None:
    """From sending a short prompt to the first text, one request after the other."""

    async def once() -> float | None:
        return (await writer.complete(writer.prompt(SHORT_PROMPT_TOKENS), FIRST_TOKENS)).first_s

    waits = [one for one in await run.repeat(once, full=40, quick=8) if one is not None]
    run.add(
        Row(
            measure="first token",
            unit="s",
            values=waits,
            case={"prompt_tokens": SHORT_PROMPT_TOKENS},
            higher_is_better=False,
            tail=True,
        )
    )
    await run.cool_down()


class OverheadTally:
    """What measuring cost: processor time of this process while answers were on their way, and the client's speeds
    beside the server's own. `with tally:` around each answer."""

    def __init__(self) -> None:
        self._ratios: list[float] = []
        self._cpu_s = 0.0
        self._wall_s = 0.0

    def __enter__(self) -> None:
        self._began = time.process_time(), time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._cpu_s += time.process_time() - self._began[0]
        self._wall_s += time.perf_counter() - self._began[1]

    def add(self, answer: Completion) -> None:
        if not answer.tokens_per_s or not answer.server_tokens_per_s:
            return
        if answer.ended_s - answer.text_s[0] >= _TELLING_S:
            self._ratios.append(answer.tokens_per_s / answer.server_tokens_per_s)

    def result(self) -> Overhead | None:
        """None where the server says nothing of its own speed, or all answers were too short to tell."""
        if not self._ratios:
            return None
        return Overhead(
            client_over_server=rounded(percentile(self._ratios, 0.5)),
            client_cpu_share=rounded(self._cpu_s / self._wall_s),
            answers=len(self._ratios),
        )
