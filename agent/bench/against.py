"""The same load on two servers in turn, A B A B: what one does better, and how sure that is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from agent.bench.completion import together_per_s
from agent.bench.generation import FIRST_TOKENS, SHORT_PROMPT_TOKENS, ask_together
from agent.bench.report import Case, Pairing, rounded
from agent.bench.run import Run
from agent.bench.spread import median_interval, turn_ratios
from agent.bench.writer import CHAT, Writer
from agent.errors import UnavailableError

LEAST_TURNS: Final = 25
MOST_TURNS: Final = 400
SURE_WITHIN: Final = 0.01
"""Turns go on until the middle of their ratios is known this well, or for `LONGEST_S`."""

LONGEST_S: Final = 180.0
PROMPT_TOKENS: Final = 256

_QUICK_TURNS: Final = 5
_QUICK_SURE_WITHIN: Final = 0.03
_QUICK_S: Final = 20.0

Turn = Callable[[Writer, int], Awaitable[float | None]]
"""One short measurement of one server, with answers of so many tokens; None where it gave no figure."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """`only` is the name by which `--only` chooses it."""

    only: str
    measure: str
    unit: str
    turn: Turn
    case: Case
    higher_is_better: bool = True


async def _generate(writer: Writer, tokens: int) -> float | None:
    return (await writer.complete(writer.prompt(SHORT_PROMPT_TOKENS), tokens)).tokens_per_s


async def _prompt(writer: Writer, _: int) -> float | None:
    return (await writer.complete(writer.prompt(PROMPT_TOKENS), FIRST_TOKENS)).prompt_tokens_per_s


async def _first(writer: Writer, _: int) -> float | None:
    return (await writer.complete(writer.prompt(SHORT_PROMPT_TOKENS), FIRST_TOKENS)).first_s


async def _together(writer: Writer, tokens: int) -> float | None:
    return together_per_s(await ask_together(writer, 4, SHORT_PROMPT_TOKENS, tokens))


LOADS: Final = (
    Load(only="generate", measure="generate", unit="tokens/s", turn=_generate, case={}),
    Load(only="prompt", measure="prompt", unit="tokens/s", turn=_prompt, case={"prompt_tokens": PROMPT_TOKENS}),
    Load(
        only="first-token",
        measure="first token",
        unit="s",
        turn=_first,
        case={"prompt_tokens": SHORT_PROMPT_TOKENS},
        higher_is_better=False,
    ),
    Load(only="batch", measure="generate together", unit="tokens/s", turn=_together, case={"requests": 4}),
)


async def agree(ours: Writer, theirs: Writer) -> None:
    """Makes both ask in the same way, which is what both servers understand. Raises what a server says."""
    await ours.prepare()
    await theirs.prepare()
    if ours.route != theirs.route:
        for writer in (ours, theirs):
            if writer.route != CHAT:
                await writer.prepare(chat=True)
    if ours.route != theirs.route:
        raise UnavailableError("The two servers have no route for generating text in common.")
    if ours.ignores_end != theirs.ignores_end:
        for writer in (ours, theirs):
            writer.heed_end()
    theirs.fit = ours.fit


async def compare(run: Run, ours: Writer, theirs: Writer, show: Callable[[Pairing], None]) -> None:
    """Every load that was asked for; `show` is told of each as it is done."""
    for writer in (ours, theirs):
        if not writer.counts_tokens:
            run.problem(
                f"{writer.http.url} sends no usage: its tokens cannot be counted, so only times are compared. "
                "Chunks are no tokens."
            )
    counted = ours.counts_tokens and theirs.counts_tokens
    tokens = ours.lasting_tokens
    for load in LOADS:
        if run.options.wants(load.only) and (counted or load.unit == "s"):
            pairing = await _in_turn(run, load, ours, theirs, tokens)
            if pairing is None:
                run.problem(f"{load.measure}: too few turns gave a figure on both servers.")
                continue
            run.report.pairings.append(pairing)
            show(pairing)
            await run.cool_down()


async def _in_turn(run: Run, load: Load, ours: Writer, theirs: Writer, tokens: int) -> Pairing | None:
    """One turn of ours more than of theirs, so that each of theirs stands between two. The first of each is not
    counted: it warms up."""
    quick = run.options.quick
    least, sure = (_QUICK_TURNS, _QUICK_SURE_WITHIN) if quick else (LEAST_TURNS, SURE_WITHIN)
    give_up_s = time.monotonic() + (_QUICK_S if quick else LONGEST_S)
    figures: tuple[list[float], list[float]] = ([], [])
    for number in range(-2, 2 * MOST_TURNS + 1):
        side = number % 2
        value = await load.turn((ours, theirs)[side], tokens)
        if number >= 0:
            figures[side].append(value or 0.0)
        if side == 0 and number >= 2 * least:
            found = pairing_of(load, *figures)
            if time.monotonic() > give_up_s or (found is not None and _known(found, sure)):
                break
        await asyncio.sleep(0.02)
    return pairing_of(load, *figures)


def _known(pairing: Pairing, within: float) -> bool:
    return (pairing.high - pairing.low) / 2 <= within * pairing.median


def pairing_of(load: Load, ours: list[float], theirs: list[float]) -> Pairing | None:
    """None where no two turns can be compared. 0 stands for a turn without a figure."""
    ratios = turn_ratios(ours, theirs)
    if not ratios:
        return None
    if not load.higher_is_better:
        ratios = [1 / ratio for ratio in ratios]
    low, high = median_interval(ratios)
    return Pairing(
        measure=load.measure,
        unit=load.unit,
        case=load.case,
        ours=[rounded(value) for value in ours if value > 0],
        theirs=[rounded(value) for value in theirs if value > 0],
        ratios=[rounded(value) for value in ratios],
        low=rounded(low),
        high=rounded(high),
    )
