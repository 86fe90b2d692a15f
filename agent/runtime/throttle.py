"""How much the models may ask of the board just now, as its governor says. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from agent.runtime.wire import LlamaOptions, SetPace, SetThreads


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

    def pace_of(self, options: LlamaOptions) -> SetPace:
        return SetPace(self.pause_ratio, min(options.batch_tokens, self.batch_tokens or options.batch_tokens))


FULL_SPEED = Throttle()
