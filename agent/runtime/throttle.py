"""How much the models may ask of the board just now, as its governor says. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from agent.runtime.wire.control import SetPace, SetThreads
from agent.runtime.wire.options import LlamaOptions, OnnxOptions, Options


@dataclass(frozen=True, kw_only=True)
class Throttle:
    """None: as the model is set up. `pause_ratio` is how long to rest after each second of computing, `batch_tokens`
    the most prompt tokens in a step. Without `admit` only requests of high priority begin; the others wait."""

    threads: int | None = None
    threads_batch: int | None = None
    pause_ratio: float = 0.0
    batch_tokens: int | None = None
    admit: bool = True

    def threads_of(self, options: LlamaOptions) -> SetThreads:
        """Never more than the model was given."""
        return SetThreads(
            min(options.threads, self.threads or options.threads),
            min(options.threads_batch, self.threads_batch or options.threads_batch),
        )

    def pace_of(self, options: Options) -> SetPace:
        """ONNX Runtime cannot change its threads while it serves: so that fewer threads spare as much of the board, its
        models rest so long that they take that share of the processor's time."""
        batch_tokens = min(options.batch_tokens, self.batch_tokens or options.batch_tokens)
        rest = self.pause_ratio
        if isinstance(options, OnnxOptions):
            threads = min(options.threads, self.threads or options.threads)
            rest += (1 + rest) * (options.threads / threads - 1)
        return SetPace(rest, batch_tokens)


FULL_SPEED = Throttle()
