"""Which level suits a board: the best one whose weights, KV cache and buffers fit what the board has for models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from agent.errors import ConfigError, MemoryBudgetError, RequestError
from agent.hardware.fit import OVERHEAD_BYTES
from agent.hardware.memory import MIB, MemoryReading, budget_bytes
from agent.hardware.profile import Profile, load_profiles
from agent.hardware.sections import MemoryStep
from agent.store.manifest import MemoryNeed
from agent.store.probe_report import ProbeReport
from agent.terminal import size
from convert.quantization import child, job
from convert.quantization.quantize import Plan, plan
from convert.quantization.recipe import Recipe

# Best first. llama.cpp's own table (tools/quantize/quantize.cpp), perplexity lost on Llama 3 8B: Q8_0 0.003,
# Q6_K 0.022, Q5_K_M 0.057, Q5_K_S 0.105, Q4_K_M 0.175, Q4_K_S 0.269, Q3_K_L 0.556, Q3_K_M 0.657, Q3_K_S 1.632,
# Q2_K 3.520; IQ4_XS has 4.25 bits per weight and loses about what Q4_K_S does.
LADDER: Final = (
    "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "IQ4_XS", "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K",
)  # fmt: skip
IMATRIX_LADDER: Final = (*LADDER[:-2], "IQ3_XXS", "IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS")
"""With an imatrix: the I-quants of 2 and 3 bits lose less than Q3_K_S and Q2_K, and are smaller."""

_WEIGHTS_THAT_COUNT_BYTES: Final = 50_000_000
"""Below this, decoding is not bound by reading the weights."""


@dataclass(frozen=True, kw_only=True)
class Board:
    """A board of a profile: its memory in MB (2**20), what of it models may take, and the context it is given."""

    profile: Profile
    memory_mb: int
    step: MemoryStep
    budget_bytes: int


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A level on a board, and the arithmetic: all sizes in bytes."""

    plan: Plan
    board: Board
    context_tokens: int
    kv_type: str
    kv_bytes: int
    compute_bytes: int

    @property
    def weights_bytes(self) -> int:
        return self.plan.weights_bytes

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.kv_bytes + self.compute_bytes + OVERHEAD_BYTES

    @property
    def fits(self) -> bool:
        return self.total_bytes <= self.board.budget_bytes

    def sentence(self) -> str:
        """The choice and why, in one line."""
        board, rate = self.board, self.board.profile.recommend.decode_gb_per_s
        known = rate > 0 and self.weights_bytes >= _WEIGHTS_THAT_COUNT_BYTES
        speed = f"; about {rate * 1e9 / self.weights_bytes:.1f} tokens/s" if known else ""
        return (
            f"{board.profile.name} with {board.memory_mb} MB: {self.plan.recipe.level}, as {self.arithmetic()}{speed}"
        )

    def arithmetic(self) -> str:
        return (
            f"{size(self.weights_bytes)} of weights + {size(self.kv_bytes)} of KV cache ({self.context_tokens} tokens, "
            f"{self.kv_type}) + {size(self.compute_bytes)} of buffers + {size(OVERHEAD_BYTES)} for the process = "
            f"{size(self.total_bytes)} of {size(self.board.budget_bytes)} for models"
        )


def find_board(name: str, memory_mb: int | None) -> Board:
    """The board of the profile called `name` with `memory_mb`; without, the smallest that the profile is for.

    Raises `RequestError` for an unknown profile, for memory that cannot be, and where a graphics card's is not given.
    """
    try:
        profiles = {profile.name: profile for profile in load_profiles()}
    except ConfigError as error:
        raise RequestError(error.message, hint=error.hint) from None
    profile = profiles.get(name)
    if profile is None:
        raise RequestError(f"There is no profile {name!r}.", hint=f"Choose one of {', '.join(sorted(profiles))}.")
    if memory_mb is None:
        if _has_a_card(profile):
            raise RequestError(
                f"--for {name} needs --memory-mb: the memory of the graphics card, which the profile does not know."
            )
        memory_mb = smallest_memory_mb(profile)
    return _board(profile, memory_mb)


def smallest_memory_mb(profile: Profile) -> int:
    """What the smallest board of a profile has: memories double from one row of its table to the next."""
    steps = profile.llama.by_memory
    if len(steps) < 2:
        raise RequestError(f"--for {profile.name} needs --memory-mb: the profile is for boards of any memory.")
    return steps[1].at_least_mb // 2


def choose(source: Path, recipe: Recipe, board: Board) -> Choice:
    """The best level for `source` that fits `board`; all else is as in `recipe`.

    Raises `MemoryBudgetError` with the arithmetic of the smallest where none fits, and what `plan` raises.
    """
    ladder = LADDER if recipe.imatrix is None else IMATRIX_LADDER
    plans = plan(source, [msgspec.structs.replace(recipe, level=level) for level in ladder])
    report = probe_gguf(source)
    found = _best(plans, report, board)
    if found is not None:
        return found
    smallest = min((_weigh(each, report, board) for each in plans), key=lambda choice: choice.total_bytes)
    raise MemoryBudgetError(
        f"{source.name} fits no {board.profile.name} with {board.memory_mb} MB: "
        f"at {smallest.plan.recipe.level} it would take {smallest.arithmetic()}.",
        hint=_larger(plans, report, board),
    )


def probe_gguf(path: Path) -> ProbeReport:
    """What the runtime will see in a model file. Raises `ModelLoadError`."""
    found: list[ProbeReport] = []

    def on_answer(message: job.Answer) -> None:
        if isinstance(message, job.Probed):
            found.append(message.report)

    child.run(job.Probe(source=str(path.absolute())), subject=path.name, on_answer=on_answer)
    return found[0]


def _best(plans: Sequence[Plan], report: ProbeReport, board: Board) -> Choice | None:
    return next((choice for each in plans if (choice := _weigh(each, report, board)).fits), None)


def _weigh(planned: Plan, report: ProbeReport, board: Board) -> Choice:
    """As the runtime estimates a model before it loads it: `MemoryNeed.at`, and the process around it."""
    context = min(board.step.context_tokens, report.context_train or board.step.context_tokens)
    kv_type = "f16" if report.task == "embed" else board.step.kv_type
    cache_only = MemoryNeed(weights=0, per_1k_context=report.kv_bytes_per_1k_context, compute=0)
    return Choice(
        plan=planned,
        board=board,
        context_tokens=context,
        kv_type=kv_type,
        kv_bytes=cache_only.at(context, kv_type),
        compute_bytes=report.compute_bytes,
    )


def _larger(plans: Sequence[Plan], report: ProbeReport, board: Board) -> str:
    for step in board.profile.llama.by_memory:
        if step.at_least_mb > board.memory_mb:
            found = _best(plans, report, _board(board.profile, step.at_least_mb))
            if found is not None:
                return f"With --memory-mb {step.at_least_mb} it would be {found.plan.recipe.level}."
    return "Choose a smaller model."


def _board(profile: Profile, memory_mb: int) -> Board:
    if not 64 <= memory_mb <= 1 << 24:
        raise RequestError(f"--memory-mb is {memory_mb}; expected 64 to {1 << 24}.")
    step = max((s for s in profile.llama.by_memory if s.at_least_mb <= memory_mb), key=lambda s: s.at_least_mb)
    if _has_a_card(profile):  # as `edge-agent doctor` counts it
        budget = int(memory_mb * MIB * profile.memory.budget_fraction)
    else:
        budget = budget_bytes(
            MemoryReading(available_bytes=memory_mb * MIB, total_bytes=memory_mb * MIB), profile.memory
        )
    return Board(profile=profile, memory_mb=memory_mb, step=step, budget_bytes=budget)


def _has_a_card(profile: Profile) -> bool:
    """Memory of its own beside the board's, as on a workstation; a Jetson and a Mac share theirs."""
    return profile.build.cuda and "x86_64" in profile.match.architecture
